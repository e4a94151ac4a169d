"""Low-rank pairs: rewritten without changing the product; and what the check after writing finds in them."""

import pytest
import torch

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors import lowrank as _lowrank
from likewise.factors.deltas import weight_change
from likewise.formats._check import verify

ONE, OTHER = "backbone.mid_block.resnets.0.conv1", "backbone.mid_block.resnets.0.conv2"


def pair(rank=3, high=7, wide=5, alpha=2.0, kernel=()):
    return {
        "down": torch.randn(rank, wide, *kernel),
        "up": torch.randn(high, rank),
        "alpha": torch.tensor(alpha),
    }


def artifact(**layers):
    names = {"one": ONE, "other": OTHER}
    tensors = {f"{names[n]}.{suffix}": t for n, own in layers.items() for suffix, t in own.items()}
    return Artifact("lora", "sd", "sks", "dog", tensors)


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_the_product_stays_when_it_is_rewritten(kernel):
    own = pair(kernel=kernel)
    product = weight_change(own)
    tiny = {**own, "up": own["up"] * 1e-7}
    for found, wanted in [
        (_lowrank.folded(own), product),
        (_lowrank.with_alpha(own, 8.0), product),
        (_lowrank.balanced(tiny, torch.float16), product * 1e-7),
    ]:
        assert torch.allclose(weight_change(found), wanted, rtol=1e-5, atol=float(wanted.abs().max()) * 1e-6)
    assert float(_lowrank.folded(own)["alpha"]) == 3


def test_balancing_is_exact_and_only_where_half_precision_needs_it():
    own = pair()
    for kept in (torch.float16, torch.bfloat16, torch.float32):
        assert _lowrank.balanced(own, kept)["up"] is own["up"]
    small = {**own, "up": own["up"] * 1e-6}
    found = _lowrank.balanced(small, torch.float16)
    assert torch.equal(found["up"] @ found["down"], small["up"] @ small["down"])
    ratio = float(found["up"].abs().max() / found["down"].abs().max())
    assert 0.5 <= ratio <= 2
    assert _lowrank.balanced(small, torch.float32)["up"] is small["up"]


def test_the_usual_alpha_is_that_of_most_and_never_zero():
    pairs = [pair(alpha=a) for a in (0.0, 0.0, 0.0, 4.0, 4.0, 1.0)]
    assert _lowrank.usual_alpha(pairs) == 4
    assert _lowrank.usual_alpha(pairs[:3]) == 1


def test_stacked_layers_are_their_parts_one_below_the_other():
    parts = [pair(2, 6, 5), None, pair(3, 6, 5, alpha=1.0), pair(1, 20, 5)]
    rows = [6, 6, 6, 20]
    whole = _lowrank.fuse(parts, rows)
    wanted = [
        torch.zeros(n, 5) if own is None else weight_change(own) for own, n in zip(parts, rows, strict=True)
    ]
    assert torch.allclose(weight_change(whole), torch.cat(wanted), atol=1e-6)
    assert whole["down"].shape[0] == 6
    apart = _lowrank.split(whole, rows)
    for own, change in zip(apart, wanted, strict=True):
        assert torch.allclose(weight_change(own), change, atol=1e-6)
    assert _lowrank.fuse(apart, rows)["down"].shape[0] == 6


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_the_difference_of_two_products_is_measured_without_forming_them(kernel):
    one, other = pair(3, kernel=kernel), pair(2, alpha=5.0, kernel=kernel)
    first, second = weight_change(one).double(), weight_change(other).double()
    whole, apart = _lowrank.difference(one, other)
    assert whole == pytest.approx(float(first.square().sum()), rel=1e-5)
    assert apart == pytest.approx(float((first - second).square().sum()), rel=1e-5)
    assert _lowrank.difference(one, _lowrank.folded(one))[1] <= 1e-12 * whole


def test_the_check_finds_what_is_lost_wrong_or_new():
    one, other = pair(), pair()
    taught = artifact(one=one, other=other)
    verify(taught, artifact(one=_lowrank.folded(one), other=other), "float32")
    nothing = {**pair(), "up": torch.zeros(7, 3)}
    verify(artifact(one=one), artifact(one=one, other=nothing), "float32")
    verify(artifact(one=nothing), artifact(one=nothing), "float16")
    with pytest.raises(FormatError, match=r"conv2 was lost in writing"):
        verify(taught, artifact(one=one), "float32")
    with pytest.raises(FormatError, match=r"conv1 was lost in writing"):
        verify(artifact(one=one), artifact(one=pair(high=8)), "float32")
    with pytest.raises(FormatError, match=r"differs from what was taught by 50\.0%"):
        verify(artifact(one=one), artifact(one={**one, "alpha": torch.tensor(1.0)}), "bfloat16")
    with pytest.raises(FormatError, match="differs from what was taught"):
        verify(artifact(one=one), artifact(one=one, other=other), "float16")
    with pytest.raises(FormatError, match="differs from what was taught"):
        verify(artifact(one=nothing), artifact(one=one), "float16")
