"""Drawings of a few things in a few styles, and the bundled pictures: real pictures whose right answer is known."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

import likewise

POCKET = Path(likewise.__file__).parent / "pocket"
SIDE, LARGER = 96, 4
PAPER = {"ink": (250, 248, 240), "flat": (250, 240, 225), "mosaic": (240, 235, 220), "wash": (235, 238, 240)}
PAINTS = {
    "ink": [(250, 248, 240)] * 3,
    "flat": [(240, 150, 130), (130, 180, 220), (250, 220, 120)],
    "mosaic": [(200, 60, 50), (50, 110, 180), (230, 190, 60)],
    "wash": [(150, 170, 200), (190, 160, 180), (120, 140, 170)],
}
THINGS = {
    "house": [("box", (24, 44, 72, 84)), ("path", (18, 46, 48, 18, 78, 46)), ("box", (42, 60, 54, 84))],
    "tree": [("box", (43, 56, 53, 88)), ("oval", (22, 10, 74, 62)), ("oval", (34, 2, 62, 32))],
    "boat": [
        ("path", (14, 64, 82, 64, 68, 82, 28, 82)),
        ("path", (48, 12, 48, 60, 78, 60)),
        ("path", (44, 20, 44, 60, 22, 60)),
    ],
    "face": [("oval", (20, 16, 76, 84)), ("oval", (32, 36, 42, 46)), ("oval", (54, 36, 64, 46))],
    "fish": [("oval", (16, 32, 66, 66)), ("path", (62, 49, 86, 30, 86, 68)), ("oval", (26, 42, 33, 49))],
}


def drawing(thing: str, style: str, take: int = 0) -> Image.Image:
    """`thing` in `style`; each take moves and scales it a little."""
    page = Image.new("RGB", (SIDE * LARGER,) * 2, PAPER[style])
    for number, (kind, points) in enumerate(THINGS[thing]):
        shape = Image.new("L", page.size, 0)
        _form(ImageDraw.Draw(shape), kind, _moved(points, take))
        page.paste(_hatching(number) if style == "ink" else PAINTS[style][number], mask=shape)
        if style == "ink":
            edge = ImageOps.invert(shape.filter(ImageFilter.FIND_EDGES).filter(ImageFilter.MaxFilter(5)))
            page = Image.composite(page, Image.new("RGB", page.size, (20, 20, 20)), edge)
    page = page.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if style == "mosaic":
        tiles = np.asarray(page.resize((16, 16), Image.Resampling.BOX)).repeat(6, 0).repeat(6, 1).copy()
        tiles[::6], tiles[:, ::6] = (70, 65, 60), (70, 65, 60)
        return Image.fromarray(tiles)
    return page.filter(ImageFilter.GaussianBlur(3)) if style == "wash" else page


def _form(pen: ImageDraw.ImageDraw, kind: str, points: list[float]) -> None:
    {"box": pen.rectangle, "oval": pen.ellipse, "path": pen.polygon}[kind](points, fill=255)  # type: ignore[operator]


def _moved(points: tuple[float, ...], take: int) -> list[float]:
    shift, scale = [(0, 0), (4, -3), (-5, 4)][take], [1.0, 0.9, 1.1][take]
    return [((p - 48) * scale + 48 + shift[i % 2]) * LARGER for i, p in enumerate(points)]


def _hatching(number: int) -> Image.Image:
    page = Image.new("RGB", (SIDE * LARGER,) * 2, PAPER["ink"])
    pen, far = ImageDraw.Draw(page), SIDE * LARGER
    for start in range(-far, 2 * far, 5 * LARGER):
        ends = ((start, 0), (start + far, far)) if number % 2 else ((start, far), (start + far, 0))
        pen.line(ends, fill=(20, 20, 20), width=LARGER)
    return page


def cat() -> list[Image.Image]:
    """Nine pictures of one cat."""
    return _opened(POCKET / "concepts" / "cat")


def suite(concept: str, part: str = "references") -> list[Image.Image]:
    """The bundled suite's pictures of a concept."""
    return _opened(POCKET / "suite" / concept / part)


def _opened(folder: Path) -> list[Image.Image]:
    found = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def disguises(picture: Image.Image, chance: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """A picture as a copyist hands it back: mirrored, cropped to 80 to 100 %, compressed, brighter, darker, all of it."""
    yield "mirrored", ImageOps.mirror(picture)
    for _ in range(3):
        yield "cropped", cropped(picture, chance.uniform(0.8, 1.0), chance.random(), chance.random())
    yield "compressed", compressed(picture, 60)
    for factor in (0.9, 1.1):
        yield "brightness", ImageEnhance.Brightness(picture).enhance(factor)
    piece = cropped(ImageOps.mirror(picture), chance.uniform(0.8, 1.0), chance.random(), chance.random())
    yield "all", compressed(ImageEnhance.Brightness(piece).enhance(chance.uniform(0.9, 1.1)), 60)


def cropped(picture: Image.Image, share: float, x: float, y: float) -> Image.Image:
    """A window of `share` of the sides at (x, y), 0 to 1, in the picture's size."""
    width, height = (round(side * share) for side in picture.size)
    left, top = round((picture.width - width) * x), round((picture.height - height) * y)
    window = picture.crop((left, top, left + width, top + height))
    return window.resize(picture.size, Image.Resampling.BICUBIC)


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    """Through JPEG."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
