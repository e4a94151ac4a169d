"""The embedded judge: a small convolutional network for drawn pictures, apart from the model that draws.

It was trained by the workshop on composed pictures with exact labels, with a seed and a network of its own, on the
artwork that the model's denoiser learned from and six times as much besides (of which the autoencoder's decoder saw
some). Its heads name the scene, plain colour, count,
tint and size; its identity vector is close for pictures of the same thing in different places. It knows nothing of
photographs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from likewise.errors import BaseError, FormatError
from likewise.metrics.features import Features, channels
from likewise.preprocessing import pixels
from likewise.weights import read_tensors

FOLDER = Path(__file__).parents[1] / "pocket" / "judge"
WIDTHS = (24, 48, 96, 144)
STYLE_BLOCKS = 2
"""Style is read below the third block: from there on the network knows things rather than strokes."""
LEAST_RIGHT = 0.9
"""A head that is right less often than this on true pictures checks nothing."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation; stride 2 halves the picture."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.skip = nn.Conv2d(inner, outer, 1, stride, bias=False)
        self.norm3 = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inner, h, w] to [n, outer, h / stride, w / stride]."""
        y = relu(self.norm1(self.first(x)))
        return relu(self.norm2(self.second(y)) + self.norm3(self.skip(x)))


class JudgeNet(nn.Module):
    """`heads` maps an attribute to its number of classes. The workshop trains this very class."""

    def __init__(self, heads: Mapping[str, int], embedding: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        pairs = zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        self.blocks = nn.Sequential(*(Residual(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.heads = nn.ModuleDict({name: nn.Linear(2 * WIDTHS[-1], count) for name, count in heads.items()})
        self.identity = nn.Sequential(nn.Linear(2 * WIDTHS[-1], 128), nn.ReLU(), nn.Linear(128, embedding))

    def features(self, x: Tensor) -> Tensor:
        """Mean and maximum over the picture, [n, 2 * 144], of pictures [n, 3, 64, 64] in [-1, 1]."""
        x = self.blocks(relu(self.norm(self.stem(x))))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the stem and the first `STYLE_BLOCKS` blocks see, each [n, channels, h, w]."""
        found = [relu(self.norm(self.stem(x)))]
        for number in range(STYLE_BLOCKS):
            found.append(self.blocks[number](found[-1]))
        return found

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every head, and `identity` [n, embedding] of length 1."""
        x = self.features(x)
        out = {name: head(x) for name, head in self.heads.items()}
        return out | {"identity": normalize(self.identity(x), dim=1)}


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

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Identity: what the thing is, whatever is around it."""
        return self._look(pictures)["identity"]

    @torch.no_grad()
    def appearance(self, pictures: Sequence[Image.Image]) -> Tensor:
        """The pooled features below the heads: the whole picture, its surroundings included."""
        return normalize(self.network.features(self._pixels(pictures)), dim=1)

    @torch.no_grad()
    def style(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Mean and deviation of the channels of the stem and the first blocks."""
        return channels(self.network.maps(self._pixels(pictures)))

    @torch.no_grad()
    def masks(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        """Of a network that has a head for it, `masks` of pictures [n, 3, 64, 64] in [-1, 1]; else None."""
        head = getattr(self.network, "masks", None)
        return None if head is None else head(self._pixels(pictures)).float().clamp(0, 1)

    def labels(self, pictures: Sequence[Image.Image]) -> tuple[Mapping[str, str], ...]:
        """The likeliest label of each head."""
        out = self._look(pictures)
        best = {head: out[head].argmax(1).tolist() for head in self.names}
        return tuple({head: self.names[head][best[head][i]] for head in best} for i in range(len(pictures)))

    @torch.no_grad()
    def _look(self, pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.network(self._pixels(pictures))
        return found

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
