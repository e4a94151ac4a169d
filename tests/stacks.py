"""Jobs that are stacked, and what they come to."""

from __future__ import annotations

from pathlib import Path

from likewise import methods
from likewise.recipe import Recipe
from likewise.stack import Stack
from tests.bases import concept, stack

STACKABLE = {
    "lora": [
        {"rank": 2, "learning_rate": 3e-3},
        {"rank": 4, "learning_rate": 1e-3, "alpha": 2.0},
        {"rank": 3, "learning_rate": 2e-3, "warmup": 5, "schedule": "cosine"},
    ],
    "textual_inversion": [
        {"vectors": 1, "learning_rate": 5e-3},
        {"vectors": 3, "learning_rate": 1e-3, "norm_pull": False},
        {"vectors": 2, "learning_rate": "1e-2:10, 1e-3", "initialiser": "random"},
    ],
    "hypernetwork": [
        # A bias before the keys cannot change attention, so its gradient is rounding alone, and Adam makes steps of
        # its sign: two runs that differ in rounding drift apart there by the rate. Hence rates as in practice.
        {"learning_rate": 1e-4},
        {"learning_rate": 3e-5, "weight_decay": 0.1},
        {"learning_rate": 1e-4, "clip": 0.01},
    ],
}


def jobs_of(method: str, folder: Path, *, steps: int = 20, **settings: object) -> Stack:
    recipes: list[Recipe] = [
        methods.get(method).recipe().override({"steps": steps, "batch_size": 2, "seed": n, **own, **settings})
        for n, own in enumerate(STACKABLE[method])
    ]
    concepts = [concept(folder, token, "dog", n) for n, token in enumerate(["sks", "zwx", "ohwx"])]
    return stack(concepts, recipes)
