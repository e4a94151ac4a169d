"""Importing: other people's tables and dumps as snapshots, the spreadsheet that the first comparison made among them.

Columns are known by many names; what a file does not tell stays missing, and what is not understood is said. A rating
of nothing is no rating.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from likewise.errors import SurveyError
from likewise.files import MARKS, decode
from likewise.survey import fetching
from likewise.survey.archive import Archive
from likewise.survey.shapes import LARGEST, SMALL, count, quantity, read, text, when
from likewise.survey.store import MODELS, Snapshot, Store
from likewise.wording import FORMULA

NAMES = {
    "id": ("id", "model id", "modelid"),
    "name": ("name", "model", "model name", "title"),
    "type": ("type", "method", "model type", "kind"),
    "checkpoint_type": ("checkpoint type", "checkpointtype"),
    "creator": ("creator", "author", "user", "username", "uploader", "created by"),
    "nsfw": ("nsfw",),
    "nsfw_level": ("nsfw level", "nsfwlevel"),
    "archived": ("archived",),
    "downloads": ("downloads", "download count", "downloadcount", "times downloaded"),
    "likes": ("likes", "thumbs up", "thumbsup", "thumbsupcount"),
    "dislikes": ("dislikes", "thumbs down", "thumbsdowncount"),
    "comments": ("comments", "comment count", "commentcount"),
    "favourites": ("favourites", "favorites", "favourite count", "favorite count", "favoritecount", "hearts"),
    "rating": ("rating", "average rating", "avg rating", "stars", "score"),
    "rating_count": ("rating count", "ratingcount", "ratings", "number of ratings", "votes", "reviews", "# ratings"),
    "versions": ("versions",),
    "top_version_downloads": ("top version downloads",),
    "first_published": ("first published", "published", "publishedat", "date", "created", "createdat", "uploaded"),
    "last_published": ("last published", "updated", "updatedat"),
    "base_model": ("base model", "basemodel", "base"),
    "size_kb": ("size kb", "sizekb"),
    "file_format": ("file format", "format"),
    "tags": ("tags",),
}  # fmt: skip
"""Each column of the store, and what people have called it."""
ADDRESS = ("url", "link", "address", "href")
TYPES = {
    "dreambooth": "Checkpoint",
    "checkpoint": "Checkpoint",
    "textualinversion": "TextualInversion",
    "ti": "TextualInversion",
    "embedding": "TextualInversion",
    "hypernetwork": "Hypernetwork",
    "hypernetworks": "Hypernetwork",
    "lora": "LORA",
    "aestheticgradient": "AestheticGradient",
    "aestheticgradients": "AestheticGradient",
    "aestheticembedding": "AestheticGradient",
}
"""Methods by the names that people gave them. The sheet said DreamBooth where the site says Checkpoint."""
_THOUSANDS = {"k": 1e3, "m": 1e6}
_NOTHING = {"", "-", "–", "—", "?", "n/a", "na", "nan", "none", "null", "unknown", "#n/a"}
"""What people write where they know nothing."""
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SPACES = re.compile(r"[\s\u00a0\u202f']+(?=\d{3}(?!\d))")
"""What separates thousands, other than a comma or a point."""
MOST_STARS = 5
_PACKED = b"\x1f\x8b"
_CODE_PAGE = "cp1252"
"""The encoding of tables that are no Unicode, which is what spreadsheet programs write in the West."""
_SUFFIXES = "a folder of recorded pages, or a file .csv, .tsv, .json or .jsonl, also with .gz"


@dataclass
class _Reading:
    """What reading a file brings besides its rows."""

    rows: int = 0
    empty: int = 0
    """Items without an id, which cannot be counted once."""
    newest: datetime | None = None
    odd: Counter[str] = field(default_factory=Counter)
    """Cells that were not understood, by column."""
    first: dict[str, str] = field(default_factory=dict)
    """The first such cell of each column."""
    notes: list[str] = field(default_factory=list)

    def misread(self, column: str, cell: str) -> None:
        self.odd[column] += 1
        self.first.setdefault(column, cell)

    def noted(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows, counted on their way."""
        for row in rows:
            self.rows += 1
            published = row["last_published"] or row["first_published"]
            if published and (self.newest is None or published > self.newest):
                self.newest = published
            yield row


def load(path: Path, store: Store, *, date: datetime | None = None) -> tuple[int, list[str]]:
    """Read a file or a folder of pages into a store; returns the snapshot's number and what there is to say.

    The counts of a file stand at `date`, else at the day it was last changed. The same content read again takes the
    place of its earlier reading, wherever the file lies. Raises `SurveyError` where nothing can be read of it.
    """
    if path.is_dir():
        if date:
            raise SurveyError(
                f"{path} holds recorded pages, which have dates of their own", "leave --date out"
            )
        number, outcome = fetching.load(Archive(path), store)
        return number, outcome.notes
    reading = _Reading()
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
        source = f"{path.name} (SHA-256 {digest[:16]})"
        snapshot = Snapshot(date or changed, source, "import", {"file": path.name, "sha256": digest})
        with store.transaction():
            number = store.begin(snapshot, same="sha256")
            added = store.add(number, reading.noted(_rows(path, reading)))
            if not added:
                raise SurveyError(f"{path} holds no model that can be read", f"it may be {_SUFFIXES}")
    except OSError as error:
        raise SurveyError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, ValueError, RecursionError, csv.Error, zlib.error) as error:
        raise SurveyError(f"{path} cannot be read: {error}", f"it may be {_SUFFIXES}") from None
    if date is None:
        reading.notes.append(
            f"the counts are taken to be of {changed:%Y-%m-%d}, when the file was last changed; --date names another day"
        )
    return number, [*reading.notes, *_said(reading, snapshot.taken, reading.rows - added)]


def _said(reading: _Reading, taken: datetime, again: int) -> Iterator[str]:
    """What was left out of a file, a line for each kind."""
    for column, cells in reading.odd.items():
        yield (
            f"{cells} cells of column {column!r} are not understood and count as missing, the first is "
            f"{reading.first[column]!r}"
        )
    if again:
        yield f"{again} rows repeat the id of an earlier one and were left out"
    if reading.empty:
        yield f"{reading.empty} items have no id and were left out"
    if reading.newest and reading.newest > taken:
        yield (
            f"models were published up to {reading.newest:%Y-%m-%d}, after the date of the counts ({taken:%Y-%m-%d}); "
            "these have no age"
        )


def _rows(path: Path, reading: _Reading) -> Iterator[dict[str, Any]]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = (suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes)[-1:]
    with _unpacked(path) as file:
        if kind in ([".csv"], [".tsv"], [".txt"]):
            yield from _table(path, _decoded(file.read(), reading), reading)
        elif kind in ([".json"], [".jsonl"], [".ndjson"]):
            head = file.peek(4)
            encoding = next((name for mark, name in MARKS if head.startswith(mark)), "utf-8")
            yield from _dump(io.TextIOWrapper(file, encoding=encoding, errors="replace"), reading)
        else:
            hint = (
                "save it as CSV, then import that" if kind in ([".xlsx"], [".ods"]) else f"give {_SUFFIXES}"
            )
            raise SurveyError(f"{path} is of no kind that can be imported", hint)


def _unpacked(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The file's bytes, unpacked where it is packed, whatever it is called."""
    with path.open("rb") as file:
        packed = file.read(2) == _PACKED
    return gzip.open(path, "rb") if packed else path.open("rb")


def _decoded(data: bytes, reading: _Reading) -> str:
    try:
        return decode(data)
    except UnicodeDecodeError:
        reading.notes.append(f"the file is no UTF-8 and was read as {_CODE_PAGE}: check names with accents")
        return decode(data, _CODE_PAGE)


def _dump(file: TextIO, reading: _Reading) -> Iterator[dict[str, Any]]:
    """Models in the API's own shape: a list, a page, or a model or page per line."""
    first = file.readline()
    try:
        values: Iterator[Any] = chain([json.loads(first)], _lines(file))
    except ValueError:  # one value over many lines
        values = iter([json.loads(first + file.read())])
    for value in values:
        items = value.get("items", [value]) if isinstance(value, dict) else value
        for item in items if isinstance(items, list) else ():
            if model := read(item):
                row = model.row()
                yield row | {"type": _type(row["type"])}
            else:
                reading.empty += 1


def _lines(file: TextIO) -> Iterator[Any]:
    """The values of all lines but the first."""
    for number, line in enumerate(file, start=2):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _table(path: Path, text: str, reading: _Reading) -> Iterator[dict[str, Any]]:
    """Rows of a table whose first line names its columns. A row without an id gets its negative line number."""
    if mark := re.match(r"sep=(.)\n", text):  # a line that a spreadsheet program writes for itself
        text = text[mark.end() :]
    delimiter = mark[1] if mark else max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    known = _columns(reader.fieldnames or ())
    if not {"type", "downloads", "rating"} & known.keys():
        raise SurveyError(
            f"{path} has no column for type, downloads or rating", "its first line must name the columns"
        )
    reading.notes += [
        f"column {name!r} is not known and was left out" for name in _unknown(reader.fieldnames, known)
    ]
    for number, row in enumerate(reader, start=1):
        yield _row(number, {column: row.get(title) for column, title in known.items()}, reading)


def _columns(titles: Any) -> dict[str, str]:
    """Which title stands for which column."""
    plain = {_plain(title): title for title in reversed([title for title in titles if title])}
    wanted = NAMES | {"address": ADDRESS}
    found = {
        column: next((plain[name] for name in names if name in plain), None)
        for column, names in wanted.items()
    }
    return {column: title for column, title in found.items() if title is not None}


def _unknown(titles: Any, known: Mapping[str, str]) -> list[str]:
    return [
        title
        for title in titles or ()
        if title and title not in known.values() and _plain(title) != "snapshot"
    ]


def _plain(title: str) -> str:
    return " ".join(re.sub(r"[_\-.:]+", " ", title).lower().split())


def _row(number: int, cells: Mapping[str, str | None], reading: _Reading) -> dict[str, Any]:
    """A row of the store from the texts of one line."""
    row: dict[str, Any] = {}
    for column, kind in MODELS.items():
        cell = (cells.get(column) or "").strip()
        if cell.lower() in _NOTHING:
            cell = ""
        elif cell.startswith("'") and re.match(FORMULA, cell):  # as `exporting` writes it
            cell = cell[1:]
        row[column] = _cell(column, kind, cell)
        if row[column] is None and cell:
            reading.misread(column, cell)
    address = re.search(r"/models/(\d+)", cells.get("address") or "")
    row["id"] = row["id"] or (count(address[1]) if address else None) or -number
    row["type"] = _type(row["type"])
    if row["rating"] == 0:  # nobody can give no star: this is how unrated models were written down
        row["rating"], row["rating_count"] = None, row["rating_count"] or 0
    if row["rating_count"] == 0:
        row["rating"] = None
    return row


def _cell(column: str, kind: str, cell: str) -> Any:
    """The value of a cell for a column of the store, None where it has none or is not understood."""
    if kind == "DOUBLE":
        value = _number(cell)
        return None if column == "rating" and value is not None and value > MOST_STARS else value
    if kind in ("BIGINT", "INTEGER"):
        return _count(column, cell, SMALL if kind == "INTEGER" else LARGEST)
    if kind == "BOOLEAN":
        return _TRUTHS.get(cell.lower())
    if kind == "TIMESTAMP":
        return when(float(cell) if re.fullmatch(r"\d{10}|\d{13}", cell) else cell)
    if kind == "TEXT[]":
        return [word.strip() for word in cell.split(",") if word.strip()]
    return text(cell)


def _count(column: str, cell: str, most: int) -> int | None:
    """A whole number: `1,234`, `1.234` and `1 234` are thousands, since no count has a fraction; so is `1.2k`."""
    if column == "id" and cell.startswith("-"):  # a row that had no id, as `exporting` writes it
        return None
    if re.fullmatch(r"\d{1,3}(\.\d{3})+", cell):
        cell = cell.replace(".", "")
    value = _number(cell)
    if value is None or (value != int(value) and cell[-1:].lower() not in _THOUSANDS):
        return None
    return count(round(value), most)


def _number(cell: str) -> float | None:
    """`1,234`, `1 234`, `4.75`, `4,75` and `1.2k`."""
    scale = _THOUSANDS.get(cell[-1:].lower())
    if scale:
        cell = cell[:-1].rstrip()
    cell = _SPACES.sub("", cell)
    value = quantity(cell)
    if value is None and re.fullmatch(r"\d+,\d{1,2}", cell):
        value = float(cell.replace(",", "."))
    return None if value is None else value * (scale or 1.0)


def _type(name: str | None) -> str | None:
    """The site's type for what people call it."""
    return TYPES.get(re.sub(r"[^a-z]", "", (name or "").lower()), name)
