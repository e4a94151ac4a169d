"""Tuning: each method at its own best settings, found with the same number of tries on pictures and prompts of their own.

Every method declares the space that is searched (`Method.space`). Eight settings of it, the defaults among them, are taught
for a quarter of their steps, the better four for half, the better two for all (successive halving, Jamieson & Talwalkar
2016, arXiv 1502.07943). Each round is a comparison of its own: on development prompts and on the fold that no verdict uses.
The default is kept unless another is better by more than one standard error of their difference, prompt by prompt, and no
gate (copies, layouts that repeat) keeps it out where it does not keep out the default. What a person has set is left alone.
"""

from __future__ import annotations

import json
import math
import random
import typing
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise import methods
from likewise.comparison import concluding
from likewise.comparison.case import PRIMARY
from likewise.comparison.concluded import read_verdict
from likewise.comparison.concluding import Array
from likewise.comparison.design import Condition
from likewise.comparison.protocol import Protocol
from likewise.comparison.results import Row
from likewise.concept import Fold, slug
from likewise.errors import RecipeError
from likewise.events import Event
from likewise.files import write_text
from likewise.method import Choices
from likewise.recipe import Recipe, TrainingRecipe

if TYPE_CHECKING:
    from likewise.base import Base
    from likewise.metrics.features import Panel

TRIES = 8
"""Settings of each method in the first round."""
ROUNDS = ((TRIES, 4), (TRIES // 2, 2), (TRIES // 4, 1))
"""How many settings a round keeps, and by what its steps are divided."""
SEED = 20


@dataclass(frozen=True)
class Search:
    """On what settings are tried: prompts and held-out pictures that no verdict uses."""

    protocol: Protocol
    fold: Fold


class Stage(typing.Protocol):
    """A comparison, as far as a search knows it."""

    folder: Path
    conditions: Sequence[Condition]
    loaded: Base | None

    def start(self, *, judges: Panel | None = None) -> Iterator[Event]:
        """Do what is pending."""

    def rows(self) -> list[Row]:
        """The rows so far."""

    def staged(self, name: str, conditions: Sequence[Condition], search: Search) -> Stage:
        """A comparison of other conditions on the search's prompts and pictures, in a folder of this one's."""


@dataclass(frozen=True)
class Try:
    """One setting of one method."""

    name: str
    settings: Mapping[str, Any]
    """What differs from the defaults; empty for the defaults."""


@dataclass(frozen=True)
class Scored:
    """What a round measured of its tries on one concept."""

    prompts: Mapping[str, Array]
    """Try -> overall score of each prompt, [prompts]; all have the same prompts. A try that failed is missing."""
    refused: Mapping[str, str]
    """The tries that a gate keeps from being recommended, with what the gate measured."""

    def mean(self, name: str) -> float:
        """Over the prompts; -inf for a try without a result, which is the worst."""
        values = self.prompts.get(name)
        return -math.inf if values is None or not values.size else float(values.mean())


@dataclass(frozen=True)
class Choice:
    """Which try is the best of some, as all searches choose it."""

    best: Try
    """The best that is kept out on no more concepts than the defaults."""
    highest: Try
    """The best of all, kept out or not."""
    gain: float | None
    """By how much the best is better than the defaults, over concepts and prompts; None where one has no score."""
    error: float | None
    """Standard error of the gain; None where a single prompt gives none."""
    better: bool
    """Whether the best is to be taken instead of the defaults."""
    means: tuple[float, ...]
    """Score of each try over the concepts, -inf without one."""
    kept_out: tuple[int, ...]
    """On how many concepts a gate keeps each try out."""


@dataclass(frozen=True)
class Found:
    """What the search of one method ended with."""

    condition: str
    settings: Mapping[str, Any]
    """What differs from the defaults; empty where these are as good, or where nothing could be told."""
    told: bool
    """Whether the defaults or the best had a score."""
    edges: tuple[str, ...]
    """Settings whose best value is the least or the greatest that was tried."""
    tries: int
    seconds: float
    """Seconds of training in all rounds together."""
    gain: float | None = None
    """By how much the best is better than the defaults."""
    error: float | None = None
    """Standard error of `gain`, over prompts."""
    refused: Mapping[str, Any] | None = None
    """The settings that scored highest, where a gate keeps them out."""
    reason: str = ""
    """What that gate measured."""

    def sentence(self, title: str) -> str:
        """What people are told."""
        higher = ""
        if self.refused is not None:
            higher = f" {_listed(self.refused)} scores higher and is left out. {self.reason}"
        if not self.told:
            return f"{title} keeps its defaults: none of {self.tries} settings has a score on the composite axis."
        if not self.settings:
            which = "that may be taken is" if higher else "is"
            return f"{title} keeps its defaults: none of {self.tries} settings {which} better by a standard error.{higher}"
        by = "" if self.gain is None or self.error is None else f", by {self.gain:.2f} ± {self.error:.2f}"
        edge = (
            f" The best {' and '.join(self.edges)} lies at the edge of what was tried." if self.edges else ""
        )
        return f"{title} is best with {_listed(self.settings)} among {self.tries} settings{by}.{edge}{higher}"


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value:g}" for key, value in settings.items())


def search(
    comparison: Stage, plan: Search, judges: Panel | None = None
) -> Generator[Event, None, tuple[list[Condition], list[str]]]:
    """Search for every method that is compared under its own name.

    Returns a condition for each that is better with other settings, and what people are told, a sentence each. Writes
    tuning.json. Each round is a comparison in `tuning/`, so a search goes on where it was stopped.
    """
    plain = {one.name: one for one in comparison.conditions if _searched(one)}
    going = {name: tries(one) for name, one in plain.items()}
    said = [
        f"{plain[n].title} is not tuned: no setting is left to try." for n, t in going.items() if len(t) == 1
    ]
    counts = {name: len(some) for name, some in going.items() if len(some) > 1}
    going = {name: going[name] for name in counts}
    spent = dict.fromkeys(counts, 0.0)
    higher = dict[str, Found]()
    rounds, found = [], list[Found]()
    for number in range(len(ROUNDS) if going else 0):
        stage = _stage(
            comparison, plan, number, [(plain[name], one) for name in going for one in going[name]]
        )
        yield from stage.start(judges=judges)
        comparison.loaded = stage.loaded  # a base that a trial left changed was loaded again
        measured = scored(stage.folder)
        for name, some in going.items():
            spent[name] += _seconds(stage, some)
            now = best(measured, some, plain[name])
            if now.refused is not None:
                higher[name] = now
        rounds.append([_told(measured, one) for some in going.values() for one in some])
        if number + 1 < len(ROUNDS):
            going = {name: survivors(measured, some, ROUNDS[number + 1][0]) for name, some in going.items()}
        else:
            found = [
                replace(_with(best(measured, some, plain[name]), higher.get(name)),
                        tries=counts[name], seconds=round(spent[name], 1))
                for name, some in going.items()
            ]  # fmt: skip
    said += [one.sentence(plain[one.condition].title) for one in found]
    ended = [asdict(one) | {"note": one.sentence(plain[one.condition].title)} for one in found]
    book = {"schema": 1, "rounds": rounds, "found": ended, "notes": said}
    write_text(comparison.folder / "tuning.json", json.dumps(book, indent=1, allow_nan=False))
    return [_tuned(plain[one.condition], one) for one in found if one.settings], said


def _with(found: Found, earlier: Found | None) -> Found:
    """What was found, with what a gate kept out in an earlier round, where it did not keep it out in the last."""
    if earlier is None or found.refused is not None or earlier.refused == found.settings:
        return found
    return replace(found, refused=earlier.refused, reason=earlier.reason)


def _searched(one: Condition) -> bool:
    """Whether it is a method under its own name, and no condition beside it or file of others."""
    return one.taught and one.name == slug(str(one.method))


def _stage(comparison: Stage, plan: Search, number: int, asked: Sequence[tuple[Condition, Try]]) -> Stage:
    """One round as a comparison: the untaught base and every setting that is still tried, taught for a part of its steps."""
    floor = [one for one in comparison.conditions if one.kind == "floor"]
    tried = [condition(plain, one, ROUNDS[number][1]) for plain, one in asked]
    return comparison.staged(f"round-{number + 1}", [*floor, *tried], plan)


def _seconds(stage: Stage, some: Sequence[Try]) -> float:
    names = {one.name for one in some}
    return sum(float(row.cost.get("seconds") or 0.0) for row in stage.rows() if row.condition in names)


def _told(measured: Scored, one: Try) -> dict[str, Any]:
    value = measured.mean(one.name)
    known = value if math.isfinite(value) else None
    return {
        "name": one.name, "settings": dict(one.settings), "value": known,
        "kept_out": measured.refused.get(one.name),
    }  # fmt: skip


def condition(plain: Condition, one: Try, share: int) -> Condition:
    """A try of `plain`, taught for one of `share` parts of its steps."""
    assert plain.recipe is not None
    recipe = plain.recipe.override(one.settings)
    recipe = recipe.override(shortened(recipe, share))
    title = f"{plain.title}, try {one.name.rpartition('-')[2]}"
    return replace(plain, name=one.name, title=title, recipe=recipe, given=dict(one.settings))


def _tuned(plain: Condition, found: Found) -> Condition:
    assert plain.recipe is not None
    recipe, given = plain.recipe.override(found.settings), {**plain.given, **found.settings}
    return replace(
        plain, name=f"{plain.name}-tuned", title=f"{plain.title}, tuned", recipe=recipe, given=given
    )


def tries(plain: Condition) -> list[Try]:
    """The condition as it is, and settings that spread evenly over every axis of the method's space (a Latin hypercube).

    What the condition was given is no axis. Raises `RecipeError` where a factor has no number to act on.
    """
    assert plain.recipe is not None
    recipe, axes = plain.recipe, _axes(plain)
    default = Try(f"{plain.name}-0", {})
    if not axes:
        return [default]
    draw, others = random.Random(f"{SEED}/{plain.method}"), dict[str, dict[str, Any]]()
    for _ in range(TRIES):  # again, as rows may repeat one another or the defaults
        columns = {key: _spread(values, draw) for key, values in axes.items()}
        for values in zip(*columns.values(), strict=True):
            row = {key: v for key, v in zip(columns, values, strict=True) if v != getattr(recipe, key)}
            if row and len(others) < TRIES - 1:
                others.setdefault(json.dumps(row, sort_keys=True), row)
    return [default, *(Try(f"{plain.name}-{number}", row) for number, row in enumerate(others.values(), 1))]


def _axes(plain: Condition) -> dict[str, list[float]]:
    """The values of every setting that is searched, as numbers of the recipe's own kind."""
    return {
        choices.key: _values(choices, plain.recipe)
        for choices in methods.get(str(plain.method)).space
        if plain.recipe is not None and choices.key not in plain.given
    }


def _values(choices: Choices, recipe: Recipe) -> list[float]:
    """The values of one axis as numbers of the recipe's own kind."""
    if not choices.times:
        return list(choices.values)
    own = getattr(recipe, choices.key)
    if isinstance(own, str):
        raise RecipeError(
            f"{choices.key}={own} is a schedule, which a search cannot scale",
            f"give one number for {choices.key}",
        )
    scaled = [own * value for value in choices.values]
    return (
        [max(1, round(value)) for value in scaled]
        if isinstance(own, int)
        else [float(f"{v:.3g}") for v in scaled]
    )


def _spread(values: Sequence[float], draw: random.Random) -> list[float]:
    """`TRIES` values in random order, each as often as any other as far as that goes."""
    column: list[float] = []
    while len(column) < TRIES:
        column += draw.sample(list(values), len(values))
    return column[:TRIES]


def shortened(recipe: Recipe, share: int) -> dict[str, Any]:
    """The settings of one round: training for a part of its steps. What trains nothing stays as it is."""
    if not isinstance(recipe, TrainingRecipe):
        return {}
    return {"steps": max(1, recipe.steps // share)}


def scored(folder: Path) -> Scored:
    """What a finished comparison folder says of its conditions; raises `RunError` where it cannot be read."""
    found = concluding.frame(folder)
    names = [name for name in found.complete if name != found.floor]
    prompts = found.prompts(PRIMARY, names)
    arrays = {name: found.array(PRIMARY, name, prompts) for name in names if prompts}
    refused = {
        one.name: next(gate.sentence for gate in one.gates if gate.fired and gate.excludes)
        for one in read_verdict(folder)[0]
        if any(gate.fired and gate.excludes for gate in one.gates)
    }
    return Scored({name: array.mean(0) for name, array in arrays.items() if array is not None}, refused)


def choose(tries: Sequence[Try], found: Sequence[Scored]) -> Choice:
    """The best of some tries, over what each of some concepts `found`; the defaults must be among the tries.

    All tries are asked the same prompts with the same noise, so the error is that of their differences, prompt by prompt. A
    try that a gate keeps out on more concepts than the defaults is not taken, however well it scores.
    """
    kept_out = np.array([sum(one.name in some.refused for some in found) for one in tries])
    means = np.array([[some.mean(one.name) for some in found] for one in tries]).mean(1)
    default = next(place for place, one in enumerate(tries) if not one.settings)
    allowed = kept_out <= kept_out[default]
    places = np.where(allowed, means, -np.inf).argmax(), means.argmax()
    first, highest = (int(n) if math.isfinite(means[n]) else default for n in places)
    gain = error = None
    better = math.isfinite(means[first]) and not math.isfinite(means[default])
    if math.isfinite(means[first]) and math.isfinite(means[default]):
        gain = float(means[first] - means[default])
        error = _error(tries[first].name, tries[default].name, found)
        better = error is not None and gain > error
    return Choice(
        tries[first], tries[highest], gain, error, better,
        tuple(means.tolist()), tuple(kept_out.tolist()),
    )  # fmt: skip


def _error(one: str, other: str, found: Sequence[Scored]) -> float | None:
    """Standard error of the mean difference of two tries over the prompts of all concepts."""
    apart = [some.prompts[one] - some.prompts[other] for some in found]
    if any(len(values) < 2 for values in apart):
        return None
    return math.sqrt(sum(values.var(ddof=1) / len(values) for values in apart)) / len(apart)


def survivors(measured: Scored, asked: Sequence[Try], count: int) -> list[Try]:
    """The best `count` tries of a round; those that a gate keeps out come after them, and those without a score last.

    The defaults always go on, as they are what the best is compared with.
    """
    default = next(one for one in asked if not one.settings)
    refused: Mapping[str, str] = {} if default.name in measured.refused else measured.refused
    order = sorted(asked, key=lambda one: (_rank(measured, refused, one), -measured.mean(one.name)))
    kept = order[:count]
    return kept if default in kept else [*kept[: count - 1], default]


def _rank(measured: Scored, refused: Mapping[str, str], one: Try) -> int:
    """0 for a try that may win, 1 for one that a gate keeps out, 2 for one that has no score."""
    if not math.isfinite(measured.mean(one.name)):
        return 2
    return int(one.name in refused)


def best(measured: Scored, last: Sequence[Try], plain: Condition) -> Found:
    """The setting of the last round that `choose` takes, else the defaults."""
    choice = choose(last, [measured])
    settings = dict(choice.best.settings) if choice.better else {}
    edges = tuple(
        key
        for key, values in _axes(plain).items()
        if choice.better and settings.get(key, getattr(plain.recipe, key)) in (min(values), max(values))
    )
    told = any(math.isfinite(value) for value in choice.means)
    found = Found(plain.name, settings, told, edges, len(last), 0.0, choice.gain, choice.error)
    if choice.highest == choice.best:
        return found
    reason = measured.refused.get(choice.highest.name, "")
    return replace(found, refused=dict(choice.highest.settings), reason=reason)
