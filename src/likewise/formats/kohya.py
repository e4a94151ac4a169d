"""kohya's LoRA layout, the one that the web UIs, ComfyUI and diffusers all read: flat names, and an alpha per layer.

Plain low-rank pairs only, of linear layers and convolutions; other factorisations are in `lycoris`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors import lowrank as _lowrank
from likewise.formats import _flat
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import (
    Modules,
    Spelled,
    adopt,
    canonical,
    check_layers,
    check_pairs,
    check_types,
    group,
    read_finite,
    rounded,
)
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import LOW_RANK
from likewise.naming.flat import FAMILIES, TRANSFORMERS, to_kohya
from likewise.naming.transformer import Published
from likewise.weights import write_tensors


class Kohya(Layout):
    """The common LoRA file."""

    name = "kohya"
    title = "kohya LoRA"
    suffix = ".safetensors"
    kinds = (LOW_RANK,)
    readers = {
        "AUTOMATIC1111": "exact",
        "ComfyUI": "exact",
        "Forge": "exact",
        "diffusers": "exact where all layers have one alpha, as in files that are written here; else one is used for all",
        "kohya sd-scripts": "exact",
        "likewise": "exact",
    }

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.kind in self.kinds and artifact.family not in FAMILIES:
            return f"{self.title} has no names for the layers of {artifact.family}"
        return super().unsupported(artifact)

    def sniff(self, contents: Contents) -> bool:
        found = _flat.suffixes(contents.shapes)
        return _flat.is_flat(contents.shapes) and "lora_down.weight" in found and not found & _flat.LYCORIS

    def portability(self, contents: Contents) -> Mapping[str, str]:
        """Not every program takes every family."""
        others = _flat.refusing(contents.shapes)
        return {name: how for name, how in self.readers.items() if name not in others}

    def identify(self, contents: Contents) -> Identity:
        return self._spelled(contents).identity(LOW_RANK)

    def read(self, contents: Contents) -> Artifact:
        """Layers that a file keeps as one (SD 3, Flux) are taken apart; embeddings that ride along are left out."""
        found = self._spelled(contents)
        modules = canonical(_flat.by_layer(read_finite(contents)), found.layers)
        return adopt(contents, modules, LOW_RANK, found.family, found.notes)

    def _spelled(self, contents: Contents) -> Spelled:
        """The layers of a file; raises `FormatError` for names, types and shapes that no LoRA has."""
        check_types(contents)
        unknown = sorted(_flat.suffixes(contents.shapes) - _flat.LORA)
        if unknown:
            raise FormatError(f"{contents.path} holds tensors called {unknown[0]!r}, which no LoRA has")
        found = _flat.survey(contents)
        check_pairs(contents, found.shapes)
        check_layers(contents, found)
        return found

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        """One alpha for all layers, that of most, as diffusers ignores that they may differ; of transformers the rank."""
        dtype, tensors = saving.torch_dtype(), {}
        pairs = _published(group(artifact.tensors), artifact.family)
        usual = _lowrank.usual_alpha(pairs.values())
        fold = artifact.family in TRANSFORMERS  # some of whose layers diffusers takes without their alpha
        for flat, pair in pairs.items():
            scaled = _lowrank.folded(pair) if fold else _lowrank.with_alpha(pair, usual)
            kept = _lowrank.balanced(scaled, dtype)
            if kept["down"].dim() == 4:
                kept["up"] = kept["up"][:, :, None, None]
            for suffix in ("alpha", "down", "up"):
                tensors[_flat.spelled(flat, suffix)] = rounded(suffix, kept[suffix], dtype)
        return write_tensors(path, tensors, seal(describe(artifact, saving, kohya=True), tensors))


def _published(modules: Modules, family: str) -> Modules:
    """Pairs by flat name; layers that the makers keep as one are put together."""
    layers: dict[str, Published] = {}
    for path in modules:
        layer = to_kohya(path, family)
        layers[layer.name] = layer
    return {name: _together(layer, modules) for name, layer in layers.items()}


def _together(layer: Published, modules: Modules) -> _lowrank.Pair:
    if len(layer.paths) == 1:
        own = modules[layer.paths[0]]
        swap = layer.swaps(own["up"].shape[0], own["down"].shape[1])
        return _lowrank.swapped(own) if swap else own
    pairs = [modules.get(path) for path in layer.paths]
    rows = layer.rows(next(pair["down"].shape[1] for pair in pairs if pair is not None))
    for path, pair, height in zip(layer.paths, pairs, rows, strict=True):
        if pair is not None and pair["up"].shape[0] != height:
            raise FormatError(f"{path} is {pair['up'].shape[0]} rows high, not {height} as in {layer.name}")
    return _lowrank.fuse(pairs, rows)


LAYOUT = Kohya()
