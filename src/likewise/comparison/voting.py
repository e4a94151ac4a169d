"""Voting: a blind ballot over a comparison's pictures, and the file in which votes are kept. No torch.

A pair is two conditions' pictures of one prompt, drawn from the same noise. Sides and order are random, a pair in ten comes
again mirrored, and no name is part of what a voter is shown. What the votes say is told by `votes`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from likewise.comparison.concluded import comparison_file
from likewise.comparison.results import Results, Row
from likewise.errors import RunError
from likewise.files import append_line, expand, write_text
from likewise.gallery import Gallery
from likewise.local.pictures import confined
from likewise.statistics.preference import CHOICES, ENOUGH, Choice

BALLOT, VOTES = "ballot.json", "votes.jsonl"
EVERY = 10
"""One pair in so many is shown again."""


@dataclass(frozen=True)
class Entry:
    """One picture: of which condition and trial, and its file relative to the comparison."""

    condition: str
    trial: str
    file: str


@dataclass(frozen=True)
class Pair:
    """Two conditions' pictures from the same prompt and noise. The id changes when a trial is done anew."""

    id: str
    first: Entry
    second: Entry
    prompt: str
    seed: int


@dataclass(frozen=True)
class Showing:
    """A pair as a voter sees it, the second time mirrored."""

    pair: Pair
    mirrored: bool
    again: bool = False

    @property
    def id(self) -> str:
        """The pair's, marked where it is shown again."""
        return f"{self.pair.id}{'-again' * self.again}"

    @property
    def left(self) -> Entry:
        """The picture on the left."""
        return self.pair.second if self.mirrored else self.pair.first

    @property
    def right(self) -> Entry:
        """The picture on the right."""
        return self.pair.first if self.mirrored else self.pair.second

    def repeated(self) -> Showing:
        """The same pair with its sides exchanged."""
        return Showing(self.pair, not self.mirrored, True)


@dataclass(frozen=True)
class Answer:
    """A line of votes.jsonl: whose it is, which conditions stood where, and what was chosen, at which time (UTC)."""

    voter: str
    """Random; it says nothing of the person."""
    pair: str
    again: bool
    left: str
    right: str
    prompt: str
    choice: Choice
    at: str


def rows(folder: Path, *, anchors: bool) -> list[Row]:
    """The rows that have pictures; with `anchors` also the untaught base's."""
    found = [row for row in Results(folder).rows() if row.status == "done" and row.gallery]
    return [row for row in found if anchors or row.kind not in ("floor", "description")]


def pairs(folder: Path, *, anchors: bool = True) -> list[Pair]:
    """Every pair of pictures that a ballot may show, for the comparison's own prompts.

    Replicates meet their like: the same training seed and fold. What was not taught meets every replicate. Raises `RunError`
    where the folder is no comparison or a gallery lies outside it.
    """
    folder = expand(folder)
    prompts = described(folder)["prompts"]
    there = sorted(
        rows(folder, anchors=anchors), key=lambda row: row.trial
    )  # whatever comes later stands between
    drawn = [(row, dict(_pictures(folder, row, prompts))) for row in there]
    found: list[Pair] = []
    for (first, ours), (second, theirs) in combinations(drawn, 2):
        if first.condition == second.condition or not _alike(first, second):
            continue
        for key in ours.keys() & theirs.keys():
            name = _digest(first.trial, first.digest, second.trial, second.digest, *key)[:20]
            left = Entry(first.condition, first.trial, ours[key])
            right = Entry(second.condition, second.trial, theirs[key])
            found.append(Pair(name, left, right, *key))
    return sorted(found, key=lambda pair: pair.id)


def described(folder: Path) -> dict[str, Any]:
    """What comparison.json says: `noun`, `prompts` (id to text with the noun) and `train`, files of the concept's pictures.

    The prompts are those that ask for the concept and decide: a vote is about the same drawings as a verdict.
    """
    path = comparison_file(folder)
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
        noun = str(book["noun"])
        used = [prompt for prompt in book["prompts"] if prompt.get("role", "use") == "use"]
        prompts = {str(p["id"]): str(p["text"]).replace("{}", noun) for p in used}
        real = book["train"] if book.get("schema", 1) == 1 else book["pictures"]
        return {"noun": noun, "prompts": prompts, "train": [str(file) for file in real]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        hint = "name a folder that `likewise compare` wrote"
        raise RunError(f"{path} cannot be read: {error}", hint) from None


def _pictures(folder: Path, row: Row, prompts: Mapping[str, str]) -> Iterator[tuple[tuple[str, int], str]]:
    """(prompt's id, seed of the noise) and the file of each picture."""
    index = confined(folder, f"{row.gallery}/gallery.json")
    if index is None:
        raise RunError(
            f"{folder} holds no pictures of {row.trial} at {row.gallery}", "start the comparison again"
        )
    for picture in Gallery(index.parent):
        if picture.role in prompts:
            yield (picture.role, picture.seed), f"{row.gallery}/{picture.file}"


def _alike(first: Row, second: Row) -> bool:
    return None in (first.replicate, second.replicate) or first.replicate == second.replicate


def ordered(pairs: Sequence[Pair], seed: int) -> list[Showing]:
    """The showings in the order that `seed` gives: the same for the same pairs.

    Turn by turn, each two conditions come once, so that all of them gain votes alike. Their prompts take turns too, and
    which of them stands left changes from turn to turn.
    """
    groups: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: _drawn(seed, pair.id)):
        groups[pair.first.condition, pair.second.condition].append(pair)
    found: list[tuple[int, int, Showing]] = []
    for names, group in groups.items():
        flip, times, turns = _drawn(seed, *names), Counter[str](), []
        for pair in group:
            turns.append((times[pair.prompt], pair))
            times[pair.prompt] += 1
        for turn, (_, pair) in enumerate(sorted(turns, key=lambda item: item[0])):
            found.append((turn, _drawn(seed, "turn", pair.id), Showing(pair, bool((turn + flip) % 2))))
    fresh = [showing for *_, showing in sorted(found, key=lambda item: item[:2])]
    return _with_repeats(fresh, seed)


def _with_repeats(fresh: Sequence[Showing], seed: int) -> list[Showing]:
    """Show one of every ten again, mirrored, after the ten that follow; never less than five showings later."""
    found: list[Showing] = []
    waiting: list[Showing] = []
    for start in range(0, len(fresh), EVERY):
        some = fresh[start : start + EVERY]
        found += [*some, *waiting]
        chosen = some[_drawn(seed, "again", start) % (EVERY // 2)] if len(some) == EVERY else None
        waiting = [chosen.repeated()] if chosen else []
    return found + waiting


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _drawn(*parts: object) -> int:
    """A number that looks random and follows from the parts alone."""
    return int(_digest(*parts)[:12], 16)


class Ballot:
    """What one voter is shown, and how far they are. Opening it again goes on, from the seed in ballot.json.

    `another` begins a ballot for another person. Raises `RunError` where there are no two conditions to compare.
    """

    def __init__(self, folder: Path, *, anchors: bool = False, another: bool = False) -> None:
        self.folder = expand(folder)
        self.concept = described(self.folder)
        found = pairs(self.folder, anchors=anchors)
        if not found:
            raise RunError(
                f"{self.folder} has no two conditions with pictures of the same prompt and noise",
                "vote when more trials are done; --with-base adds the untaught base",
            )
        answered = read(self.folder)
        self.seed, self.voter = self._opened(another)
        self.showings = {showing.id: showing for showing in ordered(found, self.seed)}
        mine = {f"{one.pair}{'-again' * one.again}" for one in answered if one.voter == self.voter}
        self._answered = mine & self.showings.keys()

    def __len__(self) -> int:
        return len(self.showings)

    @property
    def done(self) -> int:
        """Showings that this voter answered."""
        return len(self._answered)

    def next(self) -> Showing | None:
        """The first that is not answered; None at the end."""
        return next((one for name, one in self.showings.items() if name not in self._answered), None)

    def enough(self) -> bool:
        """Whether every two conditions have the votes, of all voters, before which nothing is said of them."""
        need = {frozenset((one.left.condition, one.right.condition)) for one in self.showings.values()}
        had = Counter(
            frozenset((one.left, one.right))
            for one in read(self.folder)
            if not one.again and one.choice != "both_bad"
        )
        return all(had[pair] >= ENOUGH for pair in need)

    def cast(self, showing: str, choice: Choice) -> None:
        """Keep an answer; a second one to the same showing takes the place of the first when votes are read."""
        seen = self.showings[showing]
        answer = Answer(
            self.voter, seen.pair.id, seen.again, seen.left.condition, seen.right.condition, seen.pair.prompt,
            choice, datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        append_line(self.folder / VOTES, json.dumps(asdict(answer), ensure_ascii=False), flush=True)
        self._answered.add(showing)

    def _opened(self, another: bool) -> tuple[int, str]:
        """Seed and voter of ballot.json, or of a new one."""
        path = self.folder / BALLOT
        try:
            book = None if another else json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            book = None
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read: {error}", _ANEW) from None
        if book is None:
            book = {"schema": 1, "seed": secrets.randbits(48), "voter": secrets.token_hex(8)}
            write_text(path, json.dumps(book) + "\n")
        if not _is_ballot(book):
            raise RunError(f"{path} is no ballot that this likewise knows (schema 1)", _ANEW)
        return book["seed"], book["voter"]


_ANEW = "delete it to begin a ballot anew; the votes stay"


def _is_ballot(book: Any) -> bool:
    kinds = {"schema": int, "seed": int, "voter": str}
    return isinstance(book, dict) and book.get("schema") == 1 and _fits(book, kinds)


def _fits(row: Mapping[str, Any], kinds: Mapping[str, type]) -> bool:
    """Whether a row has exactly these fields, each of its type."""
    return row.keys() == kinds.keys() and all(type(row[key]) is kind for key, kind in kinds.items())


def read(folder: Path) -> list[Answer]:
    """Every answer that counts: the last one of a voter to a showing. A last line cut off by a crash is left out.

    Raises `RunError` for any other line that is no vote.
    """
    path = expand(folder) / VOTES
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "move it away; votes then begin anew") from None
    found: dict[tuple[str, str, bool], Answer] = {}
    for number, line in enumerate(lines, 1):
        answer = _answer(line)
        if answer is not None:
            found[answer.voter, answer.pair, answer.again] = answer
        elif number < len(lines):  # the last one has no line end: nothing, or what a crash cut off
            raise RunError(f"{path}, line {number}, is no vote", "delete that line; the others stay")
    return list(found.values())


_KINDS = {entry.name: bool if entry.name == "again" else str for entry in fields(Answer)}


def _answer(line: str) -> Answer | None:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or not _fits(row, _KINDS):
            return None
        datetime.fromisoformat(row["at"])
    except ValueError:
        return None
    return Answer(**row) if row["choice"] in CHOICES and row["left"] != row["right"] else None
