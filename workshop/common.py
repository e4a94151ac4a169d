"""Places, seeds and small file helpers shared by every step.

All paths follow from the repository root, so that a checkout can be moved freely.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "workshop" / "build"
PACKAGES = BUILD / "packages"
POCKET = ROOT / "src" / "likewise" / "pocket"
SIZE = 64


def work(smoke: bool) -> Path:
    """The folder a step writes to: a separate one for smoke runs."""
    folder = BUILD / "smoke" if smoke else BUILD
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_atomic(value: object, path: Path) -> None:
    """Write with torch.save so that a kill at any moment leaves the old file whole."""
    part = path.with_suffix(path.suffix + ".part")
    torch.save(value, part)
    os.replace(part, path)


def log_line(path: Path, **values: object) -> None:
    """Append one JSON line and print it."""
    line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    print(line, flush=True)


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each step of each run, so that resuming repeats nothing."""
    return (seed * 1_000_003 + step * 7_919 + 17) % (2**63 - 1)


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
