"""Factors: the low-rank pair nearest to a change, of a chosen rank or holding a chosen share of it, and its error.

By the Eckart-Young theorem the cut singular value decomposition is that pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from likewise.errors import FormatError
from likewise.factors.lowrank import Pair, folded

OVERSAMPLING, POWER_ITERATIONS = 10, 2
"""Settings of the randomised decomposition (Halko et al. 2011, arXiv 0909.4061)."""
PLAIN = {"down", "up", "alpha"}


@dataclass(frozen=True)
class Size:
    """How much of a change is kept; raises `FormatError` for sizes that are none."""

    rank: int | None = None
    """At most this many dimensions."""
    conv_rank: int | None = None
    """Instead of `rank`, for kernels larger than 1x1; empty: the same."""
    energy: float | None = None
    """As few dimensions as hold this share of the sum of squares, above 0 and at most 1."""

    def __post_init__(self) -> None:
        if self.rank is None and self.energy is None:
            raise FormatError("how much is to be kept?", "give a rank or an energy")
        for rank in (self.rank, self.conv_rank):
            if rank is not None and rank < 1:
                raise FormatError(f"a rank of {rank} keeps nothing", "the least is 1")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise FormatError(f"an energy of {self.energy:g} is no share", "it lies above 0 and up to 1")

    def most(self, kernel: int) -> int | None:
        """The largest rank for a layer whose kernel has so many places."""
        return self.conv_rank if kernel > 1 and self.conv_rank is not None else self.rank

    def of(self, spectrum: Tensor, kernel: int) -> int:
        """The rank for these singular values, largest first; at least 1."""
        most = min(len(spectrum), self.most(kernel) or len(spectrum))
        if self.energy is None or not spectrum.any():
            return most
        held = (spectrum.double() ** 2).cumsum(0)
        enough = int((held < self.energy * held[-1] * (1 - 1e-12)).sum()) + 1
        return min(most, enough)


@dataclass(frozen=True)
class Cut:
    """What was kept of the changes, and what was lost."""

    ranks: Mapping[str, int]
    """By layer."""
    errors: Mapping[str, float]
    """By layer: norm of the difference over the norm of the change."""
    error: float
    """The relative error of all these layers together."""
    left_out: Mapping[str, float] = field(default_factory=dict)
    """Changes without a low-rank form (biases, norms, embeddings) -> their norm over that of all changes."""


class Ledger:
    """Adds up norms while layers are cut one by one."""

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}
        self._norms: dict[str, tuple[float, float]] = {}
        self._left: dict[str, float] = {}

    def keep(self, path: str, rank: int, norm: float, error: float) -> None:
        """A layer of this rank: norms of its change and of what was lost."""
        self._ranks[path] = rank
        self._norms[path] = (norm, error)

    def leave(self, name: str, norm: float) -> None:
        """A change that has no low-rank form."""
        self._left[name] = norm

    def cut(self) -> Cut:
        """The report."""
        norms = list(self._norms.values())
        kept, lost = math.hypot(*(norm for norm, _ in norms)), math.hypot(*(error for _, error in norms))
        whole = math.hypot(kept, *self._left.values())
        return Cut(
            ranks=self._ranks,
            errors={path: error / norm if norm else 0.0 for path, (norm, error) in self._norms.items()},
            error=lost / kept if kept else 0.0,
            left_out={name: norm / whole for name, norm in self._left.items()},
        )


def plain(tensors: Mapping[str, Tensor]) -> Pair | None:
    """The low-rank pair of a layer in float32 with its scale folded in; None if it holds anything else."""
    if not {"down", "up"} <= tensors.keys() <= PLAIN:
        return None
    down = tensors["down"].float()
    alpha = tensors.get("alpha", torch.tensor(float(down.shape[0])))
    return folded({"down": down, "up": tensors["up"].float().flatten(1), "alpha": alpha})


def nearest(change: Tensor, size: Size) -> Pair:
    """The pair nearest to a change [out, in, ...], both factors of like size, with alpha equal to the rank."""
    flat = change.float().flatten(1)
    kernel = change[0, 0].numel()
    most = size.most(kernel)
    if size.energy is None and most is not None and 4 * (most + OVERSAMPLING) < min(flat.shape):
        left, values, right = _randomised(flat, most)
    else:
        left, values, right = torch.linalg.svd(flat, full_matrices=False)
    return _pair(left, values, right, size.of(values, kernel), change.shape[1:])


def reduced(pair: Pair, size: Size) -> Pair:
    """The pair nearest to the product of a folded pair. The product is not formed: its factors are made orthogonal."""
    down = pair["down"]
    left, upper = torch.linalg.qr(pair["up"].double())
    right, lower = torch.linalg.qr(down.flatten(1).T.double())
    inner_left, values, inner_right = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    rank = size.of(values, down[0, 0].numel())
    return _pair(left @ inner_left, values, inner_right @ right.T, rank, down.shape[1:])


def clamped(pair: Pair, quantile: float) -> Pair:
    """kohya's extraction: all singular values on `up`, then entries beyond a quantile of both factors cut to it."""
    down, up = pair["down"], pair["up"]
    norms = down.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    down = down / norms.reshape(-1, *[1] * (down.dim() - 1))
    up = up * norms
    entries = torch.cat([up.flatten(), down.flatten()])
    bound = float(entries.kthvalue(max(1, round(quantile * entries.numel()))).values)
    return {**pair, "down": down.clamp(-bound, bound), "up": up.clamp(-bound, bound)}


def _pair(left: Tensor, values: Tensor, right: Tensor, rank: int, columns: torch.Size) -> Pair:
    root = values[:rank].sqrt()
    down = root[:, None] * right[:rank]
    return {
        "down": down.float().reshape(rank, *columns),
        "up": (left[:, :rank] * root).float().contiguous(),
        "alpha": torch.tensor(float(rank)),
    }


def _randomised(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first singular values and vectors, from a sketch of the columns; the same on every call."""
    random = torch.Generator().manual_seed(0)
    sketch = torch.randn(matrix.shape[1], rank + OVERSAMPLING, generator=random)
    span = torch.linalg.qr(matrix @ sketch).Q
    for _ in range(POWER_ITERATIONS):
        span = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ span).Q).Q
    left, values, right = torch.linalg.svd(span.T @ matrix, full_matrices=False)
    return (span @ left)[:, :rank], values[:rank], right[:rank]
