"""Eight LoRAs of other seeds, ranks and rates learn in one batch, each as if it were alone.
Run `python examples/stacked_loras.py [FOLDER]`: FOLDER/stacked_loras.png has a column for each.
"""

import os
import sys
from importlib import resources
from pathlib import Path

from PIL import Image

import likewise
from likewise import methods

STEPS = int(os.environ.get("LIKEWISE_EXAMPLE_STEPS", "300"))
TRIALS = [{"rank": rank, "learning_rate": rate} for rank in (2, 4, 8, 16) for rate in (1e-3, 2e-3)]


def main(folder: Path) -> None:
    """Train all of TRIALS on the bundled cat, and draw the same two prompts with each."""
    cat = Path(str(resources.files("likewise") / "pocket" / "concepts" / "cat"))
    base, lora = likewise.load(os.environ.get("LIKEWISE_EXAMPLE_BASE", "pocket")), methods.get("lora")
    concept = likewise.Concept.read(cat, token="sks", noun="cat")
    recipes = [lora.recipe(seed=seed, steps=STEPS, **trial) for seed, trial in enumerate(TRIALS)]
    stack = likewise.Stack(tuple(likewise.Job(concept, recipe) for recipe in recipes))
    prompts = ["a sks cat in the snow", "a sks cat on a beach"]
    with lora.attach(base, stack) as adapter:
        for step in likewise.Training(base, adapter, stack):
            print(step.number, *(f"{loss:.3f}" for loss in step.losses))
        pictures = list(base.sample(prompts * len(stack), [0] * 2 * len(stack), slots=len(stack)))
    sheet = Image.new("RGB", (len(stack) * base.resolution, 2 * base.resolution))
    for n, picture in enumerate(pictures):  # slot by slot, and prompt by prompt within one
        sheet.paste(picture, (n // 2 * base.resolution, n % 2 * base.resolution))
    folder.mkdir(parents=True, exist_ok=True)
    sheet.save(folder / "stacked_loras.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example-stacked_loras"))
