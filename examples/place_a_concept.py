"""A taught concept goes where ComfyUI and AUTOMATIC1111 look for it, in the layout that they read.
Run `python examples/place_a_concept.py [FOLDER]`: FOLDER/place_a_concept.png has a column for each copy.
"""

import os
import sys
from importlib import resources
from pathlib import Path

from PIL import Image

import likewise
from likewise.operations.placing import Wish, save
from likewise.operations.subjects import open_subject

STEPS = int(os.environ.get("LIKEWISE_EXAMPLE_STEPS", "300"))
PROGRAMS = {"ComfyUI": "models/loras", "stable-diffusion-webui": "models/Lora"}


def main(folder: Path) -> None:
    """Teach the bundled cat, give it to both programs, and draw it from our file and from each of theirs."""
    cat = Path(str(resources.files("likewise") / "pocket" / "concepts" / "cat"))
    base = likewise.load(os.environ.get("LIKEWISE_EXAMPLE_BASE", "pocket"))
    run = likewise.teach(cat, noun="cat", method="lora", base=base, out=folder / "run", steps=STEPS)
    files = [Path(run["folder"]) / run["files"][0]]
    for program, place in PROGRAMS.items():
        (folder / program / place).mkdir(parents=True, exist_ok=True)  # stands in for an installed program
        files.append(save(open_subject(files[0]), "cat", Wish(install=folder / program)))
    side, prompts = base.resolution, [f"a {run['token']} cat in the snow"]
    sheet = Image.new("RGB", (len(files) * side, 2 * side))
    for n, file in enumerate(files):
        drawn = likewise.sample(prompts, concepts=[file], base=base, seeds=[0, 1], out=folder / f"{n}")
        for row, picture in enumerate(drawn.images()):
            sheet.paste(picture, (n * side, row * side))
    sheet.save(folder / "place_a_concept.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-place_a_concept"))
