"""The diffusers LoRA layout: dotted names under `unet.`, `transformer.` and `text_encoder.`, with no alpha.

Written with every scale folded into the factors and one rank for each part: readers that know nothing of
`lora_adapter_metadata`, or that scale other ranks wrongly (0.33), draw the same. Reads all of diffusers' spellings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors import lowrank as _lowrank
from likewise.factors.rows import sides
from likewise.formats._dotted import WRITTEN, by_layer, locate
from likewise.formats._flat import is_flat
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import (
    Spelled,
    adopt,
    as_tensor,
    at,
    canonical,
    check_layers,
    check_pairs,
    check_types,
    group,
    read_finite,
    rounded,
)
from likewise.formats._peft_config import Scales, read_config
from likewise.formats.layout import Contents, Identity, Layout, Saving, Shape
from likewise.kinds import LOW_RANK
from likewise.naming.flat import COMPONENTS, FAMILIES, TRANSFORMERS
from likewise.naming.recognition import Layer, belonging
from likewise.weights import write_tensors

CONFIG = "lora_adapter_metadata"


class Diffusers(Layout):
    """`pytorch_lora_weights.safetensors`."""

    name = "diffusers"
    title = "diffusers LoRA"
    suffix = ".safetensors"
    kinds = (LOW_RANK,)
    readers = {
        "ComfyUI": "exact for SD 3 and Flux; of SD and SDXL it skips the UNet and takes the text encoders alone",
        "diffusers": "exact",
        "likewise": "exact",
    }

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.kind in self.kinds and artifact.family not in FAMILIES:
            return f"{self.title} has no names for the layers of {artifact.family}"
        return super().unsupported(artifact)

    def portability(self, contents: Contents) -> Mapping[str, str]:
        """Ranks that differ are a trap in files of other programs."""
        ranks = {own["down"][0] for own in by_layer(contents.shapes).values() if own.get("down")}
        mixed = {"diffusers": "exact, but 0.33 scales layers wrongly whose rank is not that of the first"}
        return {**self.readers, **(mixed if len(ranks) > 1 else {})}

    def sniff(self, contents: Contents) -> bool:
        if "likewise.version" in contents.metadata or is_flat(contents.shapes):
            return False
        places = [locate(name) for name in contents.shapes]
        return all(places) and any(place.suffix == "down" for place in places if place)

    def identify(self, contents: Contents) -> Identity:
        return self._spelled(contents)[0].identity(LOW_RANK)

    def read(self, contents: Contents) -> Artifact:
        """A DoRA is refused in words; a file without component names is one of the UNet, as they were at first."""
        found, alphas = self._spelled(contents)
        pairs = {
            ".".join(key).removeprefix("."): dict(own) for key, own in by_layer(read_finite(contents)).items()
        }
        for name, alpha in alphas.items():
            pairs[name]["alpha"] = as_tensor(alpha)
        return adopt(contents, canonical(pairs, found.layers), LOW_RANK, found.family, found.notes)

    def _spelled(self, contents: Contents) -> tuple[Spelled, dict[str, float]]:
        """The layers of a file, and the alphas that its configuration gives; raises `FormatError`."""
        check_types(contents)
        with at(contents):
            keyed = by_layer(contents.shapes)
        if any("dora_scale" in own for own in keyed.values()):
            raise FormatError(
                f"{contents.path} is a DoRA, which has no exact form in other layouts",
                "merge it into its base with diffusers, or train a plain LoRA",
            )
        shapes = {".".join(key).removeprefix("."): own for key, own in keyed.items()}
        layers = {
            ".".join(key).removeprefix("."): Layer(COMPONENTS.get(key[0], "backbone"), key[1], sides(own)[1])
            for key, own in keyed.items()
        }
        belongs = belonging(contents.path, layers, contents.metadata)
        found = Spelled(belongs.family, belongs.layers, shapes, belongs.notes)
        check_pairs(contents, shapes)
        check_layers(contents, found)
        return found, _alphas(contents, keyed)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        dtype, tensors = saving.torch_dtype(), {}
        names, modules = component_names(artifact.family), group(artifact.tensors)
        ranks: dict[str, int] = {}
        for own_path, pair in modules.items():
            part = own_path.partition(".")[0]
            ranks[part] = max(ranks.get(part, 0), pair["down"].shape[0])
        for own_path, pair in modules.items():
            part, _, rest = own_path.partition(".")
            kept = _lowrank.balanced(_lowrank.padded(pair, ranks[part]), dtype)
            if kept["down"].dim() == 4:
                kept["up"] = kept["up"][:, :, None, None]
            for suffix, spelled in WRITTEN.items():
                tensors[f"{names[part]}.{rest}.{spelled}"] = rounded(suffix, kept[suffix], dtype)
        facts = {"format": "pt", **seal(describe(artifact, saving), tensors)}
        return write_tensors(path, tensors, facts)


def component_names(family: str) -> dict[str, str]:
    """What diffusers calls the parts of a family."""
    unused = "unet" if family in TRANSFORMERS else "transformer"
    return {part: name for name, part in COMPONENTS.items() if name != unused}


def _alphas(contents: Contents, layers: Mapping[tuple[str, str], Mapping[str, Shape]]) -> dict[str, float]:
    """By layer: the alpha that the file's own configuration gives, where it has one."""
    if CONFIG not in contents.metadata:
        return {}
    config, found = read_config(contents.metadata[CONFIG]), {}
    components = {component for component, _ in layers}
    _refuse_stray(contents, config, components)
    for component in sorted(components):
        inner = _under(config, component) if component else config
        if not inner:
            continue
        scales = Scales.of(inner, contents.path)
        for (own, path), shapes in layers.items():
            if own == component and "alpha" in shapes:
                raise FormatError(
                    f"{contents.path} keeps an alpha for {path} and a configuration beside it",
                    "other programs refuse it as well; remove one of the two",
                )
            if own == component:
                with at(contents):
                    found[f"{own}.{path}".removeprefix(".")] = scales.effective(path, shapes["down"][0])
    return found


def _refuse_stray(contents: Contents, config: Mapping[str, object], components: Collection[str]) -> None:
    """Raise `FormatError` for a setting of a part that the file has no layers of: it would be ignored in silence."""
    for name in config if "" not in components else ():
        if name.partition(".")[0] not in components:
            raise FormatError(
                f"{contents.path} has the setting {name} for layers that are not in it",
                "fetch the file again",
            )


def _under(config: Mapping[str, object], component: str) -> dict[str, object]:
    start = f"{component}."
    return {key.removeprefix(start): value for key, value in config.items() if key.startswith(start)}


LAYOUT = Diffusers()
