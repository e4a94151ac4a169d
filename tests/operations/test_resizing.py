"""Resizing: exact at the same rank, the best possible below it, and its error as reported."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import FormatError
from likewise.factors.nearest import Size
from likewise.operations.merging import merge
from likewise.operations.resizing import resize
from tests.operations.changes import BLOCK, CONV, LINEAR, TEXT, changes, full, furthest, lora, random


@settings(deadline=None, max_examples=20)
@given(rank=st.integers(1, 8), alpha=st.floats(0.01, 64), seed=st.integers(0, 1000))
def test_the_same_rank_is_the_same_change(rank, alpha, seed):
    taught = lora(seed, rank=rank, alpha=alpha)
    made, cut = resize(taught, Size(rank))
    largest = max(float(change.abs().max()) for change in changes(taught).values())
    assert furthest(changes(made), changes(taught)) <= 1e-6 * max(largest, 1.0)
    assert cut.error < 1e-6


def test_fewer_dimensions_lose_what_the_theorem_says():
    taught = lora(3, rank=12)
    made, cut = resize(taught, Size(4, conv_rank=6))
    for path, change in changes(taught).items():
        values = torch.linalg.svdvals(change.flatten(1).double())
        rank = 6 if path == CONV else 4
        measured = float((change - changes(made)[path]).norm() / change.norm())
        assert cut.ranks[path] == rank
        assert cut.errors[path] == pytest.approx(float(values[rank:].norm() / values.norm()), rel=1e-4)
        assert cut.errors[path] == pytest.approx(measured, rel=1e-4)


def test_twice_the_same_lora_needs_no_more_than_its_own_rank():
    made, cut = resize(merge([(lora(1, rank=3), 1.0), (lora(1, rank=3), 1.0)]), Size(energy=1.0))
    assert set(cut.ranks.values()) == {3}
    assert (
        furthest(changes(made), {path: 2 * change for path, change in changes(lora(1, rank=3)).items()})
        <= 1e-6
    )


def test_other_factorisations_become_loras():
    made, cut = resize(full(1), Size(64))
    assert (made.method, made.recipe) == ("lora", {})
    wanted = {path: change for path, change in changes(full(1)).items() if path in (LINEAR, CONV, TEXT)}
    assert furthest(changes(made), wanted) <= 1e-6
    assert cut.left_out.keys() == {f"{CONV}.bias", f"{BLOCK}.norm1.weight"}


def test_a_change_of_nothing_stays_one():
    taught = lora(1, paths=(LINEAR,))
    taught.tensors[f"{LINEAR}.up"].zero_()
    made, cut = resize(taught, Size(energy=0.9))
    assert not changes(made)[LINEAR].any()
    assert cut.error == 0.0


def test_what_has_no_rank_is_refused():
    with pytest.raises(FormatError, match="has no rank"):
        resize(replace(lora(), method="hypernetwork"), Size(4))
    dora = lora(1, paths=(LINEAR,))
    dora.tensors[f"{LINEAR}.dora_scale"] = random(32, 1)
    with pytest.raises(FormatError, match="depends on the weight"):
        resize(dora, Size(4))
    with pytest.raises(FormatError, match="no layer"):
        resize(replace(full(), tensors={f"{BLOCK}.norm1.w_norm": random(32)}), Size(4))
