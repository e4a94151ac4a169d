"""Background: whether what stands around the subject was learned with it.

The subject is taken out of every picture, with grey in its place, and the rest is held against that of the training
pictures: 0 is what the untaught base draws for the same prompt from the same noise, 1 the training pictures' surroundings
among themselves. Where your own surroundings differ as much as the base's do from them, there is nothing to be learned by
heart.

The grey has the subject's form, which the features see. So what a method and the base drew for one prompt have the same
grey, in which both subjects are; else a method that draws the thing right seems to bring its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Reading, Score, of_pictures

LEAST = 0.02
"""Surroundings that are no more alike than this, above what the base draws, leave no room for a measure."""


@dataclass(frozen=True)
class Background:
    """Mean cosine of the rest of a picture with the rest of each training picture, above the untaught base's."""

    name: str = "background"
    title: str = "Brings its surroundings"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = "How far what is drawn around the thing has gone from the prompt to what was around it in your pictures."
    place: int = 11
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"background-train-rest-grey-v2/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None without masks, or where the training pictures' surroundings have nothing in common."""
        drawn, base, train = evidence.drawn_rest, evidence.floor_rest, evidence.train_rest
        if drawn is None or base is None or train is None or len(train) < 2 or not len(drawn):
            return None
        usual = _near(base, train)
        among = train.appearance @ train.appearance.T
        own = float((among.sum() - among.diagonal().sum()) / (len(train) * (len(train) - 1)))
        room = own - sum(usual) / len(usual)
        if room < LEAST:
            return None
        values = [(now - before) / room for now, before in zip(_near(drawn, train), usual, strict=True)]
        return of_pictures(evidence.prompts, values)


METRIC = Background()


def _near(some: Reading, train: Reading) -> list[float]:
    """Each picture's mean cosine with all of `train`, what is around the subject alone. A blank one is near nothing."""
    cosines: list[float] = (some.appearance @ train.appearance.T).mean(1).tolist()
    return [min(cosine, 0.0) if bad else cosine for cosine, bad in zip(cosines, some.failed, strict=True)]
