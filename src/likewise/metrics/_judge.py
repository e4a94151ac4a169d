"""The embedded judge's three networks: what a picture shows, where its subject is, and who the subject is.

`LabelNet` looks at the whole picture and names what it sees. `MaskNet` says which pixels are the subject. `IdentityNet` sees
the subject alone, cut out and brought to one size, so that neither the ground nor the place counts. The workshop trains
these very classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, max_pool2d, normalize, relu

WIDTHS = (24, 48, 96, 144)
STYLE_BLOCKS = 2
"""Style is read below the third block: from there on the network knows things rather than strokes."""
CUT = 48
"""Pixels of a side of the cut-out subject."""
AROUND = 0.1
"""Share of the subject's longer side that is kept on each side of it."""
SPECKS = 0.02
"""Share of the mask's mass that may lie outside the box at each end: a few wrong pixels do not move it."""
LEAST = 0.01
"""A mask of a smaller share of the picture has found nothing, and the whole picture is looked at."""
SMALLEST = 12 / 64
"""Shortest side of a box, as a share of the picture."""


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


class LabelNet(nn.Module):
    """Names what a picture shows: `heads` maps an attribute to its number of classes."""

    def __init__(self, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        pairs = zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        self.blocks = nn.Sequential(*(Residual(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(pairs)))
        self.heads = nn.ModuleDict({name: nn.Linear(2 * WIDTHS[-1], count) for name, count in heads.items()})

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the stem and each block see of pictures [n, 3, 64, 64] in [-1, 1], each [n, channels, h, w]."""
        found = [relu(self.norm(self.stem(x)))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    @staticmethod
    def pooled(maps: Sequence[Tensor]) -> Tensor:
        """Mean and maximum of the last map over the picture, [n, 2 * 144]."""
        return torch.cat([maps[-1].mean((2, 3)), maps[-1].amax((2, 3))], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of every head."""
        pooled = self.pooled(self.maps(x))
        return {name: head(pooled) for name, head in self.heads.items()}


def _twice(inner: int, outer: int) -> nn.Sequential:
    """Two 3 x 3 convolutions with batch normalisation."""
    layers: list[nn.Module] = []
    for width in (inner, outer):
        layers += [nn.Conv2d(width, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
    return nn.Sequential(*layers)


class MaskNet(nn.Module):
    """Which pixels are the subject: a small U-Net (Ronneberger et al. 2015) on pictures [n, 3, 64, 64] in [-1, 1]."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(_twice(fine + coarse, fine) for fine, coarse in pairs)
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, 1, 64, 64]."""
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(max_pool2d(x, 2) if level else x)
            seen.append(x)
        for block, finer in zip(self.up, reversed(seen[:-1]), strict=True):
            x = block(torch.cat([finer, interpolate(x, scale_factor=2, mode="nearest")], 1))
        return self.out(x)


class IdentityNet(nn.Module):
    """Who the subject is, from the subject cut out: colour and mask [n, 4, CUT, CUT] to [n, embedding] of length 1.

    What is seen anywhere and what is seen where both count: the mean and the maximum of the last map, and the map itself
    in few channels.
    """

    def __init__(
        self, embedding: int = 64, widths: Sequence[int] = (32, 64, 128, 160), few: int = 24
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, widths[0], 5, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        strides = (1, 2, 2, 1)
        inner = (widths[0], *widths[:-1])
        self.blocks = nn.Sequential(
            *(Residual(a, b, s) for a, b, s in zip(inner, widths, strides, strict=True))
        )
        self.where = nn.Sequential(nn.Conv2d(widths[-1], few, 1, bias=False), nn.BatchNorm2d(few), nn.ReLU())
        places = (CUT // 8) ** 2
        self.mark = nn.Sequential(
            nn.Linear(2 * widths[-1] + few * places, 192), nn.ReLU(), nn.Linear(192, embedding)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.blocks(relu(self.norm(self.stem(x))))
        seen = [x.mean((2, 3)), x.amax((2, 3)), self.where(x).flatten(1)]
        return normalize(self.mark(torch.cat(seen, 1)), dim=1)


class JudgeNet(nn.Module):
    """All three: `heads` and `embedding` as a judge's card has them."""

    def __init__(self, heads: Mapping[str, int], embedding: int = 64) -> None:
        super().__init__()
        self.labels, self.mask, self.identity = LabelNet(heads), MaskNet(), IdentityNet(embedding)

    def subject(self, pixels: Tensor) -> Tensor:
        """Who the subject of pictures [n, 3, 64, 64] in [-1, 1] is, [n, embedding]."""
        return self.identity(cut_out(pixels, self.mask(pixels).sigmoid()))


def cut_out(pixels: Tensor, masks: Tensor) -> Tensor:
    """The subject alone on grey, at one size, and its mask: [n, 4, CUT, CUT].

    `pixels` is [n, 3, h, w] in [-1, 1], `masks` [n, 1, h, w] in 0 to 1. The box holds all of the mask's mass but specks.
    """
    masks = torch.where(masks.mean((1, 2, 3), keepdim=True) < LEAST, torch.ones_like(masks), masks)
    left, right = _ends(masks.sum((1, 2)))
    top, bottom = _ends(masks.sum((1, 3)))
    side = torch.maximum(right - left, bottom - top).clamp(min=SMALLEST) * (1 + 2 * AROUND)
    places = torch.zeros(len(pixels), 2, 3, device=pixels.device)
    places[:, 0, 0] = places[:, 1, 1] = side
    places[:, 0, 2], places[:, 1, 2] = left + right - 1, top + bottom - 1
    grid = affine_grid(places, [len(pixels), 4, CUT, CUT], align_corners=False)
    # Beyond the picture there is nothing: grey there, as outside the mask.
    return grid_sample(torch.cat([pixels * masks, masks], 1), grid, align_corners=False)


def _ends(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Where all but specks of a row of mass [n, k] begins and ends, as shares of its length."""
    share = (mass.cumsum(1) / mass.sum(1, keepdim=True).clamp(min=1e-6)).contiguous()
    count = mass.shape[1]
    low = (share <= SPECKS).sum(1)
    high = (share < 1 - SPECKS).sum(1) + 1
    return low / count, high.clamp(max=count) / count
