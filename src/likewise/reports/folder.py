"""Folder: what the files of one comparison say, finished or not, of this likewise or of an earlier one.

It reads comparison.json, results.jsonl, verdict.json, protocol.toml and tuning.json. It measures and concludes nothing;
where there is no verdict yet, conditions have their costs and no axes.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likewise.comparison import support
from likewise.comparison.concluded import comparison_file
from likewise.comparison.recommending import Recommendation
from likewise.comparison.results import Results, Row
from likewise.comparison.standing import Cost, Standing, titled
from likewise.comparison.verdicts import Decision
from likewise.errors import RunError
from likewise.reports import earlier

Json = dict[str, Any]
AXES = {"composite": "Overall", "fidelity": "Likeness", "prompt": "Prompt following"}
"""Axes between floor and ceiling as people call them, the one that decides first."""
SAID = {"done": "done", "failed": "failed", "unsupported": "not supported", "skipped": "skipped"}
WAITING = "not done yet"


@dataclass(frozen=True)
class Line:
    """One condition: a line of every table and a column of the pictures."""

    standing: Standing
    title: str
    """As people call it, with its name where several are called alike."""
    rows: tuple[Row, ...] = ()
    """Its trials in the order of replicates; one where it is not taught."""
    status: str = WAITING
    reason: str | None = None
    """Why it, or some of its trainings, has no result."""

    @property
    def name(self) -> str:
        """The condition's name."""
        return self.standing.name

    @property
    def kind(self) -> str:
        """`method`, `floor`, `description` or `file`."""
        return self.standing.kind

    @property
    def compared(self) -> bool:
        """Whether it is what the comparison is about; anchors are not."""
        return self.kind in ("method", "file")

    def row(self, replicate: int) -> Row | None:
        """Its trial in a replicate. What is not taught has one for all of them."""
        return next((row for row in self.rows if row.replicate in (None, replicate)), None)


@dataclass(frozen=True)
class Found:
    """One comparison as its folder has it."""

    folder: Path
    book: Json
    """comparison.json, in the form of schema 2."""
    lines: tuple[Line, ...]
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    recommendation: Recommendation | None = None
    """None where nothing has been concluded."""
    scale: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tuning: Json = field(default_factory=dict)
    digest: str | None = None
    """The digest of protocol.toml."""

    @property
    def titles(self) -> dict[str, str]:
        """Name -> title of every condition."""
        return {line.name: line.title for line in self.lines}

    @property
    def standings(self) -> dict[str, Standing]:
        """Name -> standing of every condition."""
        return {line.name: line.standing for line in self.lines}

    @property
    def replicates(self) -> int:
        """Trainings per method."""
        return int(self.book.get("replicates") or 1)


def read(folder: Path) -> Found:
    """Everything that a page shows but the pictures; `RunError` where the folder is none or is damaged."""
    book = _json(comparison_file(folder)) or {}
    if book.get("schema", 1) not in (1, 2):
        path = folder / "comparison.json"
        raise RunError(f"{path} is no comparison that this likewise knows (schema 1 or 2)", "update likewise")
    rows = Results(folder).rows()
    if book.get("schema", 1) == 1:
        book, known = earlier.book(book, rows), earlier.standings(book, rows)
        lines = _lines(book, rows, {one.name: one for one in known})
        return Found(
            folder, book, lines, recommendation=earlier.recommendation(book), notes=tuple(book["notes"])
        )
    verdict, tuning = _json(folder / "verdict.json") or {}, _json(folder / "tuning.json") or {}
    standings = [Standing.from_json(one) for one in verdict.get("standings", ())]
    return Found(
        folder,
        book,
        _lines(book, rows, {one.name: one for one in standings}),
        {axis: Decision.from_json(one) for axis, one in verdict.get("decisions", {}).items()},
        _recommendation(verdict.get("recommendation")),
        verdict.get("scale", {}),
        tuple(verdict.get("notes") or book.get("notes") or ()),
        tuning,
        _digest(folder / "protocol.toml"),
    )


def _json(path: Path) -> Json | None:
    """The object of a file, or None where there is no file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "start the comparison again to write it") from None
    if not isinstance(found, dict):
        raise RunError(f"{path} holds no object", "start the comparison again to write it")
    return found


def _recommendation(data: Json | None) -> Recommendation | None:
    if data is None:
        return None
    parts: Json = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Recommendation(**parts)


def _digest(path: Path) -> str | None:
    try:
        found: str | None = tomllib.loads(path.read_text(encoding="utf-8")).get("digest")
        return found
    except (OSError, ValueError):
        return None


def _lines(book: Json, rows: Sequence[Row], standings: Mapping[str, Standing]) -> tuple[Line, ...]:
    """The conditions in their order, anchors first; what has rows but is not described comes last."""
    described = {str(one["name"]): one for one in book.get("conditions") or ()}
    for row in rows:
        described.setdefault(
            row.condition, {"title": row.title, "kind": row.kind, "method": row.method, "settings": {}}
        )
    order = {"floor": 0, "description": 1}
    titles = titled({name: str(one["title"]) for name, one in described.items()})
    lines = []
    for name, one in sorted(described.items(), key=lambda item: order.get(item[1]["kind"], 2)):
        own = sorted((row for row in rows if row.condition == name), key=lambda row: row.replicate or 0)
        standing = standings.get(name) or _standing(name, one, own)
        lines.append(Line(standing, titles[name], tuple(own), *_ended(own, one.get("reason"))))
    return tuple(lines)


def _standing(name: str, described: Json, rows: Sequence[Row]) -> Standing:
    """What is known of a condition before anything is concluded: what its first training cost."""
    done = next((row for row in rows if row.status == "done"), None)
    cost = earlier.cost(done) if done else Cost()
    return Standing.described(described, name, cost=cost, programs=support.notes(described.get("method")))


def _ended(rows: Sequence[Row], reason: str | None) -> tuple[str, str | None]:
    """How a condition ended in a word, and why some of it has no result."""
    if not rows:
        return WAITING, reason
    without = [row for row in rows if row.status != "done"]
    if len(without) == len(rows):
        return SAID[rows[0].status], rows[0].reason or reason
    if not without:
        return "done", None
    count = f"{len(without)} of {len(rows)} trainings {'has' if len(without) == 1 else 'have'} no result"
    return "done", f"{count}: {without[0].reason}"
