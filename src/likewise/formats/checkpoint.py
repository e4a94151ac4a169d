"""Single-file checkpoints: a whole Stable Diffusion 1, 2 or XL model, as the web UIs load it.

A DreamBooth artifact is most of such a model. What it does not hold (the autoencoder, towers that were not taught)
is streamed from the model it was taught on, which `Saving.base` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._metadata import describe, modelspec, scrub
from likewise.formats._whole import FAMILIES, Whole, taught
from likewise.formats._whole_file import open_file, version_of, write_file
from likewise.formats._whole_folder import is_model_folder, open_folder
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.weights.streaming import DIGEST


def open_whole(path: Path, averaged: bool = False) -> Whole:
    """The model in a single file or diffusers folder, unread; `averaged` takes a file's moving averages as UNet."""
    path = Path(path)
    if path.is_dir():
        if not is_model_folder(path):
            raise FormatError(f"{path} is no diffusers model", "it has a model_index.json and a folder unet")
        if averaged:
            raise FormatError(
                f"{path} has one set of weights", "only single files keep moving averages beside"
            )
        return open_folder(path)
    if not path.exists():
        raise FormatError(f"there is no file {path}")
    return open_file(path, averaged)


def complete(artifact: Artifact, saving: Saving) -> Whole:
    """The whole model that `artifact` and `saving.base` make together; raises `FormatError` where they do not fit."""
    if saving.base is None:
        raise FormatError(
            "a whole model also needs the parts that were not taught, such as its autoencoder",
            "name the file or folder of the model it was taught on",
        )
    base = open_whole(saving.base)
    if artifact.notes.get("prediction", base.prediction) != base.prediction:
        raise FormatError(
            f"{artifact.token} was taught on a model of {artifact.notes['prediction']}, "
            f"and {saving.base} is one of {base.prediction}",
            "name the model that it was taught on",
        )
    return base.replaced(taught(artifact)).cast(saving.dtype or "float16")


def facts_of(whole: Whole, title: str) -> dict[str, str]:
    """What a single file of `whole` says of itself; its hash is filled in while it is written."""
    facts = modelspec(whole.architecture, scrub(title), prediction=whole.prediction)
    return {**facts, "modelspec.hash_sha256": f"0x{DIGEST}"}


class Checkpoint(Layout):
    """One file with UNet, autoencoder and text encoders."""

    name = "checkpoint"
    title = "single-file checkpoint"
    suffix = ".safetensors"
    methods = frozenset({"dreambooth"})
    readers = {
        "likewise": "exact",
        "AUTOMATIC1111": "exact",
        "Forge": "exact",
        "ComfyUI": "exact",
        "kohya sd-scripts": "exact",
        "diffusers": "exact, by from_single_file",
    }

    def sniff(self, contents: Contents) -> bool:
        return version_of(contents.shapes) is not None

    def portability(self, contents: Contents) -> Mapping[str, str]:
        """XL has no family in this version."""
        xl = version_of(contents.shapes) == "sdxl"
        return {program: how for program, how in self.readers.items() if not (xl and program == "likewise")}

    def identify(self, contents: Contents) -> Identity:
        whole = open_file(contents.path)
        return Identity("dreambooth", FAMILIES[whole.version], whole.version)

    def read(self, contents: Contents) -> Artifact:
        return open_file(contents.path).artifact()

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        self.refuse_unsupported(artifact)
        whole, path, facts = complete(artifact, saving), Path(path), {}
        if saving.metadata:
            facts = {**describe(artifact, saving, self.name), **facts_of(whole, saving.title or path.stem)}
        return write_file(whole, path, facts)


LAYOUT = Checkpoint()
