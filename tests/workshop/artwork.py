"""Artwork in the forms that sources.toml knows, drawn for the tests."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
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


def artwork(folder: Path) -> list[dict[str, str]]:
    """Three packages in the three forms that sources.toml knows."""
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
    return [*rows, names | {"form": "names"}]
