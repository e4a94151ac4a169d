"""The PEFT folder: PEFT itself as its reader and its writer."""

import copy
import json

import pytest
import torch
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model

from likewise import formats
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.weights import read_tensors
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
    if rslora:
        with pytest.raises(FormatError, match="is not understood"):
            formats.read(tmp_path / "cat")
        file = tmp_path / "cat" / "adapter_config.json"
        said = json.loads(file.read_text())
        said["alpha_pattern"] = {targets[1]: 3}
        file.write_text(json.dumps(said))
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "LOHA"}, "of type LOHA"),
        ({"use_dora": True}, "uses DoRA"),
        ({"lora_bias": True}, "uses biases"),
        ({"fan_in_fan_out": True}, "uses transposed weights"),
        ({"lora_alpha": None}, "which is no number"),
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
    (tmp_path / "loha" / "adapter_config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="cannot be read"):
        formats.read(tmp_path / "loha")
    (tmp_path / "loha" / "adapter_config.json").write_text("[]")
    with pytest.raises(FormatError, match="no readable table"):
        formats.read(tmp_path / "loha")


def test_other_tensors_in_an_adapter_are_not_dropped_in_silence(tmp_path):
    artifact = lora({"unet": components(pipeline("sd1"))["unet"]})
    folder = formats.write(artifact, tmp_path / "adapter", "peft")
    from likewise.weights import write_tensors

    file = folder / "unet" / "adapter_model.safetensors"
    write_tensors(file, {**read_tensors(file), "base_model.model.conv_out.weight": torch.ones(1)})
    with pytest.raises(FormatError, match="of no low-rank pair"):
        formats.read(folder)
