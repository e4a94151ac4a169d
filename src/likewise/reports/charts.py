"""Charts: the drawings of a comparison's page as plain numbers: a plane, intervals, bars, lines.

Nothing here knows of files or markup; `comparison.html.j2` turns what these functions give into SVG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from likewise.comparison import costs
from likewise.comparison.standing import Cost, Measured
from likewise.reports.page import scale
from likewise.wording import Row, time_text

_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
_Place = tuple[str, float, float, float, float]
"""The place of a name: its anchor, that anchor's x and y, and from where to where it reaches."""
_NAMED = 600
"""Pixels of a plane that has room for names; on a narrower one the key below says whose the marks are."""
_MOMENTS = (0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
"""Seconds that an axis of time names."""
_APART = 16
"""Pixels between two names at the end of lines."""


def ends(found: Measured) -> tuple[float | None, float, float | None]:
    """Low, value and high of what was measured."""
    return found.low, found.value, found.high


def span(found: Iterable[Measured], *fixed: float) -> tuple[float, float]:
    """From the least to the greatest value, `fixed` ones among them, with some air. Intervals may reach further."""
    values = [*(one.value for one in found), *fixed]
    air = 0.07 * (max(values) - min(values)) or 0.05
    return min(values) - air, max(values) + air


def plane(points: Sequence[tuple[str, str, Mapping[str, Measured]]], width: int, height: int) -> Row | None:
    """Likeness (up) against prompt following (right) of (name, title, axes), in pixels; None where nothing has both.

    Both axes hold 0 and 1. Intervals are cut at the edge, which `cut` tells.
    """
    both = [one for one in points if "fidelity" in one[2] and "prompt" in one[2]]
    if not both:
        return None
    left, top, right, bottom = 58, 16, width - 16, height - 52
    across = span((axes["prompt"] for _, _, axes in both), 0.0, 1.0)
    up = span((axes["fidelity"] for _, _, axes in both), 0.0, 1.0)
    x, y = _cut(scale(across, left, right), left, right), _cut(scale(up, bottom, top), top, bottom)
    lines = [
        {"text": "real pictures", "y": y(1.0), "name": "top"},
        {"text": "untaught base", "y": y(0.0), "name": "bottom"},
    ]
    drawn = []
    for name, title, axes in both:
        (x0, px, x1), (y0, py, y1) = map(x, ends(axes["prompt"])), map(y, ends(axes["fidelity"]))
        drawn.append({"name": name, "title": title, "x": px, "x0": x0, "x1": x1, "y": py, "y0": y0, "y1": y1})
    named = width >= _NAMED
    _label(drawn, lines, (left, top, right, bottom), named)
    reach = [(axis, ends(axes[axis])) for _, _, axes in both for axis in ("prompt", "fidelity")]
    return {
        "named": named, "width": width, "height": height, "left": left, "top": top, "right": right, "bottom": bottom,
        "xticks": [(x(tick), f"{tick:.4g}") for tick in _ticks(across, max(2, width // 110))],
        "yticks": [(y(tick), f"{tick:.4g}") for tick in _ticks(up, 5)], "base": x(1.0), "lines": lines, "points": drawn,
        "cut": any(_beyond(end, across if axis == "prompt" else up) for axis, three in reach for end in three),
    }  # fmt: skip


def _cut(place: Callable[[float | None], float | None], one: float, other: float) -> Callable[[Any], Any]:
    low, high = min(one, other), max(one, other)

    def cut(value: float | None) -> float | None:
        at = place(value)
        return None if at is None else max(low, min(high, at))

    return cut


def _beyond(value: float | None, limits: tuple[float, float]) -> bool:
    return value is not None and not limits[0] <= value <= limits[1]


def intervals(found: Mapping[str, Measured]) -> Row:
    """One axis of several conditions between floor and ceiling, in % of a drawing: low, at and high, and where 0 and 1 are.

    Intervals are cut at the edge, which `cut` tells.
    """
    limits = span(found.values(), 0.0, 1.0)
    x = _cut(scale(limits, 0, 100), 0, 100)
    rows = {
        name: dict(zip(("low", "at", "high"), map(x, ends(one)), strict=True)) for name, one in found.items()
    }
    cut = any(_beyond(end, limits) for one in found.values() for end in ends(one))
    return {"rows": rows, "zero": x(0.0), "one": x(1.0), "cut": cut}


def bars(values: Mapping[str, float | None], title: str, note: str, write: Callable[[Any], str]) -> Row:
    """One cost of every condition as bars on a logarithmic scale that starts and ends at a power of ten."""
    logs = {name: math.log10(value) if value and value > 0 else None for name, value in values.items()}
    known = [log for log in logs.values() if log is not None] or [0.0]
    low = math.floor(min(known) - 0.2)
    high = max(math.ceil(max(known)), low + 1)
    x = scale((low, high), 0, 100)
    drawn = [{"name": name, "text": write(values[name]), "width": x(log)} for name, log in logs.items()]
    limits = [f"{10.0**end:g} s" if write is time_text else write(10.0**end) for end in (low, high)]
    decades = [x(decade) for decade in range(low, high + 1)]
    return {"title": title, "note": note, "bars": drawn, "ends": limits, "decades": decades}


def totals(known: Mapping[str, Cost], width: int, height: int) -> Row | None:
    """T(N) = training + N pictures as curves on logarithmic scales, in pixels, with a ring where two cross.

    None where no condition has both costs.
    """
    usable = {name: cost for name, cost in known.items() if costs.total(cost, 1)}
    if not usable:
        return None
    first, last = costs.COUNTS[0], costs.COUNTS[-1]
    seconds = [costs.total(cost, count) or 1e-9 for cost in usable.values() for count in (first, last)]
    left, top, right, bottom = 66, 14, width - 172, height - 46
    x = scale((math.log10(first), math.log10(last)), left, right)
    y = scale((math.log10(min(seconds)) - 0.15, math.log10(max(seconds)) + 0.15), bottom, top)
    counts = [10 ** (k / 8) for k in range(round(8 * math.log10(last)) + 1)]
    lines = []
    for name, cost in usable.items():
        points = [(x(math.log10(n)), y(math.log10(_total(cost, n)))) for n in counts]
        lines.append({"name": name, "points": points, "end": points[-1][1]})
    _spread(lines, bottom)
    found = [one for one in costs.crossings(usable) if first < one.pictures < last]
    rings = [
        {"x": x(math.log10(one.pictures)), "y": y(math.log10(_total(usable[one.before], one.pictures)))}
        for one in found
    ]
    return {
        "width": width, "height": height, "left": left, "top": top, "right": right, "bottom": bottom, "lines": lines,
        "rings": rings, "xticks": [(x(math.log10(n)), f"{n:,}") for n in costs.COUNTS],
        "yticks": [(y(math.log10(at)), time_text(at)) for at in _MOMENTS if min(seconds) <= at <= max(seconds)],
    }  # fmt: skip


def _total(cost: Cost, pictures: float) -> float:
    return (cost.seconds or 0.0) + pictures * (cost.sample_seconds or 0.0)


def rounds(tries: Sequence[Sequence[float | None]], width: int, height: int) -> Row | None:
    """What each setting was worth in each round of a search, a line per setting, in pixels; None where nothing was.

    `tries` has a row per setting with its value in every round, None where it was no longer tried.
    """
    values = [value for row in tries for value in row if value is not None]
    if not values:
        return None
    count = max(len(row) for row in tries)
    left, top, right, bottom = 46, 12, width - 14, height - 30
    air = 0.08 * (max(values) - min(values)) or 0.05
    limits = (min(values) - air, max(values) + air)
    x, y = scale((0, max(count - 1, 1)), left, right), scale(limits, bottom, top)
    lines = [[(x(k), y(value)) for k, value in enumerate(row) if value is not None] for row in tries]
    return {
        "width": width, "height": height, "left": left, "right": right, "top": top, "bottom": bottom, "lines": lines,
        "xticks": [x(k) for k in range(count)], "yticks": [(y(tick), f"{tick:.3g}") for tick in _ticks(limits, 4)],
    }  # fmt: skip


def _ticks(limits: tuple[float, float], most: int) -> list[float]:
    """Round numbers within limits, at most `most` steps apart."""
    rough = (limits[1] - limits[0]) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [k * step for k in range(math.ceil(limits[0] / step), math.floor(limits[1] / step) + 1)]


def _spread(lines: list[Row], bottom: float) -> None:
    """Set `name_y` of every line near its `end`, so far apart that names can be read."""
    ordered = sorted(lines, key=lambda line: line["end"])
    for line in ordered:
        line["name_y"] = line["end"] + 4
    for above, below in pairwise(ordered):
        below["name_y"] = max(below["name_y"], above["name_y"] + _APART)
    over = max(0.0, ordered[-1]["name_y"] - bottom)  # what was pushed out below pushes the others back up
    for line in ordered:
        line["name_y"] = round(line["name_y"] - over, 2)


def _label(points: list[Row], lines: list[Row], area: tuple[int, int, int, int], named: bool) -> None:
    """Give every name in the plane the place that covers least of what is drawn; twice, as earlier ones may give way.

    Names have a rim, so crossing a line costs little; another name or a mark must not be covered.
    """
    left, top, right, bottom = area
    frame = [(-999, 0, left, 999), (right, 0, 2999, 999), (0, -99, 2999, top), (0, bottom, 2999, 999)]
    marks = [(p["x"] - 10, p["y"] - 10, p["x"] + 10, p["y"] + 10) for p in points]
    thin = [(p["x0"], p["y"] - 3, p["x1"], p["y"] + 3) for p in points if None not in (p["x0"], p["x1"])]
    thin += [(p["x"] - 3, p["y1"], p["x"] + 3, p["y0"]) for p in points if None not in (p["y0"], p["y1"])]
    thin += [(left, line["y"] - 2, right, line["y"] + 2) for line in lines]
    names: dict[int, _Box] = {}

    def covered(place: _Place, number: int) -> float:
        _, _, y, x0, x1 = place
        box, others = (x0, y - 13, x1, y + 4), [at for other, at in names.items() if other != number]
        return _overlap(box, thin) + 10 * _overlap(box, [*frame, *marks, *others])

    for number, item in 2 * list(enumerate([*lines, *(points if named else [])])):
        place = min(_places(item, left, right), key=lambda place: covered(place, number))
        item["anchor"], item["lx"], item["ly"], x0, x1 = place
        names[number] = (x0 - 8, item["ly"] - 15, x1 + 8, item["ly"] + 6)


def _overlap(box: _Box, others: Iterable[_Box]) -> float:
    """How much area a box shares with others, in all."""
    x0, y0, x1, y1 = box
    return sum(max(0, min(x1, b[2]) - max(x0, b[0])) * max(0, min(y1, b[3]) - max(y0, b[1])) for b in others)


def _places(item: Row, left: int, right: int) -> list[_Place]:
    """Where a name may stand, the best first: beside its mark, above and below, then at the ends of its upright bar."""
    point = "title" in item
    wide = 8 * len(item["title"] if point else item["text"])
    start, end = (item["x"] + 13, item["x"] - 13) if point else (left + 6, right - 6)
    rows = [round(item["y"] + down, 2) for down in ((-9, 17, -26, 34) if point else (-7, 17))]
    sides = [("start", start, start, start + wide), ("end", end, end - wide, end)]
    places = [(anchor, x, y, x0, x1) for y in rows for anchor, x, x0, x1 in sides]
    if point and None not in (item["y0"], item["y1"]):
        x, half = item["x"], wide / 2
        places += [("middle", x, y, x - half, x + half) for y in (item["y1"] - 7, item["y0"] + 17)]
    return places
