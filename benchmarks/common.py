"""What every benchmark shares: its arguments, the bundled concept, a table, and a line of JSON with --write.

Nothing here says whether a number is good: absolute times belong to a machine, and only ratios within one run do not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import likewise

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def parser(text: str | None) -> argparse.ArgumentParser:
    """Arguments that every benchmark takes; `text` is its docstring."""
    made = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--smoke", action="store_true", help="a miniature and two steps: does it run?")
    made.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    return made


def parse(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; a smoke run is no result, so the two exclude each other."""
    arguments = made.parse_args()
    if arguments.smoke and arguments.write:
        made.error("--smoke measures nothing that is worth keeping: leave out --write")
    return arguments


def numbers(text: str) -> tuple[int, ...]:
    """`1,2,4` as numbers, for argparse."""
    return tuple(int(part) for part in text.split(","))


def cat() -> Path:
    """The bundled concept's folder."""
    return Path(str(resources.files("likewise") / "pocket" / "concepts" / "cat"))


def there_and_back(cases: Sequence[T], rounds: int) -> Iterator[T]:
    """A B, B A, A B, ...: what drifts meanwhile, such as the machine's heat, then drifts for all alike."""
    for number in range(rounds):
        yield from cases if number % 2 == 0 else reversed(cases)


def machine() -> dict[str, Any]:
    """What the numbers depend on, without names."""
    import torch  # not at the top: `startup` shows how long that takes

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "likewise": likewise.__version__,
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table, which is readable as it is; numbers on the right."""
    titles = list(rows[0])
    cells = [[_cell(row.get(title)) for title in titles] for row in rows]
    widths = [max(len(line[n]) for line in [titles, *cells]) for n in range(len(titles))]
    right = [any(isinstance(row.get(title), int | float) for row in rows) for title in titles]

    def line(texts: Sequence[str]) -> str:
        placed = zip(texts, widths, right, strict=True)
        return "| " + " | ".join(t.rjust(w) if number else t.ljust(w) for t, w, number in placed) + " |"

    rule = ["-" * (width - 1) + (":" if number else "-") for width, number in zip(widths, right, strict=True)]
    return "\n".join([line(titles), line(rule), *map(line, cells)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def finish(name: str, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], *, write: bool) -> None:
    """Print the table and what it was measured on; with `write`, add a dated line to results/NAME.jsonl."""
    here = machine()
    print(f"\n{table(rows)}\n")
    print(", ".join(f"{key} {value}" for key, value in {**settings, **here}.items()))
    if not write:
        return
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    book = {"date": now, "machine": here, "settings": dict(settings), "rows": [dict(row) for row in rows]}
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(book, ensure_ascii=False) + "\n")
