"""Avatars as individuals: what makes somebody is settled, the expression changes from view to view.

Avatars of one company share their colours, so that only the forms of hair, head, nose and clothes tell them apart.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from workshop.fetch import obtain, unpack
from workshop.rasterise import draw_svg

Options = dict[str, Any]
EXPRESSION = ("eyes", "mouth", "eyebrows", "brows", "lips")
"""What changes with the mood, where a style has it."""
FACE = "open-peeps"
"""In this style the whole face is the expression."""
SKINS = ("f2d3b1", "ecad80", "9e5622", "763900", "ffdbb4", "d08b5b", "ae5d29", "edb98a")
PAINTS = ("e8424a", "f4a13a", "f6d743", "4caf50", "2f80ed", "8e44ad", "ec77b5", "444a57", "8d6e63", "b8c1cc")


def company(schema: Options, rng: np.random.Generator, count: int) -> list[Options]:
    """Options of `count` avatars that have their colours in common."""
    colours = {
        name: [str(rng.choice(SKINS if name.startswith(("skin", "base")) else PAINTS))]
        for name in schema
        if name.endswith("Color") and name != "backgroundColor"
    }
    return [colours | _forms(schema, rng) for _ in range(count)]


def moods(schema: Options, style: str, rng: np.random.Generator, count: int) -> list[Options]:
    """Options of `count` expressions."""
    changing = [
        n
        for n in (("face",) if style == FACE else EXPRESSION)
        if "enum" in schema.get(n, {}).get("items", {})
    ]
    return [
        {name: [str(rng.choice(schema[name]["items"]["enum"]))] for name in changing} for _ in range(count)
    ]


def _forms(schema: Options, rng: np.random.Generator) -> Options:
    out: Options = {}
    for name, rule in schema.items():
        if "enum" in rule.get("items", {}):
            out[name] = [str(rng.choice(rule["items"]["enum"]))]
        elif name.endswith("Probability"):
            out[name] = 100 if rng.random() < 0.35 else 0
    return out


class Studio:
    """Draws avatars with node from the packages in `rows`."""

    def __init__(self, rows: list[dict[str, str]], folder: Path) -> None:
        self.home = folder / "node_modules"
        for row in rows:
            unpack(obtain(row), self.home / row["package"])

    def schema(self, style: str) -> Options:
        """What can be chosen in a style."""
        return dict(json.loads(self._ask([{"style": style, "schema": True}])[0])["properties"])

    def draw(self, style: str, options: list[Options], size: int) -> list[np.ndarray]:
        """Avatars as (size, size, 4) bytes."""
        svgs = self._ask([{"style": style, "options": chosen} for chosen in options])
        return [np.asarray(draw_svg(svg, size)) for svg in svgs]

    def _ask(self, orders: list[dict[str, Any]]) -> list[str]:
        script = Path(__file__).with_name("avatars.mjs")
        done = subprocess.run(
            ["node", str(script), str(self.home.resolve())],
            input=json.dumps(orders), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"node could not draw: {done.stderr.strip()[-300:]}")
        return list(json.loads(done.stdout))
