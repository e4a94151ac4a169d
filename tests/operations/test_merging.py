"""Merging: the sum of the changes, to the last digits that float32 has."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from likewise import families, formats
from likewise.checkpoints import open_checkpoint
from likewise.errors import Error, FormatError
from likewise.factors.nearest import Size
from likewise.formats import Saving
from likewise.formats.checkpoint import artifact_of
from likewise.operations.extracting import extract
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


@pytest.fixture
def velocity(tmp_path):
    """A file of SD 1 that is marked to predict velocity, one that is not, and both as models."""
    plain = write_subject(
        model(tmp_path / "a"), tmp_path / "plain.safetensors", "checkpoint", Saving("float32")
    )
    change = {f"{LINEAR}.weight": random(32, 64, seed=7)}
    marked = replace(tuned(open_checkpoint(plain), change), velocity=True)
    path = write_subject(marked, tmp_path / "marked.safetensors", "checkpoint", Saving("float32"))
    assert "v_pred" in read_header(path).shapes
    return open_checkpoint(path), open_checkpoint(plain)


def saved(whole, path):
    """The model written as a single file: what it says of its prediction, and whether it is marked."""
    header = read_header(write_subject(whole, path, "checkpoint", Saving("float32")))
    return header.metadata["modelspec.prediction_type"], "v_pred" in header.shapes


@pytest.mark.parametrize(
    ("weight", "wanted"), [(1.0, ("v", True)), (0.8, ("v", True)), (0.3, ("epsilon", False))]
)
def test_the_sum_predicts_what_most_of_it_predicts_and_a_mismatch_is_said(velocity, weight, wanted, tmp_path):
    marked, plain = velocity
    merged = merge_into(plain, [(marked, weight)])
    assert saved(merged, tmp_path / "merged.safetensors") == wanted
    assert "plain.safetensors predicts noise, marked.safetensors predicts velocity" in merged.notes[-1]


def test_the_mark_is_carried_by_every_conversion(velocity, tmp_path):
    marked, _ = velocity
    shutil.copytree(tmp_path / "a" / "tokenizer", tmp_path / "tokenizer")
    assert saved(marked, tmp_path / "again.safetensors") == ("v", True)
    folder = write_subject(marked, tmp_path / "folder", "diffusers_folder", Saving())
    said = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert said["prediction_type"] == "v_prediction"
    assert saved(open_checkpoint(folder), tmp_path / "back.safetensors") == ("v", True)
    merged = merge_into(marked, [(lora(1), 1.0)])
    assert (saved(merged, tmp_path / "lora.safetensors"), merged.notes) == (("v", True), ())
    merged = merge_into(marked, [(replace(lora(1), notes={"prediction": "epsilon"}), 1.0)])
    assert "sks1 predicts noise" in merged.notes[-1]


def test_an_extracted_lora_says_what_its_model_predicts(velocity, tmp_path):
    marked, plain = velocity
    found, _ = extract(plain, marked, Size(4))
    assert "plain.safetensors predicts noise" in found.notes["mismatch"]
    path = formats.write(found, tmp_path / "lora.safetensors", "kohya")
    assert read_header(path).metadata["modelspec.prediction_type"] == "v"
    again = formats.write(formats.read(path), tmp_path / "again.safetensors", "diffusers")
    assert read_header(again).metadata["modelspec.prediction_type"] == "v"
    same, _ = extract(marked, tuned(marked, {f"{LINEAR}.weight": random(32, 64)}), Size(4))
    assert "mismatch" not in same.notes
    assert "mismatch" in merge([(found, 1.0), (replace(lora(1), notes={"prediction": "epsilon"}), 1.0)]).notes


def test_a_taught_model_is_not_completed_from_one_that_predicts_otherwise(velocity, tmp_path):
    marked, plain = velocity
    with pytest.raises(FormatError, match=r"a model of v_prediction, and .* is one of epsilon"):
        formats.write(
            artifact_of(marked), tmp_path / "x.safetensors", "checkpoint", Saving(base=plain.origin)
        )


def test_marks_of_other_kinds_of_prediction_are_refused(velocity, tmp_path):
    marked, _ = velocity
    tensors = load_file(marked.origin) | {"edm_vpred.sigma_max": torch.tensor(120.0)}
    save_file(tensors, tmp_path / "edm.safetensors")
    for read in (open_checkpoint, families.load):
        with pytest.raises(Error, match="predicts in the way of EDM"):
            read(str(tmp_path / "edm.safetensors"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", None])
def test_sums_are_rounded_once_and_at_the_end(dtype, tmp_path):
    """A half-precision base was rounded to half after each sum, and the file then called float32."""
    base, part = model(tmp_path / "base").cast("float16"), lora(1)
    half = open_checkpoint(write_subject(base, tmp_path / "half.safetensors", "checkpoint", Saving()))
    path = write_subject(
        merge_into(half, [(part, 0.7)]), tmp_path / "m.safetensors", "checkpoint", Saving(dtype)
    )
    for layer, change in changes(part).items():
        name = f"{layer}.weight"
        before, found = half.tensors[name].load().float(), open_checkpoint(path).tensors[name].load()
        wanted = before + 0.7 * change.reshape(before.shape)
        assert torch.equal(found, wanted.to(getattr(torch, dtype or "float16")))
