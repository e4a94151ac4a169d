"""Hypernetwork: small networks change what keys and values of attention are computed from.
Run `python examples/hypernetwork.py [FOLDER]`: FOLDER/hypernetwork.png has two prompts, without and with it.
"""

import os
import sys
from importlib import resources
from pathlib import Path

from PIL import Image

import likewise

BASE = os.environ.get("LIKEWISE_EXAMPLE_BASE", "pocket")
SETTINGS = {"steps": int(os.environ.get("LIKEWISE_EXAMPLE_STEPS", "300")), "structure": [1, 2, 1]}
PLACES = ("in the snow", "on a beach")


def main(folder: Path) -> None:
    """Teach the bundled cat, and draw it beside what the base makes of any cat."""
    cat = Path(str(resources.files("likewise") / "pocket" / "concepts" / "cat"))
    base = likewise.load(BASE)
    run = likewise.teach(cat, noun="cat", method="hypernetwork", base=base, out=folder / "run", **SETTINGS)
    prompts = [f"a {run['token']} cat {place}" for place in PLACES]
    with_it = likewise.sample(prompts, concepts=[run["folder"]], base=base, seeds=[0], out=folder / "with")
    prompts = [f"a cat {place}" for place in PLACES]
    without = likewise.sample(prompts, base=base, seeds=[0], out=folder / "without")
    sheet = Image.new("RGB", (2 * base.resolution, len(PLACES) * base.resolution))
    for column, gallery in enumerate((without, with_it)):
        for row, picture in enumerate(gallery.images()):
            sheet.paste(picture, (column * base.resolution, row * base.resolution))
    sheet.save(folder / "hypernetwork.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-hypernetwork"))
