"""The commands that read the community survey's snapshots: stats, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import Json
from likewise.cli.survey import STORE, StoreFile, survey

SnapshotNumber = Annotated[
    int | None,
    typer.Option(
        "--snapshot", metavar="N", help="This one alone; else the newest, with censuses of its time."
    ),
]
Against = Annotated[
    int | None, typer.Option(metavar="N", help="An earlier one of the same ids; else the last there is.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of the bootstrap.")]


def _analysed(store: Path, snapshot: int | None, against: int | None, seed: int) -> dict[str, Any]:
    from likewise.survey import store as stores
    from likewise.survey.statistics import analyse

    with stores.open(store, read_only=True) as opened:
        found = analyse(opened, snapshot, against=against, seed=seed)
    lists = [f"{one['parameters']['type']} from snapshot {one['number']}" for one in found["completed_by"]]
    said = f"snapshot {found['snapshot']['number']} ({found['snapshot']['mode']})"
    terminal.say(said + (f", and all of {', '.join(lists)}" if lists else ""))
    if found["rehearsal"]:
        terminal.say("the site was invented, and so is every number", "rehearsal")
    return found


@survey.command()
def stats(
    store: StoreFile = STORE,
    snapshot: SnapshotNumber = None,
    against: Against = None,
    seed: Seed = 0,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write every figure per method.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count a snapshot: which methods people publish and download.

    Intervals, verdicts and cohorts are in --json and in the report.

    \b
    Example:
      likewise survey stats
      likewise survey stats --csv methods.csv
    """
    from likewise.reports import survey as page
    from likewise.survey import answer

    found = _analysed(store, snapshot, against, seed)
    if table:
        page.write_csv(found, table)
    if as_json:
        terminal.result_json(found | {"answer": answer.sentences(found)})
        return
    for sentence in ([answer.REHEARSAL] if found["rehearsal"] else []) + answer.sentences(found):
        terminal.paragraph(sentence)
    terminal.result("")
    rows = page.table(found)
    titles = tuple(rows[0])
    terminal.table(titles, [tuple(row.values()) for row in rows], right=titles[1:])
    terminal.result("")
    terminal.paragraph(page.WARNING)
    if table:
        terminal.result(terminal.short(table))


@survey.command("report")
def write_report(
    store: StoreFile = STORE,
    snapshot: SnapshotNumber = None,
    against: Against = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page; else beside the store.")] = None,
) -> None:
    """Write the survey as one HTML page.

    \b
    Example:
      likewise survey report
      likewise survey report --snapshot 3 --against 1 --out demand.html
    """
    from likewise.reports import survey as page

    found = _analysed(store, snapshot, against, seed)
    terminal.result(terminal.short(page.build(found, out or store.with_suffix(".html"))))
