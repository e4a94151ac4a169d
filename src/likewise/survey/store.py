"""The store: one DuckDB file with a table of models, snapshots side by side.

It is made from recorded pages and can be made again from them. NULL means missing, never zero. Nothing is
computed here.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from likewise.errors import SurveyError
from likewise.files import storage_failure, storing
from likewise.survey import missing

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

SCHEMA_VERSION = 1
MODELS = {
    "id": "BIGINT",
    "name": "TEXT",
    "type": "TEXT",
    "checkpoint_type": "TEXT",  # 'Trained' or 'Merge'; the site does not say it in its answers
    "creator": "TEXT",
    "nsfw": "BOOLEAN",
    "nsfw_level": "INTEGER",
    "archived": "BOOLEAN",
    "downloads": "BIGINT",  # the sum over versions: who takes two versions counts twice
    "likes": "BIGINT",
    "dislikes": "BIGINT",
    "comments": "BIGINT",
    "favourites": "BIGINT",
    "rating": "DOUBLE",  # stars of old recordings; NULL where nobody rated
    "rating_count": "BIGINT",
    "versions": "INTEGER",
    "top_version_downloads": "BIGINT",
    "first_published": "TIMESTAMP",  # UTC; the age that follows is a lower bound
    "last_published": "TIMESTAMP",
    "base_model": "TEXT",
    "size_kb": "DOUBLE",
    "file_format": "TEXT",
    "tags": "TEXT[]",
}
"""Columns of the table `models` after `snapshot`, with their types."""

_TABLES = f"""
CREATE TABLE schema_version(version INTEGER);
INSERT INTO schema_version VALUES ({SCHEMA_VERSION});
CREATE TABLE snapshots(snapshot INTEGER PRIMARY KEY, taken TIMESTAMP, source TEXT, mode TEXT, parameters JSON,
    nsfw BOOLEAN, largest_id BIGINT, complete BOOLEAN);
CREATE TABLE asked(snapshot INTEGER, id BIGINT, found BOOLEAN);
CREATE TABLE models(snapshot INTEGER, {", ".join(f"{name} {kind}" for name, kind in MODELS.items())});
"""
_BATCH = 20_000
"""Rows that are in memory at once."""
_CONFIG: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "512MB", "threads": 1}
"""What DuckDB may hold before it spills to disk; Python and its libraries come on top. Several threads would add up
sums in another order each time, so that the same command gave other bytes."""

Mode = Literal["sample", "census", "panel", "import"]


@dataclass(frozen=True)
class Snapshot:
    """What was taken, when, from where and how. `number` is 0 until the store has given one."""

    taken: datetime
    source: str
    mode: Mode
    parameters: Mapping[str, Any] = field(default_factory=dict)
    nsfw: bool | None = None
    largest_id: int | None = None
    complete: bool = True
    number: int = 0

    @property
    def rehearsal(self) -> bool:
        """Whether it is of an invented site."""
        return bool(self.parameters.get("rehearsal"))


class Store:
    """An open store. `connection` is DuckDB's own, for whoever computes."""

    def __init__(self, path: Path, connection: DuckDBPyConnection) -> None:
        self.path = path
        self.connection = connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others open the file."""
        self.connection.close()

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, by number."""
        columns = "taken, source, mode, parameters, nsfw, largest_id, complete, snapshot"
        rows = self.connection.execute(f"SELECT {columns} FROM snapshots ORDER BY snapshot").fetchall()
        return [
            Snapshot(taken, source, mode, json.loads(parameters), nsfw, largest, complete, number)
            for taken, source, mode, parameters, nsfw, largest, complete, number in rows
        ]

    def snapshot(self, number: int | None = None) -> Snapshot:
        """One by its number, or the newest; raises `SurveyError` where there is none."""
        there = self.snapshots()
        if not there:
            raise SurveyError(f"{self.path} holds no snapshot yet", "likewise survey fetch takes one")
        found = [one for one in there if number in (None, one.number)]
        if not found:
            numbers = ", ".join(str(one.number) for one in there)
            raise SurveyError(f"{self.path} has no snapshot {number}", f"it has {numbers}")
        return found[-1]

    def models(self, snapshot: int) -> DuckDBPyRelation:
        """The rows of one snapshot, one per id, as a relation that nothing has been read of yet."""
        return self.connection.table("models").filter(f"snapshot = {int(snapshot)}")

    def asked(self, snapshot: int) -> DuckDBPyRelation:
        """The ids that were asked for one by one, and whether they were found; empty for a census."""
        return self.connection.table("asked").filter(f"snapshot = {int(snapshot)}")

    def ids(self, snapshot: int) -> list[int]:
        """The ids of a snapshot's models, ascending."""
        rows = self.connection.execute("SELECT id FROM models WHERE snapshot = ? ORDER BY id", [snapshot])
        return [id for (id,) in rows.fetchall()]

    def begin(self, snapshot: Snapshot, *, same: str | None = None) -> int:
        """Enter a snapshot and return its number. One of the same source is replaced and keeps its number, and so is
        one whose parameter `same` is equal."""
        there = self.snapshots()
        known = [
            one.number
            for one in there
            if one.source == snapshot.source
            or (same and one.parameters.get(same, "") == snapshot.parameters[same])
        ]
        number = max(known, default=max((one.number for one in there), default=0) + 1)
        for table in ("snapshots", "asked", "models"):
            self.connection.execute(f"DELETE FROM {table} WHERE snapshot = ?", [number])
        facts = (snapshot.taken, snapshot.source, snapshot.mode, json.dumps(dict(snapshot.parameters)))
        rest = (snapshot.nsfw, snapshot.largest_id, snapshot.complete)
        self.connection.execute(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [number, *facts, *rest]
        )
        return number

    def add(self, snapshot: int, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add models, rows with any of the columns of `MODELS`; an id that is there already is left as it is.

        Reads `rows` in batches, so that a million fit in little memory. Returns how many were new.
        """
        columns, added = ", ".join(MODELS), 0
        for batch in _batches(rows):
            once = list({row["id"]: row for row in reversed(batch)}.values())  # the first of each id
            with self._as_json(once) as file:
                [counted] = self.connection.execute(
                    f"INSERT INTO models SELECT {int(snapshot)}, {columns} "
                    f"FROM {_from_json(MODELS)} new WHERE NOT EXISTS "
                    f"(FROM models old WHERE old.snapshot = {int(snapshot)} AND old.id = new.id)",
                    [file],
                ).fetchall()
            added += int(counted[0])
        return added

    def ask(self, snapshot: int, ids: Iterable[tuple[int, bool]]) -> None:
        """Note ids that were asked for, and whether they were found."""
        columns = {"id": "BIGINT", "found": "BOOLEAN"}
        for batch in _batches({"id": id, "found": found} for id, found in ids):
            with self._as_json(batch) as file:
                self.connection.execute(
                    f"INSERT INTO asked SELECT {int(snapshot)}, * FROM {_from_json(columns)}", [file]
                )

    def checkpoint_types(self) -> dict[int, str | None]:
        """'Trained' or 'Merge' by id, as the newest snapshot knows it that knows it at all."""
        rows = self.connection.execute(
            "SELECT id, arg_max(checkpoint_type, snapshot) FROM models WHERE checkpoint_type IS NOT NULL GROUP BY id"
        )
        return dict(rows.fetchall())

    def set_checkpoint_types(self, snapshot: int, kinds: Iterable[tuple[int, str | None]]) -> None:
        """Say of models that are there whether they are trained or merged."""
        columns = {"id": "BIGINT", "kind": "TEXT"}
        for batch in _batches({"id": id, "kind": kind} for id, kind in kinds):
            with self._as_json(batch) as file:
                self.connection.execute(
                    f"UPDATE models SET checkpoint_type = kind FROM {_from_json(columns)} told "
                    f"WHERE snapshot = {int(snapshot)} AND models.id = told.id",
                    [file],
                )

    def mark(
        self,
        snapshot: int,
        *,
        complete: bool,
        largest_id: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Set what is known only after the last page; `facts` join the parameters."""
        parameters = {**self.snapshot(snapshot).parameters, **(facts or {})}
        self.connection.execute(
            "UPDATE snapshots SET complete = ?, largest_id = coalesce(?, largest_id), parameters = ? "
            "WHERE snapshot = ?",
            [complete, largest_id, json.dumps(parameters), snapshot],
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept, or nothing of it. Raises `StorageError` where the disk is full."""
        with storing(self.path):
            self.connection.execute("BEGIN")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                self._undo()
                raise

    @contextmanager
    def _as_json(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """The rows in a temporary file of JSON beside the store, which DuckDB reads a hundred times faster than
        parameters."""
        folder = self.path.parent if self.path.exists() else None  # a store may be in memory
        handle, name = tempfile.mkstemp(prefix="likewise-", suffix=".json", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps(rows, default=_plain))
            yield name
        finally:
            os.unlink(name)

    def _undo(self) -> None:
        """Roll back, unless what failed has done so already."""
        import duckdb

        with suppress(duckdb.Error):
            self.connection.execute("ROLLBACK")


def open(path: str | Path, *, read_only: bool = False) -> Store:
    """Open a store, or make one unless it is to be read only.

    Raises `SurveyError` where there is none, where it is in use or not a store, or made by a newer version.
    """
    path = Path(path)
    if not path.exists():
        if read_only:
            raise SurveyError.missing(f"there is no {path}", "likewise survey fetch or import makes one")
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    try:
        with storing(path):
            return Store(path, _connected(path, read_only))
    except BaseException:
        if new:  # what is left of a store that could not be made is none
            for left in (path, path.with_name(path.name + ".wal")):
                left.unlink(missing_ok=True)
        raise


def _connected(path: Path, read_only: bool) -> DuckDBPyConnection:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise missing("duckdb") from None
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=_CONFIG)
    except duckdb.Error as error:
        if storage_failure(error):
            raise
        used = "set lock on file" in str(error)
        reason = "is open in another program" if used else "is not a store that DuckDB can read"
        raise SurveyError(
            f"{path} {reason}", "close that one first" if used else "name another file with --store"
        ) from None
    try:
        _settle(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _settle(path: Path, connection: DuckDBPyConnection) -> None:
    """Make the tables in a new file; refuse a file of others, or of a later schema."""
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if not tables:
        connection.execute(_TABLES)
        return
    if "schema_version" not in tables:
        raise SurveyError(f"{path} is a database of something else", "name another file with --store")
    versions = connection.execute("SELECT version FROM schema_version").fetchall()
    if versions != [(SCHEMA_VERSION,)]:
        raise SurveyError(
            f"{path} has another schema ({versions}, this likewise reads {SCHEMA_VERSION})",
            "use a newer likewise, or make the store again from its pages with likewise survey import",
        )


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _from_json(columns: Mapping[str, str]) -> str:
    """SQL that reads such a file, whose name is the parameter."""
    kinds = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    return f"read_json(?, format = 'array', columns = {{{kinds}}})"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat()
    raise TypeError(f"{type(value).__name__} has no place in the store")
