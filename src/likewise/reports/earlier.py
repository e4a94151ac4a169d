"""Earlier: comparisons of schema 1, in which every method was taught once, in the words of schema 2. It is only read.

Their rows hold means in raw units. Likeness is put between the floor and the ceiling that the comparison measured, prompt
following between 0 and the untaught base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from likewise.comparison import reasons, support
from likewise.comparison.recommending import Recommendation
from likewise.comparison.results import Row
from likewise.comparison.standing import Cost, Measured, Standing
from likewise.wording import finite

Json = dict[str, Any]
NOTE = "This comparison was made by an earlier version and holds one training of each method."


def book(old: Json, rows: Sequence[Row]) -> Json:
    """comparison.json as schema 2 would have it."""
    train, held_out = list(old.get("train") or ()), list(old.get("held_out") or ())
    conditions: list[Json] = [
        {"name": row.condition, "title": row.title, "kind": row.kind, "method": _method(row), "settings": {},
         "reason": None}
        for row in rows
    ]  # fmt: skip
    pictures = [*train, *held_out]
    fold = {"number": 0, "train": list(range(len(train))), "held_out": list(range(len(train), len(pictures)))}
    prompts = [{"role": "use", **prompt} for prompt in old.get("prompts") or ()]
    notes = [NOTE, *(old.get("notes") or ())]
    return {
        **old, "conditions": conditions, "pictures": pictures, "folds": [fold], "prompts": prompts, "replicates": 1,
        "notes": notes,
    }  # fmt: skip


def standings(old: Json, rows: Sequence[Row]) -> list[Standing]:
    """A standing per row. One training gives no interval."""
    cards = {metric["name"]: metric.get("card", "") for metric in old.get("metrics") or ()}
    floor = next((row for row in rows if row.kind == "floor"), None)
    ends = {
        "fidelity": (
            _mean(floor, "fidelity"),
            finite((old.get("ceiling") or {}).get("fidelity", {}).get("mean")),
        ),
        "prompt": (0.0, _mean(floor, "prompt")),
    }
    return [_standing(row, cards, ends) for row in rows]


def recommendation(old: Json) -> Recommendation | None:
    """None is named; nothing at all is said before the end."""
    if not old.get("finished"):
        return None
    reason = "Each method was taught once. That is a screen: taught again, each may do otherwise."
    return Recommendation(None, reasons=(NOTE, reason), next=reasons.REPLICATES)


def _standing(row: Row, cards: Json, ends: Json) -> Standing:
    axes = {}
    for name in row.scores:
        value, (low, high) = _mean(row, name), ends.get(name, (0.0, 1.0))
        if value is None or low is None or high is None or high <= low:
            continue
        count = int(finite(row.scores[name].get("n")) or 0)
        axes[name] = Measured((value - low) / (high - low), None, None, count, 1, cards.get(name, ""))
    method = _method(row)
    programs = support.notes(method)
    return Standing(row.condition, row.title, row.kind, method, {}, axes, cost=cost(row), programs=programs)


def cost(row: Row) -> Cost:
    """What one trial cost."""
    size, peak = (finite(row.cost.get(key)) for key in ("bytes", "peak_bytes"))
    return Cost(
        None if size is None else round(size), finite(row.cost.get("seconds")),
        None if peak is None else round(peak), finite(row.cost.get("sample_seconds")),
        bool(row.cost.get("shared")),
    )  # fmt: skip


def _method(row: Row) -> str | None:
    """A trial of schema 1 was called like its method."""
    return row.method or (row.trial if row.kind == "method" else None)


def _mean(row: Row | None, metric: str) -> float | None:
    return finite((row.scores.get(metric) or {}).get("mean")) if row else None
