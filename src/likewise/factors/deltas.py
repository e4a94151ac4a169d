"""Deltas: what a layer's taught tensors add to its weight, for every factorisation that files hold.

Formulas are those of LyCORIS' forward pass (Yeh et al. 2023, arXiv 2309.14859; its merge applies some scales twice) and
of the papers named below. Everything is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from likewise.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]


def algorithm(tensors: Mapping[str, Any]) -> str:
    """Which factorisation these tensors (or shapes) are of, by their suffixes.

    One of `lora`, `loha`, `lokr`, `oft`, `boft`, `glora`, `ia3`, `full` and `norm`. Raises `FormatError` if of none.
    """
    if "oft_blocks" in tensors:
        blocks = tensors["oft_blocks"]
        return "boft" if len(getattr(blocks, "shape", blocks)) == 4 else "oft"
    for mark, name in _MARKS.items():
        if mark in tensors:
            return name
    raise FormatError(
        f"tensors called {', '.join(sorted(tensors))} are of no factorisation that is known here"
    )


def rank(tensors: Tensors) -> int | None:
    """The inner size; None for factorisations that have none."""
    for name in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if name in tensors:
            return int(tensors[name].shape[0])
    if "b1" in tensors:
        return int(min(tensors["b1"].shape[:2]))
    return None


def check_factors(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `FormatError` unless tensors of these shapes, by our suffix, can be factors of one layer."""
    kind = algorithm(shapes)
    needed = _NEEDED.get(kind, ((),))
    wanted = next((names for names in needed if all(name in shapes for name in names)), None)
    if wanted is None:
        lacking = [name for name in needed[0] if name not in shapes]
        raise FormatError(f"lacks {lacking[0]}, which a layer of {kind} has", "fetch the file again")
    for name, shape in shapes.items():
        single = name in ("alpha", "on_input")
        if math.prod(shape) != 1 if single else not shape or not math.prod(shape):
            raise FormatError(f"{name} has the shape {shape}, which no reader takes")
    pairs = [("up", "down")] if "mid" not in shapes else []
    pairs += [
        (f"{side}_a", f"{side}_b") for side in ("hada_w1", "hada_w2") if f"hada_t{side[-1]}" not in shapes
    ]
    pairs += [("lokr_w1_a", "lokr_w1_b"), *([] if "lokr_t2" in shapes else [("lokr_w2_a", "lokr_w2_b")])]
    for left, right in pairs:
        if left in wanted and (len(shapes[left]) < 2 or shapes[left][1] != shapes[right][0]):
            raise FormatError(
                f"the factors {left} {shapes[left]} and {right} {shapes[right]} do not fit together"
            )


def needs_weight(tensors: Tensors) -> bool:
    """Whether the change depends on the weight that it is added to."""
    return "dora_scale" in tensors or algorithm(tensors) in ("oft", "boft", "glora", "ia3")


def weight_change(tensors: Tensors, weight: Tensor | None = None) -> Tensor:
    """What is added to a weight [out, in, ...] at strength 1, as float32.

    Without `weight` the kernel of a convolution may be left flat, as [out, in * kernel]. Raises `FormatError` if the
    factors do not fit one another or the weight, or if `needs_weight` and there is none.
    """
    if weight is None and needs_weight(tensors):
        raise FormatError(f"{algorithm(tensors)} changes a weight by itself", "give the base")
    base = None if weight is None else weight.float()
    try:
        found = _CHANGES[algorithm(tensors)](tensors, base)
        if base is not None:
            found = found.reshape(base.shape)
        return found if base is None or "dora_scale" not in tensors else _decomposed(tensors, base, found)
    except (RuntimeError, KeyError, IndexError) as error:
        shapes = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise FormatError(f"factors do not fit: {shapes} ({str(error).splitlines()[0]})") from None


def bias_change(tensors: Tensors) -> Tensor | None:
    """What is added to a bias [out]; None if it stays as it is."""
    found = next((tensors[name] for name in ("diff_b", "b_norm") if name in tensors), None)
    return None if found is None else found.float()


def _scale(tensors: Tensors) -> float:
    """alpha / rank; 1 where either is missing. rs-LoRA stores an alpha that makes this right."""
    inner = rank(tensors)
    return float(tensors["alpha"]) / inner if inner and "alpha" in tensors else 1.0


def _lora(tensors: Tensors, _: Tensor | None) -> Tensor:
    """Hu et al. 2021, arXiv 2106.09685; with `mid` [r, r, ...] as a Tucker decomposition."""
    down, up = tensors["down"].float(), tensors["up"].float().flatten(1)
    if "mid" in tensors:
        return _scale(tensors) * _tucker(tensors["mid"], up.T, down.flatten(1))
    return _scale(tensors) * (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _loha(tensors: Tensors, _: Tensor | None) -> Tensor:
    """Product, entry by entry, of two low-rank matrices (FedPara, arXiv 2108.06098); `a` is [r, out] beside a core `t`."""
    halves = []
    for n in ("1", "2"):
        a, b = tensors[f"hada_w{n}_a"].float(), tensors[f"hada_w{n}_b"].float()
        core = tensors.get(f"hada_t{n}")
        halves.append(a @ b.flatten(1) if core is None else _tucker(core, a, b))
    return _scale(tensors) * halves[0] * halves[1]


def _lokr(tensors: Tensors, _: Tensor | None) -> Tensor:
    """Kronecker product (arXiv 2212.10650) of two matrices, either of which may be low-rank; unscaled if neither is."""
    import torch

    first = _side(tensors, "lokr_w1", None)
    second = _side(tensors, "lokr_w2", tensors.get("lokr_t2"))
    return _scale(tensors) * torch.kron(first.flatten(1), second.flatten(1)).reshape(
        first.shape[0] * second.shape[0], -1, *second.shape[2:]
    )


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A core [r, s, ...] between factors a [r, out] and b [s, in]: [out, in, ...]."""
    import torch

    return torch.einsum("rs...,ro,si->oi...", core.float(), a, b)


def _side(tensors: Tensors, name: str, core: Tensor | None) -> Tensor:
    if name in tensors:
        return tensors[name].float()
    a, b = tensors[f"{name}_a"].float(), tensors[f"{name}_b"].float()
    if core is not None:
        return _tucker(core, a, b)
    return (a @ b.flatten(1)).reshape(a.shape[0], *b.shape[1:])


def _oft(tensors: Tensors, weight: Tensor | None) -> Tensor:
    """Rotation of blocks of rows (arXiv 2306.07280): `R.T @ W - W`, then a factor per row."""
    import torch

    assert weight is not None
    rotations = _cayley(tensors, weight.shape[0])
    rows = weight.reshape(*rotations.shape[:2], -1)
    return _rescaled(tensors, torch.einsum("knm,kni->kmi", rotations, rows).reshape(weight.shape)) - weight


def _boft(tensors: Tensors, weight: Tensor | None) -> Tensor:
    """Rotations in a butterfly (arXiv 2311.06243): stage i mixes rows that are 2**i half blocks apart."""
    import torch

    assert weight is not None
    rotations = _cayley(tensors, weight.shape[0])
    block = rotations.shape[-1]
    rows = weight.flatten(1)
    for stage, turn in enumerate(rotations):
        apart = 2**stage * (block // 2)
        pairs = rows.unflatten(0, (-1, 2, apart)).transpose(1, 2).reshape(-1, block, rows.shape[1])
        mixed = torch.einsum("bij,bjn->bin", turn, pairs)
        rows = mixed.reshape(-1, apart, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
    return _rescaled(tensors, rows.reshape(weight.shape)) - weight


def _cayley(tensors: Tensors, rows: int) -> Tensor:
    """Orthogonal blocks `(I + Q) (I - Q)^-1`, Q skew; alpha, if above 0, bounds the norm of Q per row of the weight."""
    import torch

    blocks = tensors["oft_blocks"].float()
    skew = blocks - blocks.transpose(-1, -2)
    bound = float(tensors["alpha"]) * rows if "alpha" in tensors else 0.0
    norm = float(skew.norm())
    if 0 < bound < norm:
        skew = skew * (bound / norm)
    one = torch.eye(blocks.shape[-1])
    return (one + skew) @ torch.linalg.inv(one - skew)


def _rescaled(tensors: Tensors, weight: Tensor) -> Tensor:
    if "rescale" not in tensors:
        return weight
    return weight * tensors["rescale"].float().reshape(-1, *[1] * (weight.dim() - 1))


def _glora(tensors: Tensors, weight: Tensor | None) -> Tensor:
    """`W @ A + B` (arXiv 2306.07967). Old files keep the factors of A and B in the opposite order."""
    import torch

    assert weight is not None
    a1, a2, b1, b2 = (tensors[name].float().flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if b1.shape[0] != weight.shape[0] or b1.shape[1] != b2.shape[0]:
        a1, a2, b1, b2 = a2, a1, b2, b1
    if "bm" in tensors:
        added = _tucker(tensors["bm"], b1.T, b2)
    else:
        added = b1 @ b2
    turned = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    return _scale(tensors) * (added.reshape(weight.shape) + turned)


def _ia3(tensors: Tensors, weight: Tensor | None) -> Tensor:
    """A factor per input or output (arXiv 2205.05638); kept as the difference from 1."""
    assert weight is not None
    factor = tensors["weight"].float().flatten()
    axis = 1 if bool(tensors["on_input"]) else 0
    return weight * factor.reshape([-1 if side == axis else 1 for side in range(weight.dim())])


def _decomposed(tensors: Tensors, weight: Tensor, change: Tensor) -> Tensor:
    """DoRA (arXiv 2402.09353): the changed weight gets the norms in `dora_scale`, per output [out] or per input [1, in]."""
    import torch

    size, merged = tensors["dora_scale"].float(), weight + change
    by_output = size.dim() == 1 or size.shape[0] == weight.shape[0]
    kept = 0 if by_output else 1
    others = [side for side in range(weight.dim()) if side != kept]
    norm = torch.linalg.vector_norm(merged, dim=others, keepdim=True) + torch.finfo(torch.float32).eps
    return merged * (size.reshape(norm.shape) / norm) - weight


def _full(tensors: Tensors, _: Tensor | None) -> Tensor:
    return tensors["diff"].float()


def _norm(tensors: Tensors, _: Tensor | None) -> Tensor:
    return tensors["w_norm"].float()


_MARKS = {
    "down": "lora",
    "hada_w1_a": "loha",
    "lokr_w1": "lokr",
    "lokr_w1_a": "lokr",
    "a1": "glora",
    "on_input": "ia3",
    "diff": "full",
    "w_norm": "norm",
}
_NEEDED: Mapping[str, Sequence[tuple[str, ...]]] = {
    "lora": (("down", "up"),),
    "loha": (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),),
    "lokr": tuple(
        (*first, *second)
        for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
    ),
    "glora": (("a1", "a2", "b1", "b2"),),
    "ia3": (("weight", "on_input"),),
}
"""Tensors that a layer of each factorisation has at least, in each of its forms."""
_CHANGES: dict[str, Callable[..., Tensor]] = {
    "lora": _lora,
    "loha": _loha,
    "lokr": _lokr,
    "oft": _oft,
    "boft": _boft,
    "glora": _glora,
    "ia3": _ia3,
    "full": _full,
    "norm": _norm,
}
