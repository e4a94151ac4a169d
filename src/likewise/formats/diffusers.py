"""The diffusers LoRA layout: dotted names under `unet.`, `transformer.` and `text_encoder.`, with no alpha.

Written with every scale folded into the factors and one rank for each part: readers that know nothing of
`lora_adapter_metadata`, or that scale other ranks wrongly (0.33), draw the same. Reads all of diffusers' spellings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import _lowrank
from likewise.formats._dotted import ORIGINAL, WRITTEN, apply_config, by_layer, locate, read_config
from likewise.formats._flat import is_flat
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import adopt, canonical, group, read_finite, rounded
from likewise.formats._names import COMPONENTS, FAMILIES, TRANSFORMERS, family_of, from_dotted
from likewise.formats.layout import Contents, Layout, Saving
from likewise.weights import write_tensors

CONFIG = "lora_adapter_metadata"


class Diffusers(Layout):
    """`pytorch_lora_weights.safetensors`."""

    name = "diffusers"
    title = "diffusers LoRA"
    suffix = ".safetensors"
    methods = frozenset({"lora"})
    readers = {
        "ComfyUI": "exact for SD 3 and Flux; of SD and SDXL it skips the UNet and takes the text encoders alone",
        "diffusers": "exact",
        "likewise": "exact",
    }

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.method in self.methods and artifact.family not in FAMILIES:
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

    def read(self, contents: Contents) -> Artifact:
        """A DoRA is refused in words; a file without component names is one of the UNet, as they were at first."""
        layers = by_layer(contents.shapes)
        if any("dora_scale" in own for own in layers.values()):
            raise FormatError(
                f"{contents.path} is a DoRA, which has no exact form in other layouts",
                "merge it into its base with diffusers, or train a plain LoRA",
            )
        named = {key: ".".join(key) for key in layers}
        parts = {key: COMPONENTS.get(key[0], "backbone") for key in layers}
        wide = {f"{parts[key]}.{key[1]}": own.get("down", (0, 0))[1] for key, own in layers.items()}
        originals = [path for component, path in layers if component == ORIGINAL]
        family = family_of(wide, originals, contents.metadata)
        published = {named[key]: from_dotted(parts[key], key[1], family) for key in layers}
        pairs = {named[key]: dict(own) for key, own in by_layer(read_finite(contents)).items()}
        if CONFIG in contents.metadata:
            config = read_config(contents.metadata[CONFIG])
            for component in {key[0] for key in layers if key[0]}:
                apply_config(pairs, component, _under(config, component))
        return adopt(contents, canonical(contents, pairs, published), "lora", family, {})

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
        facts = {"format": "pt", **seal(describe(artifact, saving, self.name), tensors)}
        return write_tensors(path, tensors, facts)


def component_names(family: str) -> dict[str, str]:
    """What diffusers calls the parts of a family."""
    unused = "unet" if family in TRANSFORMERS else "transformer"
    return {part: name for name, part in COMPONENTS.items() if name != unused}


def _under(config: Mapping[str, object], component: str) -> dict[str, object]:
    start = f"{component}."
    return {key.removeprefix(start): value for key, value in config.items() if key.startswith(start)}


LAYOUT = Diffusers()
