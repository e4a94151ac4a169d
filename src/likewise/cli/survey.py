"""The commands that bring the community survey's data: fetch, import, export."""

from __future__ import annotations

import random
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import app
from likewise.errors import Interrupted, SurveyError
from likewise.wording import time_text

if TYPE_CHECKING:
    from likewise.survey.archive import Archive
    from likewise.survey.civitai import Client
    from likewise.survey.plan import Plan

survey = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)
StoreFile = Annotated[Path, typer.Option("--store", metavar="FILE", help="Where the snapshots are.")]
STORE = Path("survey.duckdb")
_MOST = 1000
"""Requests of a census, which nobody can count beforehand."""
_SECONDS = 10.0
"""Between lines that say how far a fetch is."""


@survey.callback()
def describe() -> None:
    """Count which methods a community publishes and downloads.

    Popularity is not quality: it follows subject, exposure and age. No ranking here uses these numbers.

    \b
    Example:
      likewise survey fetch --sample 20000
      likewise survey report
    """


app.add_typer(survey, name="survey")


@survey.command()
def fetch(
    sample: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask for N random ids.")] = None,
    census: Annotated[
        str | None, typer.Option(metavar="TYPE", help="List every model of a type, such as Hypernetwork.")
    ] = None,
    panel: Annotated[
        bool, typer.Option("--panel", help="Ask again for the models of the newest sample.")
    ] = False,
    store: StoreFile = STORE,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Another site that speaks the same.")] = None,
    requests: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The most requests to send; else half more than planned."),
    ] = None,
    pause: Annotated[float, typer.Option(metavar="SECONDS", min=0.0, help="Between two requests.")] = 1.0,
    nsfw: Annotated[bool, typer.Option(help="All levels, or only what everybody is shown.")] = True,
    contact: Annotated[
        str | None, typer.Option(metavar="TEXT", help="An address that the site can write to.")
    ] = None,
) -> None:
    """Take a snapshot of the site's public counters.

    Says first how many requests it will send, and keeps every page. Interrupted, the same command goes on.
    A key in CIVITAI_TOKEN is used but not needed.

    \b
    Example:
      likewise survey fetch --sample 20000
      likewise survey fetch --census Hypernetwork
      likewise survey fetch --panel    two weeks later
    """
    if (sample is not None) + (census is not None) + panel != 1:
        raise typer.BadParameter("choose one of --sample, --census and --panel")
    from likewise.survey import civitai, fetching
    from likewise.survey import store as stores
    from likewise.survey.plan import Plan

    where, seed = (url or civitai.URL).rstrip("/"), random.randrange(2**32)
    if panel:
        with stores.open(store, read_only=True) as opened:
            plan, notes = fetching.panel(where, opened, seed)
        for note in notes:
            terminal.say(note, "warning")
    else:
        mode = "sample" if sample else "census"
        stores.open(store).close()  # what is no store, or is in use, is said before the first request
        plan = Plan(mode, where, size=sample, type=census, nsfw=nsfw, seed=seed)  # type: ignore[arg-type]
    planned = plan.requests
    budget = requests or (_MOST if planned is None else planned + planned // 2 + 20)
    root = store.with_suffix(".pages")
    _warn_of_stale(plan, root)
    with civitai.Client(where, budget=budget, pause=pause, contact=contact) as client:
        _announce(plan, client)
        archive = _followed(plan, root, client)
    _load(archive.folder, store)


def _warn_of_stale(plan: Plan, root: Path) -> None:
    """Say which unfinished fetches are too old to go on with."""
    from likewise.survey import fetching

    for old in fetching.stale(plan, root):
        terminal.say(
            f"the unfinished fetch in {terminal.short(old.folder)} is more than {fetching.STALE_DAYS} days old, so a new "
            "one begins: all counts must stand at about one date",
            "warning",
        )


def _announce(plan: Plan, client: Client) -> None:
    """How many requests, and for how long, before the first is sent."""
    about = f"about {plan.requests:,} requests" if plan.requests else "as many requests as the list has pages"
    said = f"asking {plan.url}: {about}, at most {client.budget:,}"
    least = time_text(client.budget * client.pause)
    terminal.say(said + (f", which would take {least} or more" if client.pause else ""))


def _followed(plan: Plan, root: Path, client: Client) -> Archive:
    """The archive of a finished fetch, with a line now and then on the way."""
    from likewise.survey.fetching import fetch

    shown = time.monotonic()

    def progress(sent: int, found: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _SECONDS:
            shown = time.monotonic()
            terminal.say(f"{sent:,} requests, {found:,} models")

    try:
        archive = fetch(plan, root, client, progress)
    except KeyboardInterrupt:
        raise Interrupted("stopped; every page is kept", "the same command goes on from here") from None
    terminal.say(f"{client.sent:,} requests sent; the pages are in {terminal.short(archive.folder)}")
    return archive


def _load(path: Path, store: Path, date: datetime | None = None) -> None:
    """Read a file or a folder of pages into a store, and say what is in it."""
    from likewise.survey import importing
    from likewise.survey import store as stores

    if not path.exists():
        raise SurveyError.missing(
            f"there is no {path}", "name a file, or a folder of pages that a fetch has kept"
        )
    with stores.open(store) as opened:
        number, notes = importing.load(path, opened, date=date)
        snapshot = opened.snapshot(number)
        count = len(opened.ids(number))
    for note in notes:
        terminal.say(note, "warning")
    ending = "" if snapshot.complete else ", not complete"
    invented = " of a rehearsal, invented" if snapshot.rehearsal else ""
    terminal.say(f"snapshot {number} ({snapshot.mode}{ending}): {count:,} models{invented}")
    terminal.result(terminal.short(store))


@survey.command("import")
def import_file(
    path: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    store: StoreFile = STORE,
    date: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="The day of its counts; else that of the file."
        ),
    ] = None,
) -> None:
    """Read somebody's table or dump as a snapshot.

    FILE is a table (.csv, .tsv) whose first line names its columns, answers of the API (.json, .jsonl), or a
    folder of pages that a fetch has kept. Columns and cells that are not understood are left out and named.

    \b
    Example:
      likewise survey import spreadsheet.csv --date 2023-01-15
      likewise survey import survey.pages/2026-11-23-sample-1
    """
    _load(path, store, date)


@survey.command()
def export(
    to: Annotated[str, typer.Option("--to", metavar="xlsx|csv|parquet", help="The kind of file.")] = "xlsx",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its name; else that of the store.")
    ] = None,
    snapshot: Annotated[int | None, typer.Option(metavar="N", help="One snapshot only.")] = None,
    store: StoreFile = STORE,
) -> None:
    """Write the models as a spreadsheet or table.

    \b
    Example:
      likewise survey export --to xlsx
      likewise survey export --to parquet --snapshot 2 --out models.parquet
    """
    from likewise.survey import exporting
    from likewise.survey import store as stores

    kind = to.lower().lstrip(".")
    if kind not in exporting.EXPORTS:
        raise typer.BadParameter(f"choose one of {', '.join(exporting.EXPORTS)}", param_hint="--to")
    with stores.open(store, read_only=True) as opened:
        path = exporting.export(opened, out or store.with_suffix(f".{kind}"), kind, snapshot)
    terminal.result(terminal.short(path))
