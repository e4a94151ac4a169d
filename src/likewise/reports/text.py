"""Text: a comparison's page without pictures, in Markdown, and its numbers as CSV.

The same content in the same order as the page. Names from outside are escaped, and no cell of the table is a formula.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from likewise.comparison import costs
from likewise.comparison.case import Case
from likewise.comparison.design import SIZES
from likewise.comparison.limits import Limits
from likewise.reports.folder import AXES, Found
from likewise.reports.verdict import matrices, verdict
from likewise.wording import MISSING, defused, measured_text, size_text, time_text

COLUMNS = (
    "condition",
    "title",
    "kind",
    "axis",
    "unit",
    "value",
    "low",
    "high",
    "prompts",
    "replicates",
    "card",
)
_COSTS = {"bytes": "bytes", "seconds": "seconds", "peak_bytes": "bytes", "sample_seconds": "seconds"}


def table(found: Found) -> str:
    """CSV with a line per condition and axis, then one per condition and cost; what is missing is an empty cell.

    Units are `floor-to-ceiling`, `metric` (see its card), `bytes` and `seconds`; `seconds (share)` where trials were taught
    together.
    """
    lines: list[dict[str, Any]] = []
    for line in found.lines:
        who = {"condition": line.name, "title": line.title, "kind": line.kind}
        for axis, one in line.standing.axes.items():
            unit = "floor-to-ceiling" if axis in AXES else "metric"
            numbers = {
                key: getattr(one, key) for key in ("value", "low", "high", "prompts", "replicates", "card")
            }
            lines.append(
                {**who, "axis": axis, "unit": unit, **{key: _rounded(it) for key, it in numbers.items()}}
            )
        for key, unit in _COSTS.items():
            value, shared = getattr(line.standing.cost, key), line.standing.cost.shared and key == "seconds"
            if value is not None:
                lines.append(
                    {**who, "axis": key, "unit": f"{unit} (share)" if shared else unit, "value": value}
                )
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: defused(cell) if isinstance(cell, str) else cell for key, cell in line.items()}
        for line in lines
    )
    return out.getvalue()


def _rounded(value: Any) -> Any:
    """A number without the last digits, which are those of the arithmetic: the floor is 0, not -6e-18."""
    return round(value, 9) + 0.0 if isinstance(value, float) else value


def markdown(found: Found, votes: Mapping[str, Any] | None = None) -> str:
    """The page's content in Markdown."""
    parts = (
        _verdict(found), _axes(found), _matrices(found), _costs(found), _tuning(found), _gates(found), _metrics(found),
        _people(found, votes), _reading(found), _repeat(found),
    )  # fmt: skip
    return "\n".join(line for part in parts for line in (*part, "")).rstrip() + "\n"


def _plain(text: Any) -> str:
    """Words as Markdown that means nothing but them."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _list(sentences: Sequence[str]) -> list[str]:
    return [f"* {_plain(sentence)}" for sentence in sentences]


def _grid(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return [
        "| " + " | ".join(cell if k == 1 else _plain(cell) for cell in row) + " |"
        for k, row in enumerate(lines)
    ]


def _verdict(found: Found) -> Iterator[str]:
    told, titles = verdict(found), found.titles
    yield f"# {_plain(told.headline)}"
    yield ""
    if not found.book.get("finished"):
        yield from ["**This comparison is not finished.** What is there is told.", ""]
    for sentence in told.lead:
        yield from [_plain(sentence), ""]
    yield from _list(told.reasons)
    if told.next:
        yield from ["", f"**What would decide more:** {_plain(told.next)}"]
    excluded = found.recommendation.excluded if found.recommendation else {}
    if excluded:
        yield from ["", "Not to be taken as it is:", ""]
        yield from _list([f"{titles.get(name, name)}: {said}" for name, said in excluded.items()])


def _axes(found: Found) -> Iterator[str]:
    yield from ["## Likeness and prompt following", ""]
    yield (
        "Likeness is 0 for the untaught base and 1 for real pictures among themselves. Prompt following is 0 for chance "
        "and 1 for the untaught base."
    )
    yield ""
    rows = [
        [
            line.title,
            *(_measured(line.standing.axes.get(axis)) for axis in AXES),
            line.status,
            line.reason or "",
        ]
        for line in found.lines
    ]
    yield from _grid(["Condition", *AXES.values(), "Status", "Reason"], rows)


def _measured(one: Any, digits: int = 2) -> str:
    return measured_text(one.value, one.low, one.high, digits) if one else MISSING


def _matrices(found: Found) -> Iterator[str]:
    yield from ["## Each against each", ""]
    for one in matrices(found):
        yield from [f"### {_plain(one['title'])}", ""]
        yield from [_plain(one["refused"])] if one["refused"] else _list(one["sentences"])
        yield ""
    yield "Intervals of all pairs of an axis hold together; p is adjusted for all pairs by Holm."


def _costs(found: Found) -> Iterator[str]:
    yield from ["## What each one costs", ""]
    case = Case([line.standing for line in found.lines], found.decisions, Limits())
    known = {line.name: case.cost(line.name) for line in found.lines if line.kind != "floor"}
    titles = found.titles
    rows = [
        [titles[name], size_text(cost.bytes), time_text(cost.seconds) + (" (share)" if cost.shared else ""),
         size_text(cost.peak_bytes), time_text(cost.sample_seconds), *map(time_text, costs.table({name: cost})[name])]
        for name, cost in known.items()
    ]  # fmt: skip
    pictures = [f"{count:,} picture{'s' * (count > 1)} in all" for count in costs.COUNTS]
    yield from _grid(["Condition", "File", "Training", "Peak memory", "Per picture", *pictures], rows)
    for one in costs.crossings(known):
        if 1 < one.first <= costs.COUNTS[-1]:
            yield from ["", _plain(crossing(one, titles))]


def crossing(one: costs.Crossing, titles: Mapping[str, str]) -> str:
    """Where two conditions change places, in words."""
    before, after = titles[one.before], titles[one.after]
    return f"From {one.first:,} pictures on, {after} takes less time in all than {before}."


def _tuning(found: Found) -> Iterator[str]:
    if found.tuning.get("notes"):
        yield from ["## Settings that were searched", "", *_list(found.tuning["notes"])]


def _gates(found: Found) -> Iterator[str]:
    yield from ["## Warnings", ""]
    fired = [(line.title, gate) for line in found.lines for gate in line.standing.gates if gate.fired]
    if not fired:
        yield "None of the warnings that were looked for was given."
    for title, gate in fired:
        remedy = f"To try: {gate.remedy.rstrip('.')}." if gate.remedy else ""
        yield f"* **{_plain(title)}, {_plain(gate.name)}.** {_plain(gate.sentence)} {_plain(remedy)}".rstrip()


def _metrics(found: Found) -> Iterator[str]:
    yield from ["## All numbers", ""]
    rows = [
        [line.title, axis, _measured(one, 2 if axis in AXES else 3), one.prompts, one.replicates, one.card]
        for line in found.lines
        for axis, one in line.standing.axes.items()
    ]
    yield from _grid(["Condition", "Axis", "Value", "Prompts", "Replicates", "Card"], rows)


def _people(found: Found, votes: Mapping[str, Any] | None) -> Iterator[str]:
    if votes:
        yield from ["## What people say", "", f"{votes['votes']} votes of {votes['people']} people.", ""]
        rows = [
            [
                found.titles.get(one["name"], one["name"]),
                measured_text(one["value"], one.get("low"), one.get("high")),
            ]
            for one in votes["order"]
        ]
        yield from _grid(["Condition", "Share of pairs won"], rows)
        yield from ["", *_list(votes.get("sentences", ()))]


def _reading(found: Found) -> Iterator[str]:
    yield from ["## How to read this", ""]
    size = SIZES.get(str(found.book.get("size")))
    if size:
        own = found.replicates == size.replicates
        other = f"It has {found.replicates} trainings of each method in place of {size.replicates}."
        yield from _list([f"Size: {size.name}. {size.decides if own else other}"])
    if found.book.get("kind"):
        yield from _list([f"Kind: {found.book['kind']}. {found.book.get('kind_reason') or ''}"])
    yield from _list(found.notes)
    yield from _list(found.recommendation.untested if found.recommendation else ())


def _repeat(found: Found) -> Iterator[str]:
    book = found.book
    yield from ["## How to repeat it", ""]
    command = book.get("command") or f"likewise compare {shlex.quote(found.folder.name)}"
    yield from [
        "```",
        str(command).replace("```", ""),
        f"likewise recompute {shlex.quote(found.folder.name)}",
        "```",
        "",
    ]
    facts = {
        "likewise": book.get("version"), "base": book.get("base"), "protocol": found.digest or book.get("digest"),
        **{f"sampler {key}": value for key, value in (book.get("sampler") or {}).items()},
        **{f"machine {key}": value for key, value in (book.get("machine") or {}).items()},
    }  # fmt: skip
    yield from _list([f"{key}: {value}" for key, value in facts.items() if value not in (None, "")])
