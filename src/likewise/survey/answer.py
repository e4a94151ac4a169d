"""The answer in words: how many models of each method there are, how liked they are, and how sure that is.

Three sentences, each made from the numbers of an analysis, so that none can contradict them. Nothing here computes a
statistic, and nothing here is HTML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from likewise.survey.statistics.members import COMPARED, PLURALS
from likewise.survey.statistics.summary import Row

REHEARSAL = (
    "This is a rehearsal. Every model and every number here is invented by likewise, and says nothing about what "
    "people publish or download."
)


def sentences(found: Row) -> list[str]:
    """How many, how liked, how sure: a sentence for each."""
    rows = {row["method"]: row for row in found["methods"] if row["method"] in COMPARED}
    return [_how_many(found), _how_liked(found, rows), _how_sure(found)]


def estimates(found: Row) -> dict[str, Row]:
    """For each compared method its number of models on the site, best first: `models`, `low`, `high` and `known`.

    `known` is `listed` where a full list counted them and `estimated` where random ids did. Without either, the number
    is what this snapshot holds, with no ends, and `known` is `held`. Where nobody told which checkpoints were trained,
    DreamBooth is `untold`: any number from none to all of the checkpoints of unknown origin.
    """
    totals, rows = found["totals"] or {}, {row["method"]: row for row in found["methods"]}
    made: dict[str, Row] = {}
    for name in COMPARED:
        if name in rows and rows[name]["full"]:
            made[name] = {"models": rows[name]["models"], "low": None, "high": None, "known": "listed"}
        elif name in totals:
            made[name] = {key: totals[name][key] for key in ("models", "low", "high")} | {
                "known": "estimated"
            }
        elif name in rows:
            made[name] = {"models": rows[name]["models"], "low": None, "high": None, "known": "held"}
    untold = "checkpoint_unknown"
    if "checkpoint_trained" not in made and untold in rows:
        most = totals[untold]["high"] if untold in totals else rows[untold]["models"]
        made["checkpoint_trained"] = {"models": most, "low": 0, "high": most, "known": "untold"}
    return dict(sorted(made.items(), key=lambda pair: -pair[1]["models"]))


def round_text(value: float) -> str:
    """A number with the three digits that an estimate has: 12,300."""
    digits = 2 - math.floor(math.log10(value)) if value >= 1 else 0
    return f"{round(value, min(digits, 0)):,.0f}"


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), *parts[-1:]])


def _how_many(found: Row) -> str:
    numbers = {name: one for name, one in estimates(found).items() if one["known"] != "untold"}
    if not numbers and not _unknown_origin(found):
        return "This snapshot holds no model of any of the methods that likewise teaches."
    if not any(one["known"] == "estimated" for one in numbers.values()):
        return _how_many_held(found, numbers)
    parts, about = [], "about "
    for name, one in numbers.items():
        if one["models"] <= 0:
            parts.append(
                f"perhaps up to {round_text(one['high'])} {PLURALS[name]}, of which the sample met none"
            )
        elif one["known"] == "listed":
            parts.append(f"exactly {one['models']:,} {PLURALS[name]}")
            about = "about "
        else:
            most = "at most " if name == "checkpoint_trained" else about
            parts.append(f"{most}{round_text(one['models'])} {PLURALS[name]}")
            about = "" if most == about else about  # said once, it holds for what follows
    where = "On this invented site, people" if found["rehearsal"] else "People"
    text = f"{where} publish {listed(parts)}."
    if "checkpoint_trained" not in numbers:
        return f"{text} {_unknown_origin(found)}".strip()
    return f"{text} A trained checkpoint may be DreamBooth or another fine-tune, so that number is an upper bound."


def _how_many_held(found: Row, numbers: dict[str, Row]) -> str:
    holders = {"import": "This file", "census": "This list", "panel": "This second look"}
    parts = [f"{one['models']:,} {PLURALS[name]}" for name, one in numbers.items() if one["models"]]
    holder = holders.get(found["snapshot"]["mode"], "This snapshot")
    what = listed(parts) or "no model of a method that likewise teaches"
    text = f"{holder} holds {what}; it does not say how many there are on the site."
    return f"{text} {_unknown_origin(found)}".strip()


def _unknown_origin(found: Row) -> str:
    """What to say where no checkpoint is known to be trained, and some may be."""
    unknown = next((row for row in found["methods"] if row["method"] == "checkpoint_unknown"), None)
    if unknown is None:
        return ""
    return (
        f"Its {unknown['models']:,} checkpoints of unknown origin may be DreamBooth, another fine-tune or a merge, so "
        "DreamBooth cannot be counted."
    )


def _how_liked(found: Row, rows: dict[str, Row]) -> str:
    parts = [
        _between("a typical model has", "downloads", rows, ("downloads", "median", "median_interval")),
        _between("a hundred downloads bring", "likes", rows, ("likes", "per_100", "interval")),
    ]
    text = ", and ".join(part for part in parts if part) or "this snapshot has neither downloads nor likes"
    return f"{text[0].upper()}{text[1:]}; {_likes_decided(found)}."


def _between(opening: str, unit: str, rows: dict[str, Row], at: tuple[str, str, str]) -> str:
    """The range of a figure, with the methods at its ends; of those that have an interval, if two have."""
    group, key, interval = at
    there = {name: row[group] for name, row in rows.items() if row[group][key] is not None}
    sure = {name: one for name, one in there.items() if one[interval]}
    known = sorted((one[key], name) for name, one in (sure if len(sure) >= 2 else there).items())
    if not known:
        return ""
    (least, lower), (most, upper) = known[0], known[-1]
    if len(known) == 1 or number(least) == number(most):
        return f"{opening} {number(most)} {unit}"
    return (
        f"{opening} between {number(least)} ({PLURALS[lower]}) and {number(most)} {unit} ({PLURALS[upper]})"
    )


def _likes_decided(found: Row) -> str:
    pairs = next(axis["pairs"] for axis in found["verdicts"] if axis["axis"] == "likes")
    told = [row for row in pairs if row["verdict"] in ("more", "less")]
    if not pairs:
        return "no two methods have creators enough to say which is liked more"
    if not told:
        return (
            f"none of the {len(pairs)} pairs of methods surely differs in likes per download"
            if len(pairs) > 1
            else "the two methods that can be compared do not surely differ in likes per download"
        )
    ordered = [
        (row["first"], row["second"]) if row["verdict"] == "more" else (row["second"], row["first"])
        for row in told
    ]
    shown = listed([f"{PLURALS[more]} more than {PLURALS[less]}" for more, less in ordered[:3]])
    rest = f", and {len(told) - 3} pairs more" if len(told) > 3 else ""
    return f"{len(told)} of {len(pairs)} pairs surely differ in likes per download ({shown}{rest})"


def _how_sure(found: Row) -> str:
    taken = found["snapshot"]
    date = datetime.fromisoformat(taken["taken"])
    day = f"{date.day} {date:%B} {date.year}"
    if found["totals"]:
        asked = max(row["asked"] for row in found["totals"].values())
        text = f"The numbers of models come from {asked:,} ids drawn at random from {taken['largest_id']:,} on {day}"
        text += _precision(found)
    elif taken["mode"] == "census":
        text = f"The list is of {day}{_probed(taken)}"
    elif taken["mode"] == "import":
        text = f"The file is of {day}, and nothing tells what it left out"
    else:
        text = f"The models are those of an earlier sample, looked at again on {day}"
    return text + ("." if taken["complete"] else "; the snapshot is not complete.")


def _precision(found: Row) -> str:
    """How near to the truth the best and the worst known number are."""
    known = [
        ((one["high"] - one["low"]) / 2 / one["models"], name)
        for name, one in estimates(found).items()
        if one["known"] == "estimated" and one["models"] > 0
    ]
    if not known:
        return ""
    (best, first), (worst, last) = min(known), max(known)
    text = f": that of {PLURALS[first]} is known to within {number(100 * best)} %"
    return text if first == last else f"{text}, and that of {PLURALS[last]} to within {number(100 * worst)} %"


def _probed(taken: Row) -> str:
    probe = taken["parameters"].get("probe")
    if not probe:
        return ""
    if probe["lost"]:
        return f", and {100 * probe['low']:.2g} to {100 * probe['high']:.2g} % of the type are not in it"
    if not probe["drawn"]:
        return ", and no random id says how complete it is"
    return f", and at most {100 * probe['high']:.2g} % of the type are not in it"


def number(value: float) -> str:
    """With two or three digits: 0.41, 41, 1,532."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.2g}"
