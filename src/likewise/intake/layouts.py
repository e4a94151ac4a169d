"""Layouts: what each file of a source is for, by the names of its folders.

Trainers agree on little: kohya counts repeats in folder names (`10_sks dog`) and has class pictures in `reg/1_dog`, and
people with diffusers have `instance_images/` beside `class_images/`. All are understood as they are, and it is said how.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from likewise.files import encodable
from likewise.intake.listing import CAPTIONS, PICTURES, Listing, counting, fold, some

UNREADABLE = (
    ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpf", ".jpx", ".psd", ".svg", ".ico", ".tga", ".cr2", ".cr3", ".nef", ".arw",
    ".dng", ".raf", ".orf", ".rw2", ".mp4", ".mov", ".webm", ".mkv", ".avi",
)  # fmt: skip
CARD = "card.json"
"""What `likewise examples` writes beside an example's pictures."""
MOST_CARD_BYTES = 1 << 20
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")

_KOHYA = re.compile(r"(\d+)_(.*[^\W\d_].*)")
MOST_REPEATS = 99_999
_CLASS = {"reg", "regs", "regularization", "regularisation", "regularizations", "regularizer"}
_CLASS_FIRST = {"class", "prior"}
_CLASS_REST = {
    "image", "images", "img", "imgs", "picture", "pictures", "pic", "pics", "photo", "photos", "data", "dataset", "dir",
    "folder", "set", "preservation", "generated",
}  # fmt: skip
_MADE = {"log", "logs", "model", "models", "output", "outputs", "sample", "samples"}
"""Folders that training programs write into, beside the one with the pictures."""
_MASK_FOLDERS = {"mask", "masks"}
_MASK = re.compile(r"(.+)[-_ ]mask(?:label)?", re.IGNORECASE)
_HEAD = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|II\*\0|MM\0\*|BM....\0\0\0\0|RIFF....WEBP|....ftypavi[fs]",
    re.DOTALL,
)
"""What the formats that can be decoded begin with."""


def pictures(listing: Listing) -> list[str]:
    """Names of files that may be pictures, in the order people count in."""
    chosen: list[str] = []
    for name in listing.files:
        suffix = posixpath.splitext(name)[1].lower()
        if not encodable(str(listing.files[name].path)):  # run.toml could not say where it is
            listing.refuse(name, "its path has bytes that are no letters; rename it")
        elif suffix in UNREADABLE:
            listing.refuse(name, f"{suffix} cannot be read here; export it as JPEG or PNG")
        elif suffix in PICTURES or (suffix not in (*CAPTIONS, *TABLES) and _looks_like_one(name, listing)):
            chosen.append(name)
    for name in _masks(chosen):
        chosen.remove(name)
        listing.refuse(name, "a mask, which is not learned; a comparison finds the subject by it")
        if partner := next((one for one in chosen if _is_mask_of(name, one)), None):
            listing.masks[partner] = name
    listing.read.update(chosen)
    return sorted(_given(_without_true(chosen, listing), listing), key=counting)


def _without_true(names: Sequence[str], listing: Listing) -> list[str]:
    """`names` without the true pictures of an example, by which a method is scored: its `card.json` lists them."""
    true: set[str] = set()
    for card in [name for name in listing.files if posixpath.basename(name) == CARD]:
        try:
            told = json.loads(listing.head(card, MOST_CARD_BYTES))
            paths = [path for ask in told["prompts"] for path in ask["true"]]
        except (ValueError, LookupError, TypeError):
            continue
        listing.read.add(card)
        true |= {posixpath.join(posixpath.dirname(card), str(path)) for path in paths}
    left = [name for name in names if name in true]
    if left:
        folders = sorted({posixpath.dirname(name) for name in left})
        counted = plural(len(left), "picture")
        listing.note(
            f"{counted} in {some(folders)} not learned: {CARD} says that the example is scored by them"
        )
    return [name for name in names if name not in true]


def _given(names: Sequence[str], listing: Listing) -> list[str]:
    """`names` without what training programs made: samples in `log/` or `model/` while others lie in `10_sks dog/`.

    Such folders are learned like any other where no folder counts repeats.
    """
    if not any(kohya(name, "") and not _class_folder(name) for name in names):
        return list(names)
    made = {
        name: folder
        for name in names
        if not (kohya(name, listing.root) or _class_folder(name))
        for folder in reversed(name.split("/")[:-1])  # the outermost is named
        if folder.casefold() in _MADE
    }
    if made:
        verb = "is" if len(made) == 1 else "are"
        shown = some(sorted(set(made.values())))
        listing.note(
            f"{plural(len(made), 'picture')} in {shown} {verb} not learned, as training programs write there"
        )
    return [name for name in names if name not in made]


def _looks_like_one(name: str, listing: Listing) -> bool:
    """Whether it is a picture by its first bytes. A picture that was given by itself is one in any case."""
    alone = listing.layout == "files" and len(listing.files) == 1
    return (alone and not name.lower().endswith(".zip")) or bool(_HEAD.match(listing.head(name, 32)))


def _masks(names: Sequence[str]) -> list[str]:
    """Pictures that say which part of another counts: `a-masklabel.png`, `a_mask.png` or `masks/a.png` beside `a.jpg`."""
    found = []
    stems = Counter(fold(posixpath.splitext(name)[0]) for name in names)
    last = Counter(posixpath.basename(stem) for stem in stems)
    for name in names:
        folder, stem = posixpath.split(fold(posixpath.splitext(name)[0]))
        marked = _MASK.fullmatch(stem)
        in_folder = posixpath.basename(folder) in _MASK_FOLDERS and last[stem] > 1
        beside = marked is not None and posixpath.join(folder, marked[1]) in stems
        if stem.endswith("-masklabel") or beside or in_folder:
            found.append(name)
    return found


def _is_mask_of(mask: str, picture: str) -> bool:
    """Whether a mask is that of a picture: `a_mask.png` beside `a.jpg`, or `masks/a.png` beside its folder or in it."""
    folder, stem = posixpath.split(fold(posixpath.splitext(mask)[0]))
    place, own = posixpath.split(fold(posixpath.splitext(picture)[0]))
    marked = _MASK.fullmatch(stem)
    beside = marked is not None and (folder, marked[1]) == (place, own)
    return beside or (posixpath.basename(folder) in _MASK_FOLDERS and stem == own)


def split(names: Sequence[str], listing: Listing) -> tuple[list[str], list[str]]:
    """Pictures of the concept, and pictures of its class, by the folders they lie in."""
    of_class = [name for name in names if _class_folder(name)]
    own = [name for name in names if name not in set(of_class)]
    words = {called[1]: name for name in own if (called := kohya(name, listing.root))}
    nouns = {word.partition(" ")[2].casefold() for word in words}
    # `1_dog` beside `10_sks dog`: its words are the noun alone.
    plain = {word for word in words if word.casefold() in nouns}
    if plain and len(words) > len(plain):
        bare = [name for name in own if (called := kohya(name, listing.root)) and called[1] in plain]
        own = [name for name in own if name not in set(bare)]
        of_class = [name for name in names if name not in set(own)]
    return own, of_class


def say_class(names: Iterable[str], listing: Listing) -> None:
    """Note the class pictures, folder by folder."""
    for folder, count in Counter(posixpath.dirname(name) for name in names).items():
        listing.note(
            f"{folder or listing.root}: {plural(count, 'class picture')}, not learned as the concept"
        )


def say_beside(listing: Listing) -> None:
    """Note a folder of class pictures that lies beside the one that was pointed at, and is therefore not read."""
    if listing.place is None:
        return
    try:
        beside = sorted(entry.name for entry in os.scandir(listing.place.parent) if entry.is_dir())
    except OSError:
        return
    found = [name for name in beside if is_class(name) and name != listing.place.name]
    if found:
        listing.note(
            f"{some(found)} beside it not read; --class-pictures, or pointing at the folder of both, uses it"
        )


def plural(count: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _class_folder(name: str) -> bool:
    return any(is_class(folder) for folder in name.split("/")[:-1])


def is_class(folder: str) -> bool:
    """Whether a folder or zip has a name of class pictures: `reg`, `class_images`, `Regularization-Images`."""
    if _KOHYA.fullmatch(folder):  # `10_reg dog` is a concept whose token is reg
        return False
    plain = folder[:-4] if folder.lower().endswith(".zip") else folder
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", plain)]
    if _CLASS & set(words):
        return True
    return (
        bool(words)
        and words[0] in _CLASS_FIRST
        and set(words[1:]) <= _CLASS_REST
        and not re.search(r"\d", plain)
    )


def kohya(name: str, root: str) -> tuple[int, str] | None:
    """Repeats and words of the nearest folder called like `10_sks dog`."""
    for folder in reversed([root, *name.split("/")[:-1]]):
        found = _KOHYA.fullmatch(folder[:-4] if folder.lower().endswith(".zip") else folder)
        if found and _counts(int(found[1])):
            return int(found[1]), " ".join(found[2].split())
    return None


def class_repeats(name: str) -> int:
    """Repeats of a class picture. A count in the name of a folder around the class folder is the concept's."""
    folders = name.split("/")[:-1]
    first = max((n for n, folder in enumerate(folders) if is_class(folder)), default=-1)
    found = kohya("/".join([*folders[first + 1 :], "x"]), "")
    return found[0] if found else 1


def _counts(number: int) -> bool:
    """Whether it is a count of repeats, and not a year (`2024_holiday`) or a date (`20240131_holiday`)."""
    return 1 <= number <= MOST_REPEATS and not 1900 <= number <= 2099


def say_dates(names: Iterable[str], listing: Listing) -> None:
    """Note folders whose number is no count of repeats, although they lie beside some whose number is one."""
    folders = {folder for name in names for folder in name.split("/")[:-1]}
    numbered = [
        f
        for f in sorted(folders, key=counting)
        if (found := _KOHYA.fullmatch(f)) and not _counts(int(found[1]))
    ]
    if numbered and any(kohya(name, "") for name in names):
        number = _KOHYA.fullmatch(numbered[0])
        assert number is not None
        listing.note(f"{some(numbered)}: {number[1]} is read as a name or a date, not as a count of repeats")


def title(listing: Listing) -> str:
    """The source's own name, without a count of repeats."""
    found = _KOHYA.fullmatch(listing.root)
    return found[2] if found and _counts(int(found[1])) else listing.root


def called(words: set[str], listing: Listing) -> tuple[str | None, str | None]:
    """Token and noun, where the folders of a source agree on them."""
    if len(words) > 1:
        shown = some(sorted(words))
        listing.refuse(
            listing.root, f"holds {len(words)} concepts, read as one: {shown}; point at one of them"
        )
    token, _, noun = (next(iter(words)) if len(words) == 1 else "").partition(" ")
    return token or None, noun or None


def say_rest(listing: Listing) -> None:
    """Note every file that nothing has read, in one line."""
    rest = [name for name in listing.files if name not in listing.read]
    captions = [name for name in rest if name.lower().endswith(CAPTIONS)]
    others = [name for name in rest if name not in set(captions)]
    if captions:
        listing.note(f"{plural(len(captions), 'text')} without a picture of the same name: {some(captions)}")
    if others:
        listing.note(f"{plural(len(others), 'other file')} not read: {some(others)}")
    if listing.hidden:
        listing.note(f"hidden, not read: {some(listing.hidden)}")
