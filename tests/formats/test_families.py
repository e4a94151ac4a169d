"""Families: a file is for the model that has every one of its layers, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from likewise import formats
from likewise.errors import FormatError
from likewise.formats._modules import group
from likewise.inspection import inspect
from likewise.naming.recognition import Layer, belonging, has_layer

BLOCK = "transformer_blocks.0"


def family(columns: dict[str, int], metadata: dict[str, str] | None = None) -> str:
    """The family of layers that are named by part and dotted path, with these widths."""
    layers = {name: Layer(*name.split(".", 1), width) for name, width in columns.items()}
    return belonging("x", layers, metadata or {}).family


@pytest.mark.parametrize(
    ("columns", "metadata", "wanted"),
    [
        ({f"backbone.down_blocks.0.attentions.0.{BLOCK}.attn2.to_k": 768}, {}, "sd"),
        ({f"backbone.down_blocks.0.attentions.0.{BLOCK}.attn2.to_v": 1024}, {}, "sd"),
        ({f"backbone.down_blocks.1.attentions.0.{BLOCK}.attn2.to_k": 2048}, {}, "sdxl"),
        ({"backbone.mid_block.attentions.0.transformer_blocks.7.ff.net.2": 64}, {}, "sdxl"),
        ({"text_2.text_model.encoder.layers.0.mlp.fc1": 1280}, {}, "sdxl"),
        ({"backbone.input_blocks.4.1.proj_in": 640}, {}, "sdxl"),
        ({"backbone.input_blocks.1.1.proj_in": 320}, {}, "sd"),
        ({"backbone.double_blocks.0.img_attn.qkv": 3072}, {}, "flux"),
        ({"backbone.joint_blocks.0.x_block.attn.qkv": 1536}, {}, "sd3"),
        ({"backbone.transformer_blocks.0.attn.to_q": 1536}, {}, "sd3"),
        ({"backbone.transformer_blocks.37.attn.to_q": 2432}, {}, "sd3"),
        ({"backbone.transformer_blocks.0.attn.to_q": 3072}, {}, "flux"),
        ({"backbone.down_blocks.0.resnets.0.conv1": 32}, {}, "sd"),
        ({"backbone.down_blocks.0.resnets.0.conv1": 32}, {"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
        ({"text.text_model.encoder.layers.20.mlp.fc1": 1024}, {}, "sd"),
        ({"text_3.encoder.block.0.layer.0.SelfAttention.q": 4096}, {}, "sd3"),
    ],
)
def test_the_family_follows_from_names_and_widths(columns, metadata, wanted):
    assert family(columns, metadata) == wanted


def test_layers_that_fit_several_families_are_said_to():
    found = belonging("x", {"a": Layer("text", "text_model.encoder.layers.0.mlp.fc1", 768)}, {})
    assert found.family == "sd"
    assert "fit Stable Diffusion 1 or 2 and Stable Diffusion XL and" in found.notes["family"]
    said = {"modelspec.architecture": "stable-diffusion-v1/lora"}
    assert not belonging("x", {"a": Layer("text", "text_model.encoder.layers.0.mlp.fc1", 768)}, said).notes


@pytest.mark.parametrize(
    "path",
    [
        "backbone.down_blocks.4.attentions.0.proj_in",
        "backbone.down_blocks.0.attentions.2.proj_in",
        f"backbone.down_blocks.0.attentions.0.{BLOCK}.attn3.to_k",
        "backbone.input_blocks.1.0.op",
        "backbone.input_blocks.40.1.proj_in",
        "backbone.transformer_blocks.60.attn.to_q",
        "backbone.double_blocks.19.img_attn.qkv",
        "backbone.single_blocks.38.linear1",
        "backbone.joint_blocks.38.x_block.attn.qkv",
        "text.text_model.encoder.layers.24.mlp.fc1",
        "text_2.text_model.encoder.layers.32.mlp.fc1",
        "text_3.encoder.block.24.layer.0.SelfAttention.q",
        "backbone.blocks.0.attn.to_q",
        "vae.decoder.conv_in",
    ],
)
def test_a_layer_that_no_family_has_is_never_translated(path):
    with pytest.raises(FormatError, match=r"not known here|does not have"):
        family({path: 64})


def test_the_family_that_lacks_one_layer_is_named_with_it():
    columns = {f"backbone.down_blocks.0.attentions.0.{BLOCK}.attn1.to_{one}": 320 for one in "qkv"}
    with pytest.raises(
        FormatError, match=r"changes backbone\.down_blocks\.7\.x, which Stable Diffusion 1 or 2 does not"
    ):
        family({**columns, "backbone.down_blocks.7.x": 64})


@given(st.text("abcdefgh_.0123456789", min_size=1, max_size=40))
def test_no_name_is_taken_for_a_layer_by_chance(name):
    assert not any(has_layer(one, f"backbone.{name}") for one in ("sd", "sdxl", "sd3", "flux"))


def lora(path: Path, layers: dict[str, tuple[int, int]], flat: bool = False, metadata=None) -> Path:
    """A LoRA of rank 2 with these layers (name -> height, width), all of zeros: only names and shapes count."""
    down, up = (".lora_down.weight", ".lora_up.weight") if flat else (".lora_A.weight", ".lora_B.weight")
    tensors = {}
    for name, (high, wide) in layers.items():
        tensors |= {name + down: torch.zeros(2, wide), name + up: torch.zeros(high, 2)}
    save_file(tensors, path, metadata)
    return path


FOREIGN = [
    ("Wan", "diffusion_model.blocks.{n}.self_attn.q", 29, 1536),
    ("Wan", "lora_unet_blocks_{n}_cross_attn_k", 29, 5120),
    ("Wan", "transformer.blocks.{n}.attn1.to_q", 29, 1536),
    ("Z-Image", "lora_unet_layers_{n}_attention_to_q", 29, 3840),
    ("Z-Image", "diffusion_model.layers.{n}.attention.qkv", 29, 3840),
    ("Lumina 2", "diffusion_model.layers.{n}.attention.qkv", 25, 2304),
    ("Sana", "transformer.transformer_blocks.{n}.attn1.to_q", 19, 2240),
    ("PixArt", "transformer.base_model.model.transformer_blocks.{n}.attn2.to_k", 27, 1152),
    ("CogVideoX", "transformer.transformer_blocks.{n}.attn1.to_q", 29, 1920),
    ("LTX-Video", "diffusion_model.transformer_blocks.{n}.attn1.to_q", 27, 2048),
    ("LTX-2", "diffusion_model.transformer_blocks.{n}.audio_attn1.to_q", 47, 2048),
    ("Qwen-Image", "transformer.transformer_blocks.{n}.attn.to_q", 59, 3072),
    ("Qwen-Image", "lora_unet_transformer_blocks_{n}_img_mlp_net_0_proj", 3, 3072),
    ("Hunyuan Video", "lora_unet_double_blocks_{n}_img_mlp_fc1", 3, 3072),
    ("Hunyuan Video", "lora_unet_double_blocks_{n}_img_attn_qkv", 19, 3072),
    ("Hunyuan Video", "transformer.single_transformer_blocks.{n}.attn.to_q", 39, 3072),
    ("Mochi", "transformer.transformer_blocks.{n}.attn1.add_q_proj", 47, 1536),
    ("HiDream", "transformer.double_stream_blocks.{n}.block.attn1.to_q", 15, 2560),
    ("Flux.2", "transformer.single_transformer_blocks.{n}.attn.to_qkv_mlp_proj", 19, 3072),
    ("Flux.2", "transformer.transformer_blocks.{n}.attn.to_q", 7, 4096),
    ("Flux.2", "lora_unet_double_blocks_{n}_img_attn_qkv", 7, 6144),
    ("Chroma", "diffusion_model.distilled_guidance_layer.layers.{n}.in_layer", 3, 5120),
    ("Anima", "diffusion_model.blocks.{n}.cross_attn.q_proj", 27, 2048),
    ("Stable Cascade", "lora_prior_unet_down_blocks_0_{n}_attention_attn_to_q", 3, 1536),
    ("AuraFlow", "transformer.joint_transformer_blocks.{n}.attn.to_q", 3, 3072),
    ("a language model", "base_model.model.model.layers.{n}.self_attn.q_proj", 31, 4096),
]


@pytest.mark.parametrize(("model", "name", "last", "width"), FOREIGN)
def test_a_lora_of_another_model_is_refused_by_the_models_name(tmp_path, model, name, last, width):
    layers = {name.format(n=n): (width, width) for n in (0, last)}
    path = lora(tmp_path / "x.safetensors", layers, flat=name.startswith("lora_"))
    with pytest.raises(FormatError) as caught:
        formats.read(path)
    assert caught.value.message == f"{path} was taught for {model}, a model that is not known here"
    found = inspect(path)
    assert (found.family, found.portability) == ("", {"likewise": "refuses it"})
    assert model in found.notes[0]


@pytest.mark.parametrize(
    ("metadata", "model"),
    [
        ({"modelspec.architecture": "chroma/lora"}, "Chroma"),
        ({"ss_base_model_version": "kolors"}, "Kolors"),
        ({"modelspec.architecture": "Flux.2-klein-4b/lora"}, "Flux.2"),
        ({"modelspec.architecture": "stable-cascade-v1-prior/lora"}, "Stable Cascade"),
        ({"ss_base_model_version": "qwen_image"}, "Qwen-Image"),
    ],
)
def test_metadata_that_name_another_model_are_believed(tmp_path, metadata, model):
    """Chroma has Flux' names and Kolors has those of XL, so that only metadata tell."""
    layers = {f"transformer.single_transformer_blocks.{n}.attn.to_q": (3072, 3072) for n in (0, 37)}
    with pytest.raises(FormatError, match=f"was taught for {model}, a model that is not known here"):
        formats.read(lora(tmp_path / "x.safetensors", layers, metadata=metadata))


FLUX, SD = "transformer_blocks.0.attn", f"down_blocks.0.attentions.0.{BLOCK}.attn2"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ([f"transformer.base_model.model.{FLUX}.to_q"], "flux"),
        ([f"base_model.model.transformer.{FLUX}.to_q"], "flux"),
        ([f"transformer._orig_mod.{FLUX}.to_q", f"transformer._orig_mod.{FLUX}.to_k"], "flux"),
        ([f"base_model.model.{SD}.to_q"], "sd"),
        ([f"unet.base_model.model.{SD}.to_q"], "sd"),
        ([f"module.unet.{SD}.to_q"], "sd"),
        (["lora_unet_base_model_model_" + f"{SD}.to_q".replace(".", "_")], "sd"),
    ],
)
def test_levels_that_other_libraries_put_around_a_model_are_taken_off(tmp_path, names, wanted):
    width = 3072 if wanted == "flux" else 320
    path = lora(
        tmp_path / "x.safetensors", dict.fromkeys(names, (width, width)), names[0].startswith("lora_")
    )
    artifact = formats.read(path)
    assert artifact.family == wanted
    start = FLUX if wanted == "flux" else SD
    assert {own.rpartition(".")[0] for own in group(artifact.tensors)} == {f"backbone.{start}"}
    assert inspect(path).family == wanted


def test_two_adapters_in_one_file_are_not_mixed(tmp_path):
    names = {f"unet.{SD}.to_q.lora_{side}.{name}.weight": side for side in "AB" for name in ("one", "two")}
    shapes = {"A": (2, 320), "B": (320, 2)}
    save_file({name: torch.zeros(shapes[side]) for name, side in names.items()}, tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match="two tensors are for the same place"):
        formats.read(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ({"transformer.single_transformer_blocks.37.attn.to_q": (3072, 3072)}, "flux"),
        ({"transformer.transformer_blocks.23.attn.to_q": (1536, 1536)}, "sd3"),
        ({"text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj": (1280, 1280)}, "sdxl"),
        ({f"unet.{SD}.to_k": (320, 768)}, "sd1"),
        ({f"unet.{SD}.to_k": (320, 1024)}, "sd2"),
    ],
)
def test_inspect_says_what_convert_knows(tmp_path, layers, wanted):
    path = lora(tmp_path / "x.safetensors", layers)
    assert inspect(path).family == wanted
    assert formats.read(path).family == wanted.rstrip("12")
