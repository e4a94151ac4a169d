"""Results: one row per trial, in results.jsonl. Readable without torch, by people and by the report.

A row carries the digest of everything that it depends on; a row whose digest still holds is never computed
again. Rows are added at the end, and put in order when the comparison begins and ends. What a crash leaves of a line is not
a row.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from likewise.errors import RunError
from likewise.files import storing, write_text

Kind = Literal["method", "floor", "description", "file"]
Status = Literal["done", "failed", "unsupported", "skipped"]


@dataclass(frozen=True)
class Row:
    """How one trial ended."""

    trial: str
    """Its name and its folder's under `trials/`: `lora-0`."""
    title: str
    kind: Kind
    status: Status
    reason: str | None = None
    """Why it is not done, in one line."""
    condition: str = ""
    """What it is a trial of: `lora`."""
    replicate: int | None = None
    """Which training of its condition: 0 is the first."""
    seed: int | None = None
    """The training seed; None for what is not taught."""
    fold: int | None = None
    """Which pictures were held out; None where every fold scores the same pictures."""
    method: str | None = None
    scores: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """Metric -> mean, low, high, n, normalised. Only comparisons of schema 1 keep scores here."""
    cost: Mapping[str, float | None] = field(default_factory=dict)
    """bytes, seconds, peak_bytes, added_bytes, trainable, sample_seconds per picture, and `shared`: among how many trials
    `seconds` was divided, where they were taught together."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """What the costs were measured on."""
    steps: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    gallery: str | None = None
    """Folder of its pictures, relative to the comparison."""
    strip: Sequence[Mapping[str, Any]] = ()
    """`{"step", "file"}` of pictures drawn while it learned."""
    digest: str = ""
    """The digest of protocol, concept, base, trial, recipe and version."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not a finite number becomes null."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """The row that `to_json` described; keys of later versions are ignored."""
        known = {entry.name for entry in fields(cls)}
        made = cls(**{key: value for key, value in data.items() if key in known})
        return made if made.condition else replace(made, condition=made.trial)


class Results:
    """The rows of one comparison folder, in the order in which the trials were planned."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "results.jsonl"

    def rows(self) -> list[Row]:
        """Every row; of one trial the last counts. A last line cut off by a crash is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        found: dict[str, Row] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = Row.from_json(json.loads(line))
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    continue
                hint = "delete that line; the trial is then done again"
                raise RunError(f"{self.path}, line {number} cannot be read: {error}", hint) from None
            found[row.trial] = row
        return list(found.values())

    def put(self, row: Row) -> None:
        """Keep `row`, in place of the trial's former one. One line is written, however many rows there are."""
        line = json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with storing(self.path), self.path.open("a+b") as file:
            _drop_torn_line(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def keep(self, trials: Sequence[str]) -> None:
        """Put the rows into the order of `trials`, and drop those of any other trial."""
        places = {name: place for place, name in enumerate(trials)}
        rows = sorted((row for row in self.rows() if row.trial in places), key=lambda row: places[row.trial])
        lines = [json.dumps(row.to_json(), ensure_ascii=False, allow_nan=False) for row in rows]
        write_text(self.path, "".join(line + "\n" for line in lines))


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut off what a crash left of a line, so that the next one stands by itself; the file is then at its end."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def digest(*parts: object) -> str:
    """sha256 over the parts as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
