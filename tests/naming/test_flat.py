"""Names: full-size tables against the models of diffusers and transformers, and against diffusers' own converter."""

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from likewise.errors import FormatError
from likewise.naming import flat as naming
from likewise.naming import unet as unet_names
from likewise.naming.recognition import has_layer
from tests.formats.adapters import canonical, from_kohya, layers

SD1 = {
    "cross_attention_dim": 768, "attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}  # fmt: skip
SDXL = {
    "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20), "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


def unet(config: dict) -> nn.Module:
    with torch.device("meta"):
        return UNet2DConditionModel(**config)


def tower(width: int, depth: int, projected: bool = False) -> nn.Module:
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
    )
    with torch.device("meta"):
        return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def flat_names(component: str, model: nn.Module, family: str) -> dict[str, str]:
    """Live path -> flat name; every flat name leads back."""
    found = {}
    for path in layers(model):
        own = canonical(component, path)
        layer = naming.to_kohya(own, family)
        assert from_kohya(layer.name, family).paths == layer.paths == (own,)
        assert has_layer(family, own), own
        found[path] = layer.name
    assert len(set(found.values())) == len(found)
    return found


@pytest.mark.parametrize(
    ("config", "family", "attention", "everything"), [(SD1, "sd", 192, 278), (SDXL, "sdxl", 722, 788)]
)
def test_every_layer_of_a_full_size_unet_has_a_name_that_diffusers_knows(
    config, family, attention, everything
):
    model = unet(config)
    assert len(layers(model, ("Transformer2DModel",))) == attention
    found = flat_names("unet", model, family)
    assert len(found) == everything
    tensors = {}
    for n, name in enumerate(found.values()):
        tensors[f"{name}.lora_down.weight"] = torch.full((1, 1), float(n))
        tensors[f"{name}.lora_up.weight"] = torch.full((1, 1), float(n))
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    mapped = _maybe_map_sgm_blocks_to_diffusers(tensors, model.config)
    converted, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    theirs = convert_unet_state_dict_to_peft({name.removeprefix("unet."): t for name, t in converted.items()})
    paths = {name.partition(".lora")[0]: int(t) for name, t in theirs.items() if ".lora_A" in name}
    assert paths == {path: n for n, path in enumerate(found)}


@pytest.mark.parametrize(
    ("component", "width", "depth", "family", "start", "count"),
    [
        ("text_encoder", 768, 12, "sd", "lora_te_", 72),
        ("text_encoder", 768, 12, "sdxl", "lora_te1_", 72),
        ("text_encoder_2", 1280, 32, "sdxl", "lora_te2_", 192),
        ("text_encoder_2", 1280, 32, "sd3", "lora_te2_", 192),
        ("text_encoder", 768, 12, "flux", "lora_te1_", 72),
    ],
)
def test_every_layer_of_a_full_size_tower_has_its_published_name(
    component, width, depth, family, start, count
):
    found = flat_names(component, tower(width, depth, component.endswith("2")), family)
    kinds = [f"self_attn_{k}" for k in ("q_proj", "k_proj", "v_proj", "out_proj")] + ["mlp_fc1", "mlp_fc2"]
    assert len(found) == count
    wanted = {f"{start}text_model_encoder_layers_{n}_{kind}" for n in range(depth) for kind in kinds}
    assert set(found.values()) == wanted


def test_towers_have_the_same_names_whether_libraries_keep_text_model_or_not():
    assert naming.canonical_text("encoder.layers.0.mlp.fc1") == "text_model.encoder.layers.0.mlp.fc1"
    flat = "lora_te_encoder_layers_3_self_attn_q_proj"
    wanted = ("text.text_model.encoder.layers.3.self_attn.q_proj",)
    assert from_kohya(flat, "sd").paths == wanted
    assert from_kohya(flat.replace("te_", "te1_text_model_"), "sd").paths == wanted
    assert naming.canonical_text("encoder.block.0.layer.0.SelfAttention.q").startswith("encoder.block")


@pytest.mark.parametrize("path", ["conv_in", "conv_out", "time_embedding.linear_1", "add_embedding.linear_2"])
def test_layers_outside_the_blocks_have_names(path):
    assert unet_names.from_original(unet_names.to_original(path)) == path
    for family in ("sd", "sdxl"):
        flat = naming.to_kohya(f"backbone.{path}", family).name
        assert from_kohya(flat, family).paths == (f"backbone.{path}",)


@pytest.mark.parametrize(
    ("path", "original"),
    [
        ("down_blocks.1.attentions.0.proj_in", "input_blocks.4.1.proj_in"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
        ("mid_block.resnets.1.conv2", "middle_block.2.out_layers.3"),
        ("up_blocks.1.attentions.2.proj_out", "output_blocks.5.1.proj_out"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
        ("down_blocks.2.resnets.0.time_emb_proj", "input_blocks.7.0.emb_layers.1"),
    ],
)
def test_published_unet_names(path, original):
    assert unet_names.to_original(path) == original
    assert unet_names.from_original(original) == path
    assert unet_names.from_original(path) == path


def test_the_first_upsampler_of_sd1_stands_one_place_earlier():
    path = "up_blocks.0.upsamplers.0.conv"
    assert unet_names.to_original(path, attends_first=False) == "output_blocks.2.1.conv"
    assert unet_names.from_original("output_blocks.2.1.conv") == path


def test_a_path_without_a_name_is_refused_in_words():
    for family, path in [("sdxl", "backbone.blocks.3"), ("flux", "backbone.pos_embed.proj")]:
        with pytest.raises(FormatError, match="has no name"):
            naming.to_kohya(path, family)
    with pytest.raises(FormatError, match="no part called text_2"):
        naming.to_kohya("text_2.encoder", "sd")
    with pytest.raises(FormatError, match="room for"):
        naming.to_kohya("backbone.down_blocks.0.resnets.3.conv1", "sdxl")


@pytest.mark.parametrize(
    ("family", "model", "outside"),
    [("flux", FluxTransformer2DModel, 10), ("sd3", SD3Transformer2DModel, 8)],
)
def test_every_linear_layer_of_a_full_size_transformer_belongs_to_one_published_layer(family, model, outside):
    options = {"guidance_embeds": True} if family == "flux" else {"dual_attention_layers": tuple(range(13))}
    with torch.device("meta"):
        live = model(**options)
    modules = {
        f"backbone.{path}": module
        for path, module in live.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    published = {}
    for path, module in modules.items():
        layer = naming.to_kohya(path, family)
        assert path in layer.paths
        assert has_layer(family, path), path
        assert from_kohya(layer.name, family).paths == layer.paths
        published[layer.name] = layer
        if len(layer.paths) > 1:
            rows = layer.rows(module.in_features)
            assert rows == [modules[own].out_features for own in layer.paths]
    blocks = {"flux": 19 * 10 + 38 * 3, "sd3": 18 * 10 - 3 + 13 * 2}[family]
    inside = [name for name in published if "blocks" in name]
    assert (len(inside), len(published) - len(inside)) == (blocks, outside)
    assert sum(len(layer.paths) for layer in published.values()) == len(modules)


def test_every_linear_layer_of_t5_keeps_its_name():
    config = T5Config(num_layers=2, d_model=16, d_kv=4, num_heads=2, d_ff=32, feed_forward_proj="gated-gelu")
    for family, part, component in (
        ("flux", "text_2", "text_encoder_2"),
        ("sd3", "text_3", "text_encoder_3"),
    ):
        for path, module in T5EncoderModel(config).named_modules():
            if isinstance(module, nn.Linear):
                own = canonical(component, path)
                flat = naming.to_kohya(own, family).name
                assert flat.startswith("lora_te3_encoder_block_")
                assert own.startswith(f"{part}.")
                assert has_layer(family, own), own
                assert from_kohya(flat, family).paths == (own,)
