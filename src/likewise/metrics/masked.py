"""Masked: subject fidelity inside masks, so that a background learned by heart counts for nothing.

The subject is cut out of every picture: the box of its mask and a tenth more, grey outside the mask. Masks come from the
features (`Features.masks`), and of real pictures from their owner where there are any. Features that give none have no
score here, because cutting out the real side alone would compare a subject with a whole scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageChops

from likewise.metrics.features import BATCH, Features, read, upright
from likewise.metrics.score import Evidence, Reading, Score, likeness, of_pictures

AROUND = 0.1
"""Share of the box's sides that is kept on each side."""
GREY = (128, 128, 128)
LEAST = 0.002
"""A mask that covers a smaller share of the picture has found nothing."""


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

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"masked-heldout-box10-grey-v2/{features}"

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


def rest(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with grey in the place of the subject."""
    picture = upright(picture)
    inside = np.asarray(mask.convert("L").resize(picture.size, Image.Resampling.NEAREST)) >= 128
    return Image.composite(Image.new("RGB", picture.size, GREY), picture, Image.fromarray(inside))


@dataclass(frozen=True)
class Parts:
    """What is seen of the subjects of pictures, cut out, and of the rest of each."""

    subject: Reading
    rest: Reading
    beside: Reading | None = None
    """The rest of the picture beside each, with the same grey: both subjects are out of both."""


def parts(
    features: Features,
    pictures: Iterable[Image.Image],
    own: Sequence[Image.Image | None] = (),
    beside: Iterable[Image.Image] | None = None,
) -> Parts | None:
    """Subject and rest of each picture, by its `own` mask where it has one, else by that of the features.

    `beside` are other pictures to compare the rests with, one for each. The grey of a rest has a form, which
    features see as well, so both subjects are taken out of both. None where the features give no masks. No more than a
    batch of pictures is held at once.
    """
    subject, others, rows, masks = list[Reading](), list[Reading](), iter(pictures), iter(own)
    further, compared = iter(beside or ()), list[Reading]()
    while batch := list(islice(rows, BATCH)):
        made = _masks(features, batch)
        if made is None:
            return None
        found = [next(masks, None) or mask for mask in made]
        subject.append(subjects(features, batch, found))
        if beside is not None:
            two = list(islice(further, len(batch)))
            found = [
                ImageChops.lighter(a, b.resize(a.size))
                for a, b in zip(found, _masks(features, two) or [], strict=True)
            ]
            compared.append(read(features, map(rest, two, found)))
        others.append(read(features, map(rest, batch, found)))
    if not subject:
        return None
    joined = Reading.joined(compared) if compared else None
    return Parts(Reading.joined(subject), Reading.joined(others), joined)


def _masks(features: Features, pictures: Sequence[Image.Image]) -> list[Image.Image] | None:
    made = features.masks([upright(picture) for picture in pictures])
    if made is None:
        return None
    return [_whole(mask, upright(picture).size) for mask, picture in zip(made, pictures, strict=True)]


def _whole(mask: torch.Tensor, size: tuple[int, int]) -> Image.Image:
    """A mask of the middle square, as one of the whole picture; nothing beside the square is the subject."""
    side = min(size)
    square = Image.fromarray((mask * 255).round().to(torch.uint8).cpu().numpy())
    page = Image.new("L", size, 0)
    place = ((size[0] - side) // 2, (size[1] - side) // 2)
    page.paste(square.resize((side, side), Image.Resampling.BILINEAR), place)
    return page


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
