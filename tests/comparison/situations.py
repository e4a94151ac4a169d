"""Situations: standings and decisions with invented numbers, made by the rules of the verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from likewise.comparison.standing import Cost, Gate, Measured, Standing
from likewise.comparison.verdicts import Decision, Pair
from likewise.statistics.crossed import Estimate

CARD = "composite-v1"
MARGIN = 0.08
EVERYWHERE = {"AUTOMATIC1111": "exact", "ComfyUI": "exact", "diffusers": "exact"}
MEGABYTE = 10**6


def standing(name: str, composite: float, **more: Any) -> Standing:
    """A condition. `fidelity` and `prompt` are the composite where they are not given."""
    replicates, card = more.pop("replicates", 3), more.pop("card", CARD)
    values = {
        "composite": composite,
        "fidelity": more.pop("fidelity", composite),
        "prompt": more.pop("prompt", composite),
    }
    axes = {
        axis: Measured(value, value - 0.05, value + 0.05, 20, replicates, card)
        for axis, value in values.items()
    }
    known = {"bytes": 3 * MEGABYTE, "seconds": 120.0, "peak_bytes": 4 * 10**9, "sample_seconds": 2.0}
    cost = Cost(**known | more.pop("cost", {}))
    kind = more.pop("kind", "method")
    settings = {"title": name, "method": name if kind == "method" else None, "programs": EVERYWHERE} | more
    return Standing(name, kind=kind, axes=axes, cost=cost, **settings)


def gate(sentence: str = "12 % of its pictures copy a training picture", remedy: str = "") -> Gate:
    """A gate that fired."""
    return Gate("copying", True, sentence, remedy)


def estimate(value: float, half: float, replicates: int = 3) -> Estimate:
    """A difference with its interval."""
    return Estimate(value, half / 2, 10.0, value - half, value + half, replicates, 20)


def verdict(value: float, half: float, margin: float = MARGIN) -> str:
    """The four-way rule."""
    if value - half > 0:
        return "better"
    if value + half < 0:
        return "worse"
    return "same" if half - abs(value) < margin and abs(value) + half < margin else "undecided"


def decision(
    values: Mapping[str, float],
    half: float = 0.05,
    *,
    halves: Mapping[tuple[str, str], float] | None = None,
    **more: Any,
) -> Decision:
    """Every pair decided from its means and the half width of its interval, which `halves` sets for single pairs."""
    order = sorted(values, key=lambda name: -values[name])
    pairs = []
    for first, second in combinations(order, 2):
        wide, gap = (halves or {}).get((first, second), half), values[first] - values[second]
        said = verdict(gap, wide)
        more_seeds = 12 if said == "undecided" else None
        pairs.append(Pair(first, second, said, estimate(gap, wide), 0.01, gap - wide > MARGIN, more_seeds))  # type: ignore[arg-type]
    worse = {pair.second for pair in pairs if pair.first == order[0] and pair.verdict == "better"}
    best = tuple(name for name in order if name not in worse)
    return Decision(
        **{"axis": "composite", "margin": MARGIN, "pairs": tuple(pairs), "best": best, "refused": None} | more
    )


def decided(standings: list[Standing], half: float = 0.05, **more: Any) -> dict[str, Decision]:
    """The decision on the primary axis from the standings' own means."""
    values = {one.name: one.axes["composite"].value for one in standings}
    return {"composite": decision(values, half, **more)}


def write_verdict(
    folder: Path, standings: list[Standing], decisions: Mapping[str, Decision], **more: str
) -> Path:
    """`verdict.json` of a comparison folder; with `label` and `kind`, a recorded comparison."""
    data = {
        "schema": 1,
        "standings": [one.to_json() for one in standings],
        "decisions": {axis: one.to_json() for axis, one in decisions.items()},
    }
    path = folder / "verdict.json"
    path.write_text(json.dumps(data | more))
    return path
