"""The sentences between the drawings of the survey's page: each claim in them is made from the numbers beside it.

A sentence that the numbers do not support is not there. What the answer says at the top is in `answer.py`.
"""

from __future__ import annotations

from likewise.survey.answer import listed, number
from likewise.survey.statistics.members import COMPARED, PLURALS, TITLES
from likewise.survey.statistics.summary import Row


def sentences(found: Row) -> dict[str, str]:
    """The text of each place on the page that makes a claim; empty where there is nothing to say."""
    rows = {row["method"]: row for row in found["methods"]}
    compared = {name: rows[name] for name in COMPARED if name in rows}
    return {
        "unrated": _unrated(compared),
        "merges": _merges(rows),
        "ages": _ages(compared),
        "growth": _growth_with_age(found),
        "order": _order(found),
        "votes": _votes(compared),
        "probe": _probe(found),
        "others": _others(found),
    }


def left_out(found: Row) -> dict[str, str]:
    """By axis of the verdicts, the methods that are there and have too few creators for it; empty where none is."""
    there = [row["method"] for row in found["methods"] if row["method"] in COMPARED]
    words = {}
    for axis in found["verdicts"]:
        judged = {row[end] for row in axis["pairs"] for end in ("first", "second")}
        words[axis["axis"]] = listed([TITLES[name] for name in there if name not in judged])
    return words


def _unrated(rows: dict[str, Row]) -> str:
    """How far counting what nobody rated as zero moves the mean that it moves most."""
    starred = [row for row in rows.values() if (row["stars"] or {}).get("left_out") is not None]
    key = ("stars", "unrated_as_zero") if len(starred) >= 2 else ("votes", "unvoted_as_zero")
    moved = [
        (row[key[0]]["left_out"] - row[key[0]][key[1]], row["method"], row[key[0]])
        for row in rows.values()
        if row[key[0]] and row[key[0]].get("left_out") is not None and row[key[0]].get(key[1]) is not None
    ]
    if not moved or max(moved, key=lambda one: one[0])[0] <= 0:
        return "Every model here was rated, so counting unrated ones as zero would change nothing."
    _, name, means = max(moved, key=lambda one: one[0])
    unit, scale = (" stars", 1) if key[0] == "stars" else (" %", 100)
    before, after = (f"{scale * means[part]:.3g}" for part in (key[1], "left_out"))
    return (
        f"Counted as zero, models that nobody rated pull the mean of {TITLES[name]} down to {before}{unit}. "
        f"Left out, it is {after}{unit}."
    )


def _merges(rows: dict[str, Row]) -> str:
    every, trained = rows.get("checkpoint_any"), rows.get("checkpoint_trained")
    if every is None:
        return ""
    if trained is None:
        return (
            f"None of the {every['models']:,} checkpoints here is known to be trained, so none can be counted as "
            "DreamBooth. A merge was mixed from other checkpoints and never taught from pictures."
        )
    more = every["models"] / trained["models"]
    text = (
        f"{trained['models']:,} of the {every['models']:,} checkpoints here are listed as trained, and a trained one may "
        "still be a fine-tune of a whole style, so that this is an upper bound for DreamBooth."
    )
    if more < 1.005:
        return text
    return f"{text} Counting every checkpoint as DreamBooth would give {more:.2g} times as many."


def _ages(rows: dict[str, Row]) -> str:
    """Which method's models are the oldest and the youngest."""
    ages = sorted(
        (row["age_days"]["median"], name)
        for name, row in rows.items()
        if row["age_days"]["median"] is not None
    )
    if len(ages) < 2 or number(ages[0][0]) == number(ages[-1][0]):
        return ""
    (young, newest), (old, oldest) = ages[0], ages[-1]
    return (
        f"Counters add up over time. Half of the {PLURALS[oldest]} are more than {number(old)} days old, and half of the "
        f"{PLURALS[newest]} more than {number(young)}."
    )


def _growth_with_age(found: Row) -> str:
    """What the fitted elasticity says of dividing by days."""
    decay = found["decay"]
    if not decay:
        return "This snapshot does not tell how downloads grow with age."
    low, high = decay["low"], decay["high"]
    fitted = f"elasticity {decay['elasticity']:.2f} [{low:.2f}, {high:.2f}]"
    if high < 1:
        return f"Downloads grow more slowly than age ({fitted}), so dividing by days favours what is new."
    if low > 1:
        return f"Downloads grow faster than age ({fitted}), so dividing by days favours what is old."
    return (
        f"Downloads cannot be told from growing in step with age ({fitted}), so dividing by days may be fair."
    )


def _order(found: Row) -> str:
    same = found["age"]["same_order"]
    if same is None:
        return ""
    if same:
        return "All three ways give the same order."
    return "The three ways give different orders; the last one compares like with like."


def _votes(rows: dict[str, Row]) -> str:
    shares = [row["votes"]["share"] for row in rows.values() if row["votes"]["share"] is not None]
    if not shares:
        return "This snapshot has no votes."
    low, high = (f"{100 * share:.3g}" for share in (min(shares), max(shares)))
    span = f"{low} %" if low == high else f"{low} to {high} %"
    return f"{span} of the votes on each method are favourable, and who votes differs between methods."


def _probe(found: Row) -> str:
    """What a census was held against."""
    probe = found["snapshot"]["parameters"].get("probe")
    if not probe:
        return ""
    low, high = 100 * probe["low"], 100 * probe["high"]
    if not probe["lost"]:
        known = f"at most {high:.2g} % of the type are missing" if probe["drawn"] else "nothing more is known"
        return f"Random ids found {probe['drawn']:,} models of the type, all of them in the list: {known}."
    return (
        f"Random ids found {probe['drawn']:,} models of the type, of which {probe['drawn_lost']:,} are not in the list. "
        f"{low:.2g} to {high:.2g} % of the type are missing (95 % interval)."
    )


def _others(found: Row) -> str:
    """The types that are no method, the commonest by name."""
    others = found["others"]
    if not others:
        return ""
    named = [f"{row['type'] or 'no type told'} ({row['models']:,})" for row in others[:8]]
    rest = sum(row["models"] for row in others[8:])
    return listed([*named, *([f"{len(others) - 8} more types ({rest:,})"] if rest else [])])
