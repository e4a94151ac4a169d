"""The judge: a small convolutional network, independent of the model that it judges.

It names scene, colour, count, tint, size, style and thing of a 64 px picture, and gives a 64-number
identity embedding that is close for pictures of the same cut-out. Needs only torch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

WIDTHS = (24, 48, 96, 144)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, halving the picture."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.skip = nn.Conv2d(inner, outer, 1, stride, bias=False)
        self.norm3 = nn.BatchNorm2d(outer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(y)) + self.norm3(self.skip(x)))


class Judge(nn.Module):
    """``heads`` maps an attribute to its number of classes."""

    def __init__(self, heads: dict[str, int], embedding: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        pairs = zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*(Residual(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * WIDTHS[-1], classes) for name, classes in heads.items()}
        )
        self.identity = nn.Sequential(nn.Linear(2 * WIDTHS[-1], 128), nn.ReLU(), nn.Linear(128, embedding))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Mean and maximum over the picture; pixels are (n, 3, 64, 64) in [-1, 1]."""
        x = self.blocks(F.relu(self.norm(self.stem(pixels))))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits of every head, and the unit-length ``identity``."""
        x = self.features(pixels)
        out = {name: head(x) for name, head in self.heads.items()}
        out["identity"] = F.normalize(self.identity(x), dim=1)
        return out
