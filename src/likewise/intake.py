"""Intake: what was understood of the folder, zip or files somebody pointed at, before anything is taught.

Every layout that trainers use is accepted as it is. A file that cannot be used becomes one line that says why
and what to do, and the rest go on. Nothing is changed or unpacked, and no picture is judged beyond its size.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import posixpath
import re
import textwrap
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from likewise.errors import ConceptError
from likewise.files import write_with
from likewise.picture import Example, Fingerprint, fingerprint, near_duplicates

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif")
UNREADABLE = (
    ".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".cr2", ".nef", ".arw", ".dng", ".mp4", ".mov",
)  # fmt: skip
CAPTIONS = (".txt", ".caption")
LEAST_SIDE = 32
MOST_FILES = 20_000
MOST_ZIP_BYTES = 4 << 30
MOST_MEMBER_BYTES = 256 << 20
MOST_RATIO, MOST_CELLS = 200, 240
MOST_TEXT_BYTES = 64 << 20  # of a metadata file; a caption may have a thousandth of it

_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
_REGULARISATION = {"reg", "regularization", "regularisation", "class_images"}
# Three digits at most: "2024_holiday" is a year, not a count of repeats.
_KOHYA = re.compile(r"(\d{1,3})_(.*[^\W\d_].*)")
_USABLE = "give a folder, a zip or pictures (jpg, png, webp, avif, bmp, tiff, gif); 4 to 20 are best"

Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Problem:
    """A file that is not used, and one line: what is wrong and what to do."""

    file: str
    reason: str


@dataclass(frozen=True)
class Intake:
    """What a source holds; `names` (unique, inside the source) and `sizes` (upright) go with `examples`."""

    source: str
    layout: str
    """flat folder, nested folders, kohya, metadata.jsonl, metadata.csv, zip or files."""
    examples: tuple[Example, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    """Groups of near-duplicates, by name. A mirrored picture is not one."""
    token: str | None = None  # guessed, like the noun, from kohya folder names
    noun: str | None = None
    title: str = ""  # the folder's own name, without suffix or count of repeats

    def table(self) -> list[dict[str, Any]]:
        """A row for each picture, then one for each problem (without a size), for printing."""
        twins = {name: group for group in self.duplicates for name in group}
        rows: list[dict[str, Any]] = []
        for name, example, (width, height) in zip(self.names, self.examples, self.sizes, strict=True):
            others = ", ".join(other for other in twins.get(name, ()) if other != name)
            note = f"near-duplicate of {others}" if others else ""
            row = {"file": name, "width": width, "height": height, "caption": example.caption}
            rows.append({**row, "repeats": example.repeats, "note": note})
        blank = {"width": None, "height": None, "caption": None, "repeats": None}
        return rows + [{"file": p.file, **blank, "note": p.reason} for p in self.problems]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, without absolute paths."""
        head = {"source": self.title, "layout": self.layout, "token": self.token, "noun": self.noun}
        return head | {
            "examples": self.table()[: len(self.examples)],
            "problems": [asdict(problem) for problem in self.problems],
            "duplicates": [list(group) for group in self.duplicates],
        }


def read(source: Source) -> Intake:
    """Understand a folder, a zip, a picture or a list of them. Raises ConceptError if nothing is usable."""
    listing = _list(source)
    described = _metadata(listing)
    names = _pictures(listing)
    words = {name: _kohya(name, listing.root) for name in names}
    usable: dict[str, Example] = {}
    sizes: list[tuple[int, int]] = []
    prints: list[Fingerprint] = []
    for name in names:
        example = listing.files[name]
        try:
            picture, size = example.preview(64)
            if min(size) < LEAST_SIDE:
                hint = f"use one with sides of {LEAST_SIDE} px or more"
                raise ConceptError(f"too small ({size[0]} x {size[1]})", hint)
        except ConceptError as error:
            listing.refuse(name, f"{error.message.removeprefix(f'{example.name}: ')}; {error.hint}")
            continue
        repeats, folder_words = words[name] or (1, None)
        caption = described.get(name) or _caption(name, listing) or folder_words
        usable[name] = replace(example, caption=caption, repeats=repeats)
        sizes.append(size)
        prints.append(fingerprint(picture))
    if not usable:
        raise ConceptError(f"no usable picture in {listing.source}: found {_found(listing)}", _USABLE)
    token, noun = _called({called[1] for name in usable if (called := words[name])}, listing)
    if listing.layout == "folder":
        shape = "nested folders" if any("/" in name for name in usable) else "flat folder"
        listing.layout = "kohya" if any(words[name] for name in usable) else shape
    return Intake(
        source=listing.source,
        layout=listing.layout,
        examples=tuple(usable.values()),
        names=tuple(usable),
        sizes=tuple(sizes),
        problems=tuple(listing.problems),
        duplicates=near_duplicates(list(usable), prints),
        token=token,
        noun=noun,
        title=found[2] if (found := _KOHYA.fullmatch(listing.root)) else listing.root,
    )


def contact_sheet(intake: Intake, path: Path, columns: int = 6) -> Path:
    """A PNG of every picture with name and size; near-duplicates framed orange, files not used framed red."""
    side, margin, text = 176, 10, 54
    rows = intake.table()[:MOST_CELLS]
    columns = max(1, min(columns, len(rows)))
    wide, high = side + 2 * margin, side + text + 2 * margin
    sheet = Image.new("RGB", (columns * wide, -(-len(rows) // columns) * high), "#f4f4f2")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, row in enumerate(rows):
        left, top = index % columns * wide + margin, index // columns * high + margin
        lines = [row["file"][-28:]]
        if row["width"]:
            picture = intake.examples[index].preview(side)[0]
            picture.thumbnail((side, side))
            sheet.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
            lines += [f"{row['width']} x {row['height']}", row["note"][:30]]
        else:
            draw.multiline_text((left + 8, top + 8), textwrap.fill(row["note"], 26), "#a00000", font)
        label = (
            "\n".join(lines).encode("utf-8", "replace").decode()
        )  # names may hold bytes that are no letters
        draw.multiline_text((left, top + side + 4), label, "#202020", font, spacing=2)
        if row["note"]:
            frame = (left - 5, top - 5, left + side + 4, top + side + text)
            draw.rectangle(frame, outline="#e08000" if row["width"] else "#c00000", width=3)
    return write_with(Path(path), lambda temporary: sheet.save(temporary, "PNG"))


@dataclass
class _Listing:
    """Every file of a source by its name inside it; `folded` finds names whatever their case."""

    source: str
    root: str
    layout: str
    files: dict[str, Example] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    folded: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, example: Example) -> None:
        if len(self.files) >= MOST_FILES:
            raise ConceptError(f"more than {MOST_FILES} files in {self.source}", "point at one concept alone")
        self.files[name] = example
        self.folded.setdefault(name.casefold(), name)

    def refuse(self, name: str, reason: str) -> None:
        self.problems.append(Problem(name, " ".join(reason.split())))


def _list(source: Source) -> _Listing:
    if isinstance(source, str | Path):
        path = _existing(source)
        layout = "folder" if path.is_dir() else "zip" if _is_zip(path) else "files"
        title = {"folder": path.name, "zip": path.stem, "files": ""}[layout]
        listing = _Listing(str(source), title, layout)
        _gather(path, path.name if layout == "files" else "", listing)
        return listing
    paths = [_existing(item) for item in source]
    if not paths:
        raise ConceptError("the list of pictures is empty", _USABLE)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    listing = _Listing(f"{len(paths)} files in {root.name}", root.name, "files")
    for path in paths:
        _gather(path, path.relative_to(root).as_posix(), listing)
    return listing


def _existing(item: str | Path) -> Path:
    path = Path(os.path.abspath(Path(item).expanduser()))
    if path.is_dir() or path.is_file():
        return path
    if path.exists():  # a pipe or a device: reading it might never end
        raise ConceptError(f"{item} is neither a file nor a folder", _USABLE)
    parent, missing = path.parent, path.name
    while not parent.is_dir():
        parent, missing = parent.parent, parent.name
    beside = os.listdir(parent) if os.access(parent, os.R_OK) else []
    close = difflib.get_close_matches(missing, beside, n=1, cutoff=0.5)
    hint = f"did you mean {parent / close[0]}?" if close else f"{parent} exists, but has no {missing}"
    raise ConceptError(f"{item} does not exist", hint)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" or (path.suffix.lower() not in PICTURES and zipfile.is_zipfile(path))


def _gather(path: Path, prefix: str, listing: _Listing) -> None:
    if path.is_dir():
        _walk(path, prefix, listing)
    elif _is_zip(path):
        _unzip(path, prefix, listing)
    else:
        listing.add(prefix, Example(path))
        for suffix in CAPTIONS:  # a picture given by itself still has its caption beside it
            if path.suffix not in CAPTIONS and (beside := path.with_suffix(suffix)).is_file():
                listing.add(posixpath.splitext(prefix)[0] + suffix, Example(beside))


def _walk(root: Path, prefix: str, listing: _Listing) -> None:
    """Links are followed, once each, but not to where the folder itself lies: that could be all the disk."""
    top = os.path.realpath(root)
    seen: set[str] = set()
    pending = [(root, prefix)]
    while pending:
        folder, prefix = pending.pop()
        real = os.path.realpath(folder)
        if real in seen or (folder != root and Path(top).is_relative_to(real)):
            continue
        seen.add(real)
        try:
            entries = sorted(os.listdir(folder))
        except OSError as error:
            listing.refuse(prefix or root.name, f"cannot be opened: {error.strerror}; change its permissions")
            continue
        for entry in entries:
            path, name = folder / entry, posixpath.join(prefix, entry)
            if entry.startswith(".") or entry.casefold() in _IGNORED:
                continue
            if os.path.isdir(path):
                pending.append((path, name))
            elif os.path.isfile(path):
                listing.add(name, Example(path))
            elif path.is_symlink() and path.suffix.lower() in PICTURES:
                listing.refuse(name, "a link that leads nowhere; put the picture itself here")


def _unzip(path: Path, prefix: str, listing: _Listing) -> None:
    """List a zip without unpacking it. Declared sizes bind: `zipfile` reads no more than they say."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ConceptError(f"{path.name} is no readable zip: {error}", "pack or download it again") from None
    total = sum(member.file_size for member in members)
    if total > MOST_ZIP_BYTES or len(members) > MOST_FILES:
        unpacked = f"{len(members)} files of {total >> 20} MiB"
        raise ConceptError(f"{path.name} holds {unpacked}, too much", "pack the pictures alone")
    for member in members:
        parts = [part for part in member.filename.replace("\\", "/").split("/") if part != "."]
        name = "/".join([prefix, *parts] if prefix else parts)
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            listing.refuse(name, "its name leads out of the zip; pack it again")
        elif any(part.startswith(".") or part.casefold() in _IGNORED for part in parts):
            continue
        elif member.flag_bits & 1:
            listing.refuse(name, "locked by a password; pack it without")
        elif member.file_size > max(1 << 20, min(MOST_MEMBER_BYTES, MOST_RATIO * member.compress_size)):
            listing.refuse(name, f"unpacks to {member.file_size >> 20} MiB, as zip bombs do; pack it again")
        else:
            listing.add(name, Example(path, member=member.filename))


def _pictures(listing: _Listing) -> list[str]:
    """Names of files that may be pictures, in the order people count in: 2 before 10."""
    chosen: list[str] = []
    alone = listing.layout == "files" and len(listing.files) == 1
    for name in listing.files:
        suffix = posixpath.splitext(name)[1].lower()
        if suffix in UNREADABLE:
            listing.refuse(name, f"{suffix} cannot be read here; export it as JPEG or PNG")
        elif name.lower().endswith("-masklabel.png"):
            listing.refuse(name, "a mask; masks are not used, nothing to do")
        elif suffix in PICTURES or (alone and suffix not in (*CAPTIONS, ".zip")):
            chosen.append(name)
    regular = [n for n in chosen if _REGULARISATION & {part.casefold() for part in n.split("/")[:-1]}]
    if any(_kohya(name, listing.root) for name in set(chosen) - set(regular)):
        for folder in sorted({posixpath.dirname(name) for name in regular}):
            listing.refuse(folder, "pictures of the class, not of the concept; give them as class pictures")
        chosen = [name for name in chosen if name not in set(regular)]
    # As people count: 2 before 10. Every odd part is a number, so parts compare with their like.
    return sorted(chosen, key=lambda n: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", n)])


def _kohya(name: str, root: str) -> tuple[int, str] | None:
    """Repeats and words of the nearest folder called like `10_sks dog`."""
    for folder in reversed([root, *name.split("/")[:-1]]):
        if (found := _KOHYA.fullmatch(folder)) and int(found[1]):
            return int(found[1]), " ".join(found[2].split())
    return None


def _called(words: set[str], listing: _Listing) -> tuple[str | None, str | None]:
    if len(words) > 1:
        reason = f"holds {len(words)} concepts, read as one: {', '.join(sorted(words))}; point at one of them"
        listing.refuse(listing.root, reason)
    token, _, noun = (words.pop() if len(words) == 1 else "").partition(" ")
    return token or None, noun or None


def _caption(name: str, listing: _Listing) -> str | None:
    for suffix in CAPTIONS:
        for beside in (posixpath.splitext(name)[0] + suffix, name + suffix):  # some tools write dog.jpg.txt
            file = listing.folded.get(beside.casefold())
            text = " ".join(_text(file, listing, MOST_TEXT_BYTES // 1000).split()) if file else ""
            if text:
                return text
    return None


def _text(name: str, listing: _Listing, most: int) -> str:
    """A text file in whatever encoding; too large or unreadable ones become a problem and read as empty."""
    try:
        with listing.files[name].stream() as file:
            data = file.read(most + 1)
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        listing.refuse(name, f"cannot be read ({error}); copy it again")
        return ""
    if len(data) > most:
        listing.refuse(name, f"longer than {most} bytes, so no caption; shorten it")
        return ""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _metadata(listing: _Listing) -> dict[str, str]:
    """Captions by picture from `metadata.jsonl` and `.csv`, laid out as for Hugging Face's ImageFolder."""
    captions: dict[str, str] = {}
    tables = ("metadata.csv", "metadata.jsonl")
    for name in sorted(n for n in listing.files if posixpath.basename(n).casefold() in tables):
        missing: list[str] = []
        for row in _rows(name, listing):
            file, text = str(row.get("file_name")), row.get("text") or row.get("caption") or row.get("prompt")
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), file.replace("\\", "/")))
            known = place if place in listing.files else listing.folded.get(place.casefold())
            if known is None:
                missing.append(file)
            elif isinstance(text, str) and text.strip():
                captions[known] = " ".join(text.split())
                if listing.layout == "folder":
                    listing.layout = posixpath.basename(name).casefold()
        if missing:
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            listing.refuse(name, f"{len(missing)} rows name no file that is there ({shown}); correct them")
    return captions


def _rows(name: str, listing: _Listing) -> list[dict[str, Any]]:
    text = _text(name, listing, MOST_TEXT_BYTES)
    try:
        if name.lower().endswith(".csv"):
            return list(csv.DictReader(io.StringIO(text)))
        # Not `splitlines`: JSON strings may hold other line ends than \n.
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError, csv.Error) as error:
        listing.refuse(name, f"cannot be understood ({error}); correct it, captions in it are not used")
        return []
    return [row for row in rows if isinstance(row, dict)]


def _found(listing: _Listing) -> str:
    kinds = Counter(posixpath.splitext(name)[1].lower() or "without suffix" for name in listing.files)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "no file at all"
    return "; ".join([counted, *(f"{p.file}: {p.reason}" for p in listing.problems[:3])])
