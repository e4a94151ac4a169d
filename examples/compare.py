"""Every method on the same pictures, prompts and noise: a report with scores and costs, and one picture of all.
Run `python examples/compare.py [FOLDER]`: FOLDER/compare.png has a row for the base and for each method.
"""

import os
import sys
from importlib import resources
from pathlib import Path

from PIL import Image

import likewise
from likewise.comparison import results
from likewise.gallery import Gallery
from likewise.reports import comparison as report

BASE = os.environ.get("LIKEWISE_EXAMPLE_BASE", "pocket")
STEPS = os.environ.get("LIKEWISE_EXAMPLE_STEPS")
PROMPTS = ("a {} in the snow", "a {} on a beach", "a {} on a purple background")


def main(folder: Path) -> None:
    """Compare on the bundled cat; the same folder again goes on where it was stopped."""
    cat = Path(str(resources.files("likewise") / "pocket" / "concepts" / "cat"))
    few = {"steps": int(STEPS)} if STEPS else {}  # else as many as suit each method
    likewise.compare(cat, noun="cat", base=BASE, prompts=PROMPTS, seeds=2, out=folder, **few)
    print(report.build(folder))
    rows = [Gallery(folder / row.gallery).images() for row in results.Results(folder).rows() if row.gallery]
    side = rows[0][0].width
    sheet = Image.new("RGB", (side * len(rows[0]), side * len(rows)))
    for place in [(x, y) for y, row in enumerate(rows) for x in range(len(row))]:
        sheet.paste(rows[place[1]][place[0]], (place[0] * side, place[1] * side))
    sheet.save(folder / "compare.png")
    for line in report.table(folder):
        print(line["condition"], line["Likeness"], line["Prompt following"])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-compare"))
