"""Step 9: the denoiser, v-prediction on latents with the text tower frozen.

Safe to kill at any time and to start again, with any number of threads; the course of the rate runs over
``--samples`` (or ``--minutes``), which must stay the same from start to end, as must ``--workers``. Latents come from the pool, or with
``--fresh`` from pictures composed for each step, as an accelerator wants it.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from workshop.common import (
    GUIDANCE,
    Average,
    Course,
    agree,
    autocast,
    check_workers,
    log_line,
    options,
    save_atomic,
    settle,
    step_seed,
)
from workshop.compose import composer, sheet
from workshop.pool import Fresh, Lesson, Pool
from workshop.shapes import PARTS, SHARE
from workshop.team import MEET, Team, gather
from workshop.words import Words

SEED = 404
GAMMA = 5.0
# Arguments that must be the same from start to end.
ASKED = ("samples", "minutes", "batch", "rate", "form", "workers", "strange", "fresh", "hold_out", "shapes")
LOOK = 20  # steps between two lines of the log
WARM = 100  # steps until the rate is there
BLANK = 0.1  # share of captions that are not told
# Averages that are kept: in how many pictures a weight of old has fallen to 1/e. The longer one forgives a higher
# rate, the shorter one follows a falling one; which is best is measured afterwards (`validate`).
LENGTHS = {"short": 16_000, "middle": 64_000, "long": 256_000}
AVERAGE = "middle"
PLAIN, MEAN_COVER = 0.4, 0.2  # weight of a cell without a thing; share of a picture that things cover
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
PROMPTS = (
    "a cat on a beach",
    "a dog in the snow",
    "a car on a road",
    "a penguin in space",
    "two apples on a white background",
    "a blue car on a white background",
    "a bear in the desert, noto style",
    "a small cat in a garden",
    "a house in the mountains",
    "a fish under water",
    "a robot in a city",
    "a cat on a white background, twemoji style",
    "an owl at night",
    "three mushrooms in a forest",
    "a mug in a room",
    "a frog on a yellow background",
)


def build() -> UNet2DConditionModel:
    """Two levels, 8 x 8 and 4 x 4, with cross-attention in both."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=(96, 224),
        layers_per_block=1,
        attention_head_dim=(3, 7),
        cross_attention_dim=256,
        norm_num_groups=32,
    )


@torch.no_grad()
def sample(
    unet: UNet2DConditionModel,
    words: Words,
    prompts: tuple[str, ...],
    seed: int = 7,
    steps: int = 20,
    guidance: float = GUIDANCE,
) -> torch.Tensor:
    """Guided DDIM latents for some prompts."""
    scheduler = DDIMScheduler(**SCHEDULE)
    scheduler.set_timesteps(steps)
    states = torch.cat([words([""] * len(prompts)), words(list(prompts))])
    latents = torch.randn(len(prompts), 16, 8, 8, generator=torch.Generator().manual_seed(seed))
    latents = latents.to(states.device)
    for t in scheduler.timesteps:
        with autocast(states.device):
            blank, told = unet(torch.cat([latents, latents]), t, states).sample.float().chunk(2)
        latents = scheduler.step(blank + guidance * (told - blank), t, latents).prev_sample
    return latents


def errors_of(
    unet: torch.nn.Module,
    lesson: Lesson,
    alphas: torch.Tensor,
    times: torch.Tensor,
    noise: torch.Tensor,
) -> torch.Tensor:
    """Error of the predicted velocity of each picture (n,), mostly where things are.

    The weight of a time is min-SNR (Hang et al. 2023, arXiv:2303.09556) with one added, (min(snr, 5) + 1) / (snr + 1): on 8 x 8 latents what and
    where is settled at low signal, which plain min-SNR would all but leave out. The weight of a cell
    grows with the share of it that a thing covers: scenes are learned early, things cost the samples.
    """
    alpha = alphas[times].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * lesson.latents + (1 - alpha).sqrt() * noise
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * lesson.latents
    snr = alphas[times] / (1 - alphas[times])
    focus = PLAIN + (1 - PLAIN) / MEAN_COVER * lesson.cover
    with autocast(noisy.device):
        guess = unet(noisy.contiguous(memory_format=torch.channels_last), times, lesson.states).sample
    error = ((guess.float() - target).square() * focus).mean((1, 2, 3))
    return error * (snr.clamp(max=GAMMA) + 1) / (snr + 1)


def loss_of(
    unet: torch.nn.Module, lesson: Lesson, alphas: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mean error with stratified times."""
    n, device = len(lesson.latents), lesson.latents.device
    spread = (torch.rand(n, generator=generator, device=device) + torch.arange(n, device=device)) / n
    times = (spread * len(alphas)).long().clamp(max=len(alphas) - 1)
    noise = torch.randn(lesson.latents.shape, generator=generator, device=device)
    return errors_of(unet, lesson, alphas, times, noise).mean()


def averages(unet: torch.nn.Module, batch: int, team: Team) -> dict[str, Average]:
    """Averages of all `LENGTHS`; only who leads a team keeps any."""
    every, pictures = 5 if team.size == 1 else MEET, batch * team.size
    kept = LENGTHS if team.leads else {}
    return {name: Average(unet, math.exp(-pictures / length), every) for name, length in kept.items()}


class Trainer:
    """Model, averages and optimiser with their checkpoint, on the device of the arguments."""

    def __init__(self, args: argparse.Namespace, team: Team | None = None) -> None:
        self.args, self.folder, self.point = args, args.folder, args.folder / "backbone.pt"
        self.team = team or Team()
        torch.manual_seed(SEED)
        self.unet, self.step, self.before = build(), 0, 0
        if args.init:
            self.unet.load_state_dict(UNet2DConditionModel.from_pretrained(args.init).state_dict())
            self.before = json.loads((args.init.parent / "card.json").read_text(encoding="utf-8"))[
                "samples_seen"
            ]
        self.unet.to(args.device)
        self.unet.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.averages = averages(self.unet, args.batch, self.team)
        self.course = Course(args.samples // (args.batch * self.team.size), args.minutes, args.form)
        self.alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(args.device)
        self.words = Words(self.folder, args.device)
        self.pictures = self.source()
        self.asked = {name: getattr(args, name) for name in ASKED} | {"init": str(args.init)}
        if self.point.exists():
            state = torch.load(self.point, map_location=args.device)
            agree(state.get("asked", {}), self.asked, self.point)
            self.unet.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            for name, average in self.averages.items():
                average.state, average.step = state["averages"][name], self.step
            self.before = state["samples"] - self.samples
            self.course.resume(state)

    @property
    def samples(self) -> int:
        """Pictures seen in this training, by all workers."""
        return self.step * self.args.batch * self.team.size

    def source(self) -> Pool | Fresh:
        """Where latents come from."""
        if not self.args.fresh:
            return Pool(self.folder, self.args.batch)
        known = composer(self.args, ("world", *PARTS) if self.args.shapes else ("world",), taught=True)
        known.teach(self.args.hold_out, self.args.shapes)
        vae = AutoencoderKL.from_pretrained(self.folder / "vae").eval().to(self.args.device)
        return Fresh(vae, self.words, known, self.args.batch)

    def save(self) -> None:
        state = {
            "model": self.unet.state_dict(),
            "averages": {name: average.state for name, average in self.averages.items()},
            "optimizer": self.optimizer.state_dict(),
            **self.course.state(),
        }
        seen = {"step": self.step, "samples": self.before + self.samples}
        save_atomic({**state, **seen, "asked": self.asked}, self.point)

    def learn(self) -> torch.Tensor:
        """One step; everything random follows from its number."""
        number, device = self.team.number(self.step), self.args.device
        seed = step_seed(SEED, number)
        generator = torch.Generator().manual_seed(seed)
        lesson = self.pictures.draw(number, generator).to(device)
        odd = round(self.args.strange * len(lesson.captions))
        if odd:
            lesson.states[:odd] = self.words.strange(lesson.captions[:odd], generator)
        blank = torch.rand(len(lesson.captions), generator=generator) < BLANK
        lesson.states[blank.to(device)] = self.words([""])
        if device.type != "cpu":  # noise of a large batch is drawn where it is used
            generator = torch.Generator(device).manual_seed(seed)
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.rate(self.step, self.args.rate, WARM, 0.02)
        loss = loss_of(self.unet, lesson, self.alphas, generator)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        if self.team.meets(self.step) or self.course.share(self.step) >= 1:
            self.team.meet(list(self.unet.parameters()), self.optimizer)
        for average in self.averages.values():
            average.update(self.unet)
        return loss.detach()

    def show(self) -> None:
        """A contact sheet of the fixed prompts from the averaged weights."""
        smooth = build().eval().to(self.args.device)
        smooth.load_state_dict(self.averages[AVERAGE].state)
        vae = AutoencoderKL.from_pretrained(self.folder / "vae").eval().to(self.args.device)
        with torch.no_grad():
            pixels = vae.decode(sample(smooth, self.words, PROMPTS)).sample
        (self.folder / "sheets").mkdir(exist_ok=True)
        sheet(pixels, 8, self.folder / "sheets" / f"{self.samples:08d}.png", zoom=3)

    def run(self) -> None:
        saved = shown = marked = time.time()
        losses: list[torch.Tensor] = []
        while self.course.share(self.step) < 1:
            losses.append(self.learn())
            if len(losses) == LOOK:
                now = time.time()
                row = {
                    "samples": self.samples,
                    "loss": sum(loss.item() for loss in losses) / LOOK,
                    "speed": LOOK * self.args.batch * self.team.size / (now - marked),
                    "pool": self.pictures.refresh(),
                }
                losses, marked = [], now
                if self.team.leads:
                    log_line(self.folder / "backbone.jsonl", **row)
            if not self.team.leads or not self.team.meets(self.step):
                continue
            if time.time() - saved > 180:
                self.save()
                saved = time.time()
            if time.time() - shown > 600:
                self.show()
                shown = time.time()
        if self.team.leads:
            self.finish()

    def finish(self) -> None:
        """Keep what was learned, and show it."""
        self.save()
        self.show()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    sizes = {
        "samples": (300_000, 20_000_000, 12),
        "batch": (32, 1024, 4),
        "rate": (4e-4, 1e-3, 4e-4),
    }
    parser = options(__doc__, threads=2, **sizes)
    parser.add_argument(
        "--strange", type=float, default=0.25, help="share of captions with words that mean nothing"
    )
    parser.add_argument(
        "--init", type=Path, default=None, help="go on from the unet folder of an exported model"
    )
    parser.add_argument("--form", choices=Course.FORMS, default="cosine", help="how the rate goes")
    parser.add_argument("--fresh", action="store_true", help="compose pictures for each step, without a pool")
    parser.add_argument(
        "--hold-out", action="store_true", help="with --fresh: leave combinations out (World.held_out)"
    )
    parser.add_argument("--shapes", type=float, default=SHARE, help="with --fresh: as of the pool")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that learn together, each with --threads"
    )
    args = settle(parser, argv)
    check_workers(parser, args)
    if args.hold_out and not args.fresh:
        parser.error("--hold-out goes with --fresh; a pool was made with or without it")
    return args


def work(args: argparse.Namespace, team: Team) -> None:
    """What one worker does."""
    torch.set_num_threads(args.threads)
    Trainer(args, team).run()


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    gather(args.workers, args.folder, functools.partial(work, args))


if __name__ == "__main__":
    main()
