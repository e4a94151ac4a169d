"""Step 12: the bundled concept, nine pictures of one cat that no training step has seen.

The cat is one design's held-out smiling-cat face; each view is another expression in a plain
colour, a garden, a room or on a road, turned and scaled a little.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workshop import world
from workshop.common import options, settle, shipped
from workshop.compose import Composer, sheet
from workshop.fetch import sources
from workshop.plan import COLOURS, SCENES, Plan, sentence

SEED = 606
CONTEXTS = ("garden", "white", "room", "blue", "road", "yellow", "garden", "green", "room")
TEXT = """# Nine pictures of one cat for trying out a method; the pocket model has never seen it.
noun = "cat"
description = "orange cat"
design = "{design}"
source = "{package} {version}"
url = "{url}"
licence = "{licence}"
credit = "{credit}"
changes = "scaled, turned and placed on plain colours and drawn scenes"
"""


def views(composer: Composer, design: str) -> tuple[list[str], torch.Tensor]:
    """The captions, which say where the cat is, and the pictures."""
    rng = np.random.default_rng(SEED)
    rows = [i for i, r in enumerate(composer.rows) if r["design"] == design]
    plans = []
    for cut, context in zip(rows, CONTEXTS, strict=False):
        plan = Plan(cut, 0, world.DESIGNS.index(design))
        if context in SCENES:
            plan.scene = SCENES.index(context)
        else:
            plan.plain = COLOURS.index(context)
        plans.append(plan)
    return [sentence(plan, "{}") for plan in plans], composer.draw(plans, rng)[0]


def save(pixels: torch.Tensor, path: Path) -> None:
    picture = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path, optimize=True)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--design", choices=world.DESIGNS, help="default: blob, in a smoke run one that it has"
    )
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=None, help="default: src/likewise/pocket/concepts/cat")
    args = settle(parser, argv)
    out = args.out or shipped(args, "concepts/cat")
    composer = Composer(args.folder, ("held",), size=args.size, variants=4, known=args.world)
    design = args.design or (composer.rows[-1]["design"] if args.smoke else "blob")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    captions, pictures = views(composer, design)
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True), 1):
        save(picture, out / f"{number}.png")
        (out / f"{number}.txt").write_text(caption + "\n", encoding="utf-8")
    sheet(pictures, len(pictures), args.folder / "concept.png")
    row = next(r for r in sources() if r.get("design") == design)
    (out / "concept.toml").write_text(TEXT.format(**row), encoding="utf-8")
    print(f"{len(pictures)} pictures in {out}")


if __name__ == "__main__":
    main()
