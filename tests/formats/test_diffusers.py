"""The diffusers LoRA layout: plain diffusers as its reader and its writer, and the spellings of its history."""

import json

import pytest
import torch
from peft import LoraConfig

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.weights import read_header, read_tensors, write_tensors
from tests.formats.adapters import (
    FULL,
    change_error,
    components,
    fused_error,
    lora,
    weight_error,
)
from tests.formats.whole_models import VERSIONS, pipeline

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("version", VERSIONS)
def test_diffusers_changes_the_weights_as_the_artifact_says(tmp_path, version):
    pipe = pipeline(version)
    artifact = lora(components(pipe), "sdxl" if version == "sdxl" else "sd")
    path = formats.write(artifact, tmp_path / "x.safetensors", "diffusers", FULL)
    assert fused_error(pipe, path, artifact) <= 1e-5
    again = formats.read(path)
    assert change_error(artifact, again) <= 1e-6
    assert (again.family, again.token) == (artifact.family, "sks")


@pytest.mark.parametrize(("alpha", "rslora"), [(2, False), (8, True)])
def test_what_diffusers_saves_is_read_with_its_scale(tmp_path, alpha, rslora):
    """Its alpha stands in the metadata alone, and each part has a configuration of its own."""
    pipe = pipeline("sd1")
    before = components(pipeline("sd1"))
    tower = LoraConfig(r=3, lora_alpha=3, target_modules=["q_proj", "fc1"], init_lora_weights=False)
    pipe.unet.add_adapter(
        LoraConfig(
            r=4, lora_alpha=alpha, use_rslora=rslora, init_lora_weights=False,
            target_modules=["to_q", "to_out.0", "conv1", "proj_in"], rank_pattern={"conv1": 2},
            alpha_pattern={"conv1": 5},
        )
    )  # fmt: skip
    pipe.text_encoder.add_adapter(tower)
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    pipe.save_lora_weights(
        tmp_path,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet)),
        text_encoder_lora_layers=convert_state_dict_to_diffusers(
            get_peft_model_state_dict(pipe.text_encoder)
        ),
        unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=tower.to_dict(),
    )
    artifact = formats.read(tmp_path / "pytorch_lora_weights.safetensors")
    assert {path.partition(".")[0] for path in group(artifact.tensors)} == {"backbone", "text"}
    for part in (pipe.unet, pipe.text_encoder):
        for module in part.modules():
            if hasattr(module, "lora_A"):
                module.merge()
    bare = {"unet": unwrapped(pipe.unet), "text_encoder": unwrapped(pipe.text_encoder)}
    assert weight_error(before, bare, artifact) <= 1e-5


def unwrapped(model):
    """The model with its adapters, once merged, taken out of the names of its parameters."""

    class Plain:
        def named_parameters(self):
            for name, parameter in model.named_parameters():
                if ".lora_" not in name:
                    yield name.replace(".base_layer", ""), parameter

    return Plain()


def test_every_spelling_of_the_past_is_read(tmp_path):
    down, up = torch.randn(2, 8), torch.randn(6, 2)
    attention = QUERY.removesuffix(".to_q")
    spellings = {
        "now": (
            f"unet.{QUERY}.lora_A.weight",
            f"unet.{OUT}.lora_A.weight",
            f"text_encoder.{TEXT}.lora_A.weight",
        ),
        "late 2023": (
            f"unet.{QUERY}.lora.down.weight",
            f"unet.{OUT}.lora.down.weight",
            f"text_encoder.{TEXT}.lora_linear_layer.down.weight",
        ),
        "processors": (
            f"unet.{attention}.processor.to_q_lora.down.weight",
            f"unet.{attention}.processor.to_out_lora.down.weight",
            f"text_encoder.{TEXT.replace('q_proj', 'to_q_lora')}.down.weight",
        ),
        "flat tower": (
            f"unet.{QUERY}.lora_A.default.weight",
            f"unet.{OUT}.lora_A.weight",
            f"text_encoder.{TEXT.removeprefix('text_model.')}.lora_A.weight",
        ),
        "published names": (
            "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.lora_down.weight",
            "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_out.0.lora_A.weight",
            f"text_encoder.{TEXT}.lora_A.weight",
        ),
    }
    for names in spellings.values():
        tensors = {}
        for name in names:
            tensors[name] = down
            tensors[name.replace("lora_A", "lora_B").replace("down.weight", "up.weight")] = up
        artifact = formats.read(write_tensors(tmp_path / "old.safetensors", tensors))
        assert set(group(artifact.tensors)) == {f"backbone.{QUERY}", f"backbone.{OUT}", f"text.{TEXT}"}
        assert {float(own["alpha"]) for own in group(artifact.tensors).values()} == {2.0}
        assert torch.equal(artifact.tensors[f"backbone.{QUERY}.up"], up)


def test_the_first_files_have_no_component_and_may_be_pickled(tmp_path):
    start = f"{QUERY.removesuffix('.to_q')}.processor.to_q_lora"
    torch.save(
        {f"{start}.down.weight": torch.ones(2, 8), f"{start}.up.weight": torch.ones(6, 2)},
        tmp_path / "old.bin",
    )
    artifact = formats.read(tmp_path / "old.bin")
    assert set(group(artifact.tensors)) == {f"backbone.{QUERY}"}
    assert (artifact.token, artifact.family) == ("old", "sd")


def test_flux_layers_put_together_are_taken_apart(tmp_path):
    name = "diffusion_model.double_blocks.0.img_attn.qkv"
    up = torch.randn(24, 2)
    tensors = {f"{name}.lora_A.weight": torch.randn(2, 8), f"{name}.lora_B.weight": up}
    artifact = formats.read(write_tensors(tmp_path / "x.safetensors", tensors))
    assert artifact.family == "flux"
    values = artifact.tensors["backbone.transformer_blocks.0.attn.to_v.up"]
    assert torch.equal(values, up[16:])


def test_no_alpha_and_no_configuration_is_written(tmp_path):
    """A reader that knows no `lora_adapter_metadata` would otherwise draw at another strength."""
    artifact = lora(components(pipeline("sd1")))
    path = formats.write(artifact, tmp_path / "x.safetensors", "diffusers", Saving(metadata=False))
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    assert {name.split(".lora_")[1] for name in header.shapes} == {"A.weight", "B.weight"}
    assert any(name.startswith("text_encoder.text_model.encoder") for name in header.shapes)
    assert (
        "lora_adapter_metadata"
        not in read_header(formats.write(artifact, tmp_path / "y.safetensors", "diffusers")).metadata
    )


def test_all_layers_of_a_part_get_one_rank(tmp_path):
    """diffusers 0.33 takes the alpha of the first layer for all, so any other rank would change its strength."""
    artifact = lora(components(pipeline("sd1")))
    path = formats.write(artifact, tmp_path / "x.safetensors", "diffusers", FULL)
    contents = formats.examine(path)
    for start, rank in (("unet.", 3), ("text_encoder.", 3)):
        shapes = {
            name: s for name, s in contents.shapes.items() if name.startswith(start) and "lora_A" in name
        }
        assert {shape[0] for shape in shapes.values()} == {rank}
    layout = formats.get("diffusers")
    assert layout.portability(contents)["diffusers"] == "exact"
    mixed = {f"unet.{QUERY}.lora_A.weight": torch.ones(2, 8), f"unet.{OUT}.lora_A.weight": torch.ones(3, 8)}
    tensors = mixed | {name.replace("_A", "_B"): torch.ones(6, t.shape[0]) for name, t in mixed.items()}
    other = formats.examine(write_tensors(tmp_path / "other.safetensors", tensors))
    assert "0.33 scales layers wrongly" in layout.portability(other)["diffusers"]


def test_a_dora_is_refused_in_words(tmp_path):
    tensors = {
        f"unet.{QUERY}.lora_A.weight": torch.ones(2, 8),
        f"unet.{QUERY}.lora_B.weight": torch.ones(6, 2),
        f"unet.{QUERY}.lora_magnitude_vector": torch.ones(6),
    }
    with pytest.raises(FormatError, match="is a DoRA"):
        formats.read(write_tensors(tmp_path / "x.safetensors", tensors))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "no readable table"),
        ("[1]", "no readable table"),
        (json.dumps({"unet.lora_alpha": "much"}), "which is no number"),
        (json.dumps({"unet.lora_alpha": float("nan")}), "which is no number"),
        (json.dumps({"unet.alpha_pattern": [1]}), "alpha_pattern is not a table"),
        (json.dumps({"unet.alpha_pattern": {"(a+)+b": 1}}), "is not understood"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(tmp_path, config, message):
    tensors = {
        f"unet.{QUERY}.lora_A.weight": torch.ones(2, 8),
        f"unet.{QUERY}.lora_B.weight": torch.ones(6, 2),
    }
    path = write_tensors(tmp_path / "x.safetensors", tensors, {"lora_adapter_metadata": config})
    with pytest.raises(FormatError, match=message):
        formats.read(path)


def test_half_a_pair_is_refused(tmp_path):
    path = write_tensors(tmp_path / "x.safetensors", {f"unet.{QUERY}.lora_A.weight": torch.ones(2, 8)})
    with pytest.raises(FormatError, match="only half of a low-rank pair"):
        formats.read(path)


def test_transformers_have_a_component_of_their_own(tmp_path):
    name = "backbone.single_transformer_blocks.3.proj_mlp"
    tensors = {
        f"{name}.down": torch.randn(2, 8),
        f"{name}.up": torch.randn(32, 2),
        f"{name}.alpha": torch.tensor(2.0),
    }
    path = formats.write(
        Artifact("lora", "flux", "sks", "dog", tensors), tmp_path / "x.safetensors", "diffusers"
    )
    assert "transformer.single_transformer_blocks.3.proj_mlp.lora_A.weight" in read_tensors(path)
    assert formats.read(path).family == "flux"
