"""The command for people's votes: vote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.errors import RecipeError
from likewise.local import PORT


@app.command()
def vote(
    comparison: Annotated[Path, typer.Argument(metavar="COMPARISON", hidden=True)],
    results: Annotated[
        bool, typer.Option("--results", help="Print what the votes say, and serve nothing.")
    ] = False,
    another: Annotated[
        bool, typer.Option("--another", help="Begin another ballot: for another person, or a second look.")
    ] = False,
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Show the untaught base's pictures too.")
    ] = False,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 is any free one.")] = PORT,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Vote blind between the pictures of a comparison.

    The page is served on this machine alone, until Ctrl-C. Votes never enter the measured verdict.

    \b
    Example:
      likewise vote comparisons/2026-05-12-dog-1 --open
      likewise vote comparisons/2026-05-12-dog-1 --results
    """
    from likewise.comparison import votes

    if as_json and not results:
        raise RecipeError("--json prints results", "write --results --json")
    if results:
        _print(votes.summary(comparison), as_json)
        return
    from likewise.comparison.voting import Ballot
    from likewise.local.server import Server
    from likewise.reports.booth import app as booth

    ballot = Ballot(comparison, anchors=with_base, another=another)
    server = Server(booth(ballot), port=port)
    terminal.say(f"{ballot.done} of {len(ballot)} pairs are answered; Ctrl-C ends it, and every vote is kept")
    terminal.result(server.address)
    if open_page:
        import webbrowser

        webbrowser.open(server.address)
    try:
        server.run()
    except KeyboardInterrupt:
        terminal.say(f"\n{ballot.done} of {len(ballot)} pairs are answered")


def _print(found: dict[str, Any], as_json: bool) -> None:
    from likewise.comparison import votes

    if as_json:
        terminal.result_json(found)
        return
    if found["conditions"]:
        titles = ("condition", "preferred", "95 % interval", "votes", "both bad")
        rows = [
            (
                one["title"],
                _percent(one["share"]["value"]),
                _ends(one["share"]),
                one["votes"],
                one["both_bad"],
            )
            for one in found["conditions"]
        ]
        terminal.table(titles, rows, right=titles[1:])
        terminal.result("")
    for sentence in votes.sentences(found):
        terminal.paragraph(sentence)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ends(share: dict[str, float | None]) -> str:
    low, high = share["low"], share["high"]
    return "" if low is None or high is None else f"{_percent(low)} to {_percent(high)}"
