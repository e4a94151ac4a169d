"""`likewise selfcheck`: how often verdicts are right where the truth is known. No torch, no picture, no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.cli.guard import FAILED

if TYPE_CHECKING:
    from likewise.statistics.simulation import Share

TITLES = {
    "false_winner": "Equal methods of which one is declared better or worse",
    "coverage": "Intervals that hold the true difference; of five methods, all ten at once",
    "best": "The truly best method stays among those not shown worse than the best",
    "permuted": "p-values up to a level once labels are permuted within replicate and prompt (fewer is safe)",
}


@app.command()
def selfcheck(
    repeats: Annotated[
        int, typer.Option(metavar="N", min=100, help="Simulated comparisons for each line.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws other comparisons.")] = 0,
    as_json: Json = False,
) -> None:
    """Put the verdicts to the test by simulation.

    Scores are drawn as seeds, prompts and pictures make them vary, and judged as a comparison judges them. It shows how
    often equal methods get a winner, how often intervals hold the truth, and how often a difference is found. Seeds vary by
    SD, in units of DINO similarity. Ends with 1 where a promise is broken.

    \b
    Example:
      likewise selfcheck
      likewise selfcheck --repeats 2000 --json
    """
    from likewise.statistics import simulation
    from likewise.statistics.equivalence import MARGIN

    found = list(simulation.run(repeats=repeats, seed=seed))
    broken = [share for share in found if not share.kept]
    if as_json:
        terminal.result_json(
            {
                "repeats": repeats,
                "seed": seed,
                "margin": MARGIN,
                "kept": not broken,
                "shares": [share.to_json() for share in found],
            }
        )
    else:
        for check, title in TITLES.items():
            _show(title, [share for share in found if share.check == check])
        _show_power([share for share in found if share.check == "power"], MARGIN)
        allowed = simulation.passing(simulation.RISK, repeats)
        terminal.paragraph(
            f"± is the standard error. A promise is called broken where the share is more than {simulation.PATIENCE:g} of "
            f"them beyond it: with {repeats:,} comparisons, {_percent(allowed)} still passes for a promise of "
            f"{_percent(simulation.RISK)} or less. More --repeats tell more."
        )
        promised = sum(share.least is not None or share.most is not None for share in found)
        said = (
            f"{promised - len(broken)} of {promised} promises are kept; {repeats} comparisons for each line"
        )
        terminal.result(said, "bad" if broken else "ok")
    if broken:
        raise typer.Exit(FAILED)


def _show(title: str, shares: Sequence[Share]) -> None:
    terminal.paragraph(title)
    levels = any("level" in share.setting for share in shares)
    titles = [
        "methods",
        "seed SD",
        "replicates",
        *(["p up to"] if levels else []),
        "share",
        "±",
        "promised",
        "",
    ]
    rows = [
        [
            share.setting["methods"],
            _seeds(share),
            share.setting["replicates"],
            *([share.setting["level"]] if levels else []),
            _percent(share.value),
            _percent(share.error),
            _promised(share),
            "" if share.kept else "broken",
        ]
        for share in shares
    ]
    terminal.table(titles, rows, right=titles[:-2])
    terminal.result("")


def _seeds(share: Share) -> str:
    seeds = share.setting["seeds"]
    text = ", ".join(map(str, seeds)) if isinstance(seeds, list) else str(seeds)
    return f"{text}; two equal, three worse" if "effects" in share.setting else text


def _promised(share: Share) -> str:
    if share.least is not None and share.most is not None:
        return f"{100 * share.least:.0f} to {100 * share.most:.0f} %"
    return (
        f"{100 * share.least:.0f} % or more"
        if share.least is not None
        else f"{100 * (share.most or 0):.0f} % or less"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _show_power(shares: Sequence[Share], margin: float) -> None:
    terminal.paragraph(
        f"Verdicts on the first of two methods that is better by so much (the margin is {margin})"
    )
    cases: dict[tuple[float, int, float], dict[str, Share]] = {}
    for share in shares:
        case = (share.setting["seeds"], share.setting["replicates"], share.setting["margins"])
        cases.setdefault(case, {})[share.setting["verdict"]] = share
    verdicts = ("better", "same", "undecided", "worse")
    titles = ["seed SD", "replicates", "difference", *verdicts, ""]
    rows = [
        [
            seeds,
            replicates,
            f"{margins * margin:.2f}",
            *(_percent(case[verdict].value) for verdict in verdicts),
            "" if all(share.kept for share in case.values()) else "broken",
        ]
        for (seeds, replicates, margins), case in cases.items()
    ]
    terminal.table(titles, rows, right=titles[:-1])
    terminal.result("")
