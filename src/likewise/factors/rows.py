"""Rows: factorisations of layers that files keep as one, taken apart where that is exact.

The makers of SD 3 and Flux stack queries, keys and values, and keep some shifts and scales in the opposite order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from likewise.errors import FormatError
from likewise.factors.deltas import algorithm
from likewise.naming.transformer import Published

if TYPE_CHECKING:
    from torch import Tensor

Own = dict[str, "Tensor"]
Spans = Sequence[tuple[int, int]]
CUT = {
    "lora": {"up"},
    "loha": {"hada_w1_a", "hada_w2_a"},
    "lokr": {"lokr_w1", "lokr_w1_a"},
    "full": {"diff"},
}
"""By factorisation: the tensors whose rows are rows of the change; one of LoKr is as many as its other factor has."""


def sides(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Rows and columns of the change that factors of these shapes make; 0 and 0 where they do not tell."""

    def product(left: str, right: str) -> tuple[int, int]:
        return shapes[left][0], shapes[right][1]

    try:
        for whole, left, right in (("", "up", "down"), ("", "hada_w1_a", "hada_w1_b"), ("diff", "", "")):
            if (whole or right) in shapes:
                return product(whole or left, whole or right)
        first, second = (
            product(name, name) if name in shapes else product(f"{name}_a", f"{name}_b")
            for name in ("lokr_w1", "lokr_w2")
        )
        return first[0] * second[0], first[1] * second[1]
    except (KeyError, IndexError):
        return 0, 0


def cuts(shapes: Mapping[str, tuple[int, ...]], layer: Published) -> list[Spans]:
    """By canonical path of `layer`, top to bottom: the rows of the change that are its own.

    Empty where one path has all of them as they are. Raises `FormatError` where taking the factors apart would not be exact.
    """
    height, width = sides(shapes)
    if len(layer.paths) == 1 and not (layer.turned and (not height or layer.swaps(height, width))):
        return []
    _refuse_whole(shapes, layer, height)
    if len(layer.paths) == 1:
        return [_whole_blocks(shapes, [(height // 2, height), (0, height // 2)], layer, height)]
    rows = layer.rows(width)
    if height != sum(rows):
        raise FormatError(f"{layer.name} is changed in {height} rows, and has {sum(rows)}")
    spans = pairwise(accumulate(rows, initial=0))
    return [_whole_blocks(shapes, [span], layer, height) for span in spans]


def apart(own: Own, layer: Published) -> list[Own]:
    """The factors of each canonical path of `layer`, top to bottom; raises `FormatError` where that would not be exact."""
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    height = sides(shapes)[0]
    return [_taken(own, spans, height) for spans in cuts(shapes, layer)] or [own]


def _refuse_whole(shapes: Mapping[str, tuple[int, ...]], layer: Published, height: int) -> None:
    """Raise `FormatError` for changes in which every row depends on all others."""
    by_input = "dora_scale" in shapes and (shapes["dora_scale"] or (0,))[0] != height
    if not height or by_input or "hada_t1" in shapes:
        what = "DoRA" if by_input else algorithm(shapes)
        raise FormatError(
            f"{layer.name} is changed by {what}, which cannot be taken apart into {len(layer.paths)} layers",
            "LoRA, LoHa and full differences can",
        )


def _whole_blocks(
    shapes: Mapping[str, tuple[int, ...]], spans: Spans, layer: Published, height: int
) -> Spans:
    """The spans, refused where they would cut a block of rows that hang together."""
    step = _step(shapes, height)
    if any(edge % step for span in spans for edge in span):
        raise FormatError(
            f"{layer.name} is changed by {algorithm(shapes)} in blocks of {step} rows, which its layers share",
            "LoRA, LoHa and full differences fall apart exactly",
        )
    return spans


def _step(shapes: Mapping[str, tuple[int, ...]], height: int) -> int:
    """How many rows of the change belong to one row of the factor that is cut."""
    cut = CUT[algorithm(shapes)]
    return height // next(shape[0] for name, shape in shapes.items() if name in cut)


def _taken(own: Own, spans: Spans, height: int) -> Own:
    """The same factors with these rows alone."""
    import torch

    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    rows = {**dict.fromkeys(CUT[algorithm(shapes)], _step(shapes, height)), "dora_scale": 1, "diff_b": 1}
    return {
        name: torch.cat([tensor[begin // rows[name] : end // rows[name]] for begin, end in spans])
        if name in rows
        else tensor
        for name, tensor in own.items()
    }
