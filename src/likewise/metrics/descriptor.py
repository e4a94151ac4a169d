"""Descriptor: pictures as such, for telling a copy from another picture of the same thing. No network.

Colours, luminance and edges of a miniature, each less its mean and of length 1, so that exposure and compression change
little. Copies that were mirrored or cropped are found by trying windows of the original. It does not know what they show.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, affine_grid, grid_sample, normalize

from likewise.preprocessing import pixels

SIDE = 32
CROPS = (0.96, 0.92, 0.88, 0.84, 0.8)
"""Shares of the side that windows keep, besides the whole; each in 25 places."""
SAME = 0.9
"""The least similarity of copies where a single picture says nothing of its set. On the bundled pictures copies reach 0.91
at least, others 0.80 at most."""
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def miniatures(pictures: Sequence[Image.Image]) -> Tensor:
    """[n, 3, 32, 32] in 0 to 1: the middle square of upright RGB pictures, which is also what training shows a base."""
    return pixels(pictures, resize=SIDE, crop=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3).clamp(0, 1)


def nearest(small: Tensor, originals: Tensor) -> Tensor:
    """[n, m]: how near each of `small` [n, 3, 32, 32] comes to each of `originals` [m, ...], windows and mirror included.

    A cosine: 1 for the same picture, about 0 for two that have nothing in common.
    """
    seen = torch.stack([describe(small), describe(small.flip(-1))])
    best = torch.full((len(small), len(originals)), -1.0)
    for scale, x, y in windows():
        view = describe(_window(originals, scale, x, y))
        best = torch.maximum(best, (seen @ view.T).amax(0))
    return best


def shared(train: Sequence[Image.Image], others: Sequence[Image.Image]) -> list[tuple[int, int]]:
    """(training picture, other) of the same shot, by number: what was held out and is trained on all the same.

    Mirrored, cropped and compressed copies are the same shot, and so are the next frames of a burst. The line stands halfway
    between the nearest two training pictures and the same picture, so that portraits in one pose are not one shot.
    """
    if not train or not others:
        return []
    own, line = miniatures(train), SAME
    if len(train) > 1:
        among = nearest(own, own)
        line = (1 + float(among.fill_diagonal_(-1.0).max())) / 2
    near = nearest(miniatures(others), own) > line
    return [(pair[1], pair[0]) for pair in near.nonzero().tolist()]


def windows() -> list[tuple[float, float, float]]:
    """(share of the side, place across, place down), places from -1 to 1; the whole picture first."""
    places = (-1.0, -0.5, 0.0, 0.5, 1.0)
    return [(1.0, 0.0, 0.0), *((scale, x, y) for scale in CROPS for x in places for y in places)]


def describe(small: Tensor) -> Tensor:
    """[n, 1472], each row of length 1 (0 for a plain picture), of miniatures [n, 3, 32, 32].

    8 x 8 colours, 16 x 16 luminances and 16 x 16 edges in four directions weigh the same.
    """
    luminance = (small * small.new_tensor(_LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    across, down = (
        (luminance[..., :, 1:] - luminance[..., :, :-1])[..., 1:, :],
        (luminance[..., 1:, :] - luminance[..., :-1, :])[..., 1:],
    )
    edges = torch.cat([side.clamp(min=0) for side in (across, -across, down, -down)], 1)
    parts = (
        adaptive_avg_pool2d(small, 8),
        adaptive_avg_pool2d(luminance, 16),
        adaptive_avg_pool2d(edges, 16),
    )
    return torch.cat([_standard(part) for part in parts], 1) / len(parts) ** 0.5


def _standard(part: Tensor) -> Tensor:
    flat = part.flatten(1)
    # The smallest length keeps the rounding noise of a plain picture from becoming a pattern.
    return normalize(flat - flat.mean(1, keepdim=True), dim=1, eps=1e-2)


def _window(pictures: Tensor, scale: float, x: float, y: float) -> Tensor:
    if scale == 1.0:
        return pictures
    shift = 1.0 - scale
    frame = torch.tensor([[scale, 0.0, x * shift], [0.0, scale, y * shift]]).expand(len(pictures), 2, 3)
    grid = affine_grid(frame, list(pictures.shape), align_corners=False)
    return grid_sample(pictures, grid, padding_mode="border", align_corners=False)
