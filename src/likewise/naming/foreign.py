"""Models that are not known here, and what gives them away: how their layers are called, and what metadata say.

Nothing of these models is read. A name is for the sentence that refuses a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

KNOWN_HERE = "Stable Diffusion 1, 2, XL and 3, and Flux.1, are known"
_STARTS = re.compile(
    r"(?:lora_(?:prior_)?(?:unet|transformer)_|lycoris_|(?:base_model_)?model_|base_|module_|_orig_mod_"
    r"|diffusion_model_|transformer_(?!blocks_)|unet_|net_|dit_)+"
)
"""What programs put before the name of a layer."""
_LAYERS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^blocks_\d+_(?:self|cross)_attn_(?:[qkvo]|k_img|v_img)(?!_proj)\b", "Wan"),
        (r"^blocks_\d+_(?:attn[12]_(?:to_|add_)|ffn_(?:net|[02]))", "Wan"),
        (r"^blocks_\d+_(?:self|cross)_attn_(?:[qkv]|output)_proj|llm_adapter", "Anima"),
        (r"^blocks_\d+_(?:adaln_modulation|mlp_layer[12])", "Cosmos or Anima"),
        (r"^(?:layers|noise_refiner|context_refiner)_\d+_attention_", "Z-Image"),
        (r"^(?:layers|noise_refiner|context_refiner)_\d+_(?:attn_|feed_forward_linear_)", "Lumina 2"),
        (r"^layers_\d+_self_attention_to_", "Ernie-Image"),
        (r"distilled_guidance_layer", "Chroma"),
        (r"^transformer_blocks_\d+_(?:img|txt)_(?:mlp|mod)", "Qwen-Image"),
        (r"(?:double|single)_stream_blocks_", "HiDream"),
        (r"(?:double|single)_stream_modulation|attn_to_qkv_mlp_proj", "Flux.2"),
        (r"(?:img|txt)_mlp_fc[12]|(?:img|txt)_mod_linear|modulation_linear|token_refiner", "Hunyuan Video"),
        (r"^blocks_\d+_attn[12]_(?:[qk]v?_proj|Wqkv|out_proj)", "Hunyuan-DiT"),
        (r"joint_transformer_blocks_", "AuraFlow"),
        (r"^transformer_blocks_\d+_attn1_(?:add_|to_add_)", "Mochi"),
        (r"blocks_\d+_\d+_attention_|prior_unet", "Stable Cascade"),
        (r"text_fusion", "Krea 2"),
        (r"audio_|video_to_audio", "LTX-2"),
        (r"conv_inverted|glumb", "Sana"),
        (r"motion_module|temporal_transformer", "a model of video on Stable Diffusion"),
        (r"encoder_layers_\d+_self_attention_(?:query_key_value|dense)|encoder_hid_proj", "Kolors"),
        (r"attentions_\d+_(?:add_[kv]_proj|to_[qkv])", "DeepFloyd IF or Kandinsky"),
        (r"(?<!encoder_)layers_\d+_(?:self_attn|mlp)_(?:[qkvo]|qkv|gate|up|down)_proj", "a language model"),
    )
)
_BY_WIDTH = re.compile(r"^transformer_blocks_(\d+)_(attn[12]?|ff|scale_shift|norm)")
_WIDTHS = {
    1152: "PixArt",
    1920: "CogVideoX",
    2048: "LTX-Video",
    2240: "Sana",
    4096: "LTX-2",
    3072: "CogVideoX",
}
"""Inputs of transformer blocks that have `attn1`."""
_JOINT = {3072: "Qwen-Image", 4096: "Flux.2", 6144: "Flux.2"}
"""Inputs of transformer blocks that have `attn`, where no known family has their number or width."""
_WITH_SINGLES = {**_JOINT, 3072: "Hunyuan Video"}
"""The same, where there are blocks of one stream besides."""
_SAID = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"flux[-_. ]?2|klein", "Flux.2"),
        (r"flux[-_. ]?3", "Flux.3"),
        (r"chroma", "Chroma"),
        (r"qwen", "Qwen-Image"),
        (r"\bwan[-_. ]?\d|^wan\b", "Wan"),
        (r"z[-_ ]?image", "Z-Image"),
        (r"hunyuan[-_ ]?dit", "Hunyuan-DiT"),
        (r"hunyuan", "Hunyuan Video"),
        (r"hidream", "HiDream"),
        (r"lumina", "Lumina 2"),
        (r"kolors", "Kolors"),
        (r"pixart", "PixArt"),
        (r"\bsana\b|^sana", "Sana"),
        (r"ltx", "LTX-Video"),
        (r"cogvideo", "CogVideoX"),
        (r"cascade|wuerstchen", "Stable Cascade"),
        (r"auraflow", "AuraFlow"),
        (r"\banima\b|^anima\b", "Anima"),
        (r"\bkrea[-_ ]?2", "Krea 2"),
        (r"ernie", "Ernie-Image"),
        (r"ideogram", "Ideogram 4"),
        (r"kandinsky", "Kandinsky"),
        (r"cosmos", "Cosmos"),
    )
)


def by_layers(names: Iterable[str], widths: Iterable[int] = ()) -> str:
    """The model whose layers are called so, flat or dotted, and have inputs this wide; nothing where they do not tell."""
    flat = [_STARTS.sub("", name.replace(".", "_"), count=1) for name in names]
    known = set(widths)
    for pattern, model in _LAYERS:
        if any(pattern.search(name) for name in flat):
            return "Lumina 2" if model == "Z-Image" and 2304 in known else model
    blocks = [found for name in flat if (found := _BY_WIDTH.search(name))]
    singles = any(re.match(r"(?:single_transformer|single|double)_blocks_", name) for name in flat)
    if not (blocks or singles):
        return ""
    separate = blocks and not any(found[2] == "attn" for found in blocks)
    table = _WIDTHS if separate else _WITH_SINGLES if singles else _JOINT
    return next((model for width, model in table.items() if width in known), "")


def by_metadata(metadata: Mapping[str, str]) -> str:
    """The model that a file says it was taught for, if that is none of those here; else nothing."""
    said = [metadata.get(key, "") for key in ("modelspec.architecture", "ss_base_model_version")]
    said.append(metadata.get("base_model_name_or_path", "").replace("\\", "/").rpartition("/")[2])
    for text in filter(None, said):
        for pattern, model in _SAID:
            if pattern.search(text.lower()):
                return model
    return ""
