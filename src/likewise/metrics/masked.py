"""Masked: subject fidelity inside masks, so that a background learned by heart counts for nothing.

The subject is cut out of every picture: the box of its mask and a tenth more, grey outside the mask. Masks of drawn pictures
need a segmenter, and none comes with the package: without one there is no score, because cutting out the real side alone
would compare a subject with a whole scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image

from likewise.metrics.features import Features, read, upright
from likewise.metrics.score import Evidence, Reading, Score, likeness, of_pictures

AROUND = 0.1
"""Share of the box's sides that is kept on each side."""
GREY = (128, 128, 128)
LEAST = 0.002
"""A mask that covers a smaller share of the picture has found nothing."""


class Segmenter(Protocol):
    """Finds the subject in pictures."""

    id: str
    """Weights and recipe in one versioned word; a part of the card."""

    def masks(self, pictures: Sequence[Image.Image]) -> Sequence[Image.Image | None]:
        """A mask for each picture, of its size, bright on the subject; None where it is not found."""


@dataclass(frozen=True)
class Masked:
    """Mean cosine of all held-out x drawn pairs of cut-outs. A subject that is not found is a miss, at the worst value."""

    name: str = "masked"
    title: str = "Looks like it, cut out"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = (
        "How much the drawn thing alone, without what is around it, looks like your own pictures of it."
    )
    place: int = 10
    reads: Literal["pictures", "prompts"] = "pictures"
    segmenter: str = "none"
    """The segmenter's id."""

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"masked-heldout-box10-grey-v1/{self.segmenter}/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where drawn or held-out pictures were not cut out. Held-out ones without a mask are left aside."""
        drawn, real = evidence.drawn_subject, evidence.held_out_subject
        found = _found(real) if real is not None else None
        if drawn is None or found is None or not len(drawn):
            return None
        score = of_pictures(evidence.prompts, likeness(drawn, found), (-1.0, 1.0))
        return replace(score, missed=sum(drawn.failed))


METRIC = Masked()


def cut_out(picture: Image.Image, mask: Image.Image | None) -> Image.Image | None:
    """The subject on a square of grey; None where the mask is missing or finds next to nothing."""
    if mask is None:
        return None
    picture = upright(picture)
    inside = np.asarray(mask.convert("L").resize(picture.size, Image.Resampling.NEAREST)) >= 128
    if inside.mean() < LEAST:
        return None
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    (top, bottom), (left, right) = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    side = round(max(bottom - top, right - left) * (1 + 2 * AROUND))
    square = Image.new("RGB", (side, side), GREY)
    alone = Image.composite(picture, Image.new("RGB", picture.size, GREY), Image.fromarray(inside))
    box = (int(left), int(top), int(right), int(bottom))
    square.paste(alone.crop(box), ((side - (box[2] - box[0])) // 2, (side - (box[3] - box[1])) // 2))
    return square


def subjects(
    features: Features, pictures: Sequence[Image.Image], masks: Sequence[Image.Image | None]
) -> Reading:
    """What is seen in the cut-outs; those without a mask have failed."""
    cut = [cut_out(picture, mask) for picture, mask in zip(pictures, masks, strict=True)]
    seen = read(features, [alone or Image.new("RGB", (8, 8)) for alone in cut])
    return replace(seen, failed=tuple(alone is None for alone in cut))


def _found(real: Reading) -> Reading | None:
    kept = [row for row, bad in enumerate(real.failed) if not bad]
    if not kept:
        return None
    rows = torch.tensor(kept)
    return Reading(real.vectors[rows], (False,) * len(kept), real.appearance[rows])
