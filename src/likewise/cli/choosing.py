"""The commands that answer which method to use: recommend from a comparison, which without one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.wording import listed

if TYPE_CHECKING:
    from likewise.comparison.answering import Answer, Option, Sentence
    from likewise.comparison.recommending import Recommendation
    from likewise.comparison.standing import Standing

AtMost = Annotated[str | None, typer.Option(metavar="SIZE", help="The largest file: 1MB.")]
Within = Annotated[str | None, typer.Option(metavar="TIME", help="The longest teaching: 5min.")]
MustLoad = Annotated[
    list[str] | None, typer.Option(metavar="PROGRAM", help="It must load the file; may be repeated.")
]
_REACHED = ("fidelity", "prompt", "composite")
_SHOWN = (1, 100, 10_000)
"""Numbers of pictures whose total times stand in the table."""


@app.command()
def recommend(
    comparison: Annotated[Path, typer.Argument(metavar="COMPARISON", hidden=True)],
    at_most: AtMost = None,
    within: Within = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The most memory that teaching may hold: 8GB.")
    ] = None,
    must_load: MustLoad = None,
    pictures: Annotated[int, typer.Option(metavar="N", help="How many pictures you will draw.")] = 100,
    as_json: Json = False,
) -> None:
    """Say which method of a comparison to use.

    COMPARISON is the folder of a comparison. Of what keeps your limits, is not shown worse than the best and is shown
    better than the untaught base, the cheapest is named, with its reasons. Where the evidence decides nothing, nothing
    is recommended. Nothing is taught again.

    \b
    Example:
      likewise recommend comparisons/2026-11-23-cat-1
      likewise recommend comparisons/2026-11-23-cat-1 --at-most 1MB --must-load comfyui
    """
    from likewise.comparison import concluded, costs
    from likewise.comparison.case import cost_of
    from likewise.comparison.recommending import Limits
    from likewise.comparison.recommending import recommend as decide
    from likewise.comparison.standing import titled

    limits = Limits.parse(
        at_most=at_most, within=within, memory=memory, must_load=must_load or (), pictures=pictures
    )
    standings, decisions = concluded.read_verdict(comparison)
    found = decide(standings, decisions, limits)
    if as_json:
        totals = costs.table({one.name: cost_of(one) for one in standings})
        terminal.result_json({**found.to_json(), "counts": costs.COUNTS, "total_seconds": totals})
        return
    titles = titled({one.name: one.title for one in standings})
    _show_recommendation(found, titles)
    terminal.result("")
    _show_standings(standings, titles)


def _show_recommendation(found: Recommendation, titles: dict[str, str]) -> None:
    chosen = f"Take {titles[found.choice]} ({found.choice})." if found.choice else "No recommendation."
    terminal.result(chosen)
    if found.tied and (found.choice or len(found.tied) > 1):
        told = "It cannot be told from" if found.choice else "These cannot be told apart:"
        terminal.paragraph(f"{told} {listed([titles[name] for name in found.tied])}.")
    _section("Why" if found.choice else "Why none", found.reasons)
    _section("Left out", (f"{titles[name]}: {why}" for name, why in found.excluded.items()))
    _section("Not tested", found.untested)
    _section("What would decide", [found.next] if found.next else ())


def _section(title: str, sentences: Iterable[str]) -> None:
    """Sentences under a title, each a point; nothing where there is none."""
    for number, sentence in enumerate(sentences):
        if not number:
            terminal.result(f"\n{title}")
        terminal.paragraph(sentence, "  ", bullet="- ")


def _show_standings(standings: Sequence[Standing], titles: dict[str, str]) -> None:
    """What each condition reached, and what teaching and drawing take together."""
    from likewise.comparison import costs
    from likewise.comparison.case import cost_of
    from likewise.reports.folder import AXES
    from likewise.wording import MISSING, measured_text, size_text, time_text

    reached, taken = [], []
    for one in standings:
        scores = [one.axes.get(axis) for axis in _REACHED]
        size = "" if one.cost.bytes is None else size_text(one.cost.bytes)
        reached.append(
            (
                titles[one.name],
                *(measured_text(s.value, s.low, s.high) if s else MISSING for s in scores),
                size,
            )
        )
        totals = (costs.total(cost_of(one), count) for count in _SHOWN)
        taken.append((titles[one.name], *("" if total is None else time_text(total) for total in totals)))
    terminal.table(("condition", *(AXES[axis] for axis in _REACHED), "file"), reached, right=("file",))
    terminal.result("")
    counts = [f"{count:,} picture{'s' * (count > 1)}" for count in _SHOWN]
    terminal.table(("teaching and drawing", *counts), taken, right=counts)


@app.command()
def which(
    kind: Annotated[str, typer.Option(metavar="KIND", help="object, live, person or style.")],
    at_most: AtMost = None,
    within: Within = None,
    must_load: MustLoad = None,
    have: Annotated[
        int | None, typer.Option("--pictures-i-have", metavar="N", help="How many of the subject you have.")
    ] = None,
    family: Annotated[str, typer.Option(metavar="FAMILY", help="Whose files: sd or sdxl.")] = "sd",
    as_json: Json = False,
) -> None:
    """Say which method to start with, from published evidence.

    Nothing is taught. Each sentence names its source and how strong that is. Where tables contradict each other, it
    says so. Your own pictures may put the methods in another order: likewise compare shows that.

    \b
    Example:
      likewise which --kind object
      likewise which --kind style --at-most 5MB --must-load comfyui --pictures-i-have 12
    """
    from likewise.comparison.answering import answer
    from likewise.comparison.recommending import Limits

    limits = Limits.parse(at_most=at_most, within=within, must_load=must_load or ())
    found = answer(kind.strip().lower(), limits, family=family.strip().lower(), pictures=have)
    if as_json:
        terminal.result_json(found.to_json())
        return
    _show_answer(found)


def _show_answer(found: Answer) -> None:
    from likewise.comparison.answering import SUBJECTS, TITLES
    from likewise.wording import size_text

    subject, start = SUBJECTS[found.kind], found.start
    start_with = f"start with {TITLES[start]}." if start else "no method that tables have keeps your limits."
    terminal.result(f"For {subject}, {start_with}")
    named = [
        one for option in found.options if option.title == TITLES.get(start or "") for one in option.sentences
    ]
    if any(one.strength.endswith(f"none of {subject}") for one in named):
        terminal.paragraph(
            f"No table has it on {subject}: it comes first by tables of other subjects, and by the size of its file."
        )
    if enough := sum(own.described for own in found.recorded):
        terminal.paragraph(
            f"Before you teach, draw with a good description alone: in {enough} of our {len(found.recorded)} comparisons "
            "below nothing that was taught and can be taken is shown better."
        )
    terminal.result("")
    rows = [(one.title, size_text(one.bytes), _within(one), ", ".join(one.programs)) for one in found.options]
    titles = ("method", f"file, {found.base}", "in limits", "loads in")
    terminal.table(titles, rows, right=titles[1:2])
    _section("Out of limits", (f"{one.title}: {why}." for one in found.options for why in one.broken))
    _section("Not known", (f"{one.title}: {what}." for one in found.options for what in one.unknown))
    for one in (option for option in found.options if option.sentences):
        terminal.result(f"\nWhen {one.title}")
        _show_sentences(one.sentences)
    terminal.result("\nWhat tables say")
    _show_sentences(found.evidence)
    for own in found.recorded:
        said = f"It recommends {own.chosen}." if own.chosen else "It recommends nothing."
        _section(f"Our own comparison: {own.source}", (said, *own.recommendation.reasons))
    _section("Your pictures", found.notes)
    _section("Sources", (f"{name}: {where}." for name, where in found.sources))
    terminal.say("\nlikewise compare says it for your pictures, with the same judge for every method")


def _within(option: Option) -> str:
    """Whether a method keeps the limits, as far as that is known."""
    if option.broken:
        return "no"
    return "not known" if option.unknown else "yes"


def _show_sentences(sentences: Sequence[Sentence]) -> None:
    for one in sentences:
        terminal.paragraph(f"{one.text} [{one.source}: {one.strength}]", "  ", bullet="- ")
