"""Events: what a run tells whoever iterates it, and writes into events.jsonl. A new kind is one class."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened. `to_json` is one line of events.jsonl."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the event's name and the time."""
        return {"event": type(self).__name__.lower(), "time": round(time.time(), 3), **asdict(self)}


@dataclass(frozen=True)
class Loaded(Event):
    """The base is in memory."""

    base: str
    family: str
    seconds: float


@dataclass(frozen=True)
class Warned(Event):
    """Something the person should know."""

    text: str


@dataclass(frozen=True)
class Noted(Warned):
    """Something the person should know, and that is as it should be."""


@dataclass(frozen=True)
class Attached(Event):
    """The method is on the base. `resumed` is the number of steps already done."""

    method: str
    parameters: int
    resumed: int


@dataclass(frozen=True)
class Stepped(Event):
    """One optimizer step. Tuples have one entry per job."""

    step: int
    steps: int
    losses: tuple[float, ...]
    rates: dict[str, tuple[float, ...]]
    seconds: float
    memory: int


@dataclass(frozen=True)
class Sampled(Event):
    """A preview was drawn into `folder`, a gallery."""

    step: int
    folder: str


@dataclass(frozen=True)
class Saved(Event):
    """A file was written."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Finished(Event):
    """The end; `result` is what result.json holds."""

    result: dict[str, Any]
