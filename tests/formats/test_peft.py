"""The PEFT folder: PEFT itself as its reader and its writer."""

import copy
import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model
from peft.utils.other import get_pattern_key

from likewise import formats
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.formats._peft_config import OTHER_TENSORS, SCALES, WITHOUT_EFFECT, Scales
from likewise.inspection import inspect
from likewise.weights import read_tensors, write_tensors
from tests.formats.adapters import FULL, components, lora, same, weight_error
from tests.formats.whole_models import VERSIONS, pipeline


@pytest.mark.parametrize("version", VERSIONS)
def test_peft_changes_the_weights_as_the_artifact_says(tmp_path, version):
    before = components(pipeline(version))
    artifact = lora(before, "sdxl" if version == "sdxl" else "sd")
    folder = formats.write(artifact, tmp_path / "adapter", "peft", FULL)
    after = {
        name: PeftModel.from_pretrained(copy.deepcopy(model), folder / name).merge_and_unload()
        for name, model in before.items()
    }
    assert weight_error(before, after, artifact) <= 1e-5
    again = formats.read(folder)
    assert same(artifact, again)
    assert (again.family, again.token) == (artifact.family, "sks")


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("rslora", [False, True])
def test_what_peft_saves_is_read(tmp_path, part, rslora):
    before = components(pipeline("sd1"))[part]
    targets = ["to_q", "conv2"] if part == "unet" else ["q_proj", "fc2"]
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=rslora, target_modules=targets, init_lora_weights=False,
        rank_pattern={targets[1]: 2}, alpha_pattern={rf"^.*\.{targets[1]}": 3} if rslora else {targets[1]: 3},
    )  # fmt: skip
    model = get_peft_model(copy.deepcopy(before), config)
    model.save_pretrained(tmp_path / "cat")
    artifact = formats.read(tmp_path / "cat")
    assert artifact.token == "cat"
    assert {path.partition(".")[0] for path in group(artifact.tensors)} == {
        "backbone" if part == "unet" else "text"
    }
    assert weight_error({part: before}, {part: model.merge_and_unload()}, artifact) <= 1e-5


def test_a_folder_is_written_whole_and_replaces_the_old_one(tmp_path):
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]})
    for _ in range(2):
        folder = formats.write(artifact, tmp_path / "adapter", "peft", Saving(metadata=False))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"unet/adapter_config.json", "unet/adapter_model.safetensors"}
    config = json.loads((folder / "unet" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == ""
    assert all(
        name.startswith("base_model.model.")
        for name in read_tensors(folder / "unet" / "adapter_model.safetensors")
    )


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "OLoRA", "corda", "lora_ga"])
@pytest.mark.parametrize("place", ["peft", "diffusers"])
def test_a_start_that_changed_the_base_is_refused_and_pefts_own_conversion_named(tmp_path, start, place):
    """Such factors hold part of the base's own weights, and would change a model many times too strongly."""
    refused = changed(tmp_path, place, {"init_lora_weights": start})
    with pytest.raises(FormatError, match=f"init_lora_weights = '{start}'") as caught:
        formats.read(refused)
    assert "path_initial_model_for_weight_conversion" in caught.value.hint
    assert inspect(refused).portability == {"likewise": "refuses it"}


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal", "mica"])
@pytest.mark.parametrize("place", ["peft", "diffusers"])
def test_other_starts_mean_nothing_once_it_is_trained(tmp_path, start, place):
    formats.read(changed(tmp_path, place, {"init_lora_weights": start}))


def changed(folder, place, change):
    """A LoRA of PEFT or diffusers whose configuration says this besides."""
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]}, rank=lambda n: 2)
    if place == "peft":
        path = formats.write(artifact, folder / "adapter", "peft")
        file = path / "unet" / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        return path
    path = formats.write(artifact, folder / "x.safetensors", "diffusers")
    config = {"r": 2, "lora_alpha": 2, **change}
    text = json.dumps({f"unet.{key}": value for key, value in config.items()})
    return write_tensors(path, read_tensors(path), {"lora_adapter_metadata": text})


def test_every_setting_of_the_installed_peft_is_known():
    """A LoRA with default settings must be read, whatever PEFT adds to its files."""
    config = LoraConfig(target_modules=["to_q"]).to_dict()
    unknown = set(config) - WITHOUT_EFFECT - SCALES - set(OTHER_TENSORS)
    assert unknown == set()
    Scales.of(config, "it")


PARTS = ["down_blocks", "0", "attentions", "attn2", "to_q", "to_k", "proj_in", "base_to_q"]
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map(".".join)
PATTERNS = st.one_of(
    PATHS,
    PATHS.map("^{}".format),
    PATHS.map(re.escape),
    PATHS.map(r".*\.{}".format),
    st.tuples(PATHS, PATHS).map(lambda two: f"({two[0]}|{two[1]})"),
    st.tuples(PATHS, PATHS).map(lambda two: f"{two[0]}|{two[1]}"),
    st.sampled_from(["to_.", "to_[qk]", r"attentions\.\d+.*to_q", "attn[12].to_q$", "(?:^|x)to_q", "to_q?"]),
)


@given(PATHS, st.dictionaries(PATTERNS, st.integers(1, 99), max_size=4))
def test_patterns_follow_pefts_own_rule(path, patterns):
    scales = Scales.of({"r": 4, "lora_alpha": 8, "alpha_pattern": patterns}, "it")
    theirs = patterns.get(get_pattern_key(list(patterns), path), 8)
    assert scales.effective(path, 4) == theirs
    ranks = Scales.of({"r": 4, "lora_alpha": 8, "rank_pattern": patterns}, "it")
    wanted = patterns.get(get_pattern_key(list(patterns), path), 4)
    assert ranks.effective(path, wanted) == 8


NAMES = [*sorted(WITHOUT_EFFECT | SCALES | set(OTHER_TENSORS)), "new", "use_new", "new_config"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 99), st.floats(), st.text(max_size=5),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["none", "pissa", "gaussian", "all"]),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_any_configuration_is_followed_or_refused_in_one_line(config):
    """What is followed gives the scale that PEFT itself gives for the same settings."""
    try:
        found = Scales.of(config, "it").effective("down_blocks.0.to_q", 4)
    except FormatError:
        return
    harmless = {name: value for name, value in config.items() if name in SCALES}
    theirs = LoraConfig(**{**harmless, "r": 4})
    key = get_pattern_key(list(theirs.alpha_pattern or {}), "down_blocks.0.to_q")
    alpha = (theirs.alpha_pattern or {}).get(key, theirs.lora_alpha)
    assert found == pytest.approx(alpha * (2 if theirs.use_rslora else 1))
    assert "new" not in config or config["new"] in (None, [], {}, "")


def test_an_anchor_binds_to_the_whole_path(tmp_path):
    """PEFT's `^to_q` means a layer whose whole path is `to_q`, so here it means none."""
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]}, rank=lambda n: 4, alpha=lambda n: 8.0)
    path = formats.write(artifact, tmp_path / "adapter", "peft")
    file = path / "unet" / "adapter_config.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "alpha_pattern": {"^.*to_q": 100, "^to_k": 50}})
    )
    alphas = {
        p.rpartition(".")[2]: float(own["alpha"]) for p, own in group(formats.read(path).tensors).items()
    }
    assert (alphas["to_q"], alphas["to_k"]) == (100.0, 8.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LOHA"}, "of type LOHA"),
        ({"use_dora": True}, "uses DoRA"),
        ({"lora_bias": True}, "uses biases"),
        ({"fan_in_fan_out": True}, "uses transposed weights"),
        ({"lora_alpha": None}, "which is no number"),
        ({"lora_alpha": True}, "which is no number"),
        ({"r": 77}, "the rank 77, and its factors have"),
        ({"bias": "all"}, "uses biases of the base"),
        ({"modules_to_save": ["conv_in"]}, "uses whole layers beside the LoRA"),
        ({"target_parameters": ["x.weight"]}, "uses parameters that belong to no layer"),
        ({"layer_replication": [[0, 4], [2, 5]]}, "uses layers of the base that are repeated"),
        ({"use_qalora": True}, "uses inputs that are averaged in groups"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'"),
        ({"something_new": 3}, "has the setting something_new = 3, which is not known here"),
        ({"use_something_new": True}, "has the setting use_something_new = True"),
        (
            {"init_lora_weights": "something_new"},
            "init_lora_weights = 'something_new', which is not known here",
        ),
        ({"init_lora_weights": "loftq"}, "fits only a base that this start changed"),
        ({"alpha_pattern": [1]}, "alpha_pattern is not a table"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "is not understood"),
        ({"alpha_pattern": {"(?<=x)y": 1}}, "is not understood"),
        ({"rank_pattern": {"(": 1}}, "is not understood"),
    ],
)
def test_adapters_of_other_kinds_are_refused_in_words(tmp_path, change, message):
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]})
    folder = formats.write(artifact, tmp_path / "adapter", "peft")
    file = folder / "unet" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(FormatError, match=message):
        formats.read(folder)


def test_a_real_loha_and_damaged_configurations_are_refused(tmp_path):
    unet = components(pipeline("sd1"))["unet"]
    get_peft_model(unet, LoHaConfig(r=2, target_modules=["to_q"])).save_pretrained(tmp_path / "loha")
    with pytest.raises(FormatError, match="of type LOHA"):
        formats.read(tmp_path / "loha")
    (tmp_path / "loha" / "adapter_config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read"):
        formats.read(tmp_path / "loha")
    (tmp_path / "loha" / "adapter_config.json").write_text("[]")
    with pytest.raises(FormatError, match="no readable table"):
        formats.read(tmp_path / "loha")


def test_other_tensors_in_an_adapter_are_not_dropped_in_silence(tmp_path):
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]})
    folder = formats.write(artifact, tmp_path / "adapter", "peft")
    file = folder / "unet" / "adapter_model.safetensors"
    write_tensors(file, {**read_tensors(file), "base_model.model.conv_out.weight": torch.ones(1)})
    with pytest.raises(FormatError, match="of no low-rank pair"):
        formats.read(folder)
