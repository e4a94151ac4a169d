"""The commands that read folders: runs, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import RUNS, Json, app
from likewise.errors import RunError
from likewise.wording import size_text, time_text


@app.command("runs")
def list_runs(
    root: Annotated[Path, typer.Argument(metavar="ROOT", hidden=True)] = RUNS,
    as_json: Json = False,
) -> None:
    """List what has been taught.

    Looks below ROOT, which is runs/ unless another folder is named.

    \b
    Example:
      likewise runs
      likewise runs elsewhere --json
    """
    from likewise import records

    if root != RUNS and not root.is_dir():
        raise RunError.missing(f"there is no folder {root}", "name one in which runs lie")
    found = records.runs(root)
    if as_json:
        terminal.result_json(found)
        return
    if not found:
        terminal.say(f"no runs in {terminal.short(root.absolute())} yet; likewise teach starts one")
        return
    rows = [
        (
            terminal.short(Path(row["folder"]).absolute()),
            row.get("method"),
            *(_each(row, key) for key in ("concept", "token")),
            row.get("status"),
            row.get("files"),
            row.get("steps"),
            time_text(row["seconds"]) if row.get("seconds") else "",
            size_text(row["bytes"]) if row.get("bytes") else "",
        )
        for row in found
    ]
    titles = ("run", "method", "concept", "token", "status", "files", "steps", "time", "size")
    terminal.table(titles, rows, right=("files", "steps", "time", "size"))


def _each(row: dict[str, Any], key: str) -> str | None:
    """What the jobs of a run have there, once each."""
    return ", ".join(dict.fromkeys(job[key] for job in row["jobs"])) if "jobs" in row else None


@app.command("report")
def rebuild_report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", hidden=True)],
    survey: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A store of the survey: also say how common each kind of file is."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a comparison's report again.

    How common a kind of file is has weight zero in everything else that the report says.

    \b
    Example:
      likewise report comparisons/2026-11-23-cat-1
      likewise report comparisons/2026-11-23-cat-1 --survey survey.duckdb
    """
    from likewise.reports import comparison as report

    if as_json:
        terminal.result_json(
            {"summary": report.summary(folder, survey=survey), "table": report.table(folder)}
        )
        return
    terminal.result(terminal.short(report.build(folder, survey=survey)))
