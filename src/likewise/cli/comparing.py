"""The commands that compare: compare and demo."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise import records
from likewise.cli import terminal
from likewise.cli.app import app, split
from likewise.cli.guard import stopping, tracebacks_in
from likewise.cli.teaching import BaseName, ClassPictures, Noun, Out, Pictures, Token, announce, look, place
from likewise.errors import Interrupted, RecipeError, RunError, StorageError
from likewise.files import read_text

if TYPE_CHECKING:
    from likewise.comparison.comparison import Comparison
    from likewise.comparison.executing import Executor

DEMO = "pink-house"
"""The example that the demo compares on, which `python -m workshop.candidates` took by its rule."""
DEMO_TRAININGS = 3
"""Of each method, so that there is a verdict."""
_NOTHING = (None, "", "not measured", "no training")
"""What the report's table says where there is no value."""
Open = Annotated[bool, typer.Option("--open", help="Show the report in the browser.")]

Names = Annotated[
    str | None, typer.Option("--methods", metavar="A,B,...", help="Which ones, or none; else every method.")
]
Conditions = Annotated[
    list[str] | None,
    typer.Option("--condition", metavar="NAME=METHOD,KEY=VALUE,...", help="One more line to compare."),
]
Others = Annotated[
    list[Path] | None, typer.Option("--with", metavar="FILE", help="A file that others taught.")
]
SizeName = Annotated[
    str, typer.Option(metavar="SIZE", help="quick shows, standard decides, thorough decides more.")
]
PerMethod = Annotated[
    int | None, typer.Option("--seeds-per-method", metavar="N", min=1, help="Trainings per method.")
]
KindName = Annotated[
    str | None, typer.Option(metavar="KIND", help="object, live, person or style; else by the noun.")
]
Description = Annotated[
    str | None, typer.Option(metavar="TEXT", help="The subject in words, for the untaught base.")
]
PromptFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A prompt per line, with {} for the concept.")
]
Each = Annotated[
    int | None,
    typer.Option("--pictures-per-prompt", metavar="N", min=1, help="How many of each; else by the size."),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        "--seeds", metavar="N", min=1, hidden=True, help="Pictures per prompt, as it was called before."
    ),
]
HoldOut = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Pictures kept for judging; else by their number.")
]
SampleSteps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Denoising steps.")]
Tune = Annotated[
    bool, typer.Option("--tune", help="Also look for each method's best settings, with equal effort.")
]
Workers = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N",
        callback=lambda text: text if _workers(text) else None,
        help="How many trainings at a time, a process each; else by the machine. Or ray, or HOST:PORT of a Ray.",
    ),
]


@app.command()
def compare(
    pictures: Pictures = None,
    noun: Noun = None,
    names: Names = None,
    conditions: Conditions = None,
    others: Others = None,
    size: SizeName = "quick",
    replicates: PerMethod = None,
    kind: KindName = None,
    base: BaseName = "pocket",
    token: Token = None,
    class_pictures: ClassPictures = None,
    description: Description = None,
    prompts: PromptFile = None,
    each: Each = None,
    seeds: Seeds = None,
    hold_out: HoldOut = None,
    sample_steps: SampleSteps = None,
    tune: Tune = False,
    workers: Workers = None,
    out: Out = None,
    show: Open = False,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Teach by every method and see which one to use.

    PICTURES are a folder, a zip or files, at least four of them. Hyperparameters follow as key=value, for all
    methods that have them, or as method.key=value. The same command with --out goes on with a comparison.

    \b
    Example:
      likewise compare photos/ --noun dog
      likewise compare photos/ --noun dog --size standard
      likewise compare photos/ --noun dog --methods lora,dreambooth --condition big=lora,rank=32
    """
    paths, settings = split(pictures or [], context)
    paths, noun, token = look(paths, noun, token, class_pictures)
    if seeds is not None:
        terminal.say(
            "--seeds is --pictures-per-prompt now; seeds are trainings: --seeds-per-method", "warning"
        )
    own: dict[str, Any] = {
        "methods": _named(names),
        "conditions": conditions, "files": others, "size": size, "replicates": replicates, "kind": kind,
        "description": description, "prompts": _lines(prompts), "seeds": each or seeds, "hold_out": hold_out,
        "tune": tune or None,
    }  # fmt: skip
    from likewise.base import Sampler
    from likewise.comparison.preparing import check, prepare

    own["sampler"] = Sampler(steps=sample_steps) if sample_steps else None
    options = _for_all(settings, own) | own
    check(options)  # a misspelt setting must not wait for the base
    announce(base)
    words = {"noun": noun, "token": token, "class_pictures": class_pictures}
    source = paths[0] if len(paths) == 1 else paths
    comparison = prepare(source, base=base, out=out, **words, **options)  # type: ignore[arg-type]
    comparison.executor = _placed(workers, comparison)
    perform(comparison, show)


def _workers(asked: str | None) -> int | str | None:
    """A number of processes, or the address of a Ray."""
    if asked is None or asked == "ray":
        return asked
    host, _, port = asked.rpartition(":")
    if host and port.isdecimal() and 0 < int(port) < 65536:
        return asked
    if not asked.isdecimal() or int(asked) < 1:
        raise typer.BadParameter(
            f"{asked!r} is neither a number from 1 on nor ray or a HOST:PORT of Ray", param_hint="--workers"
        )
    return int(asked)


def _placed(asked: str | None, comparison: Comparison) -> Executor | None:
    """A pool of processes where several trainings go on at a time; None where they take turns in this one."""
    workers = _workers(asked)
    if comparison.device != "cpu":
        if workers not in (None, 1):
            why = f"trainings on {comparison.device} take turns, so leave it out"
            raise typer.BadParameter(why, param_hint="--workers")
        return None
    if isinstance(workers, str):
        from likewise.comparison.cluster import Cluster

        return Cluster(workers)
    from likewise import memory, placing
    from likewise.comparison.pool import Pool

    base, facts = comparison.based(), placing.here()
    tasks = sum(trial.condition.taught for trial in comparison.pending())
    if comparison.search is not None:
        tasks = max(tasks, facts.cores)  # settings to try, of which there are many
    if not tasks:
        return None
    several = min(facts.free, tasks) > 1
    each = comparison.heaviest() if workers is None and several else 0.0
    placed = placing.many(facts, tasks, each, memory.available(base.device), workers)
    if placed.workers > 1:
        return Pool(placed.workers, placed.threads, placed.line)
    if several:
        terminal.say(placed.line)
    place(base)
    return None


@app.command()
def demo(
    settings: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", hidden=True)] = None,
    workers: Workers = None,
    out: Out = None,
    show: Open = False,
    context: typer.Context = None,  # type: ignore[assignment]
) -> None:
    """Compare all methods on a bundled concept.

    Needs no pictures, no network and no GPU, and takes minutes. Hyperparameters may follow as key=value.

    \b
    Example:
      likewise demo --open
    """
    paths, pairs = split(settings or [], context)
    if paths:
        raise typer.BadParameter(
            "the demo brings its own pictures; likewise compare takes yours", param_hint=str(paths[0])
        )
    from likewise.cli.examples import FOLDER, find
    from likewise.comparison.preparing import check, prepare

    example = find(DEMO)
    check(_for_all(pairs))
    announce("pocket")
    words = {"noun": example["noun"], "description": example["description"]}
    source = FOLDER / DEMO / "references"
    if out is None:
        records.check_writable(Path("comparisons"))
        out = records.new_folder(Path("comparisons"), DEMO)
    options = {"replicates": DEMO_TRAININGS} | _for_all(pairs)
    comparison = prepare(source, base="pocket", out=out, **words, **options)
    comparison.executor = _placed(workers, comparison)
    perform(comparison, show)


def _named(methods: str | None) -> list[str] | None:
    """The methods of a list; None for all of them, and an empty list for `none`."""
    if methods is None:
        return None
    chosen = methods.replace(",", " ").replace("-", "_").split()
    if not chosen:
        raise typer.BadParameter("name at least one, or none", param_hint="--methods")
    return [] if chosen == ["none"] else chosen


def _for_all(pairs: Sequence[str], own: Collection[str] = ()) -> dict[str, Any]:
    """`steps=100` as it is, and `lora.rank=8` under `recipes`. What options say, which are `own`, is refused."""
    from likewise.recipe import setting

    options: dict[str, Any] = {"recipes": {}}
    for key, value in map(setting, pairs):
        if key in own:
            raise typer.BadParameter(
                "an option says that; likewise compare --help lists them", param_hint=key
            )
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
    except FileNotFoundError:
        raise RecipeError.missing(f"there is no file {file}", "it holds a prompt per line") from None
    except OSError as error:
        raise RecipeError(f"{file} cannot be read: {error.strerror}", "it holds a prompt per line") from None
    return [line for line in lines if line and not line.startswith("#")]


def perform(comparison: Comparison, show: bool) -> None:
    from likewise.cli.progress import follow_comparison

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
        page = show_result(folder)
    if show:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    rows = [row for row in comparison.rows() if row.kind in ("method", "file")]
    if not any(row.status == "done" for row in rows):
        raise RunError("nothing could be taught or drawn", "the warnings above say why, one by one")


def show_result(folder: Path) -> Path:
    """The page of a finished comparison, its table, and one line on what to take."""
    from likewise.reports import comparison as report

    page = report.build(folder)
    _summarise(report.table(folder))
    _conclude(folder)
    terminal.result(terminal.short(page))
    return page


def _conclude(folder: Path) -> None:
    """What to take and beside what it stands, or why nothing is taken."""
    from likewise.comparison import concluded
    from likewise.comparison.reasons import beside, sentence
    from likewise.comparison.recommending import Limits, recommend
    from likewise.comparison.standing import titled

    standings, decisions = concluded.read_verdict(folder)
    found = recommend(standings, decisions, Limits.parse())
    titles = titled({one.name: one.title for one in standings})
    why = found.reasons[0] if found.reasons else "Nothing is shown better than the untaught base."
    told = f"take {titles[found.choice]}" if found.choice else "no recommendation"
    terminal.say(f"{told}: {sentence(why.partition(' (card ')[0])}")
    if found.choice and found.tied:
        kinds = {one.name: one.kind for one in standings}
        terminal.say(beside([titles[name] for name in found.tied], kinds[found.choice]))
    if found.choice and found.excluded:
        terminal.say(f"left out: {', '.join(titles[name] for name in found.excluded)}", "note")
    terminal.say(f"likewise recommend {terminal.quoted(folder)} says more", "note")


def _summarise(rows: Sequence[dict[str, Any]]) -> None:
    """The report's table, less what is empty, and under it why a condition or some of its trainings has no result."""
    done = [{key: "" if text in _NOTHING else text for key, text in row.items()} for row in rows]
    done = [row for row in done if row["status"] == "done"]
    left_out = ("status", "reason")
    titles = [title for title in rows[0] if title not in left_out and any(row[title] for row in done)]
    terminal.table(titles, [[row[title] for title in titles] for row in done], aside=True)
    for row in rows:
        if row["reason"] and row["status"] != "skipped":
            terminal.say(f"{row['condition']}, {row['status']}: {row['reason']}", "warning")
