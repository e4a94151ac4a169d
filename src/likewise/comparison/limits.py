"""Limits: what a person can afford and where the file must load, as words and as numbers.

What is not understood is refused, never guessed: a limit that was read wrongly would choose the wrong method. No torch.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from likewise import formats
from likewise.comparison.standing import Standing
from likewise.errors import RecipeError
from likewise.inspection import PROGRAMS
from likewise.wording import size_text, time_text

BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86_400}
ALIASES = {
    "a1111": "AUTOMATIC1111",
    "automatic": "AUTOMATIC1111",
    "webui": "AUTOMATIC1111",
    "comfy": "ComfyUI",
    "kohya": "kohya sd-scripts",
    "sdscripts": "kohya sd-scripts",
}
"""What people call programs besides their names; letters and digits alone, in small letters."""
UNTAUGHT = ("floor", "description")
"""Kinds without a file: nothing has to be taught, kept or loaded."""
_AMOUNT = r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)"


@dataclass(frozen=True)
class Limits:
    """What a recommendation must keep to. None and empty: no limit."""

    most_bytes: int | None = None
    """Size of the file as it is shared."""
    most_seconds: float | None = None
    """Time of teaching. Drawing is not in it; `pictures` weighs that."""
    most_memory: int | None = None
    """Bytes that teaching may hold at once."""
    must_load: tuple[str, ...] = ()
    """Programs that must load the file, as `programs()` spells them."""
    pictures: int = 100
    """How many pictures will be drawn: the N of `costs.total`."""

    @classmethod
    def parse(
        cls,
        *,
        at_most: str | None = None,
        within: str | None = None,
        memory: str | None = None,
        must_load: Iterable[str] = (),
        pictures: int = 100,
    ) -> Self:
        """Limits as people write them: `1MB`, `5min`, `8GB`, `comfyui`. Raises `RecipeError` for what is no such limit."""
        if pictures < 1:
            raise RecipeError(f"{pictures} pictures take no time", "say how many you will draw, such as 100")
        return cls(
            most_bytes=None if at_most is None else int(_amount(at_most, BYTES, "a size", "1MB")),
            most_seconds=None if within is None else _amount(within, SECONDS, "a time", "5min"),
            most_memory=None if memory is None else int(_amount(memory, BYTES, "an amount of memory", "8GB")),
            must_load=tuple(dict.fromkeys(program(name) for name in must_load)),
            pictures=pictures,
        )


def programs() -> list[str]:
    """Every program of which it is known here what it loads."""
    layouts = map(formats.get, formats.names())
    return list(dict.fromkeys([*PROGRAMS, *(name for layout in layouts for name in layout.readers)]))


def program(name: str) -> str:
    """A program as `programs()` spells it; raises `RecipeError` with the nearest for what is not known."""
    known = {_plain(one): one for one in programs()} | ALIASES
    wanted = _plain(name)
    if wanted in known:
        return known[wanted]
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    hint = f"did you mean {known[close[0]]}?" if close else f"known are {', '.join(programs())}"
    raise RecipeError(f"what a program {name!r} loads is not known here", hint)


def broken(standing: Standing, limits: Limits) -> Iterator[str]:
    """Each limit that a condition does not keep, as words about it with the number. What is not known keeps no limit.

    An untaught base keeps all of them: there is nothing to teach, to store or to load. A file of others keeps those of
    teaching.
    """
    if standing.kind in UNTAUGHT:
        return
    cost = standing.cost
    yield from _over("the size of its file is", cost.bytes, limits.most_bytes, size_text, "B")
    if standing.kind != "file":
        yield from _over("the time of its teaching is", cost.seconds, limits.most_seconds, time_text, "s")
        yield from _over("the memory of its teaching is", cost.peak_bytes, limits.most_memory, size_text, "B")
    for name in limits.must_load:
        note = standing.programs.get(name, "refuses it")
        if note.startswith(("refuses", "wrong")):
            yield f"{name} does not load its file" + (f" ({note})" if note.startswith("wrong") else "")


def _over(
    what: str, value: float | None, most: float | None, text: Callable[[float], str], unit: str
) -> Iterator[str]:
    """That a value is above the most that is allowed; to the last digit where the shorter words would be the same."""
    if most is None or (value is not None and value <= most):
        return
    if value is None:
        yield f"{what} not known, and {text(most)} is the limit"
    elif text(value) == text(most):
        yield f"{what} {value:,} {unit}, above {most:,} {unit}"
    else:
        yield f"{what} {text(value)}, above {text(most)}"


def _amount(words: str, units: dict[str, int], what: str, example: str) -> float:
    """`1h30min` in the smallest of the units; raises `RecipeError` for anything but numbers with units, above 0 in sum."""
    found = re.findall(_AMOUNT, words)
    whole = re.fullmatch(rf"\s*(?:{_AMOUNT}\s*)+", words)
    if whole and all(unit.lower() in units for _, unit in found):
        amount = sum(float(number) * units[unit.lower()] for number, unit in found)
        if 0 < amount < math.inf:
            return amount
    hint = f"write a number above 0 and a unit, such as {example}; units are {', '.join(units)}"
    raise RecipeError(f"{words!r} is not {what}", hint)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
