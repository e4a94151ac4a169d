"""Recommending: which condition to take under a person's limits, in sentences with numbers, or why none can be named.

It reads standings and decisions and measures nothing, so other limits need no training. Statistical verdicts come from
`verdicts`, the sentences from `reasons`. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from likewise.comparison import reasons
from likewise.comparison.case import PRIMARY, WORDS, Case
from likewise.comparison.limits import Limits, broken
from likewise.comparison.standing import Standing

if TYPE_CHECKING:
    from likewise.comparison.verdicts import Decision

__all__ = ["Limits", "Recommendation", "recommend"]

LEAST_REPLICATES = 2
"""One training says what one file is worth, never what a method is."""


@dataclass(frozen=True)
class Recommendation:
    """What to take, or None and what would decide."""

    choice: str | None
    """Name of the condition; None where the evidence or the limits allow none."""
    tied: tuple[str, ...] = ()
    """Conditions that cannot be told from the choice, or from one another where there is none, cheapest first."""
    front: tuple[str, ...] = ()
    """Conditions that no other one equals or beats on every axis, best first."""
    reasons: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    """Name -> why it cannot be taken, or with what only."""
    untested: tuple[str, ...] = ()
    next: str | None = None
    """The run that would decide what is still open."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def recommend(
    standings: Sequence[Standing], decisions: Mapping[str, Decision], limits: Limits | None = None
) -> Recommendation:
    """The cheapest condition that keeps all limits and cannot be told from the best on the primary axis.

    Limits come first, then gates, then evidence: one replicate is a screen, what is not better than the untaught base is no
    recommendation, and a condition that another one equals or beats on every axis is never chosen. Cheapest means the
    smallest file, then the shortest time for `limits.pictures`. Where nothing is decided, not even that something is better
    than the untaught base, the choice is None.
    """
    case = Case(standings, decisions, limits or Limits())
    excluded = {
        one.name: said for one in standings if one.kind != "floor" and (said := _exclusion(case, one))
    }
    left = [one.name for one in standings if one.kind != "floor" and one.name not in excluded]
    common: dict[str, Any] = {"excluded": excluded, "untested": reasons.untested(case)}
    refusal = _refusal(case)
    if refusal:
        said, then = refusal
        if said == reasons.SCREEN:  # which says it of all
            common["excluded"] = {name: why for name, why in excluded.items() if why != reasons.ONCE}
        return Recommendation(None, reasons=(said,), next=then, **common)
    if not left:
        return Recommendation(None, reasons=(reasons.NONE_LEFT,), **common)
    group, front = case.cheapest(_group(case, left)), _front(case, left)
    common["front"] = tuple(front)
    usable = [name for name in group if name in front and case.above_floor(name)]
    if not usable or not (
        case.floors or _decided(case, left)
    ):  # what is shown better than the floor is decided
        why, run = reasons.abstaining(case, group), reasons.deciding(case, group)
        return Recommendation(None, tuple(group), reasons=why, next=run, **common)
    choice, tied = usable[0], tuple(name for name in group if name != usable[0])
    why, run = reasons.choosing(case, choice, tied, left), reasons.deciding(case, [choice, *tied])
    return Recommendation(choice, tied, reasons=why, next=run, **common)


def _exclusion(case: Case, one: Standing) -> str | None:
    """Why a condition cannot be taken as it is; None where it can."""
    limits = list(broken(one, case.limits))
    if limits:
        return reasons.sentence("; ".join(limits))
    fired = [gate for gate in one.gates if gate.fired and gate.excludes]
    if fired:
        return " ".join(map(reasons.gated, fired))
    measured = one.axes.get(PRIMARY)
    if measured is None:
        return f"It has no {WORDS[PRIMARY]}."
    if measured.replicates < LEAST_REPLICATES:
        return reasons.ONCE
    for floor in case.floors:
        if case.verdict(one.name, floor) in ("worse", "same"):
            return reasons.not_above(case, one.name, floor)
    return None


def _refusal(case: Case) -> tuple[str, str] | None:
    """Why this comparison gives no verdict at all, and what would; None where it does."""
    measured = [one.axes[PRIMARY] for one in case.standings.values() if PRIMARY in one.axes]
    if case.decision is None or not measured:
        return f"This comparison decides nothing on the {WORDS[PRIMARY]}.", reasons.RECOMPUTE
    if len({one.card for one in measured}) > 1:
        cards = ", ".join(sorted({one.card for one in measured}))
        return (
            f"The conditions were scored by different cards ({cards}), so they have no order.",
            reasons.RESCORE,
        )
    if case.decision.refused:
        few = max(one.replicates for one in measured) < LEAST_REPLICATES
        return reasons.sentence(case.decision.refused), reasons.REPLICATES if few else reasons.RECOMPUTE
    taught = [one for one in case.standings.values() if one.kind == "method" and PRIMARY in one.axes]
    if taught and max(one.axes[PRIMARY].replicates for one in taught) < LEAST_REPLICATES:
        return reasons.SCREEN, reasons.REPLICATES
    return None


def _group(case: Case, left: Sequence[str]) -> list[str]:
    """The conditions among `left` that are not shown worse than the best of them.

    A description of the subject belongs to them as well where it is worse by less than the margin, as it costs nothing.
    """
    order, best = case.ordered(left), case.decision.best if case.decision else ()
    lead = best[0] if best and best[0] in left else order[0]
    if best and lead == best[0]:
        together = set(best)
    else:  # the best of all cannot be taken, so the set is one around the best of the others
        together = {name for name in order if case.verdict(name, lead) != "worse"}
    words = {name for name in order if case.standings[name].kind == "description"}
    return [
        name
        for name in order
        if name in together | {lead} or (name in words and case.within_margin(name, lead))
    ]


def _front(case: Case, left: Sequence[str]) -> list[str]:
    """Those that no other one dominates, the best first."""
    return [name for name in case.ordered(left) if not any(case.dominates(other, name) for other in left)]


def _decided(case: Case, left: Sequence[str]) -> bool:
    """Whether the evidence tells any two of several conditions apart, or shows that they are the same."""
    pairs = list(combinations(left, 2))
    return not pairs or any(case.verdict(*pair) != "undecided" for pair in pairs)
