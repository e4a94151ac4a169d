"""The command that trains: teach."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import app, find_run, split
from likewise.cli.guard import let_downloads_show, stopping, tracebacks_in
from likewise.files import expand
from likewise.kinds import USUAL
from likewise.wording import size_text, time_text

if TYPE_CHECKING:
    from likewise.base import Base
    from likewise.run import Run

Pictures = Annotated[
    list[str] | None,
    typer.Argument(metavar="PICTURES", hidden=True),
]
Noun = Annotated[
    str | None, typer.Option(metavar="NOUN", help="What the pictures show: dog, mug, oil painting.")
]
BaseName = Annotated[
    str, typer.Option("--base", metavar="BASE", help="pocket, a folder, a .safetensors file or a Hub id.")
]
Token = Annotated[
    str | None, typer.Option(metavar="WORD", help="The word that will call it; else a rare one of the base.")
]
ClassPictures = Annotated[
    Path | None,
    typer.Option("--class-pictures", metavar="FOLDER", help="Your own pictures of the class, for the prior."),
]
Seeds = Annotated[
    int, typer.Option(metavar="N", min=1, help="Teach it N times with other random numbers, in one batch.")
]
Also = Annotated[
    list[str] | None,
    typer.Option(metavar="FOLDER=NOUN[:TOKEN]", help="Teach this as well, in one batch. May be repeated."),
]
Queue = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Teach the jobs of a TOML file, as many at once as go together."),
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Say what it would take of memory, by part; teach nothing.")
]
Out = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where everything goes; else a new folder.")]


@app.command()
def teach(
    pictures: Pictures = None,
    noun: Noun = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="How; `likewise methods` lists them.")
    ] = USUAL.mark,
    base: BaseName = "pocket",
    token: Token = None,
    also: Also = None,
    seeds: Seeds = 1,
    class_pictures: ClassPictures = None,
    out: Out = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings from a TOML file.")] = None,
    queue: Queue = None,
    plan: Plan = False,
    preview: Annotated[
        list[str] | None, typer.Option(metavar="PROMPT", help="Draw it now and then; {} is the concept.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run; latest is the one begun last.")
    ] = None,
    more_steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Go on with a finished RUN for N steps more.")
    ] = None,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Teach a model what a few pictures show.

    PICTURES are a folder, a zip or files. Hyperparameters follow as key=value; `likewise explain` lists them. Pictures of
    the class in a folder such as class_images/ or reg/ protect it, and are not learned. With --resume, PICTURES and --base
    only say where these are now, if they were moved.

    \b
    Example:
      likewise teach photos/ --noun dog
      likewise teach photos/ --noun dog --method textual_inversion steps=1500
      likewise teach photos/ --noun dog --seeds 3
      likewise teach photos/ --noun dog --also cats/=cat
      likewise teach --queue jobs.toml --out taught/
      likewise teach --resume latest
      likewise teach --more-steps 200 latest
    """
    paths, settings = split(pictures or [], context)
    if queue is not None:
        return _queued(queue, [*paths, *settings], base, out)
    if resume is not None or more_steps is not None:
        given = context.get_parameter_source("base").name != "DEFAULT"  # type: ignore[union-attr]
        return _go_on(resume, more_steps, paths, settings, base if given else None)
    given = [(paths, noun, token, class_pictures), *(_further(text) for text in also or ())]
    seen = [(*look(*one), one[-1]) for one in given]
    from likewise import planning, run

    subjects = [planning.Subject(*one) for one in seen]
    way = planning.Way(method, planning.asked(method, recipe, settings), seeds)
    planning.check(subjects, way)  # what cannot work, such as a misspelt setting, must not wait for the base
    announce(base)
    planned = run.plan(subjects, way, base=base, out=out, previews=preview or ())
    return _forecast(*planned) if plan else _perform(*planned)


def _further(text: str) -> tuple[list[Path], str, str | None, None]:
    """The pictures, noun and token of `FOLDER=NOUN[:TOKEN]`; its class pictures can only lie beside them."""
    folder, _, words = text.rpartition("=")
    noun, colon, token = words.partition(":")
    if not (folder and noun.strip()) or (colon and not token.strip()):
        raise typer.BadParameter(f"write FOLDER=NOUN or FOLDER=NOUN:TOKEN, not {text!r}", param_hint="--also")
    return [Path(folder)], noun, token or None, None


def _queued(file: Path, beside: Sequence[object], base: str, out: Path | None) -> None:
    """Every job of the file that is not done in its folder; nothing may be said `beside` it."""
    if beside:
        raise typer.BadParameter("the file says what is taught, and how", param_hint="--queue")
    from likewise import families, queue
    from likewise.cli.progress import follow_queue

    entries = queue.read(file)
    announce(base)
    loaded = families.load(base)
    place(loaded)
    folder = expand(out) if out else Path("runs") / expand(file).stem
    failed = follow_queue(queue.teach(entries, loaded, folder), len(entries))
    terminal.result(terminal.short(folder))
    if failed:
        raise typer.Exit(1)


def _forecast(run: Run, base: Base) -> None:
    """What the run would have in memory at its peak, by part, beside what there is."""
    from likewise import memory, methods, recording
    from likewise.stack import Stack

    for folder in (run.folder, run.folder.parent):
        with suppress(OSError):  # one that has something in it stays
            folder.rmdir()
    method = methods.get(run.method)
    if not method.trains:
        return terminal.say(f"{method.title} trains nothing, so it takes no memory beside the base")
    parts = memory.foreseen(base, method, Stack(run.jobs))
    rows = [(name, size_text(size)) for name, size in parts.items() if size]
    whole = sum(parts.values())
    terminal.table(("part", "memory"), [*rows, ("in all", size_text(whole))], right=("memory",))
    here, free = parts[memory.HERE], memory.available(base.device)
    verdict = "fits" if whole <= free + here else "does not fit"
    terminal.say(
        f"this {verdict}: of {size_text(whole)} it has {size_text(here)} already, and {size_text(free)} more are free"
    )
    recipe = run.jobs[0].recipe
    if getattr(recipe, "cuda_graph", False) and (reason := recording.elsewhere(base)):
        terminal.say(f"note: cuda_graph=true has no effect: {reason}")
    return None


def announce(base: str) -> None:
    """Say what is being loaded, which takes a while."""
    terminal.say(f"loading {base}")
    remote = "/" in base and not expand(base).exists()
    if remote and terminal.fancy():
        let_downloads_show()


def _go_on(
    resume: str | None, more: int | None, paths: list[Path], settings: list[str], base: str | None
) -> None:
    """With an unfinished run, or with `more` steps of a finished one; `paths` say where its pictures are now."""
    option = "--resume" if more is None else "--more-steps"
    if settings:
        raise typer.BadParameter("a run goes on with the settings that it began with", param_hint=option)
    if resume is None:
        if not paths:
            raise typer.BadParameter("name the run to go on with, or latest", param_hint=option)
        resume, paths = str(paths[0]), paths[1:]
    from likewise.run import Run

    run = Run.open(find_run(resume), pictures=paths or None, base=base)
    _perform(run.longer(more) if more else run, None)


def look(
    paths: Sequence[Path], noun: str | None, token: str | None, class_pictures: Path | None
) -> tuple[list[Path], str, str | None]:
    """Refuse what cannot work before anything heavy is loaded. A kohya folder's name fills the gaps."""
    from likewise import intake

    if not paths:
        raise typer.BadParameter("give a folder, a zip or pictures", param_hint="PICTURES")
    found = intake.read(paths, class_pictures)
    for text in found.warnings():
        terminal.say(text, "warning")
    for text in found.notes:
        terminal.say(text, "note")
    noun = noun or found.noun
    if not noun:
        raise typer.BadParameter("say what the pictures show, such as --noun dog", param_hint="--noun")
    return list(paths), noun, token or found.token


def place(base: Base, rows: int = 1, size: int = 0) -> None:
    """Choose how many threads teach in this process, and say so. Steps have so many pictures of `size`, or of the base's."""
    if base.device.type != "cpu":
        return
    from likewise import placing

    placed = placing.one(placing.here(), placing.gained(base, rows, size))
    placing.settle(placed)
    terminal.say(placed.line)


def _perform(run: Run, base: Base | None) -> None:
    from likewise.cli.progress import follow
    from likewise.recipe import TrainingRecipe
    from likewise.records import read_result

    before, concepts = read_result(run.folder), {job.concept.token: job.concept for job in run.jobs}
    called = ", ".join(repr(f"{one.token} {one.noun}") for one in concepts.values())
    each = len(run.jobs) // len(concepts)
    times = f" with {each} seeds{' each' if len(concepts) > 1 else ''}" if each > 1 else ""
    terminal.say(f"teaching {called}{times} by {run.method} in {terminal.short(run.folder)}")
    recipe = run.jobs[0].recipe
    if base is not None and before is None and isinstance(recipe, TrainingRecipe):
        place(base, len(run.jobs) * recipe.batch_size, recipe.resolution or 0)
    with tracebacks_in(run.folder), stopping(run.stop):
        result = follow(run.start(base=base), run.folder)
    _tell(run, result, "taught before" if before == result else "taught")
    prompt = shlex.quote(f"{run.jobs[0].concept.prompt()} in the snow")
    terminal.say(f"try: likewise sample {prompt} --with {terminal.quoted(run.folder)}")
    terminal.result(terminal.short(run.folder))


def _tell(run: Run, result: dict[str, Any], taught: str) -> None:
    """What it took and what is left; of a stack a line for every file."""
    spent = (
        f"{result['steps']} steps in {time_text(result['seconds'])}" if result["steps"] else "no steps needed"
    )
    files, size = result["files"], size_text(result["bytes"])
    if len(files) == 1:
        terminal.say(f"{taught}: {spent}; {files[0]}, {size}")
        return
    terminal.say(f"{taught}: {spent}; {len(files)} files of about {size}:")
    for job, file in zip(run.jobs, files, strict=True):
        terminal.say(f"  {job.concept.token} {job.concept.noun}, seed {job.recipe.seed}: {file}")
