"""The embedded judge: small convolutional networks for drawn pictures, apart from the model that draws.

The workshop trained them on composed pictures with exact labels. The heads name the scene, plain colour, count, tint and
size. The mask finds the subject. The identity vector sees the subject alone. It was taught by individuals that are alike in
class and colour, so that it is close for pictures of the same thing in other places and far for pictures of its like. The
judge knows nothing of photographs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likewise.errors import BaseError, FormatError
from likewise.metrics._judge import STYLE_BLOCKS, JudgeNet
from likewise.metrics.features import Features, channels
from likewise.preprocessing import pixels
from likewise.weights import read_tensors

FOLDER = Path(__file__).parents[1] / "pocket" / "judge"
LEAST_RIGHT = 0.9
"""A head that is right less often than this on true pictures checks nothing."""


class Judge(Features):
    """The network behind the interface of all features."""

    def __init__(self, network: JudgeNet, card: Mapping[str, Any]) -> None:
        self.network, self.card = network.eval(), dict(card)
        self.id = str(card["id"])
        self.names: dict[str, list[str]] = {head: list(names) for head, names in card["heads"].items()}
        self.size = int(card["resolution"])
        self.ceilings: dict[str, float] = dict(card.get("ceilings", {}))
        self.phrases = {
            phrase: clause
            for phrase, clause in _clauses(card["phrases"]).items()
            if all(self.ceilings.get(head, 1.0) >= LEAST_RIGHT for head in clause)
        }

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Identity: who the subject is, whatever is around it."""
        return self.network.subject(self._pixels(pictures))

    @torch.no_grad()
    def masks(self, pictures: Sequence[Image.Image]) -> Tensor:
        """See `Features.masks`: how sure each pixel is the subject's, at the judge's own resolution."""
        return self.network.mask(self._pixels(pictures)).sigmoid().squeeze(1)

    @torch.no_grad()
    def appearance(self, pictures: Sequence[Image.Image]) -> Tensor:
        """The pooled features below the heads: the whole picture, its surroundings included."""
        labels = self.network.labels
        return normalize(labels.pooled(labels.maps(self._pixels(pictures))), dim=1)

    @torch.no_grad()
    def style(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Mean and deviation of the channels of the stem and the first blocks."""
        return channels(self.network.labels.maps(self._pixels(pictures))[: STYLE_BLOCKS + 1])

    @torch.no_grad()
    def labels(self, pictures: Sequence[Image.Image]) -> tuple[Mapping[str, str], ...]:
        """The likeliest label of each head."""
        out = self.network.labels(self._pixels(pictures))
        best = {head: out[head].argmax(1).tolist() for head in self.names}
        return tuple({head: self.names[head][best[head][i]] for head in best} for i in range(len(pictures)))

    def _pixels(self, pictures: Sequence[Image.Image]) -> Tensor:
        return pixels(pictures, resize=self.size, crop=self.size, mean=(0.5,) * 3, std=(0.5,) * 3)


def _clauses(phrases: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Words of a prompt -> what the heads must say, from a card's words for each head's labels.

    The head `plain` was taught on plain backgrounds only, so it counts where the scene is `plain`.
    """
    return {
        phrase: ({"scene": "plain"} if head == "plain" else {}) | {head: label}
        for head, words in phrases.items()
        for label, phrase in words.items()
    }


def load(folder: str | Path = FOLDER) -> Judge:
    """Load weights and card; raises `BaseError` where they are missing or do not fit each other."""
    folder = Path(folder)
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        heads = {head: len(names) for head, names in card["heads"].items()}
        network = JudgeNet(heads, int(card["embedding"]))
        network.load_state_dict(read_tensors(folder / "model.safetensors"))
        return Judge(network, card)
    except FileNotFoundError as error:
        raise BaseError(
            f"the embedded judge is not in {folder}: {error.filename}", "install likewise again"
        ) from None
    except (OSError, ValueError, KeyError, RuntimeError, FormatError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BaseError(
            f"the embedded judge in {folder} cannot be read: {reason}", "install likewise again"
        ) from None
