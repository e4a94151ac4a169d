"""Difference: equal is what changes a model in the same way, however it is factored."""

from dataclasses import replace

import pytest

from likewise.errors import FormatError
from likewise.factors.nearest import Size
from likewise.operations.difference import diff
from likewise.operations.merging import merge
from likewise.operations.resizing import resize
from tests.formats.words import embedding
from tests.operations.changes import CONV, LINEAR, TEXT, changes, full, lora, model, random, tuned


def test_factors_and_ranks_do_not_count():
    one, same = lora(1, rank=4), merge([(lora(1, rank=4), 0.25), (lora(1, rank=4), 0.75)])
    assert diff(one, one).total == 0.0
    assert diff(one, same).equal
    assert diff(one, resize(one, Size(8))[0]).equal
    assert not diff(one, lora(2, rank=4)).equal


def test_differences_are_the_norms_of_the_changes():
    one, other = lora(1, rank=12), resize(lora(1, rank=12), Size(4))[0]
    found = diff(one, other)
    for path, change in changes(one).items():
        apart = float((change - changes(other)[path]).norm() / change.norm())
        assert found.differences[path] == pytest.approx(apart, rel=1e-3)
    assert max(found.differences.values()) >= found.total >= min(found.differences.values())
    assert not found.equal


def test_a_lora_and_its_whole_difference_are_equal():
    one = lora(1)
    whole = {f"{path}.diff": change for path, change in changes(one).items()}
    assert diff(one, replace(full(), tensors=whole)).equal
    whole[f"{CONV}.diff_b"] = random(32)
    found = diff(replace(full(), tensors=whole), full(2))
    assert found.only_second
    assert not found.equal


def test_layers_of_one_alone_count():
    found = diff(lora(1, paths=(LINEAR, TEXT)), lora(1, paths=(LINEAR,)))
    assert (found.only_first, found.only_second, found.differences) == ((TEXT,), (), {LINEAR: 0.0})
    assert not found.equal
    assert found.total > 0.1


def test_whole_models_are_compared_tensor_by_tensor(tmp_path):
    base = model(tmp_path / "base")
    assert diff(base, base).equal
    found = diff(base, tuned(base, {f"{LINEAR}.weight": random(32, 64)}))
    assert [name for name, share in found.differences.items() if share] == [f"{LINEAR}.weight"]


def test_embeddings_are_compared_and_unlike_things_refused():
    assert diff(embedding(2), embedding(2)).equal
    assert not diff(embedding(2), replace(embedding(2), tensors={"vectors": random(2, 32)})).equal
    with pytest.raises(FormatError, match="no layer in common"):
        diff(embedding(2), lora())
    with pytest.raises(FormatError, match="another size"):
        diff(embedding(2), embedding(3))
