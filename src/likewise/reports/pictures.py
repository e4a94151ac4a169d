"""Pictures: which picture of a comparison stands where, by number: prompts, seeds, replicates and steps of training.

It reads galleries and hands files to an album; it draws nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from likewise.comparison.banks import UNNAMED
from likewise.comparison.limits import UNTAUGHT
from likewise.comparison.results import Row
from likewise.errors import RunError
from likewise.reports.album import Album
from likewise.reports.folder import Found, Line

Json = dict[str, Any]
ROLES = {
    "use": ("What decides", "Likeness and prompt following are measured on these."),
    "reconstruct": ("Close to what was taught", "What fails here was taught too little. Not scored."),
    "compose": ("Together with something else", "Whether the concept lets another idea in. Not scored."),
    "unnamed": ("Without the taught word", "What still looks like the concept here is not tied to its word."),
    "class": ("The noun alone", "The concept is not asked for: what changes here is a side effect."),
}
"""Roles of prompts in the order of the page."""
FRAMES = 12
"""Pictures of one training at most."""


class Pictures:
    """The pictures of all conditions. Prompts are in the order of the page; whatever was drawn is shown."""

    def __init__(self, found: Found, album: Album) -> None:
        self.album, self.found = album, found
        self.seeds: list[Any] = list(found.book.get("seeds") or ())
        self.preview: str | None = None
        """The prompt that is drawn while training."""
        trials = {row.trial: self._gallery(row) for line in found.lines for row in line.rows}
        self._drawn = {name: pictures for name, (pictures, _) in trials.items()}
        self._nearest = {name: nearest for name, (_, nearest) in trials.items()}
        self._films = {row.trial: self._film(row) for line in found.lines for row in line.rows}
        self.prompts = self._prompts()
        self._plain = self._without_the_word()
        self.real = [album.add(str(file)) for file in found.book.get("pictures") or ()]

    def _prompts(self) -> list[Json]:
        noun = str(self.found.book.get("noun") or "")
        listed = {
            str(one["id"]): {
                "id": str(one["id"]), "text": str(one["text"]).replace("{}", noun), "role": one.get("role", "use"),
                "stratum": one.get("stratum"),
            }
            for one in self.found.book.get("prompts") or ()
        }  # fmt: skip
        for pictures in self._drawn.values():
            for (name, _), (_, text) in pictures.items():
                role = "unnamed" if name.endswith(UNNAMED) else "use"
                listed.setdefault(name, {"id": name, "text": text, "role": role, "stratum": None})
        places = list(ROLES)
        return sorted(
            listed.values(), key=lambda one: places.index(one["role"]) if one["role"] in places else 9
        )

    def _without_the_word(self) -> dict[tuple[str, int], tuple[int, str]]:
        """What the untaught base drew of the prompts that come without the taught word: it never had the word."""
        rows = [row for line in self.found.lines if line.kind == "floor" for row in line.rows]
        plain = self._drawn.get(rows[0].trial, {}) if rows else {}
        others = {
            key: text
            for drawn in self._drawn.values()
            for key, (_, text) in drawn.items()
            if key[0].endswith(UNNAMED)
        }
        found = {(name, turn): plain.get((name.removesuffix(UNNAMED), turn)) for name, turn in others}
        return {key: one for key, one in found.items() if one is not None and one[1] == others[key]}

    def groups(self) -> Iterator[tuple[tuple[str, str], list[Json]]]:
        """(title, meaning) of a role or a part of it, and its prompts with `at`, their place in the page."""
        groups: dict[tuple[str, Any], list[Json]] = {}
        for at, prompt in enumerate(self.prompts):
            groups.setdefault((prompt["role"], prompt["stratum"]), []).append(prompt | {"at": at})
        told = set()
        for (role, stratum), prompts in groups.items():
            title, meaning = ROLES.get(role, (role.capitalize(), ""))
            yield (f"{title}: {stratum}" if stratum else title, "" if role in told else meaning), prompts
            told.add(role)

    def of(self, line: Line, replicate: int) -> list[int | None]:
        """Numbers by prompt and then by seed."""
        row = line.row(replicate)
        drawn = self._drawn.get(row.trial, {}) if row else {}
        if line.kind in UNTAUGHT:
            drawn = self._plain | drawn
        return [
            drawn.get((prompt["id"], turn), (None, ""))[0]
            for prompt in self.prompts
            for turn in range(len(self.seeds))
        ]

    def nearest(self, line: Line, replicate: int) -> list[int | None]:
        """As `of`, the numbers of the nearest training pictures; empty where they were not looked for."""
        row = line.row(replicate)
        known = self._nearest.get(row.trial, {}) if row else {}
        keys = [(prompt["id"], turn) for prompt in self.prompts for turn in range(len(self.seeds))]
        found = [known.get(key) for key in keys]
        return (
            [self.real[k] if k is not None and k < len(self.real) else None for k in found] if known else []
        )

    def film(self, line: Line, replicate: int) -> list[tuple[int, int]]:
        """(step, number) of the pictures of one training, evenly thinned, with the first and the last."""
        row = line.row(replicate)
        return self._films[row.trial] if row else []

    def _film(self, row: Row) -> list[tuple[int, int]]:
        frames = [(one.get("step"), self.album.add(str(one.get("file")))) for one in row.strip]
        known = [(int(step), number) for step, number in frames if step is not None and number is not None]
        if known and self.preview is None:
            index = self.album.folder / str(row.strip[0].get("file"))
            self.preview = next(
                (str(one.get("prompt")) for one in _rows(index.with_name("gallery.json"))), None
            )
        last = len(known) - 1
        return known if last < FRAMES else [known[round(k * last / (FRAMES - 1))] for k in range(FRAMES)]

    def held_out(self, replicate: int) -> list[int]:
        """Which real pictures were kept back in a replicate."""
        folds = self.found.book.get("folds") or ()
        return list(folds[replicate % len(folds)]["held_out"]) if folds else []

    def _gallery(self, row: Row) -> tuple[dict[tuple[str, int], tuple[int, str]], dict[tuple[str, int], int]]:
        """Pictures of a trial, and the nearest training picture of each, by prompt and turn.

        The turn is the place of its seed, or where it stands among those of its prompt. `nearest` of scores.json has an
        index of comparison.json's pictures for each picture of gallery.json, or null.
        """
        if not row.gallery:
            return {}, {}
        index = self.album.folder / row.gallery / "gallery.json"
        near = _near(self.album.folder / "trials" / row.trial / "scores.json")
        drawn: dict[tuple[str, int], tuple[int, str]] = {}
        nearest: dict[tuple[str, int], int] = {}
        turns: Counter[str] = Counter()
        try:
            for place, one in enumerate(_rows(index)):
                role, seed, number = str(one["role"]), one["seed"], self.album.add(index.parent / one["file"])
                turn = self.seeds.index(seed) if seed in self.seeds else turns[role]
                turns[role] += 1
                self.seeds += [seed] * (turn == len(self.seeds))
                if number is not None:
                    drawn[role, turn] = (number, str(one["prompt"]))
                if place < len(near) and (real := near[place]) is not None:
                    nearest[role, turn] = int(real)
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{index} cannot be read: {error}", "delete the folder to draw it again") from None
        return drawn, nearest


def _rows(path: Any) -> list[Json]:
    """The pictures of a gallery.json; none where it is missing."""
    try:
        found: list[Json] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except OSError:
        return []


def _near(path: Any) -> list[int | None]:
    """`nearest` of a scores.json, where it is there."""
    try:
        found: list[int | None] = json.loads(path.read_text(encoding="utf-8")).get("nearest") or []
        return found
    except (OSError, ValueError):
        return []
