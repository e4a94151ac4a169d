"""Answering: which method for what, from evidence that exists, without a run. Each sentence names its source.

Tables are weighed in `weighing`. What a file takes and where it loads comes from what the package knows of its own methods
and layouts. An answer is where to start, never a verdict on somebody's pictures. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from likewise.comparison import evidence
from likewise.comparison.limits import Limits, broken
from likewise.comparison.recommending import Recommendation, recommend
from likewise.comparison.sizes import SHAPES, Shape, file_bytes
from likewise.comparison.standing import Cost, Standing, titled
from likewise.comparison.support import programs
from likewise.comparison.weighing import AXES, Axis, Finding, Weighed, flips, verdict
from likewise.errors import RecipeError
from likewise.wording import listed, size_text, time_text

SUBJECTS = {"object": "an object", "live": "an animal", "person": "a person", "style": "a style"}
TITLES = {
    "dreambooth": "DreamBooth",
    "lora": "LoRA",
    "textual_inversion": "Textual Inversion",
    "hypernetwork": "hypernetwork",
    "aesthetic": "aesthetic embedding",
    "dora": "DoRA",
}
PAIRS = (
    ("dreambooth", "lora"),
    ("dreambooth", "textual_inversion"),
    ("lora", "textual_inversion"),
    ("lora", "dora"),
)
"""What people ask of each other, as far as any table has it. DoRA is not taught here."""
DECIDING = ("dreambooth", "lora", "textual_inversion")
"""Methods that published tables have. Of the others nothing is known that could put them in an order."""
METHODS = (*DECIDING, "hypernetwork", "aesthetic")
COLUMNS = {
    "dino": "DINO",
    "dinov2": "DINOv2",
    "face": "face recogniser",
    "clip_t": "CLIP-T",
    "text_alignment": "text alignment",
    "prompt_following": "GPT-4o",
}
LEAST_TO_COMPARE = 4
_BETTER = {"likeness": "comes closer to the subject", "prompt": "follows prompts better"}
_NOUNS = {"likeness": "likeness", "prompt": "following prompts"}


@dataclass(frozen=True)
class Sentence:
    """What is known, who says so and how strong that is."""

    text: str
    source: str
    strength: str


@dataclass(frozen=True)
class Option:
    """One method: its file, where that loads, which limits it breaks, and what is known of it."""

    method: str
    title: str
    bytes: int | None
    programs: tuple[str, ...]
    broken: tuple[str, ...]
    unknown: tuple[str, ...]
    """What a limit asks for and no table says."""
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Own:
    """What a comparison that this project ran recommends."""

    source: str
    """What was compared, judged by whom, when and where."""
    chosen: str | None
    """The title of what is recommended."""
    described: bool
    """Whether that is the untaught base with a description."""
    recommendation: Recommendation


@dataclass(frozen=True)
class Answer:
    """Where to start for one kind of subject."""

    kind: str
    base: str
    start: str | None
    """The method; None where no method that tables have keeps the limits."""
    options: tuple[Option, ...]
    evidence: tuple[Sentence, ...]
    """What tables say of the methods, in pairs."""
    notes: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    """Name of every table, and where it is found and by what it judges."""
    recorded: tuple[Own, ...]
    """Comparisons of this kind that this project ran, and what each recommends under the same limits."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def answer(kind: str, limits: Limits, *, family: str = "sd", pictures: int | None = None) -> Answer:
    """Which method to start with for `object`, `live`, `person` or `style` on a `family` of `sizes.SHAPES`.

    `pictures` is how many of the subject somebody has. Raises `RecipeError` for another kind or family.
    """
    for name, known in ((kind, list(SUBJECTS)), (family, list(SHAPES))):
        if name not in known:
            raise RecipeError(f"nothing is known of {name!r}", f"choose one of {', '.join(known)}")
    if pictures is not None and pictures < 1:
        raise RecipeError(
            f"{pictures} pictures teach nothing",
            "say how many of the subject you have; 1 is the least, 4 for a comparison",
        )
    shape, weighed = SHAPES[family], Weighed(evidence.sources(), kind)
    options = tuple(_option(method, kind, weighed, shape, limits) for method in METHODS)
    pairs = tuple(sentence for pair in PAIRS for sentence in _pair(weighed, *pair))
    kept = [one for one in evidence.recorded() if one.kind == kind]
    recorded = tuple(_own(one, limits) for one in kept)
    notes, sources = tuple(_number(weighed, pictures)), tuple(map(_source, weighed.every))
    return Answer(kind, shape.title, _start(options, weighed), options, pairs, notes, sources, recorded)


def _source(one: evidence.Source) -> tuple[str, str]:
    return one.name, f"{one.where}; judged by {one.judge}"


def _start(options: Sequence[Option], weighed: Weighed) -> str | None:
    """The smallest file among the methods that keep the limits and that no table puts another above; else of the others."""
    kept = [one for one in options if one.method in DECIDING and not one.broken]
    best = min(kept, key=lambda one: (bool(_above(weighed, one.method)), one.bytes or 0), default=None)
    return best.method if best else None


def _above(weighed: Weighed, method: str) -> list[str]:
    """Methods that the tables put above this one."""
    return [other for other in DECIDING if weighed.beats(other, method)]


def _own(one: evidence.Recorded, limits: Limits) -> Own:
    titles = titled({standing.name: standing.title for standing in one.standings})
    found = recommend(one.standings, one.decisions, limits)
    described = any(s.name == found.choice and s.kind == "description" for s in one.standings)
    return Own(one.source(), titles.get(found.choice or ""), described, found)


def _option(method: str, kind: str, weighed: Weighed, shape: Shape, limits: Limits) -> Option:
    size = file_bytes(method, shape)
    loading = {str(row["name"]): str(row["note"]) or "exact" for row in programs(method)}
    one = Standing(method, TITLES[method], "method", method, cost=Cost(bytes=size), programs=loading)
    said = [*broken(one, replace(limits, most_seconds=None, most_memory=None)), *_slow(method, limits)]
    claims = [
        Sentence(claim.text, claim.source, claim.strength)
        for claim in evidence.claims()
        if claim.method == method and (not claim.kinds or kind in claim.kinds)
    ]
    when = [_when(method, weighed, shape)] if method in DECIDING and not said else []
    unknown = () if said else tuple(_unknown(method, limits))
    return Option(method, TITLES[method], size, tuple(loading), tuple(said), unknown, (*when, *claims))


def _unknown(method: str, limits: Limits) -> Iterator[str]:
    """Limits that nothing published can be held to."""
    if limits.most_seconds is not None and not any(one.method == method for one in evidence.times()):
        yield "no time of its teaching is published"
    if limits.most_memory is not None:
        yield "no published memory is compared here"


def _slow(method: str, limits: Limits) -> Iterator[str]:
    """That every published time of a method is above the limit. Where none is published, nothing is held against it."""
    known = [one for one in evidence.times() if one.method == method]
    if known and limits.most_seconds is not None and min(one.seconds for one in known) > limits.most_seconds:
        told = "; ".join(f"{time_text(one.seconds)} on {one.machine} ({one.source})" for one in known)
        yield f"every published time of its teaching is above {time_text(limits.most_seconds)}: {told}"


def _when(method: str, weighed: Weighed, shape: Shape) -> Sentence:
    """When to take a method that tables have, from what they say and from what its file takes."""
    size, above = size_text(file_bytes(method, shape)), _above(weighed, method)
    level = [one for one in DECIDING if not _above(weighed, one)]
    smallest = min(level, key=lambda one: file_bytes(one, shape) or 0)
    below = [
        f"{TITLES[one]} in {_where(weighed, method, one)}" for one in DECIDING if weighed.beats(method, one)
    ]
    if above:
        others = " and ".join(f"{TITLES[one]} above it in {_where(weighed, one, method)}" for one in above)
        text = f"Take it where the file must be tiny: it has {size}. Tables put {others}."
    elif method == smallest:
        text = (
            f"Take it first: the tables put no method that is taught here clearly above it, and of such methods its file "
            f"is the smallest, {size}."
        )
    else:
        text = (
            f"Take it where {size} for each concept, and memory for all weights, are no burden: the tables put no "
            f"method that is taught here clearly above it, nor it clearly above {TITLES[smallest]}."
        )
    text += f" Tables put it above {' and '.join(below)}." if below else ""
    told = [weighed.found(method, other, axis) for other in DECIDING if other != method for axis in AXES]
    found = [one for findings, _ in told for one in findings]
    carried = all(carried for findings, carried in told if findings)
    return _cited(text, found, SUBJECTS[weighed.kind] if carried else "")


def _where(weighed: Weighed, first: str, second: str) -> str:
    """On which axes the tables put the first above the second."""
    return listed([_NOUNS[axis] for axis in AXES if weighed.verdict(first, second, axis) == "above"])


def _pair(weighed: Weighed, first: str, second: str) -> Iterator[Sentence]:
    """What the tables say of two methods, axis by axis, with every number that says it."""
    told = [(axis, *weighed.found(first, second, axis)) for axis in AXES]
    for axis, found, carried in told:
        if found:
            text = f"{_said(weighed, first, second, axis, found)}: {'; '.join(map(_numbers, found))}."
            yield _cited(text, found, SUBJECTS[weighed.kind] if carried else "")
    if not any(found for _, found, _ in told):
        text = f"No table here has {TITLES[first]} and {TITLES[second]} on one base."
        yield Sentence(
            text, f"the {len(weighed.every)} tables that come with the package", "absence of evidence"
        )


def _said(weighed: Weighed, first: str, second: str, axis: Axis, found: Sequence[Finding]) -> str:
    one, other, said = TITLES[first], TITLES[second], verdict(found, weighed.noise)
    if said in ("above", "below"):
        better, worse = (one, other) if said == "above" else (other, one)
        return f"{better} {_BETTER[axis]} than {worse}"
    if said == "contradicted":
        return f"On {_NOUNS[axis]} of {one} and {other}, the evidence contradicts itself"
    turn = ", and the tables contradict each other on which is above" if flips(found) else ""
    noise = (
        f"no more than one and the same method does between two papers, {weighed.largest_noise(found):.3f}"
    )
    return f"On {_NOUNS[axis]}, {one} and {other} are not told apart{turn}: they differ by {noise}"


def _numbers(found: Finding) -> str:
    run = f", {found.run}" if found.run else ""
    values = f"{_range(found.first)} against {_range(found.second)}"
    return f"{COLUMNS[found.column]} {values} on {found.base} ({found.source.name}{run})"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _cited(text: str, found: Sequence[Finding], missing: str) -> Sentence:
    """With the tables that say it, whether they teach more than once, and the kind of subject that all of them miss."""
    names = sorted({one.source.name for one in found})
    repeated = sorted({one.source.name for one in found if one.source.trainings > 1})
    training = (
        f"several trainings in {', '.join(repeated)} alone" if repeated else "one training of each method"
    )
    kinds = f", none of {missing}" if missing else ""
    return Sentence(text, ", ".join(names), f"{len(names)} table{'s' * (len(names) > 1)}, {training}{kinds}")


def _number(weighed: Weighed, pictures: int | None) -> Iterator[str]:
    """What the number of somebody's pictures means for the tables and for a comparison."""
    if pictures is None:
        return
    if pictures < LEAST_TO_COMPARE:
        yield f"With {pictures} of your own nothing can be held out and compared; {LEAST_TO_COMPARE} are the least."
    known = [(one.name, *one.pictures) for one in weighed.own if one.pictures]
    for within, words in ((True, "as many as"), (False, "another number than")):
        names = [
            f"{name} ({least} to {most})" if least < most else f"{name} ({least})"
            for name, least, most in known
            if (least <= pictures <= most) is within
        ]
        if names:
            yield f"You have {words} the subjects of {', '.join(names)}."
