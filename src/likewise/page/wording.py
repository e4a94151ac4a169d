"""How the page says a number: with few digits, a unit people know and, for a score, its interval."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

Row = dict[str, Any]

MISSING = "not measured"


def finite(value: Any) -> float | None:
    """The number, or None for what is none, or not finite."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _short(value: Any, units: tuple[str, ...]) -> str:
    """Three digits at most and a unit, each a thousand of the one before."""
    size, unit = finite(value), 0
    if size is None:
        return MISSING
    while abs(size) >= 999.5 and unit < len(units) - 1:
        size, unit = size / 1000, unit + 1
    text = f"{size:.0f}" if unit == 0 or abs(size) >= 9.95 else f"{size:.1f}"
    return f"{text.removesuffix('.0')} {units[unit]}".strip()


size_text = partial(_short, units=("B", "kB", "MB", "GB", "TB"))  # 28 MB
count_text = partial(_short, units=("", "k", "M", "B"))  # 797 k


def time_text(value: Any) -> str:
    """Seconds for people: 0.42 s, 41 s, 3 min 20 s, 2 h 5 min."""
    number = finite(value)
    if number is None:
        return MISSING
    if number < 99.5:
        return f"{number:.2g} s" if number < 9.95 else f"{number:.0f} s"
    unit, rest_unit, per = ("h", "min", 60) if number >= 3600 else ("min", "s", 1)
    whole, rest = divmod(round(number / per), 60)
    return f"{whole} {unit} {rest} {rest_unit}" if rest else f"{whole} {unit}"


def score_text(score: Row | None) -> str:
    """A score with its interval: 0.62 [0.55, 0.69]."""
    low, mean, high = interval(score)
    if mean is None:
        return MISSING
    return f"{mean:.2f}" if low is None or high is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def interval(score: Row | None) -> tuple[float | None, float | None, float | None]:
    """Low, mean and high of a score, each None where it is not known."""
    low, mean, high = (finite((score or {}).get(key)) for key in ("low", "mean", "high"))
    return low, mean, high
