"""Copying: whether a method hands back its training pictures. Read beside fidelity, never part of an average.

A fixed threshold is wrong on a set of like pictures, so the line comes from the person's own, by leave-one-out: it stands
halfway between the nearest that two real pictures come and the same picture. Two looks are taken, the features' view of the
whole picture and the pictures as such (`descriptor`), mirrored and cropped as well. From few pictures the line is coarse.

A prompt that asks for what a training picture's caption says is left out: its right answer is near that picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from likewise.metrics import descriptor
from likewise.metrics.score import Evidence, Reading, Score, of_pictures


@dataclass(frozen=True)
class Copying:
    """Share of pictures that are nearer to being a training picture than to being as near as real ones are."""

    name: str = "copying"
    title: str = "Copies"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = "Share of pictures that are all but a training picture, far closer to it than your own are to each other."
    place: int = 3
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"copying-nearest-calibrated-descriptor-v3/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where there are too few real pictures to say what is near, or pictures were not kept in miniature."""
        asked = [row for row, prompt in enumerate(evidence.prompts) if prompt not in evidence.shown]
        drawn, prompts = evidence.drawn.pick(asked), [evidence.prompts[row] for row in asked]
        line = calibrate(evidence.train, evidence.held_out)
        if line is None or not len(drawn) or drawn.miniatures is None:
            return None
        flagged = zip(*(n.amax(1).tolist() for n in _near(drawn, evidence.train)), drawn.failed, strict=True)
        values = [
            float((seen > line.appearance or same > line.descriptor) and not bad)
            for seen, same, bad in flagged
        ]
        left_out = len(set(evidence.prompts) - set(prompts))
        return of_pictures(prompts, values, (0.0, 1.0), left_out)


METRIC = Copying()


@dataclass(frozen=True)
class Line:
    """Beyond which similarity to a training picture a picture is a copy."""

    appearance: float
    descriptor: float
    train: int
    held_out: int
    """How many real pictures it was drawn from."""

    @property
    def rate(self) -> float:
        """The largest share of new real pictures beyond it, for two looks.

        Of all pairs with a training picture, the nearest is one of the new picture's in 2 of train + 1 + 2 held_out cases.
        That is were the line stood at this pair; halfway to 1, far fewer are.
        """
        return min(1.0, 4 / (self.train + 1 + 2 * self.held_out))


def calibrate(train: Reading, held_out: Reading) -> Line | None:
    """The line of these real pictures, each held against the training pictures other than itself.

    None with fewer than three pictures. Near-duplicates among the training pictures lift the line: copies of others may then
    pass below it.
    """
    if not len(train) or len(train) + len(held_out) < 3 or train.miniatures is None:
        return None
    looks = [_near(train, train)] + ([_near(held_out, train)] if len(held_out) else [])
    own = torch.arange(len(train))
    for near in looks[0]:
        near[own, own] = -1.0
    tops = (float(torch.cat(pair).max()) for pair in zip(*looks, strict=True))
    appearance, same = ((1 + top) / 2 for top in tops)
    return Line(appearance, same, len(train), len(held_out))


def _near(some: Reading, train: Reading) -> tuple[Tensor, Tensor]:
    """Both looks' similarities of `some` with the training pictures, each [n, m]."""
    assert some.miniatures is not None and train.miniatures is not None  # noqa: PT018 - the callers looked
    return some.appearance @ train.appearance.T, descriptor.nearest(some.miniatures, train.miniatures)
