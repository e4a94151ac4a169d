"""Verdict: what verdict.json concludes, as a headline and a few sentences. Nothing is concluded here.

The page and its text in Markdown begin with it. One training of each method is a screen, and is called one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from likewise.comparison.reasons import ENOUGH, beside
from likewise.comparison.verdicts import Pair, sentence
from likewise.reports.folder import AXES, Found
from likewise.wording import listed, measured_text

PRIMARY = "composite"
MOST = 3
"""Pairs that the lead tells; the matrix has all."""
State = Literal["choice", "open", "screen", "none", "waiting"]
_MIRROR = {"better": "worse", "worse": "better"}
_ORDER = {"better": 0, "worse": 0, "same": 1, "undecided": 2}


@dataclass(frozen=True)
class Verdict:
    """What a reader is told first."""

    state: State
    headline: str
    lead: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    next: str | None = None
    """The run that would decide what is open."""
    chosen: str | None = None
    """The condition to take."""


def verdict(found: Found) -> Verdict:
    """The verdict of a comparison, in words that its recommendation and decisions support."""
    told, titles = found.recommendation, found.titles
    if told is None:
        waiting = "Conditions are compared once all of them are drawn and scored."
        if found.book.get("finished"):
            waiting = "Everything is scored, but nothing was concluded from it: likewise recompute does that."
        return Verdict("waiting", "No verdict yet", (waiting,))
    if told.choice is not None:
        headline = f"{titles[told.choice]} is the one to take"
        if found.standings[told.choice].kind == "description":
            sure = any(reason.startswith(ENOUGH) for reason in told.reasons)
            headline = f"A good description {'is' if sure else 'may be'} enough"
        tied = [titles[name] for name in told.tied]
        alike = (beside(tied, found.standings[told.choice].kind),) if tied else ()
        pairs = tuple(sentence(pair, titles) for pair in _about(found, told.choice)[:MOST])
        return Verdict("choice", headline, alike + pairs, told.reasons, told.next, told.choice)
    if found.replicates == 1:
        lead = "Each method was taught once. Taught again, each may do otherwise, so this page shows and does not decide."
        return Verdict("screen", "A screen, not a verdict", (lead,), told.reasons, told.next)
    if told.tied:
        lead = f"{listed([titles[name] for name in told.tied])} cannot be told apart yet."
        alone = (
            "It cannot be told yet whether this is worth taking"
            if len(told.tied) == 1
            else "Too close to call"
        )
        return Verdict("open", alone, (lead,) if len(told.tied) > 1 else (), told.reasons, told.next)
    left = found.decisions.get(PRIMARY)
    headline = "No verdict" if left is None or left.refused else "Nothing here can be taken as it is"
    return Verdict("none", headline, told.reasons[:1], told.reasons[1:], told.next)


def _about(found: Found, name: str) -> list[Pair]:
    """The pairs of the primary axis that one condition is in: what is decided first, then the nearest."""
    decision = found.decisions.get(PRIMARY)
    pairs = [pair for pair in decision.pairs if name in (pair.first, pair.second)] if decision else []
    return sorted(
        pairs, key=lambda pair: (_ORDER[pair.verdict], abs(pair.estimate.value))
    )  # the nearest is the news


def matrices(found: Found) -> Iterator[dict[str, Any]]:
    """For each axis its conditions, the highest mean first, and what each is against each, with the sentences.

    `cells` maps (row, column) to the verdict about the row; `refused` says why there is none.
    """
    titles = found.titles
    for axis, decision in sorted(found.decisions.items(), key=lambda item: [*AXES, item[0]].index(item[0])):
        cells: dict[tuple[str, str], dict[str, Any]] = {}
        for pair in decision.pairs:
            value, low, high = pair.estimate.value, pair.estimate.low, pair.estimate.high
            says = f"{sentence(pair, titles)} {_chance(pair.p)}"
            cells[pair.first, pair.second] = _cell(pair.verdict, value, low, high, says)
            cells[pair.second, pair.first] = _cell(
                _MIRROR.get(pair.verdict, pair.verdict), -value, -high, -low, says
            )
        names = {name for key in cells for name in key}
        yield {
            "axis": axis, "title": AXES.get(axis, axis), "margin": decision.margin, "refused": decision.refused,
            "names": sorted(names, key=lambda name: -found.standings[name].axes[axis].value), "cells": cells,
            "pairs": decision.pairs, "sentences": [f"{sentence(one, titles)} {_chance(one.p)}" for one in decision.pairs],
        }  # fmt: skip


def _cell(verdict: str, value: float, low: float, high: float, says: str) -> dict[str, Any]:
    text = measured_text(value)
    return {
        "verdict": verdict, "value": f"+{text}" if value > 0 and text != "0.00" else text,
        "range": f"{measured_text(low)} to {measured_text(high)}", "says": says,
    }  # fmt: skip


def _chance(p: float) -> str:
    return "p < 0.001." if p < 0.001 else f"p = {p:.2g}."
