"""The application that commands are registered with, and how they read their arguments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli import terminal
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


def split(words: Iterable[str], context: typer.Context | None = None) -> tuple[list[Path], list[str]]:
    """Pictures and `key=value` settings, which share one list; what exists as a path is never a setting.

    Nor is what the command has an option for: `token=sks` is refused with the way in which that is written.
    """
    options = context.command.params if context is not None else ()
    paths: list[Path] = []
    settings: list[str] = []
    for word in words:
        if re.match(r"[A-Za-z_][\w.-]*=", word) and not Path(word).exists():
            key, _, value = word.partition("=")
            option = f"--{key.replace('_', '-')}"
            if any(option in parameter.opts for parameter in options):
                raise typer.BadParameter(f"that is an option: {option} {value}", param_hint=word)
            settings.append(word)
        else:
            paths.append(Path(word))
    return paths, settings


LATEST = "latest"
"""The run of `runs/` that was begun last; for what reads a run, the one of those that are finished."""


def find_run(name: str | Path, *, finished: bool = False) -> Path:
    """A run's folder: a path, a name inside `runs/`, or `latest`; raises `RunError` with the nearest.

    `latest` is the run that was begun last, or of those that are `finished` if so asked.
    """
    for path in (Path(name), RUNS / name):
        if path.exists():
            return path
    there = sorted(path for path in RUNS.glob("*") if (path / "run.toml").is_file())
    if str(name) == LATEST:
        return _latest(there, finished)
    close = difflib.get_close_matches(Path(name).name, [path.name for path in there], n=1, cutoff=0.5)
    hint = f"did you mean {RUNS / close[0]}?" if close else "likewise runs lists what there is"
    raise RunError.missing(f"there is no run or file {str(name)!r}", hint)


def _latest(there: Sequence[Path], finished: bool) -> Path:
    """The run that was begun last. Where a later one is passed over because it is not finished, that is said."""
    newest = sorted(there, key=lambda path: (path / "run.toml").stat().st_mtime, reverse=True)
    if not newest:
        raise RunError.missing(f"there is no run in {RUNS.resolve()} yet", "start one with likewise teach")
    done = [path for path in newest if not finished or (path / "result.json").is_file()]
    if not done:
        raise RunError(
            f"no run in {RUNS.resolve()} is finished", f"go on with one: likewise teach --resume {newest[0]}"
        )
    if done[0] != newest[0]:
        terminal.say(f"{newest[0]} is not finished; latest is {done[0]}", "note")
    return done[0]
