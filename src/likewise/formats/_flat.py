"""Flat names: files whose tensors are called `lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight`.

kohya's LoRA and LyCORIS share this spelling; which tensors belong to a layer is theirs to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from likewise.errors import FormatError
from likewise.factors.rows import sides
from likewise.formats._modules import Spelled
from likewise.formats.layout import Contents
from likewise.naming.flat import DIFFUSERS, flat_part, unflatten
from likewise.naming.recognition import Layer, belonging

BUNDLED = "bundle_emb."
WEIGHTS = {
    "up": "lora_up.weight",
    "down": "lora_down.weight",
    "mid": "lora_mid.weight",
    "a1": "a1.weight",
    "a2": "a2.weight",
    "b1": "b1.weight",
    "b2": "b2.weight",
    "bm": "bm.weight",
}
"""Our suffixes that files spell differently; all others are the same."""
SUFFIXES = {spelled: ours for ours, spelled in WEIGHTS.items()}
LORA = frozenset({"lora_up.weight", "lora_down.weight", "alpha"})
LYCORIS = frozenset(
    """lora_mid.weight dora_scale hada_w1_a hada_w1_b hada_w2_a hada_w2_b hada_t1 hada_t2 lokr_w1 lokr_w1_a lokr_w1_b
    lokr_w2 lokr_w2_a lokr_w2_b lokr_t2 oft_blocks rescale a1.weight a2.weight b1.weight b2.weight bm.weight weight
    on_input diff diff_b w_norm b_norm""".split()  # noqa: SIM905
)
REFUSED = {
    "lora_unet_double_blocks": {"AUTOMATIC1111"},
    "lora_unet_single_blocks": {"AUTOMATIC1111"},
    "lora_unet_joint_blocks": {"diffusers"},
    DIFFUSERS: {"AUTOMATIC1111", "Forge", "diffusers", "kohya sd-scripts"},
}
"""How names start, and the programs that do not know these."""
T = TypeVar("T")


def is_flat(names: Iterable[str]) -> bool:
    """Whether all names start with a known part of a model, embeddings that ride along aside."""
    own = [name for name in names if not name.startswith(BUNDLED)]
    return bool(own) and all(flat_part(name.partition(".")[0]) for name in own)


def suffixes(names: Iterable[str]) -> set[str]:
    """What follows the flat names, as files spell it."""
    return {name.partition(".")[2] for name in names if not name.startswith(BUNDLED)}


def by_layer(tensors: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """Tensors (or shapes) by flat name, then by our suffix; embeddings that ride along are left out."""
    found: dict[str, dict[str, T]] = {}
    for name, value in tensors.items():
        if not name.startswith(BUNDLED):
            flat, _, suffix = name.partition(".")
            own, ours = found.setdefault(flat, {}), SUFFIXES.get(suffix, suffix)
            if ours in own:
                raise FormatError(f"two tensors are for the same place, one of them {name}")
            own[ours] = value
    return found


def survey(contents: Contents) -> Spelled:
    """Family and layers of a file, by its names and shapes alone; raises `FormatError` for layers of no family."""
    shapes = by_layer(contents.shapes)
    layers = {}
    for flat, own in shapes.items():
        part, rest = flat_part(flat) or ("", "")
        layers[flat] = Layer(part, unflatten(rest), sides(own)[1])
    found = belonging(contents.path, layers, contents.metadata)
    bundled = sorted({name.split(".")[1] for name in contents.shapes if name.startswith(BUNDLED)})
    notes = {"left out": f"bundled embeddings: {', '.join(bundled)}"} if bundled else {}
    return Spelled(found.family, found.layers, shapes, {**found.notes, **notes})


def refusing(names: Iterable[str]) -> set[str]:
    """Programs that read files of flat names, but not these: of another family, or in LyCORIS' own spelling."""
    refused: set[str] = set()
    for name in names:
        for start, programs in REFUSED.items():
            refused |= programs if name.startswith(start) else set()
    return refused


def spelled(flat: str, suffix: str) -> str:
    """The file's name of a tensor."""
    return f"{flat}.{WEIGHTS.get(suffix, suffix)}"
