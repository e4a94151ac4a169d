"""The commands that score what exists: score, checkpoints, recompute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app, find_run
from likewise.cli.comparing import perform, show_result
from likewise.cli.guard import tracebacks_in
from likewise.cli.teaching import announce, look
from likewise.errors import RunError
from likewise.files import expand

Photos = Annotated[
    Path | None,
    typer.Option("--pictures", metavar="PICTURES", help="Pictures of the concept that it was not taught."),
]
Base = Annotated[
    str | None, typer.Option("--base", metavar="BASE", help="The base to draw with; else its own.")
]
Folder = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Where everything goes; else a new folder.")
]


@app.command()
def score(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", hidden=True)],
    pictures: Photos = None,
    noun: Annotated[str | None, typer.Option(metavar="NOUN", help="What it is; else by the file.")] = None,
    base: Base = None,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="How many prompts: quick, standard, thorough.")
    ] = "quick",
    out: Folder = None,
) -> None:
    """Score files that anybody taught.

    FILE is a run, a LoRA, an embedding or a whole model. It draws the test prompts, and its pictures are held against
    PICTURES and against what the untaught base draws: 0 is the base, 1 is your pictures among themselves.

    \b
    Example:
      likewise score downloaded.safetensors --pictures photos/ --noun dog
    """
    if pictures is None:
        raise typer.BadParameter("give pictures of the concept", param_hint="--pictures")
    from likewise.comparison.preparing import check, prepare
    from likewise.sampling import artifacts, own_base

    check({"methods": [], "files": files, "size": size})
    first = artifacts(expand(files[0]))[0]
    noun = noun or first.noun
    if not noun:
        raise typer.BadParameter(f"{files[0]} does not say what it is", param_hint="--noun")
    look([pictures], noun, None, None)
    base = base or own_base(expand(files[0]), first)
    announce(base)
    perform(
        prepare(
            pictures, noun=noun, token=first.token or None, base=base, methods=[], files=files, size=size,
            replicates=FOLDS, out=out,
        ),
        False,
    )  # fmt: skip


FOLDS = 3
"""So that every picture judges in turn. Nothing is taught, and the drawing is done once."""


@app.command()
def checkpoints(
    run: Annotated[str, typer.Argument(metavar="RUN", hidden=True)],
    pictures: Photos = None,
    base: Base = None,
    out: Folder = None,
    as_json: Json = False,
) -> None:
    """Compare the kept steps of a run.

    The earliest that is as good as the best is named. RUN was taught with keep_checkpoints=8; latest is the newest finished
    one. Steps are scored on development prompts, which no verdict uses.

    \b
    Example:
      likewise checkpoints latest --pictures more-photos/
    """
    from likewise.comparison import checkpoints as kept
    from likewise.comparison.concluded import read_verdict

    comparison = kept.prepare(find_run(run, finished=True), pictures=pictures, base=base, out=out)
    perform(comparison, False)
    points = kept.curve(comparison.folder)
    chosen = kept.earliest(points)
    if as_json:
        print(json.dumps({"points": [vars(point) for point in points], "earliest": chosen.step}))
        return
    standings = {one.name: one for one in read_verdict(comparison.folder)[0]}
    rows = []
    for point in points:
        axes = standings[point.name].axes
        shown = [f"{axes[axis].value:.2f}" if axis in axes else "" for axis in ("fidelity", "prompt")]
        interval = f"{point.value:.2f} ({point.low:.2f} to {point.high:.2f})"
        said = "earliest of the best" if point is chosen else "behind" if point.behind else ""
        rows.append([str(point.step), *shown, interval, said])
    terminal.table(["Step", "Likeness", "Prompt following", "Overall", ""], rows)
    terminal.say(
        f"take step {chosen.step}: no step is shown better. "
        "The intervals are over prompts and say nothing of teaching again."
    )


@app.command()
def recompute(
    folder: Annotated[Path, typer.Argument(metavar="COMPARISON", hidden=True)],
    write: Annotated[bool, typer.Option("--write", help="Keep what was computed now.")] = False,
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="NAME[,NAME]", help="Who scores all pictures anew, and the prompts."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Work out a comparison's verdict again.

    Every number, verdict and sentence follows from the scores of single pictures. Where one differs from what is kept, it
    is named. This needs no base and teaches nothing. With --judge the pictures are scored first, by the judge of the
    bundled model or by dinov2,clip for example. The new scores replace the earlier ones.

    \b
    Example:
      likewise recompute comparisons/2026-11-29-dog-1
      likewise recompute comparisons/2026-11-29-dog-1 --judge dinov2,clip
    """
    folder = expand(folder)
    if judge is not None:
        if write:
            raise typer.BadParameter(
                "--judge keeps its scores by itself, so leave it out", param_hint="--write"
            )
        return _rejudge(folder, judge, as_json)
    from likewise.comparison import concluding

    with tracebacks_in(folder):
        differences, count = concluding.differences(folder)
        if write:
            concluding.write(folder)
    if as_json:
        print(json.dumps({"values": count, "differences": differences}))
    else:
        for text in differences:
            terminal.say(text, "warning")
        same = "all" if not differences else f"{count - len(differences)} of"
        terminal.say(f"{same} {count} numbers, verdicts and sentences are the same")
    if differences and not write:
        raise RunError(f"verdict.json of {folder} is not what its scores say", "--write puts it right")


def _rejudge(folder: Path, judge: str, as_json: bool) -> None:
    """Have others score the pictures of a comparison."""
    from likewise.base import JUDGES
    from likewise.comparison.rejudging import rejudge
    from likewise.metrics.features import panel

    names = [name.strip() for name in judge.split(",")]
    if len(names) > 2 or not set(names) <= set(JUDGES):
        raise typer.BadParameter(
            f"name one of {', '.join(JUDGES)} for pictures, and another one for prompts after a comma",
            param_hint="--judge",
        )
    with tracebacks_in(folder):
        cards = rejudge(folder, panel({"pictures": names[0], "prompts": names[-1]}))
    if as_json:
        print(json.dumps({"cards": cards}))
        return
    terminal.say(f"{terminal.short(folder)} is scored anew by {' and '.join(dict.fromkeys(names))}")
    show_result(folder)
