"""Families: which model the layers of a file belong to. Every layer must be one that the family really has.

No family is a fallback. A file whose layers fit none is refused by the name of its model where that can be told, and a
file whose layers fit several is read as the first of them, which is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from likewise.errors import FormatError
from likewise.naming import foreign as foreign_models
from likewise.naming import transformer, unet
from likewise.naming.flat import FAMILIES, TRANSFORMERS, from_dotted
from likewise.naming.transformer import Published

TITLES = {
    "sd": "Stable Diffusion 1 or 2",
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
}
"""What people call a family, and a version of it."""
MINIATURE = 512
"""Published models are at least this wide inside, so a smaller width is that of a miniature and says nothing."""
_WIDTHS: Mapping[str, Sequence[tuple[str, frozenset[int]]]] = {
    "sd": (
        (r"backbone\..*\.attn2\.to_[kv]", frozenset({768, 1024})),
        (r"text\..*\.self_attn\.[qkv]_proj", frozenset({768, 1024})),
    ),
    "sdxl": (
        (r"backbone\..*\.attn2\.to_[kv]", frozenset({2048})),
        (r"text\..*\.self_attn\.[qkv]_proj", frozenset({768})),
        (r"text_2\..*\.self_attn\.[qkv]_proj", frozenset({1280})),
    ),
    "sd3": (
        (r"backbone\.transformer_blocks\..*\.(?:to_[qkv]|add_[qkv]_proj)", frozenset({1536, 2432})),
        (r"text\..*\.self_attn\.[qkv]_proj", frozenset({768})),
        (r"text_2\..*\.self_attn\.[qkv]_proj", frozenset({1280})),
    ),
    "flux": (
        (r"backbone\..*\.(?:to_[qkv]|add_[qkv]_proj|proj_mlp)", frozenset({3072})),
        (r"text\..*\.self_attn\.[qkv]_proj", frozenset({768})),
    ),
}
"""Layers whose input tells a family apart, and its widths in the published models."""
_SAID = {
    r"xl": "sdxl",
    r"flux": "flux",
    r"sd[-_ ]?3|stable-diffusion-3": "sd3",
    r"sd[-_ ]?v?[12]|stable-diffusion-v?[12]": "sd",
}
"""Marks in what metadata say of the base."""


class Layer(NamedTuple):
    """A layer as a file has it: our part of the model, the dotted name below that, and the width of its input (or 0)."""

    part: str
    dotted: str
    width: int


@dataclass(frozen=True)
class Belonging:
    """The family of a file, and the canonical paths of each of its layers."""

    family: str
    layers: Mapping[str, Published]
    notes: Mapping[str, str]


def belonging(source: object, layers: Mapping[str, Layer], metadata: Mapping[str, str]) -> Belonging:
    """The family that has every one of `layers` (by their names in the file), as their widths and `metadata` confirm.

    Raises `FormatError` where there is none.
    """
    if foreign := foreign_models.by_metadata(metadata):
        raise _refusal(source, foreign)
    fitting: dict[str, dict[str, Published]] = {}
    strange: dict[str, list[str]] = {}
    for family in FAMILIES:
        found, strange[family] = _placed(layers, family)
        if not strange[family]:
            fitting[family] = found
    if not fitting:
        names = [f"{layer.part}.{layer.dotted}" for layer in layers.values() if layer.part == "backbone"]
        names = [name.removeprefix("backbone.") for name in names] or list(layers)
        if foreign := foreign_models.by_layers([*names, *layers], (layer.width for layer in layers.values())):
            raise _refusal(source, foreign)
        raise _strange(source, strange, len(layers))
    family = _chosen(list(fitting), layers, metadata)
    notes = {}
    if len(fitting) > 1 and family != _said(metadata):
        titles = " and ".join(TITLES[one] for one in fitting)
        notes["family"] = f"its layers fit {titles} alike; it is read as one of {TITLES[family]}"
    return Belonging(family, fitting[family], notes)


def has_layer(family: str, path: str) -> bool:
    """Whether `family` has a layer with this canonical path. Numbers of blocks count."""
    part, _, rest = path.partition(".")
    pattern = _grammar(family).get(part)
    return pattern is not None and pattern.fullmatch(rest) is not None


def _refusal(source: object, model: str) -> FormatError:
    return FormatError(
        f"{source} was taught for {model}, a model that is not known here", foreign_models.KNOWN_HERE
    )


def _strange(source: object, strange: Mapping[str, list[str]], count: int) -> FormatError:
    """The sentence for a file whose model has no name: its nearest family where most of the layers fit one."""
    nearest = min(strange, key=lambda family: len(strange[family]))
    example = strange[nearest][0]
    if 2 * len(strange[nearest]) < count:
        return FormatError(
            f"{source} changes {example}, which {TITLES[nearest]} does not have", foreign_models.KNOWN_HERE
        )
    return FormatError(
        f"{source} was taught for a model that is not known here; it changes {example}",
        foreign_models.KNOWN_HERE,
    )


def _placed(layers: Mapping[str, Layer], family: str) -> tuple[dict[str, Published], list[str]]:
    """The published layer of each name, and the names that the family does not have."""
    found: dict[str, Published] = {}
    strange: list[str] = []
    for name, layer in layers.items():
        part = "text_2" if family == "flux" and layer.part == "text_3" else layer.part  # T5's number differs
        try:
            placed = from_dotted(part, layer.dotted, family)
        except FormatError:
            strange.append(name)
            continue
        back = part != "backbone" or _is_itself(layer.dotted, placed.paths[0], family)
        if back and all(
            has_layer(family, path) and _wide(family, path, layer.width) for path in placed.paths
        ):
            found[name] = Published(name, placed.paths, placed.turned)
        else:
            strange.append(name)
    return found, strange


def _is_itself(dotted: str, path: str, family: str) -> bool:
    """Whether a published UNet name leads back to itself. Blocks that halve or double have fixed numbers."""
    rest = path.removeprefix("backbone.")
    if family in TRANSFORMERS or rest == dotted:
        return True
    try:
        return dotted in {unet.to_original(rest, first) for first in (True, False)}
    except FormatError:
        return False


def _wide(family: str, path: str, width: int) -> bool:
    if width < MINIATURE:
        return True
    return all(width in known for pattern, known in _WIDTHS[family] if re.fullmatch(pattern, path))


def _chosen(fitting: list[str], layers: Mapping[str, Layer], metadata: Mapping[str, str]) -> str:
    """Metadata choose among the fitting; then published UNet names, which kohya uses for XL only; then the order."""
    said = _said(metadata)
    if said in fitting:
        return said
    published = any(unet.is_original(layer.dotted) for layer in layers.values())
    return "sdxl" if published and "sdxl" in fitting else fitting[0]


def _said(metadata: Mapping[str, str]) -> str:
    """The family that metadata name; nothing where they name none."""
    keys = ("modelspec.architecture", "ss_base_model_version", "base_model_name_or_path")
    text = " ".join(metadata.get(key, "") for key in keys).lower()
    return next((family for mark, family in _SAID.items() if re.search(mark, text)), "")


def _any(count: int, start: int = 0) -> str:
    """An expression for the numbers from `start` up to `count`."""
    return f"(?:{'|'.join(map(str, range(start, count)))})"


_RESNET = r"(?:conv1|conv2|time_emb_proj|conv_shortcut|norm1|norm2)"
_OUTSIDE = r"conv_in|conv_out|conv_norm_out|time_embedding\.linear_[12]"
_LEAF = r"(?:attn[12]\.(?:to_[qkv]|to_out\.0)|ff\.net\.(?:0\.proj|2)|norm[123])"


def _attention(depth: int) -> str:
    return rf"(?:norm|proj_in|proj_out|transformer_blocks\.{_any(depth)}\.{_LEAF})"


def _unet(levels: int, down: Mapping[int, int], middle: int, up: Mapping[int, int]) -> str:
    """An expression for a UNet of so many levels; `down`, `middle` and `up` say how deep attention is, by level."""
    parts = [
        _OUTSIDE,
        rf"down_blocks\.{_any(levels)}\.resnets\.{_any(2)}\.{_RESNET}",
        rf"up_blocks\.{_any(levels)}\.resnets\.{_any(3)}\.{_RESNET}",
        rf"mid_block\.resnets\.{_any(2)}\.{_RESNET}",
        rf"(?:down|up)_blocks\.{_any(levels - 1)}\.(?:down|up)samplers\.0\.conv",
        rf"mid_block\.attentions\.0\.{_attention(middle)}",
        *(rf"down_blocks\.{level}\.attentions\.{_any(2)}\.{_attention(own)}" for level, own in down.items()),
        *(rf"up_blocks\.{level}\.attentions\.{_any(3)}\.{_attention(own)}" for level, own in up.items()),
    ]
    return "|".join(parts)


def _clip(layers: int) -> str:
    inner = r"(?:self_attn\.(?:[qkv]|out)_proj|mlp\.fc[12]|layer_norm[12])"
    ends = r"final_layer_norm|embeddings\.(?:token|position)_embedding"
    return rf"text_model\.(?:encoder\.layers\.{_any(layers)}\.{inner}|{ends})|text_projection"


def _t5() -> str:
    inner = (
        r"(?:0\.(?:SelfAttention\.(?:[qkvo]|relative_attention_bias)|layer_norm)"
        r"|1\.(?:DenseReluDense\.(?:wi_[01]|wo)|layer_norm))"
    )
    return rf"encoder\.block\.{_any(24)}\.layer\.{inner}|encoder\.(?:final_layer_norm|embed_tokens)|shared"


def _transformer(family: str) -> str:
    """An expression for a transformer: every path of its table of published names, and its norms."""
    blocks = {"flux": {"transformer": 19, "single": 38}, "sd3": {"transformer": 38, "single": 0}}[family]
    found = []
    for path in sorted({path for paths in transformer.TABLES[family].values() for path in paths}):
        number = _any(blocks["single" if path.startswith("single") else "transformer"])
        if ".attn2." in path:
            number = _any(13)
        found.append(re.escape(path).replace(r"\{n\}", number))
    norms = [
        rf"transformer_blocks\.{_any(blocks['transformer'])}\.attn2?\.norm_(?:added_)?[qk]",
        rf"single_transformer_blocks\.{_any(max(1, blocks['single']))}\.attn\.norm_[qk]",
    ]
    return "|".join([*found, *norms[: 1 + bool(blocks["single"])]])


@cache
def _grammar(family: str) -> Mapping[str, re.Pattern[str]]:
    """By part of the model: every path that a layer of it can have."""
    made = {
        "sd": lambda: {
            "backbone": _unet(4, dict.fromkeys(range(3), 1), 1, dict.fromkeys(range(4), 1)),
            "text": _clip(24),
        },
        "sdxl": lambda: {
            "backbone": _unet(3, {1: 2, 2: 10}, 10, {0: 10, 1: 2}) + r"|add_embedding\.linear_[12]",
            "text": _clip(12),
            "text_2": _clip(32),
        },
        "sd3": lambda: {
            "backbone": _transformer("sd3"),
            "text": _clip(12),
            "text_2": _clip(32),
            "text_3": _t5(),
        },
        "flux": lambda: {"backbone": _transformer("flux"), "text": _clip(12), "text_2": _t5()},
    }[family]()
    return {part: re.compile(pattern) for part, pattern in made.items()}
