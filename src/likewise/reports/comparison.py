"""The page of a comparison, which decides: one self-contained HTML file made from its folder, with a text and a table.

It reads what is on disk and concludes nothing of its own (`folder`); an unfinished folder, or one with failed trials, gives
a page that says so. Layout lives in `comparison.html.j2`, `.css` and `.js`, drawings in `charts`, the verdict's words in
`verdict`, and what is written without pictures in `text`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from likewise.comparison import costs, support
from likewise.comparison import votes as people
from likewise.comparison.case import Case
from likewise.comparison.design import SIZES
from likewise.comparison.limits import Limits
from likewise.comparison.standing import Cost, Measured
from likewise.files import expand, write_text
from likewise.reports import charts, page, text
from likewise.reports.album import Album
from likewise.reports.folder import AXES, SAID, Found, Line, read
from likewise.reports.pictures import Pictures
from likewise.reports.verdict import PRIMARY, matrices, verdict
from likewise.wording import MISSING, Row, count_text, measured_text, minus, size_text, time_text

NO_TRAINING = "no training"
COSTS: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("bytes", "File size", "what you keep, copy and share", size_text),
    ("seconds", "Training time", "on the machine named below", time_text),
    ("peak_bytes", "Peak memory", "the most that training held at once", size_text),
    ("sample_seconds", "Time per picture", "drawing with what was learned", time_text),
)
_HUES = 8


def build(folder: Path, out: Path | None = None, *, survey: Path | None = None) -> Path:
    """Write the page of a comparison to `out` (`report.html` in its folder); RunError if it is unreadable.

    The same in Markdown and as CSV come beside it, under the same name. With `survey`, a store of the community survey, the
    page also says how common each kind of file is. People's votes, where there are any, stand beside the measured order.
    """
    folder = expand(folder)
    out = expand(out) if out else folder / "report.html"
    album = Album(folder)
    shown = view(folder, album, survey=survey)
    found, votes = shown["found"], shown["votes"]
    shown["beside"] = album.encode(out)
    write_text(out.with_suffix(".md"), text.markdown(found, votes))
    write_text(out.with_suffix(".csv"), text.table(found))
    return page.write("comparison", shown, out)


def view(folder: Path, album: Album, *, survey: Path | None = None) -> Row:
    """What `comparison.html.j2` shows of a folder, with its pictures in `album`."""
    found = read(folder)
    common = support.common(survey, _methods(found)) if survey else None
    return _view(found, Pictures(found, album), album) | {"common": common, "votes": people.beside(folder)}


def summary(folder: Path, *, survey: Path | None = None) -> Row:
    """What the page says, as plain data: comparison.json, the rows, standings, decisions and the recommendation.

    `counts` has how many trials ended how, `common` how common each kind of file is, where a survey is given.
    """
    found = read(expand(folder))
    rows = [row for line in found.lines for row in line.rows]
    counts = Counter[str](row.status for row in rows)
    told = found.recommendation
    return {
        **found.book,
        "finished": bool(found.book.get("finished")),
        "counts": {status: counts[status] for status in SAID},
        "trials": [row.to_json() for row in rows],
        "standings": [line.standing.to_json() for line in found.lines],
        "decisions": {axis: one.to_json() for axis, one in found.decisions.items()},
        "recommendation": told.to_json() if told else None,
        "scale": found.scale,
        "notes": list(found.notes),
        "common": support.common(survey, _methods(found)) if survey else None,
    }


def table(folder: Path) -> list[Row]:
    """One row of short words per condition, for a terminal: title, status, each axis, each cost, reason."""
    found = read(expand(folder))
    order = ("fidelity", "prompt", PRIMARY)
    return [
        {
            "condition": line.title,
            "status": line.status,
            **{AXES[axis]: measured(line.standing.axes.get(axis)) for axis in order},
            **{title: cost_text(line, key) for key, title, *_ in COSTS},
            "reason": line.reason,
        }
        for line in found.lines
    ]


def measured(one: Measured | None, digits: int = 2) -> str:
    """A value with its interval, where it has one."""
    return measured_text(one.value, one.low, one.high, digits) if one else MISSING


def cost_text(line: Line, key: str) -> str:
    """One cost in words; what is not taught has none of training."""
    if key != "sample_seconds" and not line.compared:
        return NO_TRAINING
    write = next(write for name, _, _, write in COSTS if name == key)
    said = write(getattr(line.standing.cost, key))
    return f"{said} (share)" if key == "seconds" and line.standing.cost.shared and said != MISSING else said


def _methods(found: Found) -> list[str]:
    return list(dict.fromkeys(line.standing.method for line in found.lines if line.standing.method))


def _view(found: Found, pictures: Pictures, album: Album) -> Row:
    columns, book = _columns(found, pictures), found.book
    by_name = {column["name"]: column for column in columns}
    compared = [column for column in columns if column["compared"]]
    points = [(column["name"], column["title"], column["line"].standing.axes) for column in columns]
    overall = {name: one.axes[PRIMARY] for name, one in found.standings.items() if PRIMARY in one.axes}
    if found.replicates > 1:  # one training each gives no order
        overall = dict(sorted(overall.items(), key=lambda item: -item[1].value))
    size = SIZES.get(str(book.get("size")))
    return {
        "c": book, "found": found, "columns": columns, "by_name": by_name, "compared": compared, "axes": AXES,
        "verdict": verdict(found), "told": found.recommendation, "titles": found.titles, "notes": found.notes,
        "overall": overall, "strip": charts.intervals(overall) if overall else None,
        "planes": [charts.plane(points, *size) for size in ((760, 500), (380, 430))],
        "pictures": pictures, "groups": list(pictures.groups()), "data": partial(_data, found, pictures, columns),
        "matrices": list(matrices(found)), "gates": _gates(found), "numbers": _numbers(found),
        "tuning": _tuning(found), "size": size, "sizes": SIZES.values(), **_costs(found),
        "without": [line for line in found.lines if line.reason],
        "troubled": [line for line in found.lines if line.reason and line.status != SAID["skipped"]],
        "held_out": pictures.held_out(0),
        "count": sum(line.kind == "method" for line in found.lines), "date": _date, "place": album.place,
        "measured": measured, "measured_text": measured_text, "cost_text": cost_text, "size_text": size_text,
        "time_text": time_text, "count_text": count_text, "missing": MISSING, "cited": cited, "words": _words,
        "sentence": _sentence, "crossing": text.crossing,
        "command": book.get("command") or f"likewise compare {found.folder.name}",
    }  # fmt: skip


def _columns(found: Found, pictures: Pictures) -> list[Row]:
    """What a column of the pictures is, with the look of its mark."""
    hue = 0
    columns = []
    for number, line in enumerate(line for line in found.lines if line.status != SAID["skipped"]):
        tone = "method" if line.compared else line.kind
        columns.append({
            "number": number, "line": line, "name": line.name, "title": line.title, "kind": line.kind, "tone": tone,
            "compared": line.compared, "hue": hue % _HUES if line.compared else None, "numbers": pictures.of(line, 0),
            "film": pictures.film(line, 0),
        })  # fmt: skip
        hue += line.compared
    return columns


def _data(found: Found, pictures: Pictures, columns: list[Row]) -> Markup:
    """What the script needs: which picture is where, and those that no element holds. Asked for last."""
    replicates = range(found.replicates)
    lines = [column["line"] for column in columns]
    plain = {
        "titles": [line.title for line in lines],
        "missing": [line.reason or line.status for line in lines],
        "prompts": [prompt["text"] for prompt in pictures.prompts],
        "seeds": pictures.seeds,
        "drawn": [[pictures.of(line, r) for r in replicates] for line in lines],
        "nearest": [[pictures.nearest(line, r) for r in replicates] for line in lines],
        "films": [[pictures.film(line, r) for r in replicates] for line in lines],
        "held": [pictures.held_out(r) for r in replicates],
        "sources": pictures.album.rest(),
    }
    return page.data(plain)


def _numbers(found: Found) -> list[Row]:
    """Every axis with its card and what each condition has: axes between floor and ceiling first."""
    known = {str(one["name"]): one for one in found.book.get("metrics") or ()}
    every = [axis for one in found.standings.values() for axis in one.axes]
    rows = []
    for name in dict.fromkeys([*AXES, *known, *every]):
        values = {line.name: line.standing.axes.get(name) for line in found.lines}
        cards = {one.card for one in values.values() if one}
        metric = known.get(name, {})
        rows.append({
            "name": name, "title": AXES.get(name) or metric.get("title") or name.replace("_", " ").capitalize(),
            "meaning": metric.get("meaning") or ("Likeness times prompt following." if name == PRIMARY else ""),
            "better": metric.get("better") or "higher", "cards": sorted(cards) or [metric.get("card", "")],
            "between": name in AXES, "values": values, "measured": any(values.values()),
        })  # fmt: skip
    return rows


def _gates(found: Found) -> list[Row]:
    """The gates of each condition, those that fired first, and of the conditions those with most of them."""
    rows = []
    for line in found.lines:
        fired = [gate for gate in line.standing.gates if gate.fired]
        passed = [gate for gate in line.standing.gates if not gate.fired]
        if fired or passed:
            rows.append({"name": line.name, "fired": fired, "passed": passed})
    return sorted(rows, key=lambda row: -len(row["fired"]))


def _costs(found: Found) -> Row:
    """Bars of each cost, what N pictures take in all, where that changes places, and which costs are shares."""
    compared = [line for line in found.lines if line.compared]
    panels = [
        charts.bars({line.name: getattr(line.standing.cost, key) for line in compared}, title, note, write)
        for key, title, note, write in COSTS
    ]
    case = Case([line.standing for line in found.lines], found.decisions, Limits())
    known: dict[str, Cost] = {line.name: case.cost(line.name) for line in found.lines if line.kind != "floor"}
    crossings = [one for one in costs.crossings(known) if 1 < one.first <= costs.COUNTS[-1]]
    return {
        "panels": panels, "totals": costs.table(known), "counts": costs.COUNTS, "crossings": crossings,
        "curves_of": charts.totals(known, 760, 400),
        "shared": [line.title for line in compared if line.standing.cost.shared],
    }  # fmt: skip


def _tuning(found: Found) -> list[Row]:
    """For each method that was searched its settings over the rounds, and what the search ended with."""
    rounds = found.tuning.get("rounds") or []
    searches = []
    for one in found.tuning.get("found") or []:
        own = re.compile(re.escape(str(one["condition"])) + r"-\d+")
        values: dict[str, list[float | None]] = {}
        settings: dict[str, Row] = {}
        for turn, tried in enumerate(rounds):
            for each in tried:
                if own.fullmatch(each["name"]):
                    values.setdefault(each["name"], [None] * len(rounds))[turn] = each["value"]
                    settings[each["name"]] = each["settings"]
        tries = [{"settings": settings[name], "values": row} for name, row in values.items()]
        chart = charts.rounds(list(values.values()), 420, 230)
        searches.append({"note": "", **one, "tries": tries, "chart": chart})
    return searches


def cited(sentence: str) -> Markup:
    """A sentence for the page: cards small, and true minus signs. Everything in it is escaped."""
    parts = re.split(r" \(card ([^()]*)\)(?=\.?$)", minus(sentence))
    if len(parts) == 3:
        parts = [parts[0] + parts[2], parts[1]]  # its full stop stands before the card
    made = [
        escape(part) if k % 2 == 0 else Markup(' <small class="card-id">{}</small>').format(part)
        for k, part in enumerate(parts)
    ]
    return Markup("").join(made)


def _date(value: Any) -> str:
    try:
        day = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value or "")
    return f"{day.day} {day:%B} {day.year}"


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
