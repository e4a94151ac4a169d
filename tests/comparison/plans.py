"""Small comparisons on a random miniature, which the tests of the comparison share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.base import Base, Sampler
from likewise.comparison.comparison import Comparison
from likewise.comparison.preparing import prepare
from likewise.comparison.results import Results, Row
from likewise.events import Attached, Event, Progress, Stepped, TrialStarted
from likewise.gallery import Gallery
from likewise.methods.lora import LoRA
from tests.metrics.judges import panel

PROMPTS = ("a {} on a beach", "a {} somewhere")
SEEDS = (0, 1)


def planned(source: Path, out: Path, **changes: Any) -> Comparison:
    """A comparison on `tiny:sd` of LoRA alone, unless it is asked for otherwise."""
    options: dict[str, Any] = {
        "noun": "owl",
        "token": "sks",
        "base": "tiny:sd",
        "methods": ("lora",),
        "prompts": PROMPTS,
        "seeds": SEEDS,
        "sampler": Sampler(steps=1, guidance=1.0),
        "steps": 3,
        "recipes": {"lora": {"rank": 2}},
    }
    return prepare(source, out=out, **{**options, **changes})


@dataclass
class Done:
    """A comparison that was run once, and what it said."""

    source: Path
    folder: Path
    events: list[Event]

    def rows(self) -> dict[str, Row]:
        return rows_of(self.folder)


def rows_of(folder: Path) -> dict[str, Row]:
    """The rows of a comparison's folder by trial."""
    return {row.trial: row for row in Results(folder).rows()}


def done_anew(events: Iterable[Event]) -> list[str]:
    """The trials that were done."""
    return [event.trial for event in events if isinstance(event, TrialStarted)]


def attached(events: Iterable[Event]) -> list[str]:
    """In which trials something was attached to be taught."""
    return [
        event.trial for event in events if isinstance(event, Progress) and isinstance(event.inner, Attached)
    ]


def steps(events: Iterable[Event], trial: str = "") -> list[int]:
    """The numbers of the steps that were done, of one trial or of all."""
    return [
        event.inner.step
        for event in events
        if isinstance(event, Progress) and isinstance(event.inner, Stepped) and trial in ("", event.trial)
    ]


def stop_after(comparison: Comparison, step: int) -> None:
    """Start, and ask to stop when this step is done."""
    for event in comparison.start(judges=panel()):
        if isinstance(event, Progress) and isinstance(event.inner, Stepped) and event.inner.step == step:
            comparison.stop()


def pixels(folder: Path, trial: str) -> list[bytes]:
    """The pictures of one trial."""
    return [image.tobytes() for image in Gallery(folder / "trials" / trial / "gallery").images()]


class Crashing(LoRA):
    """Fails in a way that nobody foresaw."""

    name, title = "crashing", "Crashing"

    def attach(self, base: Base, stack: Any) -> Any:
        raise ZeroDivisionError("one over nothing\nand a second line")
