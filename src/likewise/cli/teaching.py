"""The commands that train: teach, compare, demo."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import app, find_run, split
from likewise.cli.guard import let_downloads_show, stopping, tracebacks_in
from likewise.errors import Interrupted, RecipeError, RunError, StorageError
from likewise.files import expand, read_text
from likewise.kinds import USUAL

if TYPE_CHECKING:
    from likewise.base import Base
    from likewise.comparison.comparison import Comparison
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
_NOTHING = (None, "", "not measured", "no training")
"""What the report's table says where there is no value."""

ClassPictures = Annotated[
    Path | None,
    typer.Option("--class-pictures", metavar="FOLDER", help="Your own pictures of the class, for the prior."),
]
Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser.")]
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
    class_pictures: ClassPictures = None,
    out: Out = None,
    recipe: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings from a TOML file.")] = None,
    preview: Annotated[
        list[str] | None, typer.Option(metavar="PROMPT", help="Draw it now and then; {} is the concept.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run; latest is the newest.")
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
      likewise teach --resume latest
      likewise teach --more-steps 200 latest
    """
    paths, settings = split(pictures or [])
    if resume is not None or more_steps is not None:
        given = context.get_parameter_source("base").name != "DEFAULT"  # type: ignore[union-attr]
        return _go_on(resume, more_steps, paths, settings, base if given else None)
    paths, noun, token = _look(paths, noun, token, class_pictures)
    from likewise import planning, run

    planning.asked(method, recipe, settings)  # a misspelt setting must not wait for the base
    _announce(base)
    planned, loaded = run.plan(
        paths[0] if len(paths) == 1 else paths,
        noun=noun,
        method=method,
        base=base,
        token=token,
        out=out,
        recipe_file=recipe,
        settings=settings,
        previews=preview or (),
        class_pictures=class_pictures,
    )
    _perform(planned, loaded)


def _announce(base: str) -> None:
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


def _look(
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


def _perform(run: Run, base: Base | None) -> None:
    from likewise.cli.progress import follow
    from likewise.records import read_result

    concept = run.jobs[0].concept
    called = f"{concept.token} {concept.noun}"
    before = read_result(run.folder)
    terminal.say(f"teaching {called!r} by {run.method} in {terminal.short(run.folder)}")
    with tracebacks_in(run.folder), stopping(run.stop):
        result = follow(run.start(base=base), run.folder)
    taught = "taught before" if before == result else "taught"
    files = ", ".join(result["files"])
    spent = (
        f"{result['steps']} steps in {terminal.duration(result['seconds'])}"
        if result["steps"]
        else "no steps needed"
    )
    terminal.say(f"{taught}: {spent}; {files}, {terminal.size(result['bytes'])}")
    prompt = shlex.quote(f"{concept.prompt()} in the snow")
    terminal.say(f"try: likewise sample {prompt} --with {terminal.quoted(run.folder)}")
    terminal.result(terminal.short(run.folder))


@app.command()
def compare(
    pictures: Pictures = None,
    noun: Noun = None,
    names: Annotated[
        str | None, typer.Option("--methods", metavar="A,B,...", help="Which ones; else every method.")
    ] = None,
    base: BaseName = "pocket",
    token: Token = None,
    class_pictures: ClassPictures = None,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The subject in words, for the untaught base.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prompt per line, with {} for the concept.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Pictures per prompt.")] = None,
    hold_out: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Pictures kept for judging; else by their number.")
    ] = None,
    sample_steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=1000, help="Denoising steps.")
    ] = None,
    out: Out = None,
    show: Open = False,
) -> None:
    """Teach by every method and see which one to use.

    PICTURES are a folder, a zip or files, at least four of them. Hyperparameters follow as key=value, for all
    methods that have them, or as method.key=value. The same command with --out goes on with a comparison.

    \b
    Example:
      likewise compare photos/ --noun dog
      likewise compare photos/ --noun dog --methods lora,dreambooth steps=300 lora.rank=16
    """
    paths, settings = split(pictures or [])
    paths, noun, token = _look(paths, noun, token, class_pictures)
    chosen = (names or "").replace(",", " ").replace("-", "_").split()
    if names is not None and not chosen:
        raise typer.BadParameter("name at least one", param_hint="--methods")
    options = _for_all(settings)
    options |= {"prompts": _lines(prompts), "seeds": range(seeds) if seeds else None, "hold_out": hold_out}
    words = {"noun": noun, "token": token, "description": description, "class_pictures": class_pictures}
    _announce(base)
    from likewise.base import Sampler
    from likewise.comparison.comparison import prepare

    sampler = Sampler(steps=sample_steps) if sample_steps else None
    source = paths[0] if len(paths) == 1 else paths
    _compare(prepare(source, base=base, methods=chosen, out=out, sampler=sampler, **words, **options), show)  # type: ignore[arg-type]


@app.command()
def demo(
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", hidden=True)] = None,
    out: Out = None,
    show: Open = False,
) -> None:
    """Compare all methods on a bundled concept.

    Needs no pictures, no network and no GPU, and takes minutes. Hyperparameters may follow as key=value.

    \b
    Example:
      likewise demo --open
    """
    paths, pairs = split(settings or [])
    if paths:
        raise typer.BadParameter(
            "the demo brings its own pictures; likewise compare takes yours", param_hint=str(paths[0])
        )
    folder = Path(str(resources.files("likewise"))) / "pocket" / "concepts" / "cat"
    facts = _facts(folder)
    _announce("pocket")
    from likewise.comparison.comparison import prepare

    words = {"noun": facts["noun"], "token": facts.get("token"), "description": facts.get("description")}
    _compare(prepare(folder, base="pocket", out=out, **words, **_for_all(pairs)), show)


def _facts(folder: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads((folder / "concept.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("the bundled concept is not there", "install likewise again") from None


def _for_all(pairs: Sequence[str]) -> dict[str, Any]:
    """`steps=100` as it is, and `lora.rank=8` under `recipes`."""
    from likewise.recipe import setting

    options: dict[str, Any] = {"recipes": {}}
    for key, value in map(setting, pairs):
        method, dot, name = key.rpartition(".")
        if dot:
            options["recipes"].setdefault(method.replace("-", "_"), {})[name] = value
        else:
            options[key] = value
    return options


def _lines(file: Path | None) -> list[str] | None:
    if file is None:
        return None
    try:
        lines = [line.strip() for line in read_text(file, fallback="cp1252").split("\n")]
    except OSError as error:
        raise RecipeError(f"{file} cannot be read: {error.strerror}", "it holds a prompt per line") from None
    return [line for line in lines if line and not line.startswith("#")]


def _compare(comparison: Comparison, show: bool) -> None:
    from likewise.cli.progress import follow_comparison
    from likewise.comparison import report

    folder = comparison.folder
    comparison.command = shlex.join(["likewise", *sys.argv[1:]])
    terminal.say(f"comparing in {terminal.short(folder)}")
    again = f"the same command with --out {terminal.quoted(folder)}"
    with tracebacks_in(folder):
        with stopping(comparison.stop):
            try:
                follow_comparison(comparison.start(), folder)
            except Interrupted as stopped:
                raise Interrupted(stopped.message, f"{again} goes on from here") from None
            except StorageError as error:
                raise error.then(f"{again} goes on from here") from None
        page = report.build(folder)
        _summarise(report.table(folder))
    terminal.result(terminal.short(page))
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    if not any(row.kind == "method" and row.status == "done" for row in comparison.rows()):
        raise RunError("no method could teach this", "the warnings above say why, method by method")


def _summarise(rows: Sequence[dict[str, Any]]) -> None:
    """The report's table, less what is empty or too wide, and under it why a method has no line in it."""
    done = [{key: "" if text in _NOTHING else text for key, text in row.items()} for row in rows]
    done = [row for row in done if row["status"] == "done"]
    left_out = ("status", "reason", "Trained parameters")
    titles = [title for title in rows[0] if title not in left_out and any(row[title] for row in done)]
    terminal.table(titles, [[row[title] for title in titles] for row in done], aside=True)
    for row in rows:
        if row["status"] not in ("done", "skipped"):
            terminal.say(f"{row['trial']}, {row['status']}: {row['reason']}", "warning")
