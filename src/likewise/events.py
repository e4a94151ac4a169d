"""Events: what a run or a comparison tells whoever iterates it, and what a line of events.jsonl holds.

A new kind is one class. It says how it is spelled on disk, and `read` finds it by that. The classes of comparisons stand
here as well, so that what a log means does not depend on what else was imported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from likewise.errors import Error


@dataclass(frozen=True)
class Event:
    """Something that happened, at `time` in seconds since 1970. A subclass names its `kind`, which no other has."""

    kind: ClassVar[str]
    """How it is spelled in events.jsonl."""
    kinds: ClassVar[dict[str, type[Event]]] = {}
    """Every class by its kind."""
    time: float = field(default_factory=lambda: round(time.time(), 3), kw_only=True, compare=False)

    def __init_subclass__(cls, *, kind: str) -> None:
        super().__init_subclass__()
        if kind in Event.kinds:
            raise TypeError(f"{Event.kinds[kind].__name__} is spelled {kind!r} already")
        cls.kind = kind
        Event.kinds[kind] = cls

    def to_json(self) -> dict[str, Any]:
        """One line of events.jsonl: the kind as `event`, the time, and every field."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {"event": self.kind} | {
            name: value.to_json() if isinstance(value, Event) else value for name, value in values.items()
        }


@dataclass(frozen=True)
class Loaded(Event, kind="loaded"):
    """The base is in memory."""

    base: str
    family: str
    seconds: float


@dataclass(frozen=True)
class Warned(Event, kind="warned"):
    """Something the person should know."""

    text: str


@dataclass(frozen=True)
class Noted(Warned, kind="noted"):
    """Something the person should know, and that is as it should be."""


@dataclass(frozen=True)
class Attached(Event, kind="attached"):
    """The method is on the base. `resumed` is the number of steps already done."""

    method: str
    parameters: int
    resumed: int


@dataclass(frozen=True)
class Stepped(Event, kind="stepped"):
    """One optimizer step. Tuples have one entry per job."""

    step: int
    steps: int
    losses: tuple[float, ...]
    rates: dict[str, tuple[float, ...]]
    seconds: float
    memory: int


@dataclass(frozen=True)
class Sampled(Event, kind="sampled"):
    """A preview was drawn into `folder`, a gallery."""

    step: int
    folder: str


@dataclass(frozen=True)
class Saved(Event, kind="saved"):
    """A file was written."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Finished(Event, kind="finished"):
    """The end; `result` is what result.json holds."""

    result: dict[str, Any]


@dataclass(frozen=True)
class Stopped(Event, kind="stopped"):
    """The end for now: somebody asked for it, and `hint` says how to go on."""

    message: str
    hint: str | None


@dataclass(frozen=True)
class Failed(Event, kind="failed"):
    """The end by an error."""

    message: str
    hint: str | None

    @classmethod
    def by(cls, error: Exception) -> Self:
        """An expected error in its own words, any other by its type and first line."""
        if isinstance(error, Error):
            return cls(error.message, error.hint)
        first = next(iter(str(error).splitlines()), "")
        return cls(f"{type(error).__name__}: {first}", None)


@dataclass(frozen=True)
class Planned(Event, kind="planned"):
    """What a comparison will do: every trial's name, and those that still have to be done."""

    trials: tuple[str, ...]
    pending: tuple[str, ...]


@dataclass(frozen=True)
class TrialStarted(Event, kind="trialstarted"):
    """Trial `number` of `total` begins."""

    trial: str
    title: str
    number: int
    total: int


@dataclass(frozen=True)
class Progress(Event, kind="progress"):
    """Something happened within a trial."""

    trial: str
    inner: Event


@dataclass(frozen=True)
class TrialEnded(Event, kind="trialended"):
    """The trial's row, still without scores."""

    trial: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Compared(Event, kind="compared"):
    """The end of a comparison: everything is scored and written."""

    folder: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Unknown(Event, kind="unknown"):
    """A line that this version cannot read: what it holds, and why it was not understood."""

    line: Any
    reason: str


def read(line: str | Mapping[str, Any]) -> Event:
    """The event of one line of events.jsonl; tuples are tuples again. Fields of later versions are left out.

    Nothing is raised. A line of a later version, or one that a crash cut off, becomes an `Unknown` that says what is wrong
    with it: whoever follows a log must not lose all other lines to one, and must be able to show that there was one.
    """
    try:
        row = json.loads(line) if isinstance(line, str) else line
    except ValueError:
        return Unknown(line, "this is not JSON")
    if not isinstance(row, Mapping) or not isinstance(row.get("event"), str):
        return Unknown(row, "this does not say which event it is")
    kind = Event.kinds.get(row["event"])
    if kind is None:
        return Unknown(row, f"this version knows no event {row['event']!r}")
    values: dict[str, Any] = {}
    for name, (hint, needed) in _fields(kind.kind).items():
        if name in row:
            try:
                values[name] = _restored(row[name], hint)
            except TypeError as error:
                return Unknown(row, f"{name!r} of the event {kind.kind!r} {error}")
        elif needed:
            return Unknown(row, f"the event {kind.kind!r} has no {name!r}")
    return kind(**values)


@cache
def _fields(kind: str) -> dict[str, tuple[Any, bool]]:
    """The type of each field, and whether a line must have it. Its time is never taken from the clock that reads."""
    found = Event.kinds[kind]
    hints = get_type_hints(found)
    return {one.name: (hints[one.name], one.default is MISSING) for one in fields(found)}


def _restored(value: Any, hint: Any) -> Any:
    """`value` as it was before it became JSON; raises `TypeError` where it is of another type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if hint is Event:
        return read(_checked(value, Mapping))
    if origin is tuple:
        return tuple(_restored(one, inner[0]) for one in _checked(value, list | tuple))
    if origin is dict:
        return {name: _restored(one, inner[1]) for name, one in _checked(value, Mapping).items()}
    return _checked(value, int | float if hint is float else hint)


def _checked(value: Any, kind: Any) -> Any:
    if isinstance(value, kind):
        return value
    raise TypeError(f"is {value!r}")
