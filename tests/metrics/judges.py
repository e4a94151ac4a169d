"""A small judge that was never trained, and pictures to look at."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from likewise.concept import article
from likewise.metrics._judge import JudgeNet
from likewise.metrics.features import Panel
from likewise.metrics.judge import Judge

HEADS = {
    "scene": ["beach", "snow", "plain"],
    "plain": ["white", "orange", "purple"],
    "count": ["one", "two"],
    "tint": ["red", "none"],
    "small": ["normal", "small"],
}
PHRASES = {
    "scene": {"beach": "on a beach", "snow": "in the snow"},
    "plain": {colour: f"on {article(colour)} {colour} background" for colour in HEADS["plain"]},
    "count": {"two": "two"},
    "tint": {"red": "red"},
    "small": {"small": "small"},
}
CARD = {"id": "untrained", "resolution": 64, "embedding": 64, "heads": HEADS, "phrases": PHRASES}


def judge(seed: int = 0, **card: object) -> Judge:
    """Random weights: good for everything but being right."""
    torch.manual_seed(seed)
    network = JudgeNet({head: len(names) for head, names in HEADS.items()})
    return Judge(network, CARD | card)


def panel(seed: int = 0) -> Panel:
    """The same judge for everything."""
    one = judge(seed)
    return Panel(one, one)


def picture(seed: int = 0, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Smooth random colours."""
    coarse = np.random.default_rng(seed).integers(20, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
