"""Artifact: what a method leaves behind, as named tensors and a few facts in memory. Files belong to formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from likewise import kinds
from likewise.kinds import Kind

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Artifact:
    """One taught concept, by one method, for one family of bases."""

    method: str
    """What taught it, as files say it; what was made otherwise has the mark of its kind."""
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
    """Further facts: the kind of prediction, `base_fingerprint`, the version of likewise."""
    precision: str = ""
    """What the file that it was read from keeps its numbers in, as `Saving.dtype` calls it; empty for what was just made."""
    declared: Kind | None = None
    """The kind that its method declares; None where the method's name tells it."""

    @property
    def kind(self) -> Kind:
        """What it is, however it was taught."""
        return self.declared or kinds.of(self.method)

    def remade(self, kind: Kind, tensors: Mapping[str, Tensor]) -> Self:
        """The same concept as something of another kind, which no method's settings describe."""
        return replace(self, method=kind.mark, declared=None, tensors=tensors, recipe={})


def digest(artifact: Artifact) -> str:
    """What tells one taught concept from another: its word, method, recipe, and a sample of its numbers."""
    found = hashlib.sha256(
        json.dumps(
            [artifact.method, artifact.token, artifact.noun, dict(artifact.recipe)], sort_keys=True
        ).encode()
    )
    for name, value in sorted(artifact.tensors.items()):
        flat = value.detach().reshape(-1)
        found.update(f"{name}{tuple(value.shape)}".encode())
        found.update(flat[:: max(1, flat.numel() // 256)].float().cpu().numpy().tobytes())
    return found.hexdigest()
