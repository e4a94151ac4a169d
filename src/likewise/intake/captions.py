"""Captions: the text that goes with each picture, from files beside it and from tables.

A table (`metadata.jsonl`, `captions.json`, a CSV, kohya's `meta_cap.json`) is known by what is in it and goes before a text
file. What of it is not used is said, with file, line and reason.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from likewise.files import decode
from likewise.intake import tables
from likewise.intake.layouts import TABLES, plural
from likewise.intake.listing import CAPTIONS, READ_ERRORS, Listing, fold, some

MOST_TEXT_BYTES = 64 << 20
"""The most bytes of a table; a caption may have a thousandth of it."""
MOST_FAULTS = 3
"""So many rows of a table are named one by one."""

_NAMED = re.compile(r"meta|caption|label|prompt|tags", re.IGNORECASE)
_WEIGHTS = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>|\([^()]*:\s*\d*\.?\d+\s*\)", re.IGNORECASE)


def read(names: Sequence[str], listing: Listing) -> dict[str, str]:
    """The captions of the pictures `names`; one that has none is not in it."""
    places = _Places(names)
    described = _from_tables(places, listing)
    found: dict[str, str] = {}
    unused: list[str] = []
    for name in names:
        beside = _beside(name, listing)
        if name in described:
            found[name] = described[name]
            unused += [file for file, text in beside if text and text != described[name]]
        elif text := next((text for _, text in beside if text), ""):
            found[name] = text
    if unused:
        listing.note(f"{plural(len(unused), 'text file')} not used, as a table has captions: {some(unused)}")
    _say_western(listing)
    weighted = [name for name, text in found.items() if _WEIGHTS.search(text)]
    if weighted:
        shown = _WEIGHTS.findall(found[weighted[0]])[0]
        listing.note(f"captions of {some(weighted)} have weights such as {shown}, which are read as letters")
    return found


def _beside(name: str, listing: Listing) -> list[tuple[str, str]]:
    """Caption files of a picture with their texts: `a.txt`, or `a.jpg.txt` as some tools write it."""
    found = []
    for suffix in CAPTIONS:
        for beside in (posixpath.splitext(name)[0] + suffix, name + suffix):
            file = listing.find(beside)
            if file is not None:
                found.append((file, " ".join((_text(file, listing, MOST_TEXT_BYTES // 1000) or "").split())))
    return found


def _text(name: str, listing: Listing, most: int) -> str | None:
    """A text file in whatever encoding; too large or unreadable ones become a problem, once, and give None."""
    if name in listing.read and any(problem.file == name for problem in listing.problems):
        return None
    listing.read.add(name)
    try:
        with listing.files[name].stream() as file:
            data = file.read(most + 1)
    except READ_ERRORS as error:
        listing.refuse(name, f"cannot be read ({error}); copy it again")
        return None
    if len(data) > most:
        listing.refuse(name, f"longer than {most} bytes, so no caption; shorten it")
        return None
    try:
        return decode(data)
    except UnicodeDecodeError:
        listing.western.add(name)
        return decode(data, fallback="cp1252")


def _say_western(listing: Listing) -> None:
    """Note the files whose encoding is a guess: letters of other code pages come out wrong without any error."""
    guessed = sorted(listing.western & listing.read)  # a table about something else is not read
    if guessed:
        verb = "is" if len(guessed) == 1 else "are"
        listing.note(
            f"{plural(len(guessed), 'caption file')} {verb} not UTF-8 and {verb} read as Western European text "
            f"(cp1252), such as {guessed[0]}; save as UTF-8 what is in another script"
        )


class _Places:
    """Finds the picture that a table means: by its path, its name, either without suffix; unless several are meant."""

    def __init__(self, names: Sequence[str]) -> None:
        self.by: list[dict[str, set[str]]] = [{} for _ in range(4)]
        for name in names:
            for table, key in zip(self.by, _spellings(name), strict=True):
                table.setdefault(key, set()).add(name)

    def find(self, file: str, folder: str = "") -> set[str]:
        """The pictures that `file` may mean, seen from `folder`: one, ideally."""
        plain = file.replace("\\", "/")
        place = posixpath.normpath(posixpath.join(folder, plain))
        whole, bare, _, _ = _spellings(place)
        for table, key in ((self.by[0], whole), (self.by[1], fold(place)), (self.by[1], bare)):
            if key in table:
                return table[key]
        last = fold(posixpath.basename(plain))
        return (
            self.by[2].get(last)
            or self.by[3].get(last)
            or self.by[3].get(posixpath.splitext(last)[0])
            or set()
        )

    def names(self, file: str) -> bool:
        """Whether it means any picture."""
        return bool(file.strip()) and bool(self.find(file.strip()))


def _spellings(name: str) -> tuple[str, str, str, str]:
    """Path, path without suffix, name, name without suffix."""
    path = fold(name)
    last = posixpath.basename(path)
    return path, posixpath.splitext(path)[0], last, posixpath.splitext(last)[0]


def _from_tables(places: _Places, listing: Listing) -> dict[str, str]:
    """Captions by picture from every table, `metadata` files first; the first one that captions a picture counts."""
    captions: dict[str, str] = {}
    several: list[str] = []
    other: list[str] = []
    for name in sorted((n for n in listing.files if n.lower().endswith(TABLES)), key=_order):
        for picture, texts in _table(name, places, listing).items():
            if len(texts) > 1:
                several.append(picture)
            if captions.setdefault(picture, texts[0]) != texts[0]:
                other.append(picture)
    if several:
        listing.note(
            f"{plural(len(several), 'picture')} with several captions, of which the first is used: {some(several)}"
        )
    if other:
        listing.note(f"several tables have a caption for {some(other)}; the first is used")
    return captions


def _order(name: str) -> tuple[bool, bool, str]:
    stem = posixpath.splitext(posixpath.basename(name))[0].casefold()
    return stem != "metadata", not _NAMED.search(stem), name


def _table(name: str, places: _Places, listing: Listing) -> dict[str, tuple[str, ...]]:
    """Captions by picture of one table. What is wrong in it is said, unless it is about something else altogether."""
    meant = bool(_NAMED.search(posixpath.basename(name)))
    text = _text(name, listing, MOST_TEXT_BYTES)
    if text is None:
        return {}
    try:
        rows = tables.parse(text, places.names, json_kind="json" in posixpath.splitext(name)[1].lower())
    except ValueError as error:
        rows = [tables.Row("it", fault=f"cannot be understood ({error})")]
    found: dict[str, tuple[str, ...]] = {}
    first: dict[str, str] = {}  # where its row stands
    faults: list[str] = []
    for row in rows:
        pictures = places.find(row.file, posixpath.dirname(name)) if row.file else set()
        if row.fault:
            faults.append(f"{row.place} {row.fault}")
        elif not pictures:
            faults.append(f"{row.place} names no picture that is there ({row.file[:80]})")
        elif len(pictures) > 1:
            faults.append(f"{row.place} names {row.file[:80]}, and {len(pictures)} pictures are called so")
        elif not row.captions:
            beside = [file for file, text in _beside(next(iter(pictures)), listing) if text]
            instead = f", so {beside[0]} is used" if beside else ""
            faults.append(f"{row.place} has an empty caption for {row.file[:80]}{instead}")
        elif (picture := next(iter(pictures))) in found:
            faults.append(
                f"{row.place} is another row for {row.file[:80]}, of which {first[picture]} is used"
            )
        else:
            found[picture], first[picture] = row.captions, row.place
    if found and listing.layout == "folder":
        listing.layout = posixpath.basename(name).casefold()
    if not rows and meant:
        listing.refuse(name, "it has no row, so no caption; fill it, or leave it out")
    elif not (found or meant):
        listing.read.discard(name)  # it is about something else, and is mentioned with the rest
    elif faults:
        more = f"; {len(faults) - MOST_FAULTS} more rows are not used" if len(faults) > MOST_FAULTS else ""
        rest = "correct them, the others are used" if found else "correct it; no caption of it is used"
        listing.refuse(name, f"{'; '.join(faults[:MOST_FAULTS])}{more}; {rest}")
    return found
