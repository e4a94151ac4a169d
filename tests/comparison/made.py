"""One small comparison, methods that fail in their own ways, and what to look for in its folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from likewise.base import Base, Sampler
from likewise.comparison.comparison import Comparison, prepare
from likewise.comparison.results import Row
from likewise.events import Event, TrialStarted
from likewise.gallery import Gallery
from likewise.method import Method
from likewise.methods.lora import LoRA

PROMPTS = ("a {} on a beach", "a {} somewhere")
SEEDS = (0, 1)
METHODS = ("lora", "hypernetwork", "crashing", "spoiling", "impossible")


class Crashing(LoRA):
    """Fails in a way that nobody foresaw."""

    name, title = "crashing", "Crashing"

    def attach(self, base: Base, stack: Any) -> Any:
        raise ZeroDivisionError("one over nothing\nand a second line")


class Spoiling(LoRA):
    """Trains as LoRA does, and leaves a weight of the base changed."""

    name, title = "spoiling", "Spoiling"

    def attach(self, base: Base, stack: Any) -> Any:
        with torch.no_grad():
            next(base.backbone.parameters()).view(-1)[0] += 1
        return super().attach(base, stack)


class Impossible(LoRA):
    """Never fits."""

    name, title = "impossible", "Impossible"

    def unsupported(self, base: Base) -> str | None:
        return "it needs a base that nobody has built"


OUTSIDE: dict[str, Method[Any]] = {m.name: m for m in (Crashing(), Spoiling(), Impossible())}


def planned(source: Path, out: Path, **changes: Any) -> Comparison:
    options: dict[str, Any] = {
        "noun": "owl",
        "token": "sks",
        "base": "tiny:sd",
        "methods": METHODS,
        "prompts": PROMPTS,
        "seeds": SEEDS,
        "sampler": Sampler(steps=1, guidance=1.0),
        "steps": 3,
        "rank": 2,
        "recipes": {"hypernetwork": {"learning_rate": 1e30, "clip": 0}},
    }
    return prepare(source, out=out, **{**options, **changes})


@dataclass
class Done:
    """A comparison that was run once, and what it said."""

    source: Path
    folder: Path
    events: list[Event]
    base: Base
    fingerprint: str

    def rows(self) -> dict[str, Row]:
        return {row.trial: row for row in planned(self.source, self.folder).rows()}

    def book(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "comparison.json").read_text(encoding="utf-8"))
        return found

    def copy(self, to: Path) -> Path:
        shutil.copytree(self.folder, to)
        return to


def drawn_again(events: list[Event]) -> list[str]:
    return [event.trial for event in events if isinstance(event, TrialStarted)]


def pixels(folder: Path, trial: str) -> list[bytes]:
    return [image.tobytes() for image in Gallery(folder / "trials" / trial / "gallery").images()]
