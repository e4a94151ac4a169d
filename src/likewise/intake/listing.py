"""Listing: every file of a folder, a zip or a list of these, by its name inside it.

Nothing is unpacked, and no picture is opened. What a file is for is worked out in `layouts.py` and `captions.py`.
"""

from __future__ import annotations

import difflib
import os
import posixpath
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from likewise.errors import ConceptError
from likewise.files import expand, printable
from likewise.picture import Example

PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs",
    ".bmp", ".dib", ".tif", ".tiff", ".gif",
)  # fmt: skip
"""Every suffix of the formats that `picture.FORMATS` allows. Other files are known as pictures by their first bytes."""
CAPTIONS = (".txt", ".caption")
CLOSE = 0.7
"""Likeness of names from which one is suggested for another: cats for cat and for nocats, but not cars."""
MOST_FILES = 20_000
MOST_ZIP_BYTES = 4 << 30
MOST_MEMBER_BYTES = 256 << 20
MOST_RATIO = 200
USABLE = "give a folder, a zip or pictures (jpg, png, webp, avif, bmp, tiff, gif); 4 to 20 are best"
READ_ERRORS = (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What reading a file or the member of a damaged zip raises."""

_RUBBISH = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".directory", ".git"}

Source = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Problem:
    """A file that is not used, and one line: what is wrong and what to do."""

    file: str
    reason: str


@dataclass
class Listing:
    """Every file of a source by its name inside it; `find` finds names whatever their case."""

    source: str
    root: str
    layout: str
    files: dict[str, Example] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """Names of files that were understood, or refused with a reason."""
    masks: dict[str, str] = field(default_factory=dict)
    """Picture -> the mask of it that lies beside."""
    western: set[str] = field(default_factory=set)
    """Names of texts that are not UTF-8 and were read as cp1252."""
    hidden: list[str] = field(default_factory=list)
    place: Path | None = None
    """Where the source lies, if it is a folder."""
    _folded: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, example: Example) -> None:
        """Take a file in; raises ConceptError beyond `MOST_FILES`."""
        if len(self.files) >= MOST_FILES:
            raise ConceptError(f"more than {MOST_FILES} files in {self.source}", "point at one concept alone")
        self.files[name] = example
        self._folded.setdefault(fold(name), name)

    def find(self, name: str) -> str | None:
        """The file of this name, whatever its case and the spelling of its accents."""
        return name if name in self.files else self._folded.get(fold(name))

    def refuse(self, name: str, reason: str) -> None:
        """Say why a file is not used."""
        self.read.add(name)
        self.problems.append(Problem(printable(name), printable(" ".join(reason.split()))))

    def note(self, text: str) -> None:
        """Say how something was understood."""
        self.notes.append(printable(text))

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file, fewer where it has no more; empty where it cannot be read."""
        try:
            with self.files[name].stream() as file:
                return file.read(count)
        except READ_ERRORS:
            return b""


def fold(name: str) -> str:
    """A name as it is compared: systems differ in case, and in whether an accent is a letter of its own."""
    return unicodedata.normalize("NFC", name).casefold()


def counting(name: str) -> list[int | str]:
    """The key that sorts names as people count: 2 before 10. Every odd part is a number, so like meets like."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _called(folder: Path) -> str:
    """The folder's name. An example's `references` says nothing, and is called as the example is."""
    return (folder.absolute().parent.name if folder.name == "references" else "") or folder.name


def list_files(source: Source) -> Listing:
    """Every file of a folder, zip, picture or list of these. Raises ConceptError where there is nothing to list."""
    if not isinstance(source, str | Path) and len(source) == 1:
        source = source[0]
    if isinstance(source, str | Path):
        path = _existing(source)
        layout = "folder" if path.is_dir() else "zip" if _is_zip(path) else "files"
        title = {"folder": _called(path), "zip": path.stem, "files": ""}[layout]
        listing = Listing(str(source), title, layout, place=path if layout == "folder" else None)
        _gather(path, path.name if layout == "files" else "", listing)
        return listing
    paths = [_existing(item) for item in source]
    if not paths:
        raise ConceptError("the list of pictures is empty", USABLE)
    try:
        root = Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # on two drives
        raise ConceptError("the pictures lie on several drives", "copy them into one folder") from None
    listing = Listing(f"{len(paths)} files in {root.name}", root.name, "files")
    for path in paths:
        _gather(path, path.relative_to(root).as_posix(), listing)
    return listing


def _existing(item: str | Path) -> Path:
    path = Path(os.path.abspath(expand(item)))
    if path.is_dir() or path.is_file():
        return path
    if path.exists():  # a pipe or a device: reading it might never end
        raise ConceptError(f"{item} is neither a file nor a folder", USABLE)
    parent, missing = path.parent, path.name
    while not parent.is_dir():
        parent, missing = parent.parent, parent.name
    beside = os.listdir(parent) if os.access(parent, os.R_OK) else []
    close = difflib.get_close_matches(missing, beside, n=1, cutoff=CLOSE)
    shown = parent if os.path.isabs(expand(item)) else Path(os.path.relpath(parent))
    hint = f"did you mean {shown / close[0]}?" if close else f"{parent} exists, but has no {missing}"
    raise ConceptError.missing(f"{item} does not exist", hint)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" or (path.suffix.lower() not in PICTURES and zipfile.is_zipfile(path))


def _gather(path: Path, prefix: str, listing: Listing) -> None:
    if path.is_dir():
        _walk(path, prefix, listing)
    elif _is_zip(path):
        _unzip(path, prefix, listing)
    else:
        listing.add(prefix, Example(path))
        for suffix in CAPTIONS:  # a picture given by itself still has its caption beside it
            beside = (path.with_suffix(suffix), path.with_name(path.name + suffix))
            for file in beside if path.suffix.lower() not in CAPTIONS else ():
                if file.is_file():
                    listing.add(posixpath.join(posixpath.dirname(prefix), file.name), Example(file))


def _walk(root: Path, prefix: str, listing: Listing) -> None:
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
            if _hides(entry, name, listing):
                continue
            if os.path.isdir(path):
                pending.append((path, name))
            elif os.path.isfile(path):
                listing.add(name, Example(path))
            elif path.is_symlink() and path.suffix.lower() in PICTURES:
                listing.refuse(name, "a link that leads nowhere; put the picture itself here")


def _hides(part: str, name: str, listing: Listing) -> bool:
    """Whether this part of a path is hidden. What systems leave behind is not even mentioned."""
    if part.casefold() in _RUBBISH or part.startswith("._"):
        return True
    if part.startswith("."):
        listing.hidden.append(name)
        return True
    return False


def _unzip(path: Path, prefix: str, listing: Listing) -> None:
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
        elif any(_hides(part, name, listing) for part in parts):
            continue
        elif member.flag_bits & 1:
            listing.refuse(name, "locked by a password; pack it without")
        elif member.file_size > max(1 << 20, min(MOST_MEMBER_BYTES, MOST_RATIO * member.compress_size)):
            listing.refuse(name, f"unpacks to {member.file_size >> 20} MiB, as zip bombs do; pack it again")
        else:
            listing.add(name, Example(path, member=member.filename))
