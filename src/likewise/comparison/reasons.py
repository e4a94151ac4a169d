"""Reasons: the sentences of a recommendation. Each number in them is one of the case, with its interval and its n.

Nothing is decided here. A sentence that the numbers do not support is not there. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from likewise import methods
from likewise.comparison import costs
from likewise.comparison.case import PRIMARY, WORDS, Case, Gap
from likewise.comparison.limits import UNTAUGHT
from likewise.comparison.standing import Gate, Measured
from likewise.wording import listed, size_text, time_text

SCREEN = "Every method was taught once. That is a screen: taught again, each may do otherwise, so nothing is recommended."
ONCE = "It was taught once, which is a screen and no evidence on how it does when taught again."
NONE_LEFT = "No condition that was compared can be taken: each is excluded."
REPLICATES = (
    "Compare the same conditions with --size standard, which teaches each of them with 3 training seeds."
)
RECOMPUTE = "likewise recompute FOLDER concludes anew from what was measured."
RESCORE = "Score all conditions by one card."
ENOUGH = "The untaught base with a good description is enough"
PERHAPS = "The untaught base with a good description may be enough"
ORDER = "by the size of its file first and by time second"
MANY = 20
"""From so many further training seeds on nobody trains them."""
_EXPECTED = ("fidelity", "prompt", "diversity")


def sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def beside(others: Sequence[str], kind: str) -> str:
    """What a choice of this kind cannot be told from, by titles, and why it is taken all the same."""
    least = (
        ""
        if kind in UNTAUGHT
        else f" Of what is shown better than the untaught base it costs least, {ORDER}."
    )
    return f"It cannot be told from {listed(others)}.{least}"


def gated(gate: Gate) -> str:
    """What a gate that fired means for taking a condition."""
    return sentence(gate.sentence) + (f" Try {gate.remedy.rstrip('.')}." if gate.remedy else "")


def not_above(case: Case, name: str, floor: str) -> str:
    """That a condition is not better than an untaught base."""
    verdict, gap = case.verdict(name, floor), case.gap(name, floor)
    how = "worse than" if verdict == "worse" else "practically the same as"
    return f"It is {how} {case.title(floor)}: {_difference(gap)}."


def choosing(case: Case, choice: str, tied: Sequence[str], left: Sequence[str]) -> tuple[str, ...]:
    """Why this one: its values, what it is better than, what it cannot be told from, and what makes it the cheapest."""
    return tuple(
        [
            *_enough(case, choice, tied),
            *_values(case, choice),
            *_against_floor(case, choice),
            *(_pair(case, choice, other) for other in tied),
            *_cheapest(case, choice, tied),
            *_outside(case, choice, tied, left),
            *_dominated(case, choice, left),
            *_crossings(case, choice, tied),
            *_loading(case, choice),
            *_to_know(case, choice),
        ]
    )


def abstaining(case: Case, group: Sequence[str]) -> tuple[str, ...]:
    """Why none: what cannot be told apart, and which of them is the cheapest."""
    said = [_pair(case, *pair) for pair in combinations(group, 2)]
    for floor in case.floors:
        said += [_pair(case, name, floor) for name in group if case.verdict(name, floor) == "undecided"]
    cheapest = f"The cheapest of them is {case.title(group[0])}: {_price(case, group[0])}."
    return ("The evidence decides nothing between the conditions that can be taken.", *said, cheapest)


def deciding(case: Case, group: Sequence[str]) -> str | None:
    """The run that would decide what is open about the first of a set by the fewest trainings, else about the others.

    None where nothing is open.
    """
    first = [(group[0], other) for other in (*group[1:], *case.floors)]
    for pairs in (first, list(combinations(group[1:], 2))):
        open_ = [(pair, gap) for pair in pairs if (gap := case.gap(*pair)) and gap.verdict == "undecided"]
        if not open_:
            continue
        (one, other), gap = min(open_, key=lambda it: MANY if it[1].more_seeds is None else it[1].more_seeds)
        names = f"{case.title(one)} against {case.title(other)}"
        if gap.more_seeds is None or gap.more_seeds >= MANY:
            return (
                f"More training seeds alone are not expected to settle {names}. "
                "More prompts may: --size thorough, or --prompts with a longer list."
            )
        taught = [case.title(name) for name in (one, other) if case.standings[name].kind not in UNTAUGHT]
        of = "each" if len(taught) == 2 else "".join(taught)
        seeds = f"{gap.more_seeds} more training seed{'s' * (gap.more_seeds != 1)} of {of}"
        return (
            f"Compare {names} with {seeds}, which is expected to settle it; {gap.replicates} were compared."
        )
    return None


def untested(case: Case) -> tuple[str, ...]:
    """What this comparison says nothing of."""
    said = ["One concept, one base and one machine were compared: nothing is said of others."]
    said += ["No untaught base was compared."] * (not case.floors)
    kinds = {one.kind for one in case.standings.values()}
    said += ["No description of the subject was tried on the untaught base."] * ("description" not in kinds)
    missing = sorted(set(methods.names()) - {one.method for one in case.standings.values() if one.method})
    said += [f"Not compared: {', '.join(missing)}."] * bool(missing)
    axes = {axis for one in case.standings.values() for axis in one.axes}
    said += [f"Not measured: {WORDS[axis]}." for axis in _EXPECTED if axis not in axes]
    looked = any(gate.name == "copying" for one in case.standings.values() for gate in one.gates)
    said += ["No picture was looked at for copies of the training pictures."] * (not looked)
    programs = ", ".join(case.limits.must_load)
    said += [f"No file was loaded in {programs}: what loads is told from the layout."] * bool(programs)
    return tuple(said)


def _enough(case: Case, choice: str, tied: Sequence[str]) -> Iterator[str]:
    if case.standings[choice].kind != "description":
        return
    taught = [name for name in tied if case.standings[name].kind not in UNTAUGHT]
    better = [name for name in taught if case.verdict(name, choice) == "better"]
    if better:
        yield f"{ENOUGH}, as what is taught is better by less than the margin of {_margin(case)}."
    elif any(case.verdict(name, choice) == "undecided" for name in taught):
        yield f"{PERHAPS}: it costs nothing, and nothing that was taught and can be taken is shown better yet."
    elif taught:
        yield f"{ENOUGH}: nothing that was taught and can be taken is better."
    else:
        yield f"{ENOUGH}."


def _values(case: Case, name: str) -> Iterator[str]:
    axes = case.standings[name].axes
    for axis in (PRIMARY, *_EXPECTED):
        if axis in axes:
            yield f"The {WORDS[axis]} of {case.title(name)} is {_measured(axes[axis])}."


def _measured(found: Measured) -> str:
    between = (
        f" [{found.low:.2f}, {found.high:.2f}]" if found.low is not None and found.high is not None else ""
    )
    return f"{found.value:.2f}{between} over {_times(found.prompts, found.replicates)} (card {found.card})"


def _times(prompts: int, replicates: int) -> str:
    return f"{prompts} prompt{'s' * (prompts != 1)} and {replicates} replicate{'s' * (replicates != 1)}"


def _difference(gap: Gap | None) -> str:
    if gap is None:
        return "the two were not compared"
    between = f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
    return f"the difference is {between} over {_times(gap.prompts, gap.replicates)}"


def _against_floor(case: Case, name: str) -> Iterator[str]:
    return (_pair(case, name, floor) for floor in case.floors if case.gap(name, floor))


def _pair(case: Case, first: str, second: str) -> str:
    """What the evidence says of two conditions, the first as the subject."""
    verdict, gap = case.verdict(first, second), case.gap(first, second)
    words = {
        "better": "is better than",
        "worse": "is worse than",
        "same": "is practically the same as",
        "undecided": "cannot be told from",
    }[verdict]
    inside = f", all of it inside the margin of {_margin(case)}" if verdict == "same" else ""
    return f"{case.title(first)} {words} {case.title(second)}: {_difference(gap)}{inside}."


def _margin(case: Case) -> str:
    return f"{case.decision.margin:g}" if case.decision else "0"


def _cheapest(case: Case, choice: str, tied: Sequence[str]) -> Iterator[str]:
    if not tied:
        yield f"It costs {_price(case, choice)}."
        return
    others = "; ".join(f"{case.title(name)} {_price(case, name)}" for name in tied)
    order = case.cheapest([choice, *tied])
    rank = f"is the cheapest of these, {ORDER}" if choice == order[0] else "costs"
    yield f"{case.title(choice)} {rank}: {_price(case, choice)}, against {others}."
    for name in order[: order.index(choice)]:
        if not case.above_floor(name):
            yield f"{case.title(name)} costs less and is not shown better than the untaught base."


def _price(case: Case, name: str) -> str:
    """File, and time for the pictures that will be drawn."""
    cost, total, count = case.cost(name), case.total(name), case.limits.pictures
    file = "a file of unknown size" if cost.bytes is None else f"a file of {size_text(cost.bytes)}"
    file = "no file" if case.standings[name].kind in UNTAUGHT else file
    time = "an unknown time" if total is None else time_text(total)
    shared = " (teaching shared with others in one stack)" if cost.shared else ""
    return f"{file} and {time} for {count} picture{'s' * (count != 1)}{shared}"


def _outside(case: Case, choice: str, tied: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    for name in case.ordered(left):
        if name != choice and name not in tied:
            lead = next((one for one in (choice, *tied) if case.verdict(one, name) == "better"), choice)
            yield _pair(case, lead, name)


def _dominated(case: Case, choice: str, left: Sequence[str]) -> Iterator[str]:
    for name in case.ordered(left):
        over = next((other for other in left if case.dominates(other, name)), None)
        if name != choice and over:
            yield (
                f"{case.title(over)} scores no less than {case.title(name)} overall, in likeness and in prompt following, "
                f"and costs no more for {case.limits.pictures} pictures."
            )


def _crossings(case: Case, choice: str, tied: Sequence[str]) -> Iterator[str]:
    for name in tied:
        found = costs.crossing((choice, case.cost(choice)), (name, case.cost(name)))
        if found and found.first > 1:
            before, after = case.title(found.before), case.title(found.after)
            yield f"From {found.first:,} pictures on, {after} takes less time in all than {before}."


def _loading(case: Case, name: str) -> Iterator[str]:
    notes = case.standings[name].programs
    for program in case.limits.must_load:
        note = notes.get(program, "")
        if note and note != "exact":
            yield f"{program} loads its file; to know: {note.removeprefix('exact').lstrip(',; ')}."


def _to_know(case: Case, name: str) -> Iterator[str]:
    """What a gate found that keeps nobody from taking it."""
    for gate in case.standings[name].gates:
        if gate.fired and not gate.excludes:
            yield f"To know of {case.title(name)}: {sentence(gate.sentence)}"
