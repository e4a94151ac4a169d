"""Sizes: how large each method's file is on a published base with the method's defaults, counted and not measured.

Headers, which are some kilobytes, are left out. A comparison measures files; this is for a question without one. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

HALF, SINGLE = 2, 4
"""Bytes of a number."""
RANK, VECTORS = 8, 1
"""Defaults of LoRA and Textual Inversion; the tests hold them to the recipes."""
STRUCTURE = (1, 2, 1)
"""Sizes of the hypernetwork's layers, as multiples of the width."""


@dataclass(frozen=True)
class Shape:
    """What of a base decides how large files are."""

    title: str
    backbone: int
    """Parameters of the UNet."""
    blocks: Mapping[int, int]
    """How many transformer blocks there are of each width."""
    context: int
    """Width of what attention reads of the prompt."""
    towers: tuple[int, ...]
    """Width of each text tower, which is that of its projected feature as well."""


SHAPES = {
    "sd": Shape("SD 1.5", 859_520_964, {320: 5, 640: 5, 1280: 6}, 768, (768,)),
    "sdxl": Shape("SDXL", 2_567_463_684, {640: 10, 1280: 60}, 2048, (768, 1280)),
}
"""The published models of each family that can be taught."""


def file_bytes(method: str, shape: Shape) -> int | None:
    """Bytes of what is kept; None for a method that is not of this package."""
    count = _COUNTS.get(method)
    return count(shape) if count else None


def _lora(shape: Shape) -> int:
    """Two factors beside each of the eight projections of a block, rank * (inputs + outputs) numbers, and an alpha."""
    sides = sum(count * (14 * width + 2 * shape.context) for width, count in shape.blocks.items())
    return HALF * (RANK * sides + 8 * sum(shape.blocks.values()))


def _hypernetwork(shape: Shape) -> int:
    """Two networks with biases, one for keys and one for values, of the width of the prompt."""
    widths = [shape.context * share for share in STRUCTURE]
    return HALF * 2 * sum((before + 1) * after for before, after in pairwise(widths))


_COUNTS: Mapping[str, Callable[[Shape], int]] = {
    "aesthetic": lambda shape: SINGLE * sum(shape.towers),
    "textual_inversion": lambda shape: SINGLE * VECTORS * sum(shape.towers),
    "lora": _lora,
    "hypernetwork": _hypernetwork,
    "dreambooth": lambda shape: HALF * shape.backbone,
}
