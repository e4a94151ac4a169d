"""Intake: what was understood of the folder, zip or files somebody pointed at, before anything is taught.

Every layout that trainers use is accepted as it is. A file that cannot be used becomes one line that says why and what to
do, what nothing reads is noted, and the rest go on. Nothing is changed or unpacked. No picture is judged beyond its size.
"""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from likewise.errors import ConceptError
from likewise.intake import captions, layouts
from likewise.intake.listing import PICTURES, USABLE, Listing, Problem, Source, list_files, some
from likewise.intake.sheet import contact_sheet
from likewise.picture import Example, Fingerprint, fingerprint, near_duplicates

__all__ = ["PICTURES", "Intake", "Problem", "Source", "contact_sheet", "read"]

LEAST_SIDE = 32


@dataclass(frozen=True)
class Intake:
    """What a source holds; `names` (unique, inside the source) and `sizes` (upright) go with `examples`."""

    layout: str
    """flat folder, nested folders, kohya, the name of a table such as metadata.jsonl, zip or files."""
    examples: tuple[Example, ...]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    problems: tuple[Problem, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    """Groups of near-duplicates, by name. A mirrored picture is not one."""
    token: str | None = None  # guessed, like the noun, from kohya folder names
    noun: str | None = None
    title: str = ""  # the folder's own name, without suffix or count of repeats
    class_pictures: tuple[Example, ...] = ()
    """Pictures of the class, such as those in `class_images/` or `reg/`; they are not learned as the concept."""
    notes: tuple[str, ...] = ()
    """How the source was understood, and what of it nothing reads: a line each."""

    def table(self) -> list[dict[str, Any]]:
        """A row for each picture, then one for each problem (without a size), for printing."""
        twins = {name: group for group in self.duplicates for name in group}
        rows: list[dict[str, Any]] = []
        for name, example, (width, height) in zip(self.names, self.examples, self.sizes, strict=True):
            others = [other for other in twins.get(name, ()) if other != name]
            note = f"near-duplicate of {some(others)}" if others else ""
            row = {"file": name, "width": width, "height": height, "caption": example.caption}
            rows.append({**row, "repeats": example.repeats, "note": note})
        blank = {"width": None, "height": None, "caption": None, "repeats": None}
        return rows + [{"file": p.file, **blank, "note": p.reason} for p in self.problems]

    def warnings(self) -> list[str]:
        """What is not used or looks wrong, in few lines: equal problems share one, however many files have it."""
        lines = [f"{files}: {reason}" for files, reason in self.grouped()]
        groups = [some(group) for group in self.duplicates]
        rest = f"; {len(groups) - 3} more groups" if len(groups) > 3 else ""
        if groups:
            lines.append(f"near-duplicates: {'; '.join(groups[:3])}{rest}")
        return lines

    def grouped(self) -> list[tuple[str, str]]:
        """Problems as (files, reason), those of one reason together."""
        files: dict[str, list[str]] = {}
        for problem in self.problems:
            files.setdefault(problem.reason, []).append(problem.file)
        return [(some(names), reason) for reason, names in files.items()]

    def renamed(self, token: str, noun: str) -> tuple[Example, ...]:
        """The examples, with the words asked for in place of a kohya folder's, which stand in for a caption."""
        words = " ".join(filter(None, (self.token, self.noun)))
        return tuple(
            replace(example, caption=f"{token} {noun}") if words and example.caption == words else example
            for example in self.examples
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, without absolute paths."""
        head = {"source": self.title, "layout": self.layout, "token": self.token, "noun": self.noun}
        return head | {
            "examples": self.table()[: len(self.examples)],
            "class_pictures": [
                {"file": e.name, "caption": e.caption, "repeats": e.repeats} for e in self.class_pictures
            ],
            "problems": [asdict(problem) for problem in self.problems],
            "duplicates": [list(group) for group in self.duplicates],
            "notes": list(self.notes),
        }


def read(source: Source, class_pictures: Source | None = None) -> Intake:
    """Understand a folder, a zip, a picture or a list of them, and likewise the class pictures where they are named.

    Raises ConceptError if nothing is usable.
    """
    listing = list_files(source)
    names = layouts.pictures(listing)
    own, of_class = layouts.split(names, listing)
    texts = captions.read(names, listing)
    words = {name: layouts.kohya(name, listing.root) for name in own}
    seen = _look(own, listing)
    if not seen:
        if of_class and not own:
            raise _only_class(of_class, listing)
        raise ConceptError(f"no usable picture in {listing.source}: found {_found(listing)}", USABLE)
    examples = []
    for name, look in seen.items():
        repeats, called = words[name] or (1, None)
        mask = listing.files.get(listing.masks.get(name, ""))
        examples.append(replace(look.example, caption=texts.get(name) or called, repeats=repeats, mask=mask))
    token, noun = layouts.called({of_name[1] for name in seen if (of_name := words[name])}, listing)
    if listing.layout == "folder":
        shape = "nested folders" if any("/" in name for name in seen) else "flat folder"
        listing.layout = "kohya" if any(words[name] for name in seen) else shape
    rest = _class_pictures(of_class, listing, texts)
    if class_pictures is not None:
        rest += _named_class_pictures(class_pictures, examples, rest, listing)
    else:
        layouts.say_beside(listing)
    _say_copies(examples, rest, listing)
    layouts.say_dates(names, listing)
    layouts.say_rest(listing)
    return Intake(
        layout=listing.layout,
        examples=tuple(examples),
        names=tuple(seen),
        sizes=tuple(look.size for look in seen.values()),
        problems=tuple(listing.problems),
        duplicates=near_duplicates(list(seen), [look.print for look in seen.values()]),
        token=token,
        noun=noun,
        title=layouts.title(listing),
        class_pictures=tuple(rest),
        notes=tuple(listing.notes),
    )


@dataclass(frozen=True)
class _Look:
    """A picture that can be used, and what it looks like."""

    example: Example
    size: tuple[int, int]
    print: Fingerprint


def _look(names: Iterable[str], listing: Listing) -> dict[str, _Look]:
    """Every picture that can be decoded, by name; the others become problems, and animations a note."""
    seen: dict[str, _Look] = {}
    moving: list[str] = []
    for name in names:
        example = listing.files[name]
        try:
            picture, size, moves = example.look(64)
            if min(size) < LEAST_SIDE:
                hint = f"use one with sides of {LEAST_SIDE} px or more"
                raise ConceptError(f"too small ({size[0]} x {size[1]})", hint)
        except ConceptError as error:
            listing.refuse(name, f"{error.message.removeprefix(f'{example.name}: ')}; {error.hint}")
            continue
        seen[name] = _Look(example, size, fingerprint(picture))
        if moves:
            moving.append(name)
    if moving:
        listing.note(f"only the first frame of {some(moving)} is used")
    return seen


def _class_pictures(names: Sequence[str], listing: Listing, texts: dict[str, str]) -> list[Example]:
    """The usable ones among the class pictures, with their captions and repeats; a folder's words are no caption."""
    found = []
    seen = _look(names, listing)
    for name, look in seen.items():
        repeats = layouts.class_repeats(name)
        found.append(replace(look.example, caption=texts.get(name), repeats=repeats))
    layouts.say_class(seen, listing)
    return found


def _named_class_pictures(
    source: Source, own: Sequence[Example], known: Sequence[Example], listing: Listing
) -> list[Example]:
    """Class pictures from a place of their own, without those of the concept and those that are known already.

    Raises ConceptError where it has none that can be used, or only pictures of the concept.
    """
    other = list_files(source)
    names = layouts.pictures(other)
    places = {name: _place(other.files[name]) for name in names}
    learned, taken = set(map(_place, own)), set(map(_place, known))
    shared = [name for name in names if places[name] in learned]
    texts = captions.read(names, other)
    fresh = [name for name in names if places[name] not in learned | taken]
    found = _class_pictures(fresh, other, texts)
    if not found and not taken & set(places.values()):
        if shared and not fresh:
            hint = "give a folder of other pictures, or leave --class-pictures out"
            raise ConceptError(f"the class pictures in {other.source} are those of the concept", hint)
        raise ConceptError(f"no usable class picture in {other.source}: found {_found(other)}", USABLE)
    if shared:
        verb = "is" if len(shared) == 1 else "are"
        counted = layouts.plural(len(shared), "picture")
        other.note(f"{counted} of the concept {verb} not used as class pictures: {some(shared)}")
    layouts.say_rest(other)
    listing.problems += other.problems
    listing.notes += other.notes
    return found


def _place(example: Example) -> tuple[str, str | None]:
    """Where a picture lies, whatever links lead there."""
    return os.path.realpath(example.path), example.member


def _say_copies(own: Sequence[Example], of_class: Sequence[Example], listing: Listing) -> None:
    """Note class pictures whose bytes are those of a picture of the concept: they teach that the class is the concept."""
    if not of_class:
        return
    learned = {example.digest() for example in own}
    copies = [example.name for example in of_class if example.digest() in learned]
    if copies:
        verb = "is a copy" if len(copies) == 1 else "are copies"
        counted = layouts.plural(len(copies), "class picture")
        listing.note(
            f"{counted} {verb} of the concept's own; leave out what is not of the class at large: {some(copies)}"
        )


def _only_class(names: Sequence[str], listing: Listing) -> ConceptError:
    folder = next(part for name in names for part in name.split("/")[:-1] if layouts.is_class(part))
    hint = f"add the pictures to learn beside {folder}, or point at {folder} itself if it holds them"
    return ConceptError(f"{listing.source} holds class pictures ({folder}) and none of a concept", hint)


def _found(listing: Listing) -> str:
    kinds = Counter(posixpath.splitext(name)[1].lower() or "without suffix" for name in listing.files)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(6)) or "no file at all"
    return "; ".join([counted, *(f"{p.file}: {p.reason}" for p in listing.problems[:3])])
