"""Artifact: what a method leaves behind, as named tensors and a few facts in memory. Files belong to formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Artifact:
    """One taught concept, by one method, for one family of bases."""

    method: str
    family: str
    token: str
    """The word that calls the concept."""
    noun: str
    tensors: Mapping[str, Tensor]
    """Canonical names: diffusers' dotted module paths under `backbone.` or `text.`, or the method's own."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe, enough for the method to rebuild its modules."""
    base: str = ""
    """What the base was called when it was taught."""
    notes: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""
    """What the file that it was read from keeps its numbers in, as `Saving.dtype` calls it; empty for what was just made."""
