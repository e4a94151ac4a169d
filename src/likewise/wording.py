"""Wording: how a number is said to people, with few digits, a unit they know and, for a score, its interval.

It also says what pydantic and Typer ask of a value in our own words, and keeps a table's text from being computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

Row = dict[str, Any]

MISSING = "not measured"
FORMULA = r"^'*[=+\-@\t\r]"
"""Text that a spreadsheet program would compute, were it not for the apostrophes before it."""


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


def measured_text(value: Any, low: Any = None, high: Any = None, digits: int = 2) -> str:
    """A value with its interval: 0.62 [0.55, 0.69]."""
    texts = [_signless(number, digits) for number in map(finite, (value, low, high)) if number is not None]
    if finite(value) is None:
        return MISSING
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if len(texts) == 3 else texts[0]


def _signless(value: float, digits: int) -> str:
    """With a true minus, and without one before nothing."""
    text = f"{value:.{digits}f}"
    return minus(text if float(text) else text.removeprefix("-"))


def minus(text: str) -> str:
    """The text with true minus signs before its numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def defused(text: str) -> str:
    """A cell of CSV: text that begins like a formula gets an apostrophe before it."""
    return re.sub(FORMULA, r"'\g<0>", text)


_WISHES = (
    (r"a valid integer.*", "give a whole number"),
    (r"a valid number.*", "give a number"),
    (r"a valid boolean.*", "give true or false"),
    (r"a valid string.*", "give text"),
    (r"a finite number", "give a finite number"),
    (r"greater than or equal to (\S+)", r"give \1 or more"),
    (r"less than or equal to (\S+)", r"give \1 or less"),
    (r"greater than (\S+)", r"give more than \1"),
    (r"less than (\S+)", r"give less than \1"),
    (r"('.*')", r"give \1"),
)


def wish(text: str) -> str:
    """What pydantic, and Typer with it, ask of a value, as we ask: `give 100 or more`. Any other text as it is."""
    for theirs, ours in _WISHES:
        if found := re.fullmatch(f"Input should be {theirs}", text):
            return found.expand(ours)
    return text
