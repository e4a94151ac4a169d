"""Evidence that comes with the package: published tables, one file each, claims beside them, and recorded comparisons.

A row stands beside another only where benchmark, base and run are the same. Numbers are those of the sources; nothing is
rescaled or averaged. Comparisons of this project's own (`recording`) are never mixed with them. No torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from likewise.comparison.evidence.recording import Recorded, recorded
from likewise.files import read_text

HERE = Path(__file__).parent
CLAIMS = "claims.toml"
__all__ = ["Claim", "Recorded", "Row", "Source", "Time", "claims", "recorded", "sources", "times"]


@dataclass(frozen=True)
class Row:
    """One line of a published table."""

    name: str
    values: Mapping[str, float]
    """By column."""
    method: str = ""
    """As it is called here; empty for anchors and for methods that stand for themselves."""
    base: str = ""
    run: str = ""
    """Where one source has several runs of the same."""


@dataclass(frozen=True)
class Source:
    """One table: whose it is, what it was measured on and by whom, and its rows."""

    name: str
    where: str
    benchmark: str
    """Sources that name the same one measured it in the same way."""
    kinds: tuple[str, ...]
    judge: str
    trainings: int
    """How often each method was taught."""
    likeness: tuple[str, ...]
    """Columns that say how close the pictures come to the subject."""
    prompt: str = ""
    """The column that says how well prompts are followed."""
    pictures: tuple[int, int] | None = None
    """The fewest and the most pictures of a subject."""
    decides: bool = True
    """False where the authors themselves decline an order."""
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence with its source and how strong that is."""

    method: str
    text: str
    source: str
    strength: str
    kinds: tuple[str, ...] = ()
    """Empty: whatever is taught."""


@dataclass(frozen=True)
class Time:
    """How long a source says that teaching takes, on its machine and with its settings."""

    method: str
    seconds: float
    machine: str
    source: str


@cache
def sources() -> tuple[Source, ...]:
    """Every published table, by the name of its file."""
    return tuple(_source(tomllib.loads(read_text(path))) for path in _tables())


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of its file."""
    found = tomllib.loads(read_text(HERE / CLAIMS))["claims"]
    return tuple(Claim(**one | {"kinds": tuple(one.get("kinds", ()))}) for one in found)


@cache
def times() -> tuple[Time, ...]:
    """Every published time of teaching."""
    return tuple(Time(**one) for one in tomllib.loads(read_text(HERE / CLAIMS))["times"])


def _tables() -> list[Path]:
    return sorted(path for path in HERE.glob("*.toml") if path.name != CLAIMS)


def _source(data: dict[str, Any]) -> Source:
    rows = tuple(map(_row, data.pop("rows")))
    pictures = tuple(data.pop("pictures", ())) or None
    several = {key: tuple(data.pop(key)) for key in ("kinds", "likeness")}
    return Source(**data, **several, pictures=pictures, rows=rows)  # type: ignore[arg-type]


def _row(data: dict[str, Any]) -> Row:
    words = {key: data.pop(key) for key in ("name", "method", "base", "run") if key in data}
    return Row(**words, values={column: float(value) for column, value in data.items()})
