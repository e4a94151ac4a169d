"""Dotted names: files whose tensors are called `unet.down_blocks.0....to_q.lora_A.weight`.

Every spelling of diffusers' history is read; which of them is written is the layouts' to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from likewise.errors import FormatError
from likewise.naming.flat import COMPONENTS

WRITTEN = {"down": "lora_A.weight", "up": "lora_B.weight"}
"""Our suffixes as diffusers and PEFT write them today."""
ORIGINAL = "diffusion_model"
"""A component under which some trainers keep the makers' own names."""
_ENDING = re.compile(
    r"(?P<path>.+?)\.(?:"
    r"lora_(?P<letter>[AB])(?:\.[\w-]+)?\.weight"
    r"|lora(?:_linear_layer)?[._](?P<word>down|up)\.weight"
    r"|(?:processor\.)?(?P<old>to_[qkv]|to_out)_lora\.(?P<old_word>down|up)\.weight"
    r"|(?P<alpha>alpha)"
    r"|(?P<size>lora_magnitude_vector)(?:\.[\w-]+)?"
    r")"
)
_WRAPPERS = re.compile(r"(?<![^.])(?:base_model\.model|_orig_mod|_fsdp_wrapped_module|module)\.")
"""Levels that PEFT, torch.compile and training on several devices put around a model, wherever they stand in a name."""
_OLD = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
T = TypeVar("T")


class Place(NamedTuple):
    """Where a tensor belongs: a component as the file calls it (or nothing), the dotted path in it, our suffix."""

    component: str
    path: str
    suffix: str


def locate(name: str) -> Place | None:
    """Where a tensor called `name` belongs; None for names that no LoRA has."""
    found = _ENDING.fullmatch(_WRAPPERS.sub("", name))
    if not found:
        return None
    root, _, rest = found["path"].partition(".")
    known = root in COMPONENTS or root == ORIGINAL
    component, path = (root, rest) if known else ("", found["path"])
    if found["old"]:
        text = component.startswith("text_encoder")
        last = _OLD[found["old"]] if text else found["old"].replace("to_out", "to_out.0")
        path = f"{path}.{last}"
    if found["alpha"] or found["size"]:
        return Place(component, path, "alpha" if found["alpha"] else "dora_scale")
    word = found["word"] or found["old_word"] or {"A": "down", "B": "up"}[found["letter"]]
    return Place(component, path, word)


def by_layer(tensors: Mapping[str, T]) -> dict[tuple[str, str], dict[str, T]]:
    """Tensors (or shapes) by component and dotted path, then by our suffix; names that do not fit are skipped.

    Raises `FormatError` where two tensors have one place, as in a file with several adapters.
    """
    found: dict[tuple[str, str], dict[str, T]] = {}
    for name, value in tensors.items():
        place = locate(name)
        if place:
            own = found.setdefault((place.component, place.path), {})
            if place.suffix in own:
                raise FormatError(
                    f"two tensors are for the same place, one of them {name}", "save one adapter to a file"
                )
            own[place.suffix] = value
    return found
