"""Low-rank pairs: `alpha / rank * up @ down`, rewritten without changing the product.

For layouts that keep no alpha, that stack several layers into one, or that are saved in half precision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, dtype

Pair = dict[str, "Tensor"]
SMALLEST = 2.0**-9
"""Half precision spaces numbers evenly below 6e-5, so a factor whose largest entry is below this loses digits."""
LARGEST = 2.0**15


def with_alpha(pair: Mapping[str, Tensor], alpha: float) -> Pair:
    """The same product with this alpha: `up` takes the rest of the scale."""
    import torch

    return {**pair, "up": pair["up"] * (float(pair["alpha"]) / alpha), "alpha": torch.tensor(alpha)}


def folded(pair: Mapping[str, Tensor]) -> Pair:
    """The same product with `alpha` equal to the rank, which is no scale at all."""
    return with_alpha(pair, float(pair["down"].shape[0]))


def padded(pair: Mapping[str, Tensor], rank: int) -> Pair:
    """The same product with `alpha` equal to a larger rank; the new rows and columns are zero."""
    import torch

    own = folded(pair)
    down, up = own["down"], own["up"]
    more = rank - down.shape[0]
    return {
        "down": torch.cat([down, down.new_zeros(more, *down.shape[1:])]),
        "up": torch.cat([up, up.new_zeros(up.shape[0], more)], dim=1),
        "alpha": torch.tensor(float(rank)),
    }


def usual_alpha(pairs: Iterable[Mapping[str, Tensor]]) -> float:
    """The alpha of most pairs; 1 if none has any but 0."""
    counted = Counter(float(pair["alpha"]) for pair in pairs)
    del counted[0.0]
    return counted.most_common(1)[0][0] if counted else 1.0


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> tuple[float, float]:
    """Squared Frobenius norms of the first product, and of the second's difference from it; neither is formed.

    As |up @ down|^2 is the sum over (up^T up) * (down down^T), which is no larger than the rank.
    """
    import torch

    first, second = folded(one), folded(other)
    up = torch.cat([first["up"], -second["up"]], dim=1).double()
    down = torch.cat([first["down"].flatten(1), second["down"].flatten(1)]).double()
    products = (up.T @ up) * (down @ down.T)
    rank = first["down"].shape[0]
    return float(products[:rank, :rank].sum()), max(0.0, float(products.sum()))


def balanced(pair: Mapping[str, Tensor], kept: dtype) -> Pair:
    """The same product with both factors in the range of the precision `kept`.

    A power of two moves from one factor to the other, which is exact; pairs that fit already stay as they are.
    """
    import torch

    up, down = pair["up"], pair["down"]
    high, low = float(up.abs().max()), float(down.abs().max())
    fit = all(SMALLEST <= side <= LARGEST for side in (high, low))
    if kept != torch.float16 or fit or not high or not low:
        return dict(pair)
    shift = 2.0 ** round(torch.tensor(low / high).log2().item() / 2)
    return {**pair, "up": up * shift, "down": down / shift}


def split(pair: Mapping[str, Tensor], rows: Sequence[int]) -> list[Pair]:
    """One pair for each stack of `rows` of the layer: `up` is cut, `down` is shared. Exact."""
    return [{**pair, "up": up.clone(), "down": pair["down"].clone()} for up in pair["up"].split(list(rows))]


def fuse(pairs: Sequence[Mapping[str, Tensor] | None], rows: Sequence[int]) -> Pair:
    """One pair for layers that stand one below the other with `rows` each; None is a layer that does not change.

    `down`s are stacked and `up`s stand on the diagonal, so ranks add up; layers that share their `down`, as
    `split` leaves them, keep their rank. Exact.
    """
    import torch

    present = [(n, folded(pair)) for n, pair in enumerate(pairs) if pair is not None]
    first = present[0][1]["down"]
    shared = all(torch.equal(pair["down"], first) for _, pair in present)
    down = first if shared else torch.cat([pair["down"] for _, pair in present])
    up = down.new_zeros(sum(rows), down.shape[0])
    starts = [sum(rows[:n]) for n in range(len(rows))]
    column = 0
    for n, pair in present:
        rank = pair["down"].shape[0]
        up[starts[n] : starts[n] + rows[n], column : column + rank] = pair["up"]
        column += 0 if shared else rank
    return {"down": down, "up": up, "alpha": torch.tensor(float(down.shape[0]))}


def swapped(pair: Mapping[str, Tensor]) -> Pair:
    """The pair of a layer whose output halves change places."""
    import torch

    return {**pair, "up": torch.cat(pair["up"].chunk(2)[::-1])}
