"""The LyCORIS layout: kohya's flat names with other factorisations than a plain low-rank pair.

LoCon with a Tucker core, LoHa, LoKr, OFT, BOFT, GLoRA, (IA)3, full differences, norms and DoRA. Tensors are kept as
they are and only their names change, but where the makers of SD 3 and Flux keep several layers as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import check_factors
from likewise.factors.rows import apart, cuts
from likewise.formats import _flat
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import (
    Modules,
    Spelled,
    adopt,
    at,
    check_types,
    group,
    read_finite,
    refuse_double,
    rounded,
)
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import LYCORIS
from likewise.naming.flat import DIFFUSERS, FAMILIES, TRANSFORMERS, flatten, to_kohya
from likewise.weights import write_tensors

DORA = {
    "AUTOMATIC1111": "different: it takes magnitudes for those of inputs, and files have mostly those of outputs",
    "ComfyUI": "different: it divides by the norm of the base where magnitudes are those of outputs",
    "Forge": "different: it divides by the norm of the base where magnitudes are those of outputs",
    "LyCORIS": "exact, where magnitudes are those of outputs",
    "likewise": "exact",
}
"""Who draws what from a DoRA. Whoever wants the same picture everywhere merges it or extracts a LoRA."""


class Lycoris(Layout):
    """Factorisations of the LyCORIS family."""

    name = "lycoris"
    title = "LyCORIS"
    suffix = ".safetensors"
    kinds = (LYCORIS,)
    readers = {
        "AUTOMATIC1111": "exact, but for DoRA and BOFT",
        "ComfyUI": "exact, but for DoRA",
        "Forge": "exact, but for DoRA",
        "LyCORIS": "exact in its forward pass; its merge of LoHa and LoKr applies the scale twice",
        "likewise": "exact",
    }

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.kind in self.kinds and artifact.family not in FAMILIES:
            return f"{self.title} has no names for the layers of {artifact.family}"
        return super().unsupported(artifact)

    def sniff(self, contents: Contents) -> bool:
        found = _flat.suffixes(contents.shapes)
        return _flat.is_flat(contents.shapes) and bool(found & _flat.LYCORIS)

    def portability(self, contents: Contents) -> Mapping[str, str]:
        """A DoRA is read by all, and differently; not every program takes every family."""
        known = DORA if "dora_scale" in _flat.suffixes(contents.shapes) else self.readers
        others = _flat.refusing(contents.shapes)
        return {program: how for program, how in known.items() if program not in others}

    def identify(self, contents: Contents) -> Identity:
        return self._spelled(contents).identity(LYCORIS)

    def read(self, contents: Contents) -> Artifact:
        found = self._spelled(contents)
        modules: Modules = {}
        for flat, own in _flat.by_layer(read_finite(contents)).items():
            layer = found.layers[flat]
            modules |= zip(layer.paths, apart(own, layer), strict=True)
        return adopt(contents, modules, LYCORIS, found.family, found.notes)

    def _spelled(self, contents: Contents) -> Spelled:
        """The layers of a file; raises `FormatError` for names, types and shapes of no factorisation."""
        check_types(contents)
        unknown = sorted(_flat.suffixes(contents.shapes) - _flat.LORA - _flat.LYCORIS)
        if unknown:
            raise FormatError(
                f"{contents.path} holds tensors called {unknown[0]!r}, which is no factorisation"
            )
        for name, factors in _flat.by_layer(contents.shapes).items():
            with at(contents, name):
                check_factors(factors)
        found, seen = _flat.survey(contents), set[str]()
        for name, own in found.shapes.items():
            with at(contents, name):
                cuts(own, found.layers[name])
            refuse_double(contents, found.layers[name], seen)
        notes = dict(found.notes)
        if any("dora_scale" in own for own in found.shapes.values()):
            notes["portability"] = (
                "a DoRA: programs divide by different norms, so pictures differ between them"
            )
        return replace(found, notes=notes)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        dtype, tensors = saving.torch_dtype(), {}
        for own_path, own in group(artifact.tensors).items():
            flat = _name(own_path, artifact.family)
            for suffix, tensor in own.items():
                tensors[_flat.spelled(flat, suffix)] = rounded(suffix, tensor, dtype)
        return write_tensors(path, tensors, seal(describe(artifact, saving, kohya=True), tensors))


def _name(path: str, family: str) -> str:
    """kohya's name; LyCORIS' own for backbones whose makers keep several layers as one."""
    part, _, rest = path.partition(".")
    if part == "backbone" and family in TRANSFORMERS:
        return DIFFUSERS + flatten(rest)
    return to_kohya(path, family).name


LAYOUT = Lycoris()
