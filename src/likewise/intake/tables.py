"""Tables of captions: JSON lines, JSON and CSV of the shapes in which trainers and people keep them.

A table becomes rows of (place, file, captions). A row that is not understood says what it lacks; nothing here knows
which pictures there are, beyond being asked whether a text names one.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FILES = (
    "filename", "file", "image", "imagepath", "imagefile", "imagename", "img", "imgpath", "path", "filepath", "picture",
    "photo", "name", "key", "media", "mediapath",
)  # fmt: skip
"""Keys for the picture's file, the likeliest first, in lower case and without `_`, `-` and blanks."""
TEXTS = (
    "text", "texts", "caption", "captions", "prompt", "prompts", "description", "sentence", "sentences", "comment", "raw",
)  # fmt: skip
"""Keys for its caption, likewise."""
TAGS = "tags"
"""Tags follow the caption, after a comma, as kohya joins them."""
DELIMITERS = (",", ";", "\t", "|")
_LISTS = ("images", "data", "rows", "items", "samples", "captions", "annotations", "examples")

_NO_JSON = "is no JSON"

Names = Callable[[str], bool]


@dataclass(frozen=True)
class Row:
    """One row: where it stands, which file it names, its captions, or what is wrong with it."""

    place: str
    file: str = ""
    captions: tuple[str, ...] = ()
    fault: str = ""


def parse(text: str, names: Names, *, json_kind: bool) -> list[Row]:
    """The rows of a table in any of the shapes; `names` says whether a text names a picture.

    Raises ValueError where nothing of it can be read.
    """
    if not json_kind:
        return list(_separated(text, names))
    try:
        whole = json.loads(text, object_pairs_hook=_Object)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        rows = list(_lines(text, names))
        if all(row.fault == _NO_JSON for row in rows):
            raise ValueError(str(error)) from None
        return rows
    return list(_from_json(whole, names))


class _Object(dict[str, Any]):
    """An object of JSON that knows which keys it has several times; the last value counts, as everywhere."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = [key for key, count in counts.items() if count > 1]


def _lines(text: str, names: Names) -> Iterator[Row]:
    """A value per line. Not `splitlines`: JSON strings may hold other line ends than \\n."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield Row(f"line {number}", fault=_NO_JSON)
            continue
        yield _row(value, f"line {number}", names)


def _from_json(whole: Any, names: Names) -> Iterator[Row]:
    """A list of rows, a list under a key, or captions by file, as kohya's metadata files have them."""
    if isinstance(whole, list):
        yield from (_row(value, f"entry {n}", names) for n, value in enumerate(whole, 1))
        return
    if not isinstance(whole, dict):
        yield _row(whole, "line 1", names)
        return
    keys = _folded(whole)
    if any(key in keys for key in FILES if not isinstance(keys.get(key), Mapping)) and any(
        t in keys for t in TEXTS
    ):
        yield _row(whole, "line 1", names)
        return
    lists = [keys[key] for key in _LISTS if isinstance(keys.get(key), list)]
    if lists and not any(names(str(key)) for key in whole):
        yield from _from_json(_joined(lists), names)
        return
    if not any(names(str(key)) or isinstance(value, Mapping) for key, value in whole.items()):
        yield _row(whole, "line 1", names)
        return
    for key, value in whole.items():
        place = f"entry {str(key)[:60]!r}"
        inner = value if isinstance(value, Mapping) else {"text": value}
        yield _row({"file": key, **{k: v for k, v in inner.items() if _fold(k) not in FILES}}, place, names)
    for key in getattr(whole, "repeated", ()):
        yield Row(f"entry {key[:60]!r}", key, fault="stands there several times, and the last one is used")


def _joined(lists: Sequence[Any]) -> list[Any]:
    """COCO keeps pictures and captions in two lists that share an id."""
    if len(lists) < 2 or not all(isinstance(row, Mapping) for rows in lists for row in rows):
        return list(lists[0])
    texts: dict[Any, list[Any]] = {}
    for row in lists[1]:
        texts.setdefault(str(row.get("image_id")), []).append(row.get("caption"))
    return [{"captions": texts.get(str(row.get("id"))), **row} for row in lists[0]]


def _row(value: Any, place: str, names: Names) -> Row:
    if not isinstance(value, Mapping):
        return Row(place, fault=f"is {_kind(value)}, not a row with keys")
    keys = _folded(value)
    file = next((named for key in FILES if (named := _file(keys.get(key)))), "")
    if not file and len(value) == 1 and names(str(next(iter(value)))):  # {"a.png": "a dog"}
        ((file, text),) = value.items()
        keys = {"text": text}
    if not file:
        return Row(place, fault=f"has no key for its file, such as file_name; it has {_shown(value)}")
    given = [keys[key] for key in (*TEXTS, TAGS) if key in keys]
    if not given:
        return Row(place, file, fault=f"has no key for its caption, such as text; it has {_shown(value)}")
    captions = _texts(next((keys[key] for key in TEXTS if keys.get(key)), None))
    tags = _texts(keys.get(TAGS))
    if captions is None or tags is None:
        return Row(place, file, fault="has a caption that is no text")
    if tags:
        captions = [", ".join([*captions[:1], *tags])]
    return Row(place, file, tuple(captions))


def _file(value: Any) -> str:
    """The file that a key names; Hugging Face's image columns hold `{"path": ...}`."""
    if isinstance(value, Mapping):
        value = value.get("path") or value.get("file_name")
    return value.strip() if isinstance(value, str) else ""


def _texts(value: Any) -> list[str] | None:
    """One text or several, without empty ones; None where it is something else."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in values):
        return None
    return [" ".join(text.split()) for text in values if text.strip()]


def _separated(text: str, names: Names) -> Iterator[Row]:
    """CSV with commas, semicolons, tabs or bars, with a header or without one."""
    if marked := re.match(r"sep=(.)\n", text):  # for a spreadsheet
        text = text[marked.end() :]
    for delimiter in DELIMITERS:
        rows = _cells(text, delimiter)
        header = [_fold(cell) for cell in rows[0][1]] if rows else []
        if any(key in header for key in FILES):
            yield from _headed(rows, delimiter, names)
            return
    for delimiter in DELIMITERS:
        rows = _cells(text, delimiter)
        if rows and len(rows[0][1]) > 1 and names(rows[0][1][0]):
            yield from (Row(f"line {n}", cells[0].strip(), _rest(cells, delimiter)) for n, cells in rows)
            return
    rows = _cells(text, ",")
    if rows:
        yield Row(
            "line 1", fault=f"has no column for the file, such as file_name; it has {_shown(rows[0][1])}"
        )


def _cells(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Rows with the numbers of their lines. Raises ValueError on what is no table."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def _headed(rows: Sequence[tuple[int, list[str]]], delimiter: str, names: Names) -> Iterator[Row]:
    header = rows[0][1]
    text_last = _fold(header[-1]) in (*TEXTS, TAGS)
    for number, cells in rows[1:]:
        if len(cells) > len(header) and text_last:  # a comma in a caption that has no quotes
            cells = [*cells[: len(header) - 1], delimiter.join(cells[len(header) - 1 :])]
        if len(cells) != len(header):
            yield Row(f"line {number}", fault=f"has {len(cells)} columns, the first line has {len(header)}")
            continue
        yield _row(dict(zip(header, cells, strict=True)), f"line {number}", names)


def _rest(cells: Sequence[str], delimiter: str) -> tuple[str, ...]:
    text = " ".join(delimiter.join(cells[1:]).split())
    return (text,) if text else ()


def _folded(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {_fold(key): value for key, value in row.items()}


def _fold(key: Any) -> str:
    return re.sub(r"[\s_-]", "", str(key)).casefold()


def _shown(keys: Any) -> str:
    return ", ".join(str(key)[:30] for key in list(keys)[:6]) or "none"


def _kind(value: Any) -> str:
    kinds = {str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return kinds.get(type(value), "nothing")
