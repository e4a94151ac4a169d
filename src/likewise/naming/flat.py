"""Names: canonical module paths to and from the names in people's files, by rules and tables alone.

Canonical are diffusers' dotted paths, with `text_model.` in CLIP towers, below `backbone.`, `text.`, `text_2.` and
`text_3.`. Live modules are never asked: libraries rename them, and files outlive that.
"""

from __future__ import annotations

import re
from dataclasses import replace

from likewise.errors import FormatError
from likewise.naming import transformer, unet
from likewise.naming.transformer import Published

FAMILIES = ("sd", "sdxl", "sd3", "flux")
TRANSFORMERS = ("sd3", "flux")
COMPONENTS = {
    "unet": "backbone",
    "transformer": "backbone",
    "text_encoder": "text",
    "text_encoder_2": "text_2",
    "text_encoder_3": "text_3",
}
"""What diffusers calls the parts, and what we call them."""
_KOHYA = {
    "sd": {"backbone": "lora_unet_", "text": "lora_te_"},
    "sdxl": {"backbone": "lora_unet_", "text": "lora_te1_", "text_2": "lora_te2_"},
    "sd3": {"backbone": "lora_unet_", "text": "lora_te1_", "text_2": "lora_te2_", "text_3": "lora_te3_"},
    "flux": {"backbone": "lora_unet_", "text": "lora_te1_", "text_2": "lora_te3_"},
}
_PREFIXES = {
    "lora_unet_": "backbone",
    "lora_transformer_": "backbone",
    "lycoris_": "backbone",
    "lora_te_": "text",
    "lora_te1_": "text",
    "lora_te2_": "text_2",
    "lora_te3_": "text_3",
}
"""Starts of flat names, in every program's spelling: OneTrainer's transformers and SimpleTuner's LyCORIS as well."""
_COMPOUNDS = frozenset(
    """
    down_blocks mid_block up_blocks transformer_blocks single_transformer_blocks proj_in proj_out proj_mlp to_q to_k
    to_v to_out to_add_out add_q_proj add_k_proj add_v_proj norm_q norm_k norm_added_q norm_added_k time_emb_proj
    conv_shortcut conv_in conv_out conv_norm_out time_embedding add_embedding class_embedding linear_1 linear_2
    text_model self_attn q_proj k_proj v_proj out_proj layer_norm1 layer_norm2 layer_norm final_layer_norm
    text_projection token_embedding position_embedding wi_0 wi_1 relative_attention_bias
    ff_context norm1_context norm2_context norm_out x_embedder context_embedder pos_embed time_text_embed
    timestep_embedder text_embedder guidance_embedder
    input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection time_embed label_emb
    double_blocks single_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod img_in txt_in time_in vector_in
    guidance_in in_layer out_layer final_layer adaLN_modulation joint_blocks x_block context_block t_embedder y_embedder
""".split()  # noqa: SIM905
)
_WORD = re.compile(
    "(?:" + "|".join(sorted(map(re.escape, _COMPOUNDS), key=len, reverse=True)) + r")(?=_|$)|[^_]+"
)
DIFFUSERS = "lycoris_"
"""How LyCORIS' own names start, and SimpleTuner's: diffusers' paths follow, which need no layers of the makers."""
_TRANSFORMER_ROOTS = (
    "transformer_blocks.",
    "single_transformer_blocks.",
    "time_text_embed.",
    "context_embedder",
    "norm_out.",
    "pos_embed.",
    "proj_out",
)
"""How diffusers' own paths of SD 3 and Flux start."""
_CLIP_ROOTS = ("embeddings.", "encoder.layers.", "final_layer_norm")


def flatten(dotted: str) -> str:
    """`a.b_c.0` as `a_b_c_0`."""
    return dotted.replace(".", "_")


def unflatten(flat: str) -> str:
    """The dotted name that was flattened, by the known words that have an underscore of their own."""
    return ".".join(_WORD.findall(flat))


def flat_part(flat: str) -> tuple[str, str] | None:
    """The part that a flat name starts with and the rest of the name; None if it starts with no known prefix."""
    for prefix, part in _PREFIXES.items():
        if flat.startswith(prefix):
            return part, flat[len(prefix) :].removeprefix(
                "base_model_model_"
            )  # a level that PEFT puts around
    return None


def canonical_text(path: str) -> str:
    """A text tower's path with the level `text_model.`, which newer libraries leave out of CLIP's."""
    return f"text_model.{path}" if path.startswith(_CLIP_ROOTS) else path


def to_kohya(path: str, family: str) -> Published:
    """The flat name that a canonical path has in kohya's files, and all canonical paths that share it.

    UNets of SD 1 and 2 keep diffusers' blocks, SDXL has the published ones; SD 3 and Flux have their makers'.
    Raises `FormatError` for a path without a name.
    """
    part, _, rest = path.partition(".")
    if part not in _KOHYA[family]:
        raise FormatError(f"{family} has no part called {part}", "was this taught for another family?")
    prefix = _KOHYA[family][part]
    if part == "backbone" and family in TRANSFORMERS:
        layer = transformer.to_original(family, rest)
        return _below(part, replace(layer, name=prefix + flatten(layer.name)))
    dotted = unet.to_original(rest) if part == "backbone" and family == "sdxl" else rest
    return Published(prefix + flatten(dotted), (path,))


def from_dotted(part: str, dotted: str, family: str) -> Published:
    """The canonical paths of a layer that diffusers or the makers call `dotted`; raises `FormatError` for unknown names."""
    if part != "backbone":
        return Published(dotted, (f"{part}.{canonical_text(dotted)}",))
    if family not in TRANSFORMERS:
        return Published(dotted, (f"{part}.{unet.from_original(dotted)}",))
    if dotted.startswith(_TRANSFORMER_ROOTS) or dotted == "x_embedder":
        return Published(dotted, (f"{part}.{dotted}",))
    return _below(part, transformer.from_original(family, dotted))


def _below(part: str, layer: Published) -> Published:
    return replace(layer, paths=tuple(f"{part}.{path}" for path in layer.paths))
