"""Small comparison folders made by hand: of schema 2 with verdicts, and of schema 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from likewise.comparison.recommending import Limits, recommend
from likewise.comparison.standing import Cost, Gate, Measured, Standing
from likewise.comparison.verdicts import decide
from likewise.statistics import crossed

SEEDS = [3, 4]
EVIL = '<script>alert(1)</script> & "sks" {} <b>'
PROMPTS = [
    {"id": "beach", "text": "a {} on a beach", "role": "use", "stratum": "place"},
    {"id": "evil", "text": EVIL, "role": "use", "stratum": "place"},
    {"id": "alone", "text": "a {}", "role": "class", "stratum": "place"},
]
LEVELS = {
    "base": (0.0, 1.0),
    "description": (0.3, 0.95),
    "lora": (0.8, 0.9),
    "big": (0.79, 0.9),
    "dreambooth": (0.2, 0.6),
}
"""Likeness and prompt following of each condition."""
TITLES = {
    "base": "Untrained base",
    "description": "Described",
    "lora": "LoRA",
    "big": "LoRA of rank 32",
    "dreambooth": "DreamBooth",
}
METHODS = {"lora": "lora", "big": "lora", "dreambooth": "dreambooth"}
CARDS = {"fidelity": "f-v1/judge", "prompt": "p-v1/judge", "diversity": "d-v1/judge"}

VOTES = {
    "people": 5, "votes": 90, "order": [{"name": "big", "value": 0.71, "low": 0.6, "high": 0.8}],
    "sentences": ["People and the measure agree on 9 of 10 pairs."],
}  # fmt: skip
"""What people said, as a page is given it."""


def picture(path: Path, shade: int, side: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade * 7 % 256, shade * 13 % 256, shade // 32)).save(path)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit(folder: Path, name: str = "comparison.json", **values: Any) -> None:
    write(folder / name, json.loads((folder / name).read_text(encoding="utf-8")) | values)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def kind_of(name: str) -> str:
    return {"base": "floor", "description": "description"}.get(name, "method")


def gallery(folder: Path, trial: str, shade: int) -> None:
    rows = []
    for prompt in PROMPTS:
        for _ in SEEDS:
            file = f"{len(rows):04d}.png"
            picture(folder / "trials" / trial / "gallery" / file, shade + len(rows))
            text = prompt["text"].replace("{}", "sks mug")
            rows.append({"prompt": text, "seed": 100 + len(rows), "file": file, "role": prompt["id"]})
    write(folder / "trials" / trial / "gallery" / "gallery.json", rows)


def _row(folder: Path, name: str, replicate: int | None, shade: int) -> dict[str, Any]:
    trial = name if replicate is None else f"{name}-{replicate}"
    gallery(folder, trial, shade)
    strip = []
    for step in (0, 5, 20) if replicate is not None else ():
        samples = folder / "trials" / trial / "run" / "samples" / f"step{step:06d}"
        picture(samples / "0000.png", shade + 10 + step)
        write(
            samples / "gallery.json",
            [{"prompt": "a sks mug", "seed": 0, "file": "0000.png", "role": "preview"}],
        )
        strip.append({"step": step, "file": f"trials/{trial}/run/samples/step{step:06d}/0000.png"})
    cost = {"bytes": 28_000_000, "seconds": 41.2, "peak_bytes": 1.3e9, "sample_seconds": 0.5}
    return {
        "trial": trial, "title": TITLES[name], "kind": kind_of(name), "status": "done", "reason": None, "condition": name,
        "replicate": replicate, "seed": replicate, "fold": replicate, "method": METHODS.get(name),
        "cost": cost if replicate is not None else {"sample_seconds": 0.4}, "steps": 20,
        "recipe": {"rank": 8, "note": "</pre><script>"} if replicate is not None else {},
        "gallery": f"trials/{trial}/gallery", "strip": strip,
    }  # fmt: skip


def arrays(replicates: int) -> dict[str, dict[str, np.ndarray]]:
    """[replicates, prompts] of each axis and condition; the untaught base is 0."""
    draw = np.random.default_rng(3)
    found: dict[str, dict[str, np.ndarray]] = {"composite": {}, "fidelity": {}, "prompt": {}}
    for name, (like, follow) in LEVELS.items():
        noise = draw.normal(0, 0.02, (2, replicates, 8))
        found["fidelity"][name], found["prompt"][name] = like + noise[0], follow + noise[1]
        found["composite"][name] = np.sqrt(like * follow) + noise.mean(0)
    return found


def verdict(replicates: int) -> dict[str, Any]:
    """verdict.json as the comparison writes it, from numbers that are known."""
    tables = arrays(replicates)
    decisions = {axis: decide(axis, table) for axis, table in tables.items()}
    standings = []
    for name in LEVELS:
        axes = {
            axis: measured(table[name], CARDS.get(axis, "f-v1/judge + p-v1/judge"))
            for axis, table in tables.items()
        }
        axes["diversity"] = Measured(1.234, None, None, 8, replicates, CARDS["diversity"])
        fired = Gate("copying", name == "dreambooth", "9 of 16 pictures are copies.", "take fewer steps")
        taught = kind_of(name) == "method"
        cost = Cost(
            28_000_000,
            41.2 if name != "big" else 90.0,
            1_300_000_000,
            0.5 if name != "big" else 0.4,
            name == "big",
            0.5 if name != "big" else 0.45,
        )
        standings.append(Standing(
            name, TITLES[name], kind_of(name), METHODS.get(name), {}, axes, (fired,) if taught else (),
            cost if taught else Cost(sample_seconds=0.4), {"diffusers": "exact", "PEFT": "new ones"} if taught else {},
        ))  # fmt: skip
    return {
        "schema": 1, "standings": [one.to_json() for one in standings],
        "decisions": {axis: one.to_json() for axis, one in decisions.items()},
        "recommendation": recommend(standings, decisions, Limits()).to_json(),
        "scale": {"clear": True}, "notes": ["A note on the <scale>."],
    }  # fmt: skip


def measured(table: np.ndarray, card: str) -> Measured:
    found = Measured(float(table.mean()), None, None, table.shape[1], len(table), card)
    if len(table) == 1:
        return found
    estimate = crossed.mean(table)
    return replace(found, low=estimate.low, high=estimate.high)


def made(folder: Path, replicates: int = 3) -> Path:
    """A finished comparison of schema 2."""
    for number in range(4):
        picture(folder / f"pictures/{number}.png", 150 + number)
    conditions = [
        {"name": name, "title": TITLES[name], "kind": kind_of(name), "method": METHODS.get(name), "settings": {},
         "words": "sks mug", "file": None, "reason": None}
        for name in LEVELS
    ]  # fmt: skip
    write(folder / "comparison.json", {
        "schema": 2, "name": "mugs", "base": "pocket", "token": "sks", "noun": "mug", "version": "0.1.0",
        "created": "2026-05-12T14:03:11+00:00", "machine": {"device": "cpu", "memory_bytes": 8_000_000_000},
        "command": "likewise compare mugs --noun mug", "prompts": PROMPTS, "seeds": SEEDS, "sampler": {"steps": 30},
        "replicates": replicates, "size": "standard" if replicates == 3 else "quick", "kind": "object",
        "kind_reason": "“mug” names a thing.", "margin": 0.08, "alpha": 0.05, "primary": "composite",
        "conditions": conditions, "pictures": [f"pictures/{n}.png" for n in range(4)],
        "folds": [{"number": n, "train": [k for k in range(4) if k != n], "held_out": [n]} for n in range(replicates)],
        "metrics": [{"name": name, "title": name.title(), "better": "higher", "meaning": "m", "card": card}
                    for name, card in CARDS.items()],
        "finished": True, "notes": [],
    })  # fmt: skip
    rows = []
    for shade, name in enumerate(LEVELS):
        for replicate in range(replicates) if kind_of(name) == "method" else (None,):
            rows.append(_row(folder, name, replicate, 300 * shade + 40 * (replicate or 0)))
    write_rows(folder, rows)
    write(folder / "verdict.json", verdict(replicates))
    (folder / "protocol.toml").write_text('digest = "abc123"\n')
    return folder


def old(folder: Path) -> Path:
    """A finished comparison of schema 1: one training each, scores in the rows."""
    rows = []
    names = {"base": ("floor", 0.4, 0.8), "lora": ("method", 0.7, 0.6)}
    for number, (name, (kind, like, follow)) in enumerate(names.items()):
        gallery(folder, name, 30 * number)
        scores = {"fidelity": {"mean": like, "low": like - 0.1, "high": like + 0.1, "n": 8, "normalised": None},
                  "prompt": {"mean": follow, "n": 8}, "diversity": None}  # fmt: skip
        rows.append({"trial": name, "title": TITLES[name], "kind": kind, "status": "done", "scores": scores,
                     "cost": {"bytes": 1000, "seconds": 10.0}, "gallery": f"trials/{name}/gallery"})  # fmt: skip
    write_rows(folder, rows)
    for name in ("train", "held_out"):
        picture(folder / f"pictures/{name}/0.png", 200 + len(name))
    write(folder / "comparison.json", {
        "schema": 1, "name": "mugs", "base": "pocket", "noun": "mug", "finished": True, "version": "0.0.9",
        "prompts": [{"id": one["id"], "text": one["text"]} for one in PROMPTS], "seeds": SEEDS,
        "train": ["pictures/train/0.png"], "held_out": ["pictures/held_out/0.png"],
        "ceiling": {"fidelity": {"mean": 0.9, "low": 0.8, "high": 1.0}}, "digest": "old1",
        "metrics": [{"name": "fidelity", "title": "Likeness", "meaning": "m", "card": "f/1"}],
    })  # fmt: skip
    return folder
