"""Merging: the sum of the changes, to the last digits that float32 has."""

import pytest
import torch

from likewise.checkpoints import open_checkpoint
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.operations.merging import merge, merge_into
from likewise.operations.subjects import MERGED, write_subject
from likewise.weights import read_header
from tests.operations.changes import (
    BLOCK,
    CONV,
    LINEAR,
    TEXT,
    changes,
    full,
    furthest,
    lora,
    model,
    random,
    tuned,
)


def test_a_merge_is_the_sum_of_the_changes():
    one, other = lora(1, rank=3, alpha=1.5), lora(2, rank=5, alpha=8.0)
    made = merge([(one, 0.7), (other, -1.3)])
    wanted = {
        path: 0.7 * a - 1.3 * b
        for (path, a), b in zip(changes(one).items(), changes(other).values(), strict=True)
    }
    assert furthest(changes(made), wanted) <= 1e-6
    assert made.tensors[f"{LINEAR}.down"].shape == (8, 64)
    assert (made.method, made.token, made.noun, made.base) == ("lora", "sks1, sks2", "dog", "some base")


def test_layers_that_only_one_has_come_with_its_weight():
    made = merge([(lora(1, paths=(LINEAR,)), 0.5), (lora(2, paths=(TEXT,)), 2.0)])
    wanted = {LINEAR: 0.5 * changes(lora(1))[LINEAR], TEXT: 2 * changes(lora(2, paths=(TEXT,)))[TEXT]}
    assert furthest(changes(made), wanted) <= 1e-6


def test_other_factorisations_become_whole_differences():
    one, other = lora(1), full(2)
    made = merge([(one, 0.5), (other, 2.0)])
    first, second = changes(one), changes(other)
    wanted = {path: 0.5 * first.get(path, 0) + 2 * second[path] for path in second}
    assert made.method == "lycoris"
    assert furthest(changes(made), wanted) <= 1e-6
    assert torch.equal(made.tensors[f"{CONV}.diff_b"], 2 * other.tensors[f"{CONV}.diff_b"])
    assert f"{BLOCK}.norm1.w_norm" in made.tensors


def test_a_model_gets_the_sum_of_the_changes(tmp_path):
    base, parts = model(tmp_path / "base"), [(lora(1), 0.8), (full(2), -0.4)]
    made = merge_into(base, parts)
    path = write_subject(made, tmp_path / "merged.safetensors", "checkpoint", Saving("float32"))
    again = open_checkpoint(path).tensors
    first, second = changes(parts[0][0]), changes(parts[1][0])
    for name, one in base.tensors.items():
        layer = name.removesuffix(".weight")
        wanted = 0.8 * first.get(layer, torch.zeros(1)).sum() - 0.4 * second.get(layer, torch.zeros(1)).sum()
        if name == f"{CONV}.bias":
            wanted = -0.4 * parts[1][0].tensors[f"{CONV}.diff_b"].sum()
        change = again[name].load() - one.load()
        assert abs(float(change.sum() - wanted)) < 2e-4, name
    exact = base.tensors[f"{LINEAR}.weight"].load() + 0.8 * first[LINEAR] - 0.4 * second[LINEAR]
    assert (again[f"{LINEAR}.weight"].load() - exact).abs().max() <= 1e-6
    assert read_header(path).metadata[MERGED] == "base, sks1, full2"


def test_a_model_adds_its_difference(tmp_path):
    base = model(tmp_path / "base")
    other = tuned(base, {f"{LINEAR}.weight": random(32, 64), "backbone.conv_in.bias": random(32)})
    made = merge_into(base, [(other, 0.5)])
    for name, one in base.tensors.items():
        middle = (one.load() + other.tensors[name].load()) / 2
        assert torch.allclose(made.tensors[name].load(), middle, atol=1e-6), name


def test_a_half_precision_model_stays_one_and_is_rounded_once(tmp_path):
    base = model(tmp_path / "base").cast("float16")
    name = f"{LINEAR}.weight"
    made = merge_into(base, [(lora(1), 1.0), (lora(2), 1.0)]).tensors[name]
    whole = base.tensors[name].load().float() + changes(lora(1))[LINEAR] + changes(lora(2))[LINEAR]
    assert made.dtype == "F16"
    assert torch.equal(made.load(), whole.half())


def test_a_dora_is_merged_into_its_base_only(tmp_path):
    dora = lora(1, paths=(LINEAR,))
    dora.tensors[f"{LINEAR}.dora_scale"] = random(32, 1).abs() + 1
    with pytest.raises(FormatError, match="depends on the weight"):
        merge([(dora, 1.0), (lora(2), 1.0)])
    made = merge_into(model(tmp_path / "base"), [(dora, 1.0)])
    norms = made.tensors[f"{LINEAR}.weight"].load().norm(dim=1, keepdim=True)
    assert torch.allclose(norms, dora.tensors[f"{LINEAR}.dora_scale"], atol=1e-5)


def test_what_cannot_be_added_is_refused_in_a_line(tmp_path):
    from dataclasses import replace

    base = model(tmp_path / "base")
    with pytest.raises(FormatError, match="no change of weights"):
        merge([(replace(lora(), method="textual_inversion"), 1.0)])
    with pytest.raises(FormatError, match="sd and sdxl"):
        merge([(lora(), 1.0), (replace(lora(), family="sdxl"), 1.0)])
    with pytest.raises(FormatError, match="nothing to merge"):
        merge([])
    with pytest.raises(FormatError, match="cannot be added"):
        merge_into(base, [(replace(lora(), family="sdxl"), 1.0)])
    strange = replace(lora(), tensors={"backbone.nowhere.diff": random(4, 4)})
    with pytest.raises(FormatError, match=r"has no backbone\.nowhere\.weight"):
        merge_into(base, [(strange, 1.0)])
    small = replace(lora(), tensors={f"{LINEAR}.diff": random(4, 4)})
    with pytest.raises(FormatError, match="to_k"):
        merge_into(base, [(small, 1.0)]).tensors[f"{LINEAR}.weight"].load()
    with pytest.raises(FormatError, match="several sizes"):
        merge([(lora(), 1.0), (small, 1.0)])


def test_a_sum_that_no_number_holds_is_refused_by_name(tmp_path):
    base = model(tmp_path / "base")
    with pytest.raises(FormatError, match="is not finite"):
        merge([(lora(), 1e40)])
    with pytest.raises(FormatError, match="is not finite"):
        merge([(full(), 1e40)])
    with pytest.raises(FormatError, match=LINEAR.replace(".", r"\.")):
        merge_into(base, [(lora(), 1e40)]).tensors[f"{LINEAR}.weight"].load()
