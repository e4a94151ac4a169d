"""Small stores whose right answers are known: rows written by hand, all as old as they say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from likewise.survey import store
from likewise.survey.store import Mode, Snapshot, Store

TAKEN = datetime(2026, 6, 1)


def model(number: int, kind: str = "LORA", *, age: float | None = 100.0, **columns: Any) -> dict[str, Any]:
    """A row of the store; a creator of its own and one version, published `age` days ago, unless said."""
    published = TAKEN - timedelta(days=age) if age is not None else None
    row = {"id": number, "name": f"m{number}", "type": kind, "creator": f"c{number}", "archived": False}
    return row | {"versions": 1, "base_model": "SD 1.5", "first_published": published} | columns


def written(
    rows: Iterable[Mapping[str, Any]],
    *,
    into: Store | None = None,
    mode: Mode = "census",
    taken: datetime = TAKEN,
    asked: Mapping[int, bool] | None = None,
    largest: int | None = None,
    **facts: Any,
) -> Store:
    """A store in memory (or the one given) with a snapshot of these rows, and further `facts`; whoever asks closes it."""
    into = into or store.open(Path(":memory:"))
    source = f"test {len(into.snapshots())}"
    number = into.begin(Snapshot(taken=taken, source=source, mode=mode, largest_id=largest, **facts))
    into.add(number, rows)
    into.ask(number, (asked or {}).items())
    return into


def by_method(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of an analysis by their method."""
    return {row["method"]: row for row in found["methods"]}


def pairs(found: Mapping[str, Any], axis: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The verdicts of an axis by their pair."""
    rows = next(row["pairs"] for row in found["verdicts"] if row["axis"] == axis)
    return {(row["first"], row["second"]): row for row in rows}


def assert_alike(first: object, second: object) -> None:
    """The same plain data, but for the order in which sums were added up."""
    (names, values), (others, numbers) = (  # what is no number must be equal
        ({k: v for k, v in leaves.items() if not isinstance(v, float)},
         {k: v for k, v in leaves.items() if isinstance(v, float)})
        for leaves in map(flat, (first, second))
    )  # fmt: skip
    assert others == names
    assert numbers == pytest.approx(values, rel=1e-9)


def flat(value: object, path: str = "") -> dict[str, object]:
    """Every leaf of plain data by its path."""
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if inner is None:
        return {path: value}
    return {key: leaf for at, part in inner for key, leaf in flat(part, f"{path}.{at}").items()}
