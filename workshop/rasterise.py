"""Step 2: draw the chosen emoji as 128 px RGBA cut-outs.

Four sets are written to one file: the things of a world, other emoji that the judge, the autoencoder's decoder and
the backbone see besides, more that the backbone alone sees, and the held-out cat faces that nothing trains on.
"""

from __future__ import annotations

import functools
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from workshop import shapes, world
from workshop.common import options, settle
from workshop.fetch import obtain, sources

CANVAS = 128
ROOM = 120


class Art:
    """One design: a picture for each code point, drawn on demand."""

    def __init__(self, row: dict[str, str], names: dict[str, str]) -> None:
        self.names, self.form = names, row["form"]
        self.tar = tarfile.open(obtain(row))  # noqa: SIM115 - stays open for the run
        if self.form == "iconify":
            self.book = json.load(self.tar.extractfile("package/icons.json"))
            chars = json.load(self.tar.extractfile("package/chars.json"))
            self.names = {**names, **chars}
        else:
            self.files = {
                Path(n).stem.replace("-fe0f", ""): n for n in self.tar.getnames() if n.endswith(".webp")
            }

    def draw(self, code: str) -> Image.Image | None:
        """The picture of a code point, or None where the design lacks it."""
        if self.form == "webp":
            name = self.files.get(code)
            return Image.open(io.BytesIO(self.tar.extractfile(name).read())).convert("RGBA") if name else None
        return draw_icon(self.book, self.names.get(code, ""))


def draw_icon(book: dict[str, Any], name: str) -> Image.Image | None:
    """An icon of an Iconify set by its name, or None where the set lacks it."""
    alias = book.get("aliases", {}).get(name)
    icon = book["icons"].get(alias["parent"] if alias else name)
    if icon is None:
        return None
    width = icon.get("width", book.get("width", 16))
    height = icon.get("height", book.get("height", 16))
    return draw_svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )


def draw_svg(svg: str, size: int = 256) -> Image.Image:
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def cut_out(picture: Image.Image) -> np.ndarray | None:
    """Trim to the visible part and fit it into the canvas."""
    box = picture.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None:
        return None
    part = picture.crop(box)
    scale = ROOM / max(part.size)
    size = tuple(max(1, round(side * scale)) for side in part.size)
    canvas = Image.new("RGBA", (CANVAS, CANVAS))
    canvas.paste(part.resize(size, Image.LANCZOS), tuple((CANVAS - side) // 2 for side in size))
    return np.asarray(canvas)


def code_names() -> dict[str, str]:
    """Iconify names by code point, from the sets that publish their list."""
    names: dict[str, str] = {}
    for row in sources():
        if row["form"] == "iconify":
            with tarfile.open(obtain(row)) as tar:
                names = {**json.load(tar.extractfile("package/chars.json")), **names}
    return names


def other_codes(limit: int, things: tuple[world.Thing, ...]) -> list[str]:
    """Emoji outside the world, some of those that show a thing."""
    known = {c for t in things for c in t.codes} | set(world.HELD_OUT)
    codes = [code for code, facts in emoji().items() if facts.get("group") in (3, 4, 5, 6, 7)]
    codes = [c for c in codes if c not in known and "200d" not in c]
    return codes[:: max(1, len(codes) // limit)][:limit]


def more_codes(things: tuple[world.Thing, ...]) -> list[str]:
    """All emoji outside the world that have a shape to learn, without the smiling cats."""
    known = {c for t in things for c in t.codes} | set(world.HELD_OUT)
    codes = [
        code
        for code, facts in emoji().items()
        if facts.get("group") in shapes.GROUPS and facts.get("subgroup") != shapes.CATS
    ]
    return [c for c in codes if c not in known and "200d" not in c]


@functools.cache
def emoji() -> dict[str, dict[str, Any]]:
    """What emojibase says of each code point."""
    row = next(r for r in sources() if r["form"] == "names")
    with tarfile.open(obtain(row)) as tar:
        rows = json.load(tar.extractfile("package/en/data.json"))
    return {r["hexcode"].lower().replace("-fe0f", ""): r for r in rows}


def main(argv: list[str] | None = None) -> None:
    args = settle(options(__doc__, smoke="two designs, six things"), argv)
    things = args.world.things[:6] if args.smoke else args.world.things
    designs = [row for row in sources() if "design" in row]
    if args.smoke:
        designs = sorted(designs, key=lambda row: row["design"] not in args.world.designs)[:2]
    names, rows, pictures = code_names(), [], []
    wanted = [("world", t.name, c) for t in things for c in t.codes]
    wanted += [("held", "cat", c) for c in world.HELD_OUT]
    few = 8 if args.smoke else None
    others = other_codes(few or 420, args.world.things)
    more = [code for code in more_codes(args.world.things) if code not in others]
    wanted += [("other", c, c) for c in others] + [("more", c, c) for c in more[:few]]
    for row in designs:
        art = Art(row, names)
        for part, name, code in wanted:
            picture = None if f"{row['design']} {code}" in world.DROPPED else art.draw(code)
            cut = cut_out(picture) if picture else None
            if cut is not None:
                said = shapes.describe(cut, emoji()[code]) if part in shapes.PARTS else {}
                rows.append({"part": part, "name": name, "code": code, "design": row["design"], **said})
                pictures.append(cut)
    np.save(args.folder / "cutouts.npy", np.stack(pictures))
    (args.folder / "cutouts.json").write_text(json.dumps(rows), encoding="utf-8")
    print({part: sum(r["part"] == part for r in rows) for part in ("world", "held", "other", "more")})


if __name__ == "__main__":
    main()
