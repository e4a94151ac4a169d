"""The application that commands are registered with, and how they read their arguments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli.guard import Commands
from likewise.errors import RunError

RUNS = Path("runs")

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help needs no rich, pipes well, and starts in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _print_version(asked: bool) -> None:
    if asked:
        from likewise import __version__

        typer.echo(f"likewise {__version__}")
        raise typer.Exit


@app.callback()
def likewise(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Teach a text-to-image model something new from a few pictures, and see which method to use.

    \b
    Example:
      likewise demo --open
      likewise teach photos/ --noun dog
    """


def split(words: Iterable[str]) -> tuple[list[Path], list[str]]:
    """Pictures and `key=value` settings, which share one list; what exists as a path is never a setting."""
    paths: list[Path] = []
    settings: list[str] = []
    for word in words:
        if re.match(r"[A-Za-z_][\w.-]*=", word) and not Path(word).exists():
            settings.append(word)
        else:
            paths.append(Path(word))
    return paths, settings


def find_run(name: str | Path) -> Path:
    """A run's folder: a path, a name inside `runs/`, or `latest`; raises `RunError` with the nearest."""
    for path in (Path(name), RUNS / name):
        if path.exists():
            return path
    there = sorted(path for path in RUNS.glob("*") if (path / "run.toml").is_file())
    if str(name) == "latest":
        if there:
            return max(there, key=lambda path: (path / "run.toml").stat().st_mtime)
        raise RunError(f"there is no run in {RUNS.resolve()} yet", "start one with likewise teach")
    close = difflib.get_close_matches(Path(name).name, [path.name for path in there], n=1, cutoff=0.5)
    hint = f"did you mean {RUNS / close[0]}?" if close else "likewise runs lists what there is"
    raise RunError(f"there is no run or file {str(name)!r}", hint)
