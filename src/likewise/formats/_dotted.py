"""Dotted names: files whose tensors are called `unet.down_blocks.0....to_q.lora_A.weight`, and PEFT's configuration.

Every spelling of diffusers' history is read; which of them is written is the layouts' to say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from likewise.errors import FormatError
from likewise.formats._modules import Modules
from likewise.formats._names import COMPONENTS

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
_OLD = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
T = TypeVar("T")


class Place(NamedTuple):
    """Where a tensor belongs: a component as the file calls it (or nothing), the dotted path in it, our suffix."""

    component: str
    path: str
    suffix: str


def locate(name: str) -> Place | None:
    """Where a tensor called `name` belongs; None for names that no LoRA has."""
    found = _ENDING.fullmatch(name)
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
    """Tensors (or shapes) by component and dotted path, then by our suffix; names that do not fit are skipped."""
    found: dict[tuple[str, str], dict[str, T]] = {}
    for name, value in tensors.items():
        place = locate(name)
        if place:
            found.setdefault((place.component, place.path), {})[place.suffix] = value
    return found


def apply_config(modules: Modules, part: str, config: Mapping[str, Any]) -> None:
    """Give the pairs of `part` that have no alpha the one that a PEFT configuration says, in place.

    rs-LoRA's scale `alpha / sqrt(rank)` becomes an alpha for `alpha / rank`. Raises `FormatError` for what is not
    understood, as a wrong scale would go unnoticed.
    """
    import torch

    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping):
        raise FormatError("alpha_pattern is not a table")
    for path, own in modules.items():
        if not path.startswith(f"{part}.") or "down" not in own or "alpha" in own:
            continue
        rank = own["down"].shape[0]
        said = next((patterns[key] for key in patterns if _fits(key, path)), config.get("lora_alpha", rank))
        if not isinstance(said, int | float) or not math.isfinite(said):
            raise FormatError(f"the alpha of {path} is {said!r}, which is no number")
        own["alpha"] = torch.tensor(float(said) * (math.sqrt(rank) if config.get("use_rslora") else 1.0))


def read_config(text: str) -> dict[str, Any]:
    """A table in JSON; raises `FormatError` if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormatError("the adapter's configuration is no readable table", "fetch it again")
    return found


def _fits(pattern: str, path: str) -> bool:
    """PEFT's rule for a module's path or an end of it. Other regular expressions are not run: they come from a file."""
    plain = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    if re.search(r"[^\w.]", plain):
        raise FormatError(f"the pattern {pattern!r} of an adapter's configuration is not understood")
    return f".{path}".endswith(f".{plain}")
