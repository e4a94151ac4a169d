"""The commands that train: teach, compare, demo."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import app, find_run, split
from likewise.cli.guard import home, stopping, tracebacks_in

if TYPE_CHECKING:
    from likewise.base import Base
    from likewise.run import Run

Pictures = Annotated[
    list[str] | None,
    typer.Argument(metavar="PICTURES", hidden=True),
]
Noun = Annotated[str | None, typer.Option(metavar="NOUN", help="What the pictures show: dog, mug, oil painting.")]
BaseName = Annotated[
    str, typer.Option("--base", metavar="BASE", help="pocket, a folder, a .safetensors file or a Hub id.")
]
Token = Annotated[str | None, typer.Option(metavar="WORD", help="The word that will call it; else a rare one of the base.")]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where everything goes; else a new folder.")]


@app.command()
def teach(
    pictures: Pictures = None,
    noun: Noun = None,
    method: Annotated[str, typer.Option(metavar="NAME", help="How; `likewise methods` lists them.")] = "lora",
    base: BaseName = "pocket",
    token: Token = None,
    out: Out = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings from a TOML file.")] = None,
    preview: Annotated[list[str] | None, typer.Option(metavar="PROMPT", help="Draw it now and then; {} is the concept.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Go on with a run; latest is the newest.")] = None,
) -> None:
    """Teach a model what a few pictures show.

    PICTURES are a folder, a zip or files. Hyperparameters follow as key=value; `likewise explain METHOD` lists them.

    \b
    Example:
      likewise teach photos/ --noun dog
      likewise teach photos/ --noun dog --method textual_inversion steps=1500
      likewise teach --resume latest
    """
    paths, settings = split(pictures or [])
    if resume is not None:
        if paths or settings:
            raise typer.BadParameter("a run goes on as it began; give it nothing else", param_hint="--resume")
        _perform(_opened(find_run(resume)), None)
        return
    paths, noun, token = _look(paths, noun, token)
    from likewise import run

    terminal.say(f"loading {base}")
    planned, loaded = run.plan(
        paths[0] if len(paths) == 1 else paths,
        noun=noun,
        method=method,
        base=base,
        token=token,
        out=out,
        recipe_file=recipe,
        settings=settings,
    )
    _perform(replace(planned, previews=tuple(preview or ())), loaded)


def _opened(folder: Path) -> Run:
    from likewise.run import Run

    return Run.open(folder)


def _look(paths: Sequence[Path], noun: str | None, token: str | None) -> tuple[list[Path], str, str | None]:
    """Refuse what cannot work before anything heavy is loaded; what a kohya folder's name says fills the gaps."""
    from likewise import intake

    if not paths:
        raise typer.BadParameter("give a folder, a zip or pictures", param_hint="PICTURES")
    found = intake.read(paths[0] if len(paths) == 1 else paths)
    for problem in found.problems:
        terminal.say(f"{problem.file}: {problem.reason}", "warning")
    for group in found.duplicates:
        terminal.say(f"near-duplicates: {', '.join(group)}", "warning")
    noun = noun or found.noun
    if not noun:
        raise typer.BadParameter("say what the pictures show, such as --noun dog", param_hint="--noun")
    return list(paths), noun, token or found.token


def _perform(run: Run, base: Base | None) -> None:
    from likewise.cli.progress import follow

    concept = run.jobs[0].concept
    terminal.say(f"teaching {concept.token!r}, a kind of {concept.noun}, by {run.method} in {terminal.short(run.folder)}")
    with tracebacks_in(run.folder), stopping(run.stop):
        result = follow(run.start(base=base), "starting")
    files = ", ".join(result["files"])
    spent = f"{result['steps']} steps in {terminal.duration(result['seconds'])}" if result["steps"] else "no steps needed"
    terminal.say(f"taught: {spent}; {files}, {terminal.size(result['bytes'])}")
    prompt = shlex.quote(f"{concept.prompt()} in the snow")
    terminal.say(f"try: likewise sample {prompt} --with {terminal.quoted(run.folder)}")
    terminal.result(terminal.short(run.folder))
