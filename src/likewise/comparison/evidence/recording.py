"""Recording: finished comparisons of this project's own, kept in `recorded/NAME.toml` so that `which` can cite them.

A file has what verdict.json concludes, and beside it what a reader must know to weigh that: what was compared on which base,
who judged, when and on which machine. `python -m benchmarks.record` makes one. No torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomlkit

from likewise.comparison.case import PRIMARY, WORDS
from likewise.comparison.standing import Standing
from likewise.errors import RunError
from likewise.files import read_text, write_text
from likewise.records import without_none

if TYPE_CHECKING:
    from likewise.comparison.verdicts import Decision

HERE = Path(__file__).parent / "recorded"
SCHEMA = 1
FACTS = ("label", "kind", "base", "size", "judge", "made", "machine", "version")
_DETAILS = ("processor", "cores", "device", "precision")
"""What of a machine decides its times."""


@dataclass(frozen=True)
class Recorded:
    """A comparison that was run and kept."""

    label: str
    """What was compared, in a few words."""
    kind: str
    base: str
    size: str
    judge: str
    """The id of the network that judged the pictures; another's numbers must not stand beside these."""
    made: str
    """The day, as 2026-11-29."""
    machine: str
    version: str
    standings: tuple[Standing, ...]
    decisions: Mapping[str, Decision] = field(default_factory=dict)

    def source(self) -> str:
        """Whose evidence it is, in one line."""
        return (
            f"{self.label} on {self.base}, {self.size}, judged by {self.judge}, {self.made}, "
            f"likewise {self.version}, {self.machine}"
        )


def recorded(folder: Path = HERE) -> list[Recorded]:
    """The comparisons in a folder, by the names of their files; raises `RunError` for what is none."""
    return [_read(path) for path in sorted(folder.glob("*.toml"))]


def record(comparison: Path, name: str, label: str, folder: Path = HERE) -> Path:
    """Keep a finished comparison as `folder/NAME.toml`; returns the file.

    Raises `RunError` where its verdict is not what its scores say, or where one training each decides nothing.
    """
    from likewise.comparison import concluding
    from likewise.comparison.concluded import read_verdict

    standings, decisions = read_verdict(comparison)
    differences, _ = concluding.differences(comparison)
    if differences:
        raise RunError(
            f"verdict.json of {comparison} is not what its scores say",
            "likewise recompute names what differs",
        )
    found = concluding.frame(comparison)
    if found.scores.replicates < 2:
        raise RunError(
            f"{comparison} taught each method once, which decides nothing", "record a standard one"
        )
    machine, book = found.book["machine"], found.book
    text = tomlkit.dumps(
        {
            "schema": SCHEMA,
            "label": label,
            **{key: book[key] for key in ("kind", "base", "size", "version")},
            "judge": found.anchors["judges"]["pictures"],
            "made": book["created"][:10],
            "machine": ", ".join(
                f"{machine[key]} {key}" if key == "cores" else str(machine[key]) for key in _DETAILS
            ),
            "standings": [without_none(_brief(one)) for one in standings],
            "decisions": {PRIMARY: without_none(decisions[PRIMARY].to_json())},
        }
    )
    return write_text(folder / f"{name}.toml", text)


def _brief(one: Standing) -> dict[str, Any]:
    """What a recommendation reads of a standing."""
    found = one.to_json()
    return found | {"axes": {name: axis for name, axis in found["axes"].items() if name in WORDS}}


def _read(path: Path) -> Recorded:
    from likewise.comparison.verdicts import Decision

    try:
        data = tomllib.loads(read_text(path))
        if data["schema"] != SCHEMA:
            raise RunError(f"{path} is of schema {data['schema']!r}, and {SCHEMA} is read here")
        facts = {key: str(data[key]) for key in FACTS}
        standings = tuple(Standing.from_json(_with_none(one)) for one in data["standings"])
        decisions = {axis: Decision.from_json(_decision(one)) for axis, one in data["decisions"].items()}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} is no recorded comparison: {type(error).__name__} {error}",
            "python -m benchmarks.record makes one",
        ) from None
    return Recorded(**facts, standings=standings, decisions=decisions)


def _with_none(standing: Mapping[str, Any]) -> dict[str, Any]:
    """A standing with the ends of intervals that TOML could not say."""
    axes = {name: {"low": None, "high": None, **axis} for name, axis in standing["axes"].items()}
    return {**standing, "axes": axes}


def _decision(data: Mapping[str, Any]) -> dict[str, Any]:
    """A decision with what TOML could not say."""
    return {**data, "pairs": [{"more_seeds": None, **pair} for pair in data["pairs"]]}
