"""Contact sheet: one picture of all the pictures of a source, and of what is wrong with them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from likewise.files import expand, printable, write_with

if TYPE_CHECKING:
    from likewise.intake import Intake

MOST_CELLS = 240


def contact_sheet(intake: Intake, path: Path, columns: int = 6) -> Path:
    """A PNG of every picture with name and size; near-duplicates framed orange, files not used framed red."""
    side, margin, text = 176, 10, 54
    rows = intake.table()[:MOST_CELLS]
    columns = max(1, min(columns, len(rows)))
    wide, high = side + 2 * margin, side + text + 2 * margin
    sheet = Image.new("RGB", (columns * wide, -(-len(rows) // columns) * high), "#f4f4f2")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, row in enumerate(rows):
        left, top = index % columns * wide + margin, index // columns * high + margin
        lines = [printable(row["file"])[-28:]]
        if row["width"]:
            picture = intake.examples[index].preview(side)[0]
            picture.thumbnail((side, side))
            sheet.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
            lines += [f"{row['width']} x {row['height']}", row["note"][:30]]
        else:
            draw.multiline_text((left + 8, top + 8), textwrap.fill(row["note"], 26), "#a00000", font)
        draw.multiline_text((left, top + side + 4), "\n".join(lines), "#202020", font, spacing=2)
        if row["note"]:
            frame = (left - 5, top - 5, left + side + 4, top + side + text)
            draw.rectangle(frame, outline="#e08000" if row["width"] else "#c00000", width=3)
    return write_with(expand(path), lambda temporary: sheet.save(temporary, "PNG"))
