"""Folds: which pictures are held out in which rotation. Numbers alone: no picture is opened here, and no torch.

Near-duplicates stay on one side. The held-out parts are disjoint as long as pictures last; then those come again that were
held out longest ago. Everything follows from the order of the groups, so that planning again gives the same folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from likewise.concept import Fold, Groups, choose_held_out, split
from likewise.errors import ConceptError

LEAST = 4
"""Pictures that differ, below which nothing can be compared fairly."""


@dataclass(frozen=True)
class Folds:
    """The rotations of one comparison."""

    verdict: tuple[Fold, ...]
    """What the verdict is from; the first holds out what `Concept.read(..., hold_out=None)` does."""
    tuning: Fold | None = None
    """What settings are chosen on; no verdict reads it."""
    note: str = ""
    """What to know about them, in sentences; empty where nothing is out of the ordinary."""

    def of(self, replicate: int) -> Fold:
        """The fold of a replicate; with more replicates than folds they come round again."""
        return self.verdict[replicate % len(self.verdict)]

    def to_json(self, digests: Sequence[str]) -> dict[str, Any]:
        """What each rotation holds out, by the pictures' digests in reading order."""
        rows: dict[str, Any] = {"verdict": [[digests[i] for i in fold.held_out] for fold in self.verdict]}
        return rows | ({"tuning": [digests[i] for i in self.tuning.held_out]} if self.tuning else {})


def plan_folds(groups: Groups, count: int, *, tuning: bool = False, hold_out: int | None = None) -> Folds:
    """Up to `count` folds for the verdict, and one more for tuning where it is asked for.

    `groups` are those of a concept that was read whole (`Concept.groups`). `hold_out` pictures are kept from training at a
    time; empty for as many as the protocol says. Where pictures give fewer folds than that, the verdict has one at least.
    Raises ConceptError below four pictures that differ, and where `hold_out` cannot be met.
    """
    if len(groups) < LEAST:
        raise ConceptError(
            "no picture is held out, so nothing could be scored fairly",
            f"give at least {LEAST} pictures that differ",
        )
    if count < 1 or hold_out == 0:
        raise ConceptError("a comparison holds out pictures at least once", "ask for one rotation or more")
    found = _rotations(groups, count + tuning, hold_out)
    for_verdict = max(1, min(count, len(found) - tuning))
    verdict, extra = found[:for_verdict], found[for_verdict:]
    folds = Folds(verdict, extra[0] if tuning and extra else None)
    return replace(folds, note=" ".join(_notes(folds, count, tuning)))


def _rotations(groups: Groups, most: int, hold_out: int | None) -> tuple[Fold, ...]:
    """At most so many folds, none with the held-out pictures of another."""
    queue, folds = list(groups), list[Fold]()
    for number in range(most):
        turns = (queue[turn:] + queue[:turn] for turn in range(len(queue)))
        tried = (
            (held, split(groups, held, number)) for held in (choose_held_out(q, hold_out) for q in turns)
        )
        known = {fold.held_out for fold in folds}
        found = next(((held, fold) for held, fold in tried if fold.held_out not in known), None)
        if found is None:
            break
        held, fold = found
        folds.append(fold)
        queue = [one for one in queue if one not in held] + list(held)
    return tuple(folds)


def _notes(folds: Folds, count: int, tuning: bool) -> list[str]:
    verdict, extra = folds.verdict, folds.tuning
    pictures = len(verdict[0].train) + len(verdict[0].held_out)
    held = [place for fold in verdict for place in fold.held_out]
    said = []
    if tuning and not extra:
        said.append(f"{pictures} pictures leave no rotation for tuning.")
    if len(verdict) < count:
        found = "1 rotation" if len(verdict) == 1 else f"{len(verdict)} rotations"
        besides = " besides the one for tuning" if extra else ""
        said.append(f"{pictures} pictures give {found}{besides}, and {count} were asked for.")
    if len(set(held)) < len(held):
        said.append(
            f"{pictures} pictures are too few for {len(verdict)} held-out parts that share none, so some pictures are "
            "held out more than once."
        )
    if extra and set(extra.held_out) & set(held):
        said.append(
            "Some pictures that are held out for tuning are held out for the verdict too. "
            "This leak is mild and the same for every method."
        )
    return said
