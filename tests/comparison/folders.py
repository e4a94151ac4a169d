"""Comparison folders whose values are known, written without a base: what `concluding` and pages read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.comparison.results import Results, Row

CARDS = {"fidelity": "f-v1", "prompt": "p-v1", "copying": "c-v1"}
FLOOR, CEILING, CHANCE, FOLLOWS = 0.2, 0.7, 0.1, 0.5
Array = NDArray[np.float64]


def write(path: Path, book: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(book), encoding="utf-8")


def condition(name: str, kind: str = "method", **changes: Any) -> dict[str, Any]:
    """As comparison.json describes one."""
    book = {"name": name, "title": name.title(), "kind": kind, "method": "lora" if kind == "method" else None}
    return {**book, "settings": {}, "words": "sks owl", "file": None, "reason": None, **changes}


def comparison(
    folder: Path, conditions: Sequence[Mapping[str, Any]], *, replicates: int = 3, prompts: int = 4
) -> Path:
    """comparison.json and anchors.json: floor .2, ceiling .7 and chance .1 in raw units, a fold per replicate."""
    ids = [f"p{number}" for number in range(prompts)]
    book = {
        "schema": 2,
        "replicates": replicates,
        "margin": 0.08,
        "alpha": 0.05,
        "conditions": list(conditions),
        "folds": [{"number": n, "train": [0, 1], "held_out": [2, 3]} for n in range(replicates)],
        "metrics": [{"name": name, "card": card} for name, card in CARDS.items()],
        "prompts": [{"id": one, "text": one, "role": "use"} for one in ids],
        "pictures": ["0.png"] * 4,
        "finished": True,
        "notes": [],
    }
    anchors = {
        "fidelity": {"ceiling": {str(n): [CEILING - 0.001, CEILING + 0.001] for n in range(replicates)}},
        "prompt": {"ceiling": None, "chance": CHANCE},
        "drift": {"spread": None},
        "note": None,
        "judges": {"pictures": "f", "prompts": "p"},
    }
    write(folder / "comparison.json", book)
    write(folder / "anchors.json", anchors)
    return folder


def trial(folder: Path, name: str, scores: Mapping[str, Mapping[int, Array]], **changes: Any) -> None:
    """A row that is done and its scores: metric -> fold -> [prompts, pictures] in raw units."""
    folds: dict[str, dict[str, Any]] = {}
    for metric, by_fold in scores.items():
        for number, table in by_fold.items():
            pictures = {f"p{p}": [float(v) for v in row] for p, row in enumerate(table)}
            folds.setdefault(str(number), {})[metric] = {"pictures": pictures, "left_out": 0}
    row: dict[str, Any] = {"trial": name, "title": name, "kind": "method", "status": "done", "digest": name}
    row |= {"cost": {"bytes": 10, "seconds": 1.0}, "method": "lora"}
    put(folder, **{**row, **changes})
    book = {"schema": 2, "digest": name, "cards": CARDS, "folds": folds}
    write(folder / "trials" / name / "scores.json", book)


def put(folder: Path, **row: Any) -> None:
    Results(folder).put(Row(**row))


def floor(folder: Path, replicates: int = 3, prompts: int = 4) -> None:
    """The untaught base at .2 and .5: the zero of likeness and the one of prompts."""
    like = {n: np.full((prompts, 2), FLOOR) + 0.001 * np.arange(prompts)[:, None] for n in range(replicates)}
    like = {n: table - table.mean() + FLOOR for n, table in like.items()}
    words = {n: np.full((prompts, 2), FOLLOWS) for n in range(replicates)}
    trial(folder, "base", {"fidelity": like, "prompt": words}, kind="floor", condition="base", method=None)


def taught(
    folder: Path,
    name: str,
    fidelity: Array,
    prompt: Array,
    *,
    only: Sequence[int] | None = None,
    **changes: Any,
) -> None:
    """A trial per replicate; values [replicates, prompts] are in floor-to-ceiling units, each of two pictures."""
    for number in range(len(fidelity)) if only is None else only:
        like = FLOOR + fidelity[number][:, None] * (CEILING - FLOOR) + np.array([-0.01, 0.01])
        words = CHANCE + prompt[number][:, None] * (FOLLOWS - CHANCE) + np.array([-0.02, 0.02])
        copied = np.zeros_like(like)
        scores = {"fidelity": {number: like}, "prompt": {number: words}, "copying": {number: copied}}
        trial(
            folder,
            f"{name}-{number}",
            scores,
            condition=name,
            replicate=number,
            seed=number,
            fold=number,
            **changes,
        )
