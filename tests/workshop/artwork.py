"""Artwork in the forms that sources.toml knows, drawn for the tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from itertools import product
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from workshop import world

OTHERS = ("1f9ff", "1faa8", "1f9f2", "1f9ed", "1f994")  # the last is held out of the backbone's training
CODES = sorted({code for thing in world.THINGS[:6] for code in thing.codes} | {*world.HELD_OUT, *OTHERS})


def pack(path: Path, files: dict[str, bytes]) -> dict[str, str]:
    """A package as npm makes it, and the facts that identify it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    facts = {"package": f"@drawn/{path.stem}", "version": "1.0.0", "file": path.name, "licence": "MIT"}
    facts |= {"credit": "drawn for the test", "url": "https://example.org"}
    return facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def webp(number: int) -> bytes:
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((4, 12, 60, 52), fill=(40 + 9 * number, 90, 160, 255))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def wheel(path: Path) -> dict[str, str]:
    """A wheel with two random objects, boxes of other proportions, and one whose places are no numbers."""
    with zipfile.ZipFile(path, "w") as files:
        for number, sides in enumerate(((1, 1, 2), (2, 1, 1), (float("nan"), 1, 1))):
            corners = [
                [s * side for s, side in zip(signs, sides, strict=True)]
                for signs in product((-1, 1), repeat=3)
            ]
            text = "".join(f"v {x} {y} {z}\n" for x, y, z in corners)
            text += "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
            files.writestr(f"pybullet_data/random_urdfs/{number:03}/{number:03}.obj", text)
    facts = {"package": "drawn", "version": "1.0.0", "file": path.name, "licence": "MIT", "form": "wheel"}
    facts |= {"credit": "drawn for the test", "url": "https://example.org"}
    return facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def artwork(folder: Path) -> list[dict[str, str]]:
    """Packages in the forms that sources.toml and judge_sources.toml know."""
    fluent = pack(folder / "fluent.tgz", {f"assets/{c}.webp": webp(i) for i, c in enumerate(CODES)})
    body = '<path fill="#c33" d="M2 30L16 2l14 28z"/><circle cx="16" cy="20" r="5" fill="#36c"/>'
    icons = {"width": 32, "height": 32, "icons": {f"icon-{c}": {"body": body} for c in CODES}}
    chars = {code: f"icon-{code}" for code in CODES}
    noto = pack(
        folder / "noto.tgz",
        {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()},
    )
    book = [{"hexcode": code.upper(), "group": 3, "subgroup": 34, "label": "thing"} for code in CODES]
    names = pack(folder / "names.tgz", {"en/data.json": json.dumps(book).encode()})
    rows = [fluent | {"design": "fluent", "form": "webp"}, noto | {"design": "noto", "form": "iconify"}]
    return [*rows, names | {"form": "names"}, wheel(folder / "objects.whl")]
