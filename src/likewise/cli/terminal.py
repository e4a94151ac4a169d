"""Terminal: how things look when printed. Results go to stdout, what is said along the way to stderr.

Control codes in a name or a text are spelled out here, so that no file can write to the screen as it likes. Nothing here
knows what is printed. rich is imported where it is used: `likewise --help` must not wait for it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from likewise.files import printable

_COLOURS = {"error": "31", "warning": "33", "hint": "36", "ok": "32", "warn": "33", "bad": "31"}
PIPED_WIDTH = 4000
"""A table that goes into a file or another program is not wrapped."""


def fancy() -> bool:
    """Whether stderr may have bars and colours."""
    quiet = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not quiet


def say(text: str, label: str = "") -> None:
    """One line on stderr, with a coloured label such as `warning` in front."""
    text = _safe(text)
    print(f"{_painted(label, fancy())}: {text}" if label else text, file=sys.stderr, flush=True)


def result(text: object, state: str | None = None) -> None:
    """One line on stdout, with a `state` (ok, warn or bad) in front where there is one."""
    print((f"{mark(state)}  " if state else "") + _safe(str(text)), flush=True)


def _safe(text: str) -> str:
    """`text` without control codes; a line end is meant wherever it is ours, as names have theirs spelled out before."""
    return "\n".join(map(printable, text.split("\n")))


def result_json(data: Any) -> None:
    """`data` on stdout, in ASCII, so that no console's encoding can break it."""
    print(json.dumps(data, indent=2, default=str), flush=True)


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[object]],
    right: Collection[str] = (),
    *,
    aside: bool = False,
) -> None:
    """Rows under titles on stdout, or `aside` on stderr; where columns find no room, each row as a block."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = sys.stderr if aside else sys.stdout
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    cells = [[_cell(value) for value in row] for row in rows]
    least = [_longest_word(column) for column in zip(titles, *cells, strict=True)]
    for title, width in zip(titles, least, strict=True):
        side: Literal["left", "right"] = "right" if title in right else "left"
        grid.add_column(title, justify=side, overflow="fold", min_width=width)
    for row in cells:  # as Text, because a name like [red] must stay what it is
        grid.add_row(*map(Text, row))
    if sum(least) + 2 * len(least) > console.width:
        lines = _blocks(titles, cells)
    else:
        with console.capture() as capture:
            console.print(grid)
        lines = capture.get().splitlines()
    for line in lines:
        print(line.rstrip(), file=stream)


def _longest_word(column: Sequence[str]) -> int:
    """The width below which words are cut into pieces; file names may be, beyond 24 letters."""
    return min(24, max((len(word) for text in column for word in text.split()), default=1))


def _cell(value: object) -> str:
    text = "" if value is None else "yes" if value is True else "no" if value is False else str(value)
    return printable(text)


def _blocks(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines += [f"{title}: {value}" for title, value in zip(titles, row, strict=True) if value] + [""]
    return lines[:-1]


def paragraph(text: str, indent: str = "", *, bullet: str = "") -> None:
    """Text on stdout, filled to the terminal's width but never wider than is good to read, with a bullet if one is given."""
    import shutil
    import textwrap

    width = max(24, min(shutil.get_terminal_size((100, 24)).columns, 100))
    hanging = indent + " " * len(bullet)
    for part in text.split("\n"):
        lines = textwrap.wrap(
            part, width, initial_indent=indent + bullet, subsequent_indent=hanging, break_on_hyphens=False
        )
        result("\n".join(lines))


def mark(state: str) -> str:
    """`ok`, `warn` or `bad`, four characters wide, coloured where stdout is a terminal."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return _painted(state, colour) + " " * (4 - len(state))


def _painted(label: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[label]}m{label}\x1b[0m" if colour and label in _COLOURS else label


def short(path: str | Path) -> str:
    """A path as one would type it from here; the home folder as ~."""
    path = Path(path)
    for root, sign in ((Path.cwd(), ""), (Path.home(), "~")):
        if path.is_absolute() and root != Path(root.anchor) and path.is_relative_to(root):
            return os.path.join(sign, path.relative_to(root)) or "."
    return str(path)


def quoted(path: str | Path) -> str:
    """A path for a command line that is to be copied. ~ must stay outside quotes, so it is not used there."""
    import shlex

    text = short(path)
    return shlex.quote(text) if not text.startswith("~") or " " in text else text
