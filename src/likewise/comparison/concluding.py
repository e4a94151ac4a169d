"""Concluding: what follows from the values of single pictures: standings, verdicts, gates and a recommendation. No torch.

Everything here is worked out from the files of a comparison folder, so that anybody can do it again without the base.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.comparison import costs, gates, support
from likewise.comparison.concluded import verdict_file
from likewise.comparison.recommending import Limits, recommend
from likewise.comparison.results import Results, Row
from likewise.comparison.standing import Cost, Gate, Measured, Standing
from likewise.comparison.verdicts import Decision, decide
from likewise.errors import EvidenceError, RunError
from likewise.files import write_text
from likewise.statistics import crossed

SCHEMA = 2
"""The layout of comparison.json that is read here."""
AXES = ("composite", "fidelity", "prompt")
"""Axes in floor-to-ceiling units, the primary one first."""
SHORTEST = 1 / 3
"""The least part of the mean way from floor to ceiling that the way of one fold is taken for."""
CLEAR = 3.0
"""Standard errors by which the ceiling must be above the floor, or likeness ranks nothing."""

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""Metric -> prompt -> the values of its pictures."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Every value of a comparison, by condition and replicate."""

    rows: Mapping[str, Sequence[Row]]
    """Condition -> its rows that are done, by replicate."""
    values: Mapping[str, Sequence[Values]]
    """Condition -> for each of its replicates what its pictures score against that replicate's held-out pictures."""
    numbers: Mapping[str, Sequence[int]]
    """Condition -> which replicates these are; some may have failed."""
    replicates: int

    def means(self, metric: str, condition: str, prompts: Sequence[str]) -> Array:
        """Mean over pictures, [replicates, prompts]."""
        return np.array([[fmean(one[metric][name]) for name in prompts] for one in self.values[condition]])

    def prompts(self, metric: str, conditions: Sequence[str]) -> list[str]:
        """The prompts for which every replicate of all `conditions` has values, in order."""
        found = [set(one.get(metric, {})) for name in conditions for one in self.values[name]]
        first = self.values[conditions[0]][0].get(metric, {}) if conditions else {}
        return [name for name in first if all(name in own for own in found)]


def conclude(folder: Path) -> dict[str, Any]:
    """Everything that follows from a comparison folder, as verdict.json holds it; `RunError` where it cannot be read."""
    found, rows = frame(folder), Results(folder).rows()
    described = [one for one in found.book["conditions"] if one["name"] in found.scores.rows]
    known = [_standing(one, found) for one in described]
    decisions, told = {axis: found.decide(axis) for axis in AXES}, costs.circumstances(rows)
    return {
        "schema": 1,
        "standings": [one.to_json() for one in known],
        "decisions": {axis: one.to_json() for axis, one in decisions.items()},
        "recommendation": recommend(known, decisions, Limits()).to_json(),
        "scale": found.scale(),
        "notes": [*found.book["notes"], *_left_out(found.book, rows), *told, *found.notes(known)],
    }


def write(folder: Path) -> Path:
    """Write verdict.json."""
    text = json.dumps(conclude(folder), indent=1, ensure_ascii=False, allow_nan=False)
    return write_text(folder / "verdict.json", text)


def differences(folder: Path) -> tuple[list[str], int]:
    """Where verdict.json differs from what follows from the scores now, a line each, and how many values there are."""
    kept = dict(_leaves("", _read(verdict_file(folder))))
    made = dict(_leaves("", json.loads(json.dumps(conclude(folder)))))
    places = dict.fromkeys([*made, *kept])
    return [
        f"{place}: {kept.get(place, 'nothing')} is kept, {made.get(place, 'nothing')} follows"
        for place in places
        if kept.get(place) != made.get(place)
    ], len(places)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every single value under its place, such as `standings[0].axes.fidelity.low`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{place}.{key}".lstrip("."), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(f"{place}[{number}]", inner)
    else:
        yield place, value


def notes(folder: Path) -> tuple[str, ...]:
    """What a reader must know beside the numbers, a sentence each."""
    return tuple(_read(folder / "verdict.json")["notes"])


def frame(folder: Path) -> Frame:
    """The values of a comparison folder and their scale; raises `RunError` where they cannot be read."""
    book = _read(folder / "comparison.json")
    if book.get("schema") != SCHEMA:
        raise RunError(
            f"{folder} holds a comparison of another likewise", "compare again in another folder, with --out"
        )
    return Frame(_scores(folder, book, Results(folder).rows()), _read(folder / "anchors.json"), book)


class Frame:
    """The scale on which conditions are compared: 0 is the untaught base, 1 is real pictures among themselves."""

    def __init__(self, scores: Scores, anchors: Mapping[str, Any], book: Mapping[str, Any]) -> None:
        self.scores, self.anchors, self.book = scores, anchors, book
        self.cards = {metric["name"]: metric["card"] for metric in book["metrics"]}
        names = [name for name, rows in scores.rows.items() if len(scores.values[name]) == scores.replicates]
        self.complete = names
        """The conditions of which every replicate is done."""
        floor = [name for name in names if scores.rows[name][0].kind == "floor"]
        self.floor = floor[0] if floor else None
        self.bottom, self.way, self.clear = self._likeness()
        self.chance, self.follows = self._following()

    def _likeness(self) -> tuple[float, Array, bool]:
        """The mean floor, each replicate's way from floor to ceiling, and whether the mean way is clear of noise.

        Every replicate has its own held-out pictures, and so its own way: some pictures happen to look like what the
        untaught base draws. A way is never taken for less than `SHORTEST` of the mean, or noise would be divided by nothing.
        """
        count = self.scores.replicates
        if self.floor is None or not (prompts := self.scores.prompts("fidelity", [self.floor])):
            return 0.0, np.ones(count), False
        floor = self.scores.means("fidelity", self.floor, prompts)
        ceilings = self.anchors["fidelity"]["ceiling"]
        tops = [ceilings[str(self._fold(number))] for number in range(self.scores.replicates)]
        bottom = float(floor.mean())
        if not all(tops):
            return bottom, np.ones(count), False
        ways = np.array([fmean(top) for top in tops]) - floor.mean(1)
        within = np.array(
            [value - fmean(top) for top in tops for value in top]
        )  # folds may differ in their ceilings
        low, high = _error(floor.mean(0)), _error(within)
        mean = float(ways.mean())
        clear = mean > max(1e-9, CLEAR * float(np.hypot(low or 0.0, high or 0.0)))
        return bottom, np.maximum(ways, SHORTEST * mean), clear

    def _zero(self, condition: str, prompts: Sequence[str]) -> Array:
        """What the untaught base scores with the same prompts against the same held-out pictures, [replicates, 1]."""
        floor = self.scores.means("fidelity", str(self.floor), prompts).mean(1)
        return floor[list(self.scores.numbers[condition]), None]

    def _following(self) -> tuple[float, float]:
        """What chance scores for a prompt, and how far the untaught base is above that."""
        chance = self.anchors["prompt"]["chance"]
        if chance is None or self.floor is None:
            return 0.0, 0.0
        prompts = self.scores.prompts("prompt", [self.floor])
        return chance, float(
            self.scores.means("prompt", self.floor, prompts).mean()
        ) - chance if prompts else 0.0

    def _fold(self, replicate: int) -> int:
        folds = [fold["number"] for fold in self.book["folds"]]
        return int(folds[replicate % len(folds)])

    def array(self, axis: str, condition: str, prompts: Sequence[str]) -> Array | None:
        """[replicates, prompts] of an axis in floor-to-ceiling units; None where the scale is not clear."""
        if axis == "composite":
            like, follow = (self.array(part, condition, prompts) for part in ("fidelity", "prompt"))
            return None if like is None or follow is None else composite(like, follow)
        raw = self.scores.means(axis, condition, prompts)
        if axis == "fidelity":
            if not self.clear:
                return None
            return (raw - self._zero(condition, prompts)) / self.way[
                list(self.scores.numbers[condition]), None
            ]
        return (raw - self.chance) / self.follows if self.follows > 0 else None

    def prompts(self, axis: str, conditions: Sequence[str]) -> list[str]:
        """The prompts that an axis has for all `conditions`."""
        if axis != "composite":
            return self.scores.prompts(axis, conditions)
        both = [self.scores.prompts(part, conditions) for part in ("fidelity", "prompt")]
        return [name for name in both[0] if name in both[1]]

    def decide(self, axis: str) -> Decision:
        """The verdicts of an axis on all conditions of which every replicate is done, the untaught base among them."""
        margin = float(self.book["margin"])
        prompts = self.prompts(axis, self.complete) if self.complete else []
        arrays = {name: self.array(axis, name, prompts) for name in self.complete} if prompts else {}
        known = {name: array for name, array in arrays.items() if array is not None}
        if not known:
            return Decision(axis, margin, (), (), _UNCLEAR[axis])
        return decide(axis, known, margin=margin, alpha=float(self.book["alpha"]))

    def measured(self, axis: str, condition: str) -> Measured | None:
        """One axis of one condition, over the replicates that are done."""
        if not (prompts := self.prompts(axis, [condition])):
            return None
        array = (
            self.array(axis, condition, prompts)
            if axis in AXES
            else self.scores.means(axis, condition, prompts)
        )
        if array is None:
            return None
        cards = [self.cards[part] for part in (("fidelity", "prompt") if axis == "composite" else (axis,))]
        low: float | None = None
        high: float | None = None
        error = _error(array.mean(0))
        with suppress(EvidenceError):  # of one replicate, or one prompt
            found = crossed.mean(array)
            low, high, error = found.low, found.high, found.error
        size = (array.shape[1], array.shape[0])
        return Measured(float(array.mean()), low, high, *size, " + ".join(cards), error)

    def gates(self, condition: str) -> tuple[Gate, ...]:
        """What keeps a condition from being recommended without a word."""
        copied = self._pictures("copying", condition)
        flagged = [value for one in copied for value in one]
        base = [value for one in self._pictures("copying", self.floor) for value in one] if self.floor else []
        likeness = self.scale()["fidelity"]
        return gates.gates(
            gates.Findings(
                round(sum(flagged)) if flagged else None,
                len(flagged),
                len(copied),
                **{
                    name: self.measured(name, condition)
                    for name in ("gap", "leak", "drift", "binding", "layout", "background")
                },
            ),
            gates.Anchors(
                likeness["floor"] if self.clear else None,
                likeness["ceiling"] if self.clear else None,
                len(self.book["pictures"]),
                fmean(base) if base else 0.0,
                self.anchors["drift"]["spread"],
                float(self.book["margin"]),
            ),
        )

    def _pictures(self, metric: str, condition: str) -> list[Sequence[float]]:
        """The values of every single picture, by training and prompt."""
        trainings = self.scores.values.get(condition, ())
        return [values for one in trainings for values in one.get(metric, {}).values()]

    def scale(self) -> dict[str, Any]:
        """The anchors in raw units, for people who want to see them."""
        return {
            "fidelity": {"floor": self.bottom, "ceiling": self.bottom + float(self.way.mean())},
            "prompt": {"chance": self.chance, "base": self.chance + self.follows},
            "clear": self.clear,
        }

    def notes(self, standings: Sequence[Standing]) -> list[str]:
        """What a reader must know of the scale, a sentence each."""
        found = [self.anchors["note"]] if self.anchors.get("note") else []
        if self.floor is not None and not self.clear:
            found.append(_UNCLEAR["fidelity"])
        for one in standings:
            likeness = one.axes.get("fidelity")
            if one.kind == "method" and likeness and likeness.value > 1:
                found.append(
                    f"{one.title} scores above real pictures: a sign of copying, not of being better than real."
                )
        asked = sum(prompt["role"] == "use" for prompt in self.book["prompts"])
        checked = len(self.scores.prompts("prompt", [self.floor])) if self.floor else asked
        if checked < asked:
            judge = self.anchors["judges"]["prompts"]
            found.append(f"{asked - checked} of {asked} prompts name nothing that {judge} can check.")
        return found


def composite(fidelity: Array, prompt: Array) -> Array:
    """The product of two axes [replicates, prompts], linear in both around their means (the delta method).

    DreamBench++ (arXiv 2406.16855) ranks by this product: a method must have both. Its mean is that of the means, so that
    noise of single prompts neither raises nor lowers it, and its spread is what the noise of both makes of it. The root of
    the product, which has the scale of its factors, is left alone: it is infinitely steep at the untaught base.
    """
    like, follow = fidelity.mean(), prompt.mean()
    return like * follow + follow * (fidelity - like) + like * (prompt - follow)


_UNCLEAR = {
    "fidelity": "To this measure the concept looks like any other of its kind, so likeness ranks no method here.",
    "prompt": "The untaught base does not follow these prompts better than chance, so they rank no method here.",
    "composite": "Likeness or prompt following cannot be told from its floor here, so there is no order of methods.",
}


def _standing(described: Mapping[str, Any], scale: Frame) -> Standing:
    name, kind = described["name"], described["kind"]
    axes = {axis: scale.measured(axis, name) for axis in (*AXES, *(m for m in scale.cards if m not in AXES))}
    return Standing.described(
        described,
        axes={axis: found for axis, found in axes.items() if found is not None},
        gates=scale.gates(name) if kind in ("method", "file") else (),
        cost=_cost(scale.scores.rows[name]),
        programs=support.notes(described["method"]),
    )


def _cost(rows: Sequence[Row]) -> Cost:
    """What was measured alone where any trial was alone, else the shares of what was measured together."""
    alone = [row for row in rows if not row.cost.get("shared")] or list(rows)

    def every(key: str, among: Sequence[Row]) -> list[float]:
        return [float(value) for row in among if (value := row.cost.get(key)) is not None]

    def middle(key: str, among: Sequence[Row]) -> float | None:
        return median(values) if (values := every(key, among)) else None

    sizes, peak, drawing = middle("bytes", rows), middle("peak_bytes", alone), every("sample_seconds", rows)
    return Cost(
        None if sizes is None else round(sizes),
        middle("seconds", alone),
        None if peak is None else round(peak),
        min(drawing, default=None),
        all(row.cost.get("shared") for row in rows),
        max(drawing) if len(drawing) > 1 else None,
    )


def _scores(folder: Path, book: Mapping[str, Any], rows: Sequence[Row]) -> Scores:
    """The values of every trial that is done and scored."""
    folds, count = [str(fold["number"]) for fold in book["folds"]], int(book["replicates"])
    found: dict[str, list[Row]] = {}
    values: dict[str, list[Values]] = {}
    order: dict[str, list[int]] = {}
    for row in sorted(rows, key=lambda row: row.replicate or 0):
        if row.status != "done":
            continue
        path = folder / "trials" / row.trial / "scores.json"
        seen, cards = _read(path), {metric["name"]: metric["card"] for metric in book["metrics"]}
        if seen["cards"] != cards or seen["digest"] != row.digest:
            raise RunError(
                f"{path} is of other pictures or other metrics", "start the comparison again to score it"
            )
        own = range(count) if row.replicate is None else [row.replicate]
        found.setdefault(row.condition, []).append(row)
        order.setdefault(row.condition, []).extend(own)
        values.setdefault(row.condition, []).extend(
            {name: metric["pictures"] for name, metric in seen["folds"][folds[number % len(folds)]].items()}
            for number in own
        )
    return Scores(found, values, order, count)


def _left_out(book: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    """A sentence for each condition that is in no verdict, as some of its trials gave no result."""
    for one in book["conditions"]:
        own = [row for row in rows if row.condition == one["name"]]
        wanted = int(book["replicates"]) if one["kind"] == "method" else 1
        missing = wanted - sum(row.status == "done" for row in own)
        if missing and not any(row.status == "skipped" for row in own):
            why = next((row.reason for row in own if row.reason), None) or "the comparison is not finished"
            yield f"{one['title']} is in no verdict, as {missing} of {wanted} trials gave no result: {why.rstrip('.')}."


def _error(values: Array) -> float | None:
    """The standard error of the mean; None where one value alone tells none."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a finite number")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        return found
    except FileNotFoundError:
        raise RunError(f"{path} is missing", "start the comparison again to finish it") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", "start the comparison again to write it") from None
