"""Places, seeds, arguments, lengths of trainings and small file functions shared by every step.

All paths follow from the repository root, so that a checkout can be moved freely.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

import torch

from likewise.files import write_with
from workshop import world
from workshop.plan import SIZE as SIZE  # defined where no torch is needed

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "workshop" / "build"
PACKAGES = BUILD / "packages"
POCKET = ROOT / "src" / "likewise" / "pocket"
ADVICE = ROOT / "workshop" / "likewise.toml"
PROMPTS = ROOT / "workshop" / "prompts.toml"
GUIDANCE = float(tomllib.loads(ADVICE.read_text(encoding="utf-8"))["guidance"])  # what pocket is drawn with


def work(smoke: bool, known: world.World = world.WORLDS["taught"]) -> Path:
    """The folder that steps write to: one for each world, and separate ones for smoke runs."""
    parts = ["smoke"] * smoke + [known.name] * (known.name != "taught")
    folder = BUILD.joinpath("-".join(parts))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def options(
    doc: str | None, smoke: str = "seconds of it, in workshop/build/smoke", threads: int = 1, **sizes: tuple
) -> argparse.ArgumentParser:
    """The arguments of every step; ``sizes`` are numbers with defaults for (CPU, accelerator, smoke run)."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--smoke", action="store_true", help=smoke)
    parser.add_argument("--world", choices=world.WORLDS, default="taught", help="whole: for an accelerator")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps")
    parser.add_argument("--threads", type=int, default=threads)
    for name, (slow, fast, _) in sizes.items():
        text = f"default: {slow}, on an accelerator {fast}"
        parser.add_argument(f"--{name}", type=type(slow), help=text)
    if {"steps", "samples"} & set(sizes):
        parser.add_argument("--minutes", type=float, help="length by time instead, all restarts together")
    parser.set_defaults(sizes=sizes)
    return parser


def settle(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parsed arguments with ``folder``, ``variants``, world and device as objects, and all sizes filled in."""
    args = parser.parse_args(argv)
    args.world, args.device = world.WORLDS[args.world], torch.device(args.device)
    args.folder, args.variants = work(args.smoke, args.world), 4 if args.smoke else 400
    column = 2 if args.smoke else 1 if args.device.type != "cpu" else 0
    for name, defaults in args.sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, defaults[column])
    torch.set_num_threads(args.threads)
    return args


def shipped(args: argparse.Namespace, part: str) -> Path:
    """Where a finished part goes: into the package for the shipped world, else beside the rest of the build."""
    return args.folder / part if args.smoke or args.world.name != "taught" else POCKET / part


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bfloat16 where an accelerator learns; the CPU stays at full precision."""
    return contextlib.nullcontext() if device.type == "cpu" else torch.autocast(device.type, torch.bfloat16)


def save_atomic(value: object, path: Path) -> None:
    """Write with torch.save so that a kill at any moment leaves the old file whole."""
    write_with(path, lambda part: torch.save(value, part))


def check_workers(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Several processes share a length in steps, and the cores of one machine."""
    if args.workers < 1 or (args.workers > 1 and (args.minutes or args.device.type != "cpu")):
        parser.error("--workers is at least 1; several are for the CPU, and not with --minutes")


def log_line(path: Path, **values: object) -> None:
    """Append one JSON line and print it."""
    line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each step of each run, so that resuming repeats nothing."""
    return (seed * 1_000_003 + step * 7_919 + 17) % (2**63 - 1)


def agree(begun: Mapping[str, object], asked: Mapping[str, object], path: Path) -> None:
    """Go on only with what was begun: `SystemExit` where an argument differs from the one that is kept."""
    other = {name: begun[name] for name in asked if name in begun and begun[name] != asked[name]}
    if other:
        said = ", ".join(f"{name} {value}" for name, value in other.items())
        raise SystemExit(f"{path} was begun with {said}; give the same arguments, or delete that file")


class Course:
    """How far a training has come: by steps, or by the minutes that it may take in all.

    With ``minutes`` the length follows the machine, and is not the same twice. ``form`` says how the rate goes:
    down as a `cosine`, in a straight line to nothing (`fall`), or not at all (`steady`).
    """

    FORMS = ("cosine", "steady", "fall")

    def __init__(self, steps: int, minutes: float | None = None, form: str = "cosine") -> None:
        self.steps, self.minutes, self.began, self.form = steps, minutes, time.monotonic(), form

    def resume(self, state: dict[str, object]) -> None:
        """Take over the time that a checkpoint had used."""
        self.began = time.monotonic() - float(state.get("seconds", 0.0))

    def state(self) -> dict[str, float]:
        """For the checkpoint: nothing, where steps count."""
        return {} if self.minutes is None else {"seconds": time.monotonic() - self.began}

    def share(self, step: int) -> float:
        """From 0 to 1."""
        if self.minutes is None:
            return step / self.steps
        return (time.monotonic() - self.began) / (60 * self.minutes)

    def rate(self, step: int, top: float, warm: int, floor: float) -> float:
        """A learning rate with a warm-up of ``warm`` steps, then down to ``floor`` of the top, where it falls."""
        share = min(1.0, self.share(step))
        left = {"cosine": 0.5 * (1 + math.cos(math.pi * share)), "steady": 1.0, "fall": 1 - share}[self.form]
        return top * min(1.0, (step + 1) / warm) * (floor + (1 - floor) * left)


class Average:
    """Exponential moving average of a module's weights and buffers, with a short warm-up.

    Looks only ``every`` so many steps and then makes up for them.
    """

    def __init__(self, module: torch.nn.Module, decay: float = 0.999, every: int = 1) -> None:
        self.decay, self.every, self.step = decay, every, 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        self.step += 1
        if self.step % self.every:
            return
        decay = min(self.decay, (1 + self.step) / (10 + self.step)) ** self.every
        new = module.state_dict()
        whole = [k for k, v in new.items() if not v.is_floating_point()]
        for key in whole:
            self.state[key].copy_(new[key])
        names = [k for k in new if k not in whole]
        torch._foreach_lerp_([self.state[k] for k in names], [new[k] for k in names], 1 - decay)


class Lesson:
    """One training: its weights, its optimizer, its checkpoint and its log, named alike in the work folder."""

    def __init__(self, name: str, module: torch.nn.Module, args: argparse.Namespace) -> None:
        self.module, self.rate, self.course = module, args.rate, Course(args.steps, args.minutes)
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=args.rate, weight_decay=1e-3)
        self.point, self.log, self.step = args.folder / f"{name}.pt", args.folder / f"{name}.jsonl", 0
        if self.point.exists():
            state = torch.load(self.point, map_location=args.device)
            module.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            self.course.resume(state)
        self.began, self.start = time.time(), self.step

    @property
    def open(self) -> bool:
        """Whether there is more to learn."""
        return self.course.share(self.step) < 1

    def learn(self, loss: torch.Tensor, pictures: int) -> None:
        """One step of the optimizer; the checkpoint is written every 200."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.course.rate(self.step, self.rate, 100, 0.02)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.step += 1
        if self.step % 25 == 0:
            speed = (self.step - self.start) * pictures / (time.time() - self.began)
            log_line(self.log, step=self.step, loss=loss.item(), speed=speed)
        if self.step % 200 == 0 or not self.open:
            state = {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
            save_atomic({**state, "step": self.step, **self.course.state()}, self.point)
