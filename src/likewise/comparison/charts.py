"""The drawings of the page as plain numbers: the plane of two scores, bars of costs, where a score lies.

Nothing here knows of files or markup; `report.html.j2` turns what these functions give into SVG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from likewise.page import scale
from likewise.page.wording import Row, finite, interval, time_text

_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
_Place = tuple[str, float, float, float, float]
"""The place of a name: its anchor, that anchor's x and y, and from where to where it reaches."""
_NAMED = 600
"""Pixels of a plane that has room for names; on a narrower one the key below says whose the marks are."""


def bars(methods: list[Row], key: str, title: str, note: str, write: Callable[[Any], str]) -> Row:
    """One cost of every method as bars on a logarithmic scale that starts and ends at a power of ten."""
    values = [finite(row["cost"].get(key)) for row in methods]
    logs = [math.log10(value) if value and value > 0 else None for value in values]
    known = [log for log in logs if log is not None] or [0.0]
    low = math.floor(min(known) - 0.2)
    x = scale((low, high := max(math.ceil(max(known)), low + 1)), 0, 100)
    trials = zip(methods, values, logs, strict=True)
    bars = [{"row": row, "text": write(value), "width": x(log)} for row, value, log in trials]
    ends = [f"{10.0**end:g} s" if write is time_text else write(10.0**end) for end in (low, high)]
    decades = [x(decade) for decade in range(low, high + 1)]
    return {"title": title, "note": note, "bars": bars, "ends": ends, "decades": decades}


def span(scores: Iterable[Row | None]) -> tuple[float, float] | None:
    """From the least to the greatest of all means and ends of intervals, with some air; None without any."""
    found = (interval(score) for score in scores)
    values = [value for score in found if score[1] is not None for value in score if value is not None]
    if not values:
        return None
    air = 0.08 * (max(values) - min(values)) or 0.05
    return min(values) - air, max(values) + air


def _ticks(span: tuple[float, float], most: int) -> list[float]:
    """Round numbers within a span, at most `most` steps apart."""
    rough = (span[1] - span[0]) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough)
    return [k * step for k in range(math.ceil(span[0] / step), math.floor(span[1] / step) + 1)]


def plane(rows: list[Row], ceilings: Row, width: int, height: int) -> Row | None:
    """Likeness (up) against prompt following (right), in one drawing's pixels; None if no trial has both."""
    axes = ("fidelity", "prompt")
    both = [row for row in rows if all(interval(row["scores"].get(axis))[1] is not None for axis in axes)]
    across = span(row["scores"]["prompt"] for row in both)
    up = span([ceilings.get("fidelity"), *(row["scores"]["fidelity"] for row in both)])
    if not across or not up:
        return None
    left, top, right, bottom = 70, 14, width - 14, height - 52
    x, y = scale(across, left, right), scale(up, bottom, top)
    floor = next((row["scores"]["fidelity"] for row in both if row["kind"] == "floor"), None)
    bounds = (("ceiling: real against real", ceilings.get("fidelity")), ("floor: before any training", floor))
    lines = [
        {"text": text, "low": y(low), "y": y(mean), "high": y(high)}
        for text, (low, mean, high) in ((text, interval(score)) for text, score in bounds)
        if mean is not None
    ]
    points = []
    for row in both:
        x0, px, x1 = map(x, interval(row["scores"]["prompt"]))
        y0, py, y1 = map(y, interval(row["scores"]["fidelity"]))
        points.append({"row": row, "x": px, "x0": x0, "x1": x1, "y": py, "y0": y0, "y1": y1})
    named = width >= _NAMED
    _label(points, lines, (left, top, right, bottom), named)
    return {
        "named": named, "width": width, "height": height, "left": left, "top": top, "right": right, "bottom": bottom,
        "xticks": [(x(tick), f"{tick:.4g}") for tick in _ticks(across, width // 110)],
        "yticks": [(y(tick), f"{tick:.4g}") for tick in _ticks(up, 5)],
        "lines": lines, "points": points, "left_out": [row for row in rows if row not in both],
    }  # fmt: skip


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
    wide = 8 * len(item["row"]["title"] if "row" in item else item["text"])
    start, end = (item["x"] + 13, item["x"] - 13) if "row" in item else (left + 6, right - 6)
    rows = [round(item["y"] + down, 2) for down in ((-9, 17, -26, 34) if "row" in item else (-7, 17))]
    ends = [("start", start, start, start + wide), ("end", end, end - wide, end)]
    places = [(anchor, x, y, x0, x1) for y in rows for anchor, x, x0, x1 in ends]
    if "row" in item and None not in (item["y0"], item["y1"]):
        x, half = item["x"], wide / 2
        places += [("middle", x, y, x - half, x + half) for y in (item["y1"] - 7, item["y0"] + 17)]
    return places
