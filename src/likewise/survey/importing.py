"""Importing: other people's tables and dumps as snapshots, the spreadsheet that the first comparison made among them.

Columns are known by many names; what a file does not tell stays missing. A rating of nothing is no rating.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from likewise.errors import SurveyError
from likewise.survey import fetching
from likewise.survey.archive import Archive
from likewise.survey.shapes import LARGEST, SMALL, count, quantity, read, text, when
from likewise.survey.store import FORMULA, MODELS, Snapshot, Store

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
_SUFFIXES = "a folder of recorded pages, or a file .csv, .tsv, .json or .jsonl, also with .gz"


def load(path: Path, store: Store) -> tuple[int, list[str]]:
    """Read a file or a folder of pages into a store; returns the snapshot's number and what there is to say.

    Raises `SurveyError` where nothing can be read of it.
    """
    if path.is_dir():
        number, outcome = fetching.load(Archive(path), store)
        return number, outcome.notes
    notes: list[str] = []
    try:
        taken = datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None)
        snapshot = Snapshot(taken, str(path.resolve()), "import", {"file": path.name})
        with store.transaction():
            number = store.begin(snapshot)
            added = store.add(number, _rows(path, notes))
            if not added:
                raise SurveyError(f"{path} holds no model that can be read", f"it may be {_SUFFIXES}")
    except OSError as error:
        raise SurveyError(f"{path} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, ValueError, RecursionError, csv.Error) as error:
        raise SurveyError(f"{path} cannot be read: {error}", f"it may be {_SUFFIXES}") from None
    return number, notes


def _rows(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    with gzip.open(path, "rb") if packed else path.open("rb") as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        if kind in ([".csv"], [".tsv"], [".txt"]):
            yield from _table(path, file, notes)
        elif kind in ([".json"], [".jsonl"], [".ndjson"]):
            yield from _dump(file)
        else:
            raise SurveyError(f"{path} is of no kind that can be imported", f"give {_SUFFIXES}")


def _dump(file: TextIO) -> Iterator[dict[str, Any]]:
    """Models in the API's own shape: a list, a page, or a model or page per line."""
    first = file.readline()
    try:
        values: Iterator[Any] = chain([json.loads(first)], _lines(file))
    except ValueError:  # one value over many lines
        values = iter([json.loads(first + file.read())])
    for value in values:
        items = value.get("items", [value]) if isinstance(value, dict) else value
        if isinstance(items, list):
            yield from (model.row() for item in items if (model := read(item)))


def _lines(file: TextIO) -> Iterator[Any]:
    """The values of all lines but the first."""
    for number, line in enumerate(file, start=2):
        try:
            if line.strip():
                yield json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _table(path: Path, file: TextIO, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a table whose first line names its columns. A row without an id gets its negative line number."""
    titles = file.readline()
    file.seek(0)
    reader = csv.DictReader(file, delimiter=max(",;\t", key=titles.count), strict=True)
    known = _columns(reader.fieldnames or ())
    if not {"type", "downloads", "rating"} & known.keys():
        raise SurveyError(
            f"{path} has no column for type, downloads or rating", "its first line must name the columns"
        )
    notes += [f"column {name!r} is not known and was left out" for name in _unknown(reader.fieldnames, known)]
    for number, row in enumerate(reader, start=1):
        yield _row(number, {column: row.get(title) for column, title in known.items()})


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


def _row(number: int, cells: Mapping[str, str | None]) -> dict[str, Any]:
    """A row of the store from the texts of one line."""
    row: dict[str, Any] = {}
    for column, kind in MODELS.items():
        cell = (cells.get(column) or "").strip()
        if cell.startswith("'") and re.match(FORMULA, cell):  # as `store.export` writes it
            cell = cell[1:]
        if kind == "DOUBLE":
            row[column] = _number(cell)
        elif kind in ("BIGINT", "INTEGER"):
            value = _number(cell)
            row[column] = count(value and round(value), SMALL if kind == "INTEGER" else LARGEST)
        elif kind == "BOOLEAN":
            row[column] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
                cell.lower()
            )
        elif kind == "TIMESTAMP":
            row[column] = when(cell) if cell else None
        elif kind == "TEXT[]":
            row[column] = [word.strip() for word in cell.split(",") if word.strip()]
        else:
            row[column] = text(cell)
    address = re.search(r"/models/(\d+)", cells.get("address") or "")
    row["id"] = row["id"] or (count(address[1]) if address else None) or -number
    row["type"] = TYPES.get(re.sub(r"[^a-z]", "", (row["type"] or "").lower()), row["type"])
    if row["rating"] == 0:  # nobody can give no star: this is how unrated models were written down
        row["rating"], row["rating_count"] = None, row["rating_count"] or 0
    if row["rating_count"] == 0:
        row["rating"] = None
    return row


def _number(cell: str) -> float | None:
    """`1,234`, `4.75`, `4,75` and `1.2k`."""
    scale = _THOUSANDS.get(cell[-1:].lower())
    if scale:
        cell = cell[:-1]
    value = quantity(cell)
    if value is None and re.fullmatch(r"\d+,\d{1,2}", cell):
        value = float(cell.replace(",", "."))
    return None if value is None else value * (scale or 1.0)
