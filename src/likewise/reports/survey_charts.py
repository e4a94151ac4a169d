"""Survey charts: the drawings of the survey's page as plain numbers; `survey.html.j2` turns them into SVG.

Scales are logarithmic wherever downloads are: tails are heavy. Nothing here knows of files or of statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from likewise.reports.page import scale
from likewise.survey.statistics.summary import BINS_PER_DECADE

Row = dict[str, Any]

_LEAST = 5
"""Models that a point of the cohort drawing must stand for."""
_APART = 15  # between two names, in the drawing's pixels


def histograms(counts: Mapping[str, Mapping[int, int]], methods: Sequence[str]) -> list[Row]:
    """For each method bars (left, width, height in % of a common drawing) and the decades below them."""
    shown = [name for name in methods if counts.get(name)]
    last = max((max(counts[name]) for name in shown), default=0)
    decades = range(last // BINS_PER_DECADE + 2)
    width = 100 / ((len(decades) - 1) * BINS_PER_DECADE)
    drawings = []
    for name in shown:
        most, total = max(counts[name].values()), sum(counts[name].values())
        bars = [
            {"x": round(k * width, 2), "width": round(width * 0.86, 2), "height": round(100 * n / most, 2)}
            for k, n in sorted(counts[name].items())
        ]
        ticks = [(round(100 * k / (len(decades) - 1), 2), power_text(10.0**k)) for k in decades]
        drawings.append({"method": name, "bars": bars, "ticks": ticks, "models": total})
    return drawings


def slopes(
    columns: Sequence[str], values: Mapping[str, Sequence[float | None]], logarithmic: bool
) -> Row | None:
    """Methods as lines over `columns`, in a drawing of 420 x 260; None where fewer than two have a value."""
    change: Callable[[float], float] = math.log10 if logarithmic else float
    usable = {
        name: [None if v is None or (logarithmic and v <= 0) else change(v) for v in row]
        for name, row in values.items()
    }
    known = [v for row in usable.values() for v in row if v is not None]
    if sum(any(v is not None for v in row) for row in usable.values()) < 2:
        return None
    air = 0.06 * (max(known) - min(known)) or 0.5
    y = scale((min(known) - air, max(known) + air), 222, 14)
    xs = [round(46 + 210 * k / max(len(columns) - 1, 1), 1) for k in range(len(columns))]
    lines = []
    for name, row in usable.items():
        points = [(x, y(v)) for x, v in zip(xs, row, strict=True) if v is not None]
        if points:
            lines.append({"method": name, "points": points, "end": points[-1][1]})
    _spread(lines, 250)
    return {"columns": list(zip(xs, columns, strict=True)), "lines": lines, "right": xs[-1]}


def cohorts(rows: Sequence[Row], methods: Sequence[str], most: int = 4) -> list[Row]:
    """The median by quarter of publication, a drawing of 420 x 240 for each of the `most` commonest base models."""
    rows = [row for row in rows if row["models"] >= _LEAST and row["method"] in methods]
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["base"]] = sizes.get(row["base"], 0) + row["models"]
    bases = [base for base in sorted(sizes, key=lambda name: -sizes[name]) if base != "others"][:most]
    rows = [row for row in rows if row["base"] in bases]
    if not rows:
        return []
    days = {row["quarter"]: date.fromisoformat(row["quarter"]).toordinal() for row in rows}
    x = scale((min(days.values()), max(max(days.values()), min(days.values()) + 1)), 46, 402)
    top = max(1, math.ceil(math.log10(1 + max(row["median"] for row in rows))))
    y = scale((0, top), 200, 12)
    years = sorted({int(quarter[:4]) for quarter in days})
    ticks = [(x(date(year, 1, 1).toordinal()), str(year)) for year in years]
    drawings = []
    for base in bases:
        lines = []
        for name in methods:
            mine = [row for row in rows if row["base"] == base and row["method"] == name]
            points = [(x(days[row["quarter"]]), y(math.log10(1 + row["median"]))) for row in mine]
            if points:
                lines.append({"method": name, "points": points})
        drawings.append({
            "base": base, "lines": lines, "models": sizes[base],
            "xticks": [(at, text) for at, text in ticks if at is not None and at >= 46],
            "yticks": [(y(k), power_text(10.0**k)) for k in range(top + 1)],
        })  # fmt: skip
    return drawings


def cloud(table: Sequence[Row], points: Mapping[str, Sequence[tuple[float, int]]]) -> Row | None:
    """Size (right) against downloads (up), in a drawing of 760 x 430: some models, and quartiles of each method."""
    rows = [row for row in table if row["compared"] and points.get(row["method"])]
    if not rows:
        return None
    sizes = [math.log10(size) for row in rows for size, _ in points[row["method"]]]
    tops = [math.log10(1 + count) for row in rows for _, count in points[row["method"]]]
    ends = math.floor(min(sizes)), math.ceil(max(sizes) + 1e-9)
    high = max(1, math.ceil(max(tops)))
    x, y = scale(ends, 60, 744), scale((0, high), 380, 14)
    groups = []
    for row in rows:
        dots = [(x(math.log10(size)), y(math.log10(1 + n))) for size, n in points[row["method"]]]
        across = [x(math.log10(row["size_kb"][key])) for key in ("q25", "median", "q75")]
        up = [y(math.log10(1 + row["downloads"][key])) for key in ("q25", "median", "q75")]
        groups.append({"method": row["method"], "dots": dots, "x": across, "y": up, "end": up[1]})
    _spread(groups, 372)
    return {
        "groups": groups,
        "xticks": [(x(k), size_tick(10.0**k)) for k in range(ends[0], ends[1] + 1)],
        "yticks": [(y(k), power_text(10.0**k)) for k in range(high + 1)],
    }


def shares(rows: Sequence[Row]) -> Row | None:
    """Shares with their intervals as bars in % of the drawing, up to the next tenth above the highest."""
    if not rows:
        return None
    top = max(0.1, math.ceil(10 * max(row["high"] for row in rows)) / 10)
    up, step = scale((0, top), 0, 100), 100 / len(rows)
    bars = [
        {"x": round(k * step, 2), "width": round(0.8 * step, 2), "y": up(row["share"]), "low": up(row["low"]),
         "high": up(row["high"]), "row": row}
        for k, row in enumerate(rows)
    ]  # fmt: skip
    return {"bars": bars, "top": top}


def _spread(items: list[Row], bottom: float) -> None:
    """Set `name_y` of every item near its `end`, so far apart that names can be read."""
    ordered = sorted(items, key=lambda item: item["end"])
    for k, item in enumerate(ordered):
        item["name_y"] = max(item["end"] + 4, ordered[k - 1]["name_y"] + _APART if k else -math.inf)
    over = max(0.0, ordered[-1]["name_y"] - bottom) if ordered else 0.0
    for item in reversed(ordered):  # what was pushed out below pushes the others back up
        if over > 0:
            item["name_y"] = round(item["name_y"] - over, 2)


def power_text(value: float) -> str:
    """1, 10, 100, 1 k, 10 k, 1 M: a power of ten."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:.0f}{name}"
    return f"{value:.0f}"


def size_tick(kilobytes: float) -> str:
    """1 kB, 10 MB, 1 GB: a power of ten of kilobytes."""
    for unit, name in ((1e6, "GB"), (1e3, "MB")):
        if kilobytes >= unit:
            return f"{kilobytes / unit:.0f} {name}"
    return f"{kilobytes:g} kB"
