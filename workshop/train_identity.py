"""Step 13: teach the judge who the subject is, and put the judge together.

It learns from groups of individuals that differ in one respect alone (`lineup`), cut out by what they cover, made a little wrong as a
mask would have it. In the last part of the course half of them are cut out by what the mask of `train_mask` finds, with its mistakes.
The heads are those of `train_judge`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from likewise.files import write_text, write_with
from likewise.metrics._judge import IdentityNet, JudgeNet, MaskNet, cut_out
from workshop import world
from workshop.common import SIZE, Lesson, log_line, options, settle, shipped, step_seed
from workshop.fetch import attribution
from workshop.lineup import Lineup, Seen
from workshop.plan import COLOURS, background
from workshop.telling import by_cover, judged, overlap, pairs, told
from workshop.train_judge import classes, roughen

SEED = 909
TEMPERATURE = 0.07
COVERED = 0.6
"""The share of the course after which masks that were found stand beside true ones."""
IDS = {"taught": "pocket-judge-v5", "whole": "pocket-judge-whole-v5"}


def roughened(cover: Tensor) -> Tensor:
    """Covers as a mask might have them: shrunk or grown by a pixel, smoothed, a piece missing here and there."""
    kind = torch.randint(4, (len(cover), 1, 1, 1))
    grown, shrunk = F.max_pool2d(cover, 3, 1, 1), -F.max_pool2d(-cover, 3, 1, 1)
    out = torch.where(kind == 0, grown, torch.where(kind == 1, shrunk, cover))
    coarse = F.interpolate(torch.rand(len(cover), 1, 8, 8), size=cover.shape[-1], mode="bilinear")
    out = out * torch.where(kind == 3, (coarse > 0.2).float(), 1.0)
    return F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)


def identity_loss(
    identity: IdentityNet, vae: AutoencoderKL, seen: Seen, mask: MaskNet | None = None
) -> Tensor:
    """Supervised contrast of all views of a batch; with `mask` half of them are cut out by what it finds."""
    pixels, cover = roughen(seen.pixels, vae), roughened(seen.cover)
    if mask is not None:
        with torch.no_grad():
            cover = torch.where(torch.rand(len(cover), 1, 1, 1) < 0.5, mask(pixels).sigmoid(), cover)
    subjects = cut_out(pixels, cover)
    return contrast(identity(subjects.contiguous(memory_format=torch.channels_last)), seen.who)


def contrast(marks: Tensor, things: Tensor) -> Tensor:
    """Supervised contrast: views of one thing attract each other."""
    itself = torch.eye(len(things), dtype=torch.bool, device=things.device)
    alike = (things[:, None] == things) & ~itself
    logits = (marks @ marks.T / TEMPERATURE).masked_fill(itself, -1e4)
    return -(logits.log_softmax(1) * alike).sum(1).div(alike.sum(1)).mean()


def phrases() -> dict[str, dict[str, str]]:
    """How captions say a label, for the labels that a prompt can ask for."""
    return {
        "scene": world.SCENES,
        "plain": {colour: background(colour) for colour in COLOURS},
        "count": {number: number for number in world.NUMBERS if number != "one"},
        "tint": {tint: tint for tint in world.TINTS},
        "small": {"small": "small"},
    }


def write(judge: JudgeNet, out: Path, known: world.World, right: dict[str, float]) -> None:
    """The folder that likewise loads. The card tells all that is known of the judge besides its weights."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in judge.cpu().state_dict().items()}
    weights = {k: v.contiguous() for k, v in weights.items()}
    write_with(out / "model.safetensors", lambda path: save_file(weights, path))
    card = {
        "id": IDS[known.name],
        "resolution": SIZE,
        "range": [-1, 1],
        "embedding": 64,
        "heads": classes(known),
        "phrases": phrases(),
        "ceilings": {k: round(v, 4) for k, v in right.items()},
    }
    write_text(out / "card.json", json.dumps(card, indent=1) + "\n")
    text = attribution("likewise pocket judge", "sources.toml", "judge_sources.toml")
    write_text(out / "ATTRIBUTION.md", text)


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (6600, 15000, 3), "groups": (7, 28, 2), "rate": (2e-3, 2e-3, 2e-3)}
    parser = options(__doc__, **sizes)
    parser.add_argument(
        "--out", type=Path, help="default: src/likewise/pocket/judge; of the whole world, build"
    )
    args = settle(parser, argv)
    torch.manual_seed(SEED)
    heads = {head: len(names) for head, names in classes(args.world).items()}
    judge = JudgeNet(heads).to(args.device, memory_format=torch.channels_last)
    judge.labels.load_state_dict(load_file(args.folder / "labels.safetensors"))
    judge.mask.load_state_dict(load_file(args.folder / "mask.safetensors"))
    judge.mask.eval()
    vae = AutoencoderKL.from_pretrained(args.folder / "vae").eval().to(args.device)
    lineup = Lineup(args.folder, variants=args.variants)
    tests = pairs(Lineup(args.folder, held=True, variants=args.variants))
    lesson = Lesson("identity", judge.identity, args)
    while lesson.open:
        torch.manual_seed(step_seed(SEED + 3, lesson.step))
        seen = lineup.batch(args.groups, step_seed(SEED + 4, lesson.step))
        mask = judge.mask if lesson.step >= COVERED * args.steps else None
        lesson.learn(identity_loss(judge.identity, vae, seen, mask), len(seen.pixels))
        if lesson.step % 200 == 0:
            log_line(
                lesson.log, step=lesson.step, cut_out_by="cover", **told(by_cover(judge.identity), tests)
            )
    judge.half().float()  # the file has half precision, and what is measured is what ships
    facts = told(judged(judge.eval()), tests)
    right = json.loads((args.folder / "labels.json").read_text(encoding="utf-8"))
    right |= {f"identity_{name}": value for name, value in facts.items()}
    write(
        judge, args.out or shipped(args, "judge"), args.world, right | {"overlap": overlap(judge.mask, tests)}
    )
    log_line(lesson.log, done=True, parameters=sum(p.numel() for p in judge.parameters()), **facts)


if __name__ == "__main__":
    main()
