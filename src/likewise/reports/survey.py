"""The survey's page and table: what `statistics.analyse` found, for people.

One HTML file that needs no other file and no network. It computes no statistic of its own; words and layout are
in `survey.html.j2`, its look in the sheet of all pages and the few rules of `survey.css`.
"""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from likewise.files import write_text
from likewise.reports import page
from likewise.reports import survey_charts as drawings
from likewise.survey import answer, prose
from likewise.survey.statistics.exposure import BASES, FITTED_ON
from likewise.survey.statistics.members import COMPARED, TITLES
from likewise.survey.statistics.ratings import FITTED_ON as VOTES_ON
from likewise.survey.statistics.resampling import LEAST_CREATORS, LEAST_OF_SUMS
from likewise.survey.statistics.summary import Row
from likewise.wording import count_text, defused, size_text

MISSING = "—"
WARNING = (
    "Popularity is not quality. Downloads and likes follow subject, fame, age and ease, so these numbers have "
    "weight zero wherever likewise judges methods."
)
_VERDICTS = {"more": "more", "less": "less", "same": "practically the same", "undecided": "undecided"}


def build(found: Row, out: Path) -> Path:
    """Write the page of an analysis to `out` and return it."""
    return page.write("survey", view(found), out)


def write_csv(found: Row, out: Path) -> Path:
    """Write the table, a line per method; what is missing is an empty cell, and no text is a formula.

    Where the site was invented, each line says so in its first column.
    """
    mark = {"rehearsal": True} if found["rehearsal"] else {}
    rows = [mark | _flat(row) for row in found["methods"]]
    rows = [
        {name: defused(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in rows
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(out, text.getvalue())


def _flat(value: Row, before: str = "") -> Row:
    """Nested facts as one level, their names joined by dots; pairs are intervals."""
    flat: Row = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{before}{key}.")
        elif key.endswith("interval"):
            low, high = inner or (None, None)
            flat |= {f"{before}{key}.low": low, f"{before}{key}.high": high}
        else:
            flat[before + key] = "; ".join(inner) if isinstance(inner, list) else inner
    return flat


def table(found: Row) -> list[Row]:
    """One row of short words per method, for a terminal: the site's number of models first, then the snapshot's own."""
    drawn = {name: total | {"known": "estimated"} for name, total in (found["totals"] or {}).items()}
    numbers = drawn | answer.estimates(found) if drawn or found["completed_by"] else {}
    held = {"sample": "in the sample", "panel": "in the panel"}.get(found["snapshot"]["mode"], "models")
    rows = []
    for row in found["methods"]:
        if row["part_of"] == "mistake":
            continue
        site = {"on the site": models_text(numbers.get(row["method"]))} if numbers else {}
        downloads = row["downloads"]
        rows.append({"method": ("  " if row["part_of"] else "") + row["title"], **site} | {
            held: f"{row['models']:,}" + (" (all)" if row["full"] else ""),
            "hidden": share_text(row["hidden"] / row["models"]),
            "median": number_text(downloads["median"]),
            "of top version": number_text(downloads["median_of_top_version"]),
            "geometric mean": number_text(downloads["geometric_mean"]),
            "their total": count_text(downloads["total"]) if downloads["total"] is not None else MISSING,
            "likes per 100": number_text(row["likes"]["per_100"]),
            "favourable": share_text(row["votes"]["share"]),
            "size": kilobytes_text(row["size_kb"]["median"]),
            "days": number_text(row["age_days"]["median"]),
        })  # fmt: skip
    return rows


def models_text(one: Row | None) -> str:
    """A number of models on the site with its interval, or all of them where they were listed."""
    if one is None or one["known"] in ("held", "untold"):
        return MISSING
    if one["known"] == "listed":
        return f"{one['models']:,}"
    low, high = (answer.round_text(one[key]) for key in ("low", "high"))
    return f"{answer.round_text(one['models'])} [{low}, {high}]"


def view(found: Row) -> Row:
    """What `survey.html.j2` shows of an analysis."""
    rows = found["methods"]
    by_name = {row["method"]: row for row in rows}
    compared = [name for name in COMPARED if name in by_name]
    snapshot = found["snapshot"]
    taken = datetime.fromisoformat(snapshot["taken"])
    left_out = ("probe", "rehearsal")
    return {
        "f": found, "s": snapshot, "source": snapshot["source"].partition(", begun ")[0], "moment": moment_text,
        "query": {k: v for k, v in snapshot["parameters"].items() if v is not None and k not in left_out},
        "answer": answer.sentences(found), "rehearsal": answer.REHEARSAL, "on_site": answer.estimates(found),
        "round": answer.round_text, "prose": prose.sentences(found), "left_out": prose.left_out(found),
        "estimated": bool(found["totals"] or found["completed_by"]), "held": _HELD.get(snapshot["mode"], _HELD["import"]),
        "few": LEAST_CREATORS, "many": LEAST_OF_SUMS,
        "rows": [row for row in rows if row["part_of"] != "mistake"],
        "by_name": by_name, "compared": compared, "titles": TITLES, "warning": WARNING, "missing": MISSING,
        "hues": {name: k for k, name in enumerate(COMPARED)}, "date": f"{taken.day} {taken:%B} {taken.year}",
        "models": sum(row["models"] for row in rows if row["part_of"] is None),
        "histograms": drawings.histograms(found["distributions"], compared), "rated": _rated(rows),
        "ages": _ages(found), "cohorts": drawings.cohorts(found["cohorts"], compared),
        "cloud": drawings.cloud(rows, found["sizes"]), "vanished": drawings.shares(found["vanished"]),
        "checkpoints": [by_name[name] for name in _CHECKPOINTS if name in by_name], "verdict_words": _VERDICTS,
        "number": number_text, "share": share_text, "count": count_text, "kilobytes": kilobytes_text,
        "span": interval_text, "times": ratio_text, "two": "{:.2f}".format, "ways": _WAYS, "exp": math.exp, "bases": BASES,
        "parts": [row["method"] for row in rows if row["part_of"]], "fitted_on": FITTED_ON, "votes_on": VOTES_ON,
    }  # fmt: skip


_HELD = {
    "sample": ("the sample", "What the sample holds"),
    "panel": ("the panel", "What the panel holds"),
    "census": ("the list", "What the list holds"),
    "import": ("the file", "What the file holds"),
}
"""By mode what a snapshot is called, and the heading of its own counts."""
_CHECKPOINTS = ("checkpoint_any", "checkpoint_trained", "checkpoint_merge", "checkpoint_unknown")
_WAYS = (("raw", "as counted"), ("per_day", "per day"), ("adjusted", "adjusted"))


def _rated(rows: list[Row]) -> Row | None:
    """Stars, or where there are none favourable votes, three ways: with zeros, without, and shrunk."""
    columns = ["unrated as zero", "left out", "shrunk"]
    starred = [row for row in rows if row["compared"] and (row["stars"] or {}).get("left_out") is not None]
    if len(starred) >= 2:
        keys = ("unrated_as_zero", "left_out", "shrunk")
        values = {row["method"]: [row["stars"][key] for key in keys] for row in starred}
        return {"stars": True, "values": values, "drawing": drawings.slopes(columns, values, False)}
    votes = {row["method"]: row["votes"] for row in rows if row["compared"] and row["votes"]["cast"]}
    values = {
        name: [row["unvoted_as_zero"], row["left_out"], (row["prior"] or {}).get("mean")]
        for name, row in votes.items()
    }
    drawing = drawings.slopes(["unvoted as zero", *columns[1:]], values, False)
    return {"stars": False, "values": values, "drawing": drawing} if drawing else None


def _ages(found: Row) -> Row | None:
    ratios = found["age"]["ratios"]
    values = {name: [(row.get(key) or {}).get("value") for key, _ in _WAYS] for name, row in ratios.items()}
    drawing = drawings.slopes([title for _, title in _WAYS], values, True)
    return {"ratios": ratios, "drawing": drawing} if drawing else None


def number_text(value: Any) -> str:
    """A number with three digits that count, or all of them from a thousand on: 0.412, 41.2, 1,532."""
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{round(value, min(digits, 4)) + 0.0:.{min(digits, 4)}f}"  # adding 0 turns -0 into 0
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def share_text(value: Any) -> str:
    """A share in percent, with as many digits as tell it from none and from all."""
    if value is None:
        return MISSING
    rest = min(value, 1 - value)
    return f"{100 * value:.{0 if rest == 0 or rest >= 0.1 else 1 if rest >= 0.02 else 2}f} %"


def kilobytes_text(value: Any) -> str:
    """Kilobytes of 1024 bytes, as the site counts them, in units that people know."""
    return MISSING if value is None else size_text(1024 * value)


def moment_text(moment: str) -> str:
    """A moment in ISO's spelling, to the minute: 2026-11-23 13:12."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M}"


def interval_text(ends: Any, write: Any = number_text) -> str:
    """[low, high], or nothing where there is none."""
    return f"[{write(ends[0])}, {write(ends[1])}]" if ends else ""


def ratio_text(value: float) -> str:
    """A ratio: ×1.66."""
    return f"×{value:.2f}"
