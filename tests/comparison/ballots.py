"""A comparison folder with pictures of three methods and the base, to vote on; small and without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

TRIALS = [("base", "Untrained base", "floor"), ("lora", "LoRA", "method"), ("dreambooth", "DreamBooth", "method"),
          ("aesthetic", "Aesthetic embedding", "method")]  # fmt: skip
PROMPTS = ("on-a-beach", "at-night")
MANY = (*PROMPTS, "in-space", "in-the-snow", "under-water", "in-a-city", "seen-from-above", "on-a-table")


def comparison(
    folder: Path,
    trials: list[tuple[str, str, str]] | None = None,
    *,
    seeds: int = 2,
    prompts: Sequence[str] = PROMPTS,
) -> Path:
    """A folder as `likewise compare` leaves it, with `seeds` pictures per prompt and trial; gives `folder`."""
    rows = [row(folder, n, trial, seeds=seeds, prompts=prompts) for n, trial in enumerate(trials or TRIALS)]
    for number in range(2):
        picture(folder / f"pictures/train/{number}.png", 100 + number)
    book = {
        "schema": 1, "noun": "mug", "token": "sks",
        "prompts": [{"id": name, "text": f"a {{}} {name.replace('-', ' ')}"} for name in prompts],
        "train": [f"pictures/train/{number}.png" for number in range(2)],
    }  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(book))
    write_rows(folder, rows)
    return folder


def row(
    folder: Path,
    number: int,
    trial: tuple[str, str, str],
    *,
    seeds: int = 2,
    prompts: Sequence[str] = PROMPTS,
    **fields: Any,
) -> dict[str, Any]:
    """A row of results.jsonl, and its gallery on disk."""
    name, title, kind = trial
    gallery = folder / "trials" / name / "gallery"
    pictures = []
    for role in prompts:
        for seed in range(seeds):
            file = f"{len(pictures):04d}.png"
            picture(gallery / file, 20 * number + len(pictures))
            prompt = f"a {'' if kind == 'floor' else 'sks '}mug {role.replace('-', ' ')}"
            pictures.append(
                {"prompt": prompt, "seed": 100 * MANY.index(role) + seed, "file": file, "role": role}
            )
    (gallery / "gallery.json").write_text(json.dumps(pictures))
    known = {"trial": name, "title": title, "kind": kind, "status": "done", "digest": f"digest of {name}"}
    return known | {"gallery": f"trials/{name}/gallery"} | fields


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade * 7 % 256, shade * 13 % 256, 90)).save(path)
