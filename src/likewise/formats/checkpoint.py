"""Single-file checkpoints: a whole Stable Diffusion 1, 2 or XL model, as the web UIs load it.

A DreamBooth artifact is most of such a model. What it does not hold (the autoencoder, towers that were not taught)
is streamed from the model it was taught on, which `Saving.base` names.
"""

from __future__ import annotations

from pathlib import Path

from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import FAMILIES, Checkpoint, cast, taught
from likewise.checkpoints.single_file import open_file, version_of, write_file
from likewise.errors import FormatError
from likewise.formats._metadata import describe, modelspec, scrub, token_of
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import WEIGHTS
from likewise.weights.streaming import DIGEST


def artifact_of(whole: Checkpoint) -> Artifact:
    """What teaching leaves behind: every weight of the backbone and the towers, in memory, as float32."""
    tensors = {n: cast(one, "F32").load() for n, one in whole.tensors.items() if not n.startswith("vae.")}
    return Artifact(
        method=WEIGHTS.mark,
        family=FAMILIES[whole.version],
        token=token_of(whole.metadata, whole.origin),
        noun="",
        tensors=tensors,
        notes={"prediction": whole.prediction},
    )


def complete(artifact: Artifact, saving: Saving) -> Checkpoint:
    """The whole model that `artifact` and `saving.base` make together; raises `FormatError` where they do not fit."""
    if saving.base is None:
        raise FormatError(
            "a whole model also needs the parts that were not taught, such as its autoencoder",
            "name the file or folder of the model it was taught on",
        )
    base = open_checkpoint(saving.base)
    if artifact.notes.get("prediction", base.prediction) != base.prediction:
        raise FormatError(
            f"{artifact.token} was taught on a model of {artifact.notes['prediction']}, "
            f"and {saving.base} is one of {base.prediction}",
            "name the model that it was taught on",
        )
    return base.replaced(taught(artifact)).cast(saving.dtype or "float16")


def facts_of(whole: Checkpoint, title: str) -> dict[str, str]:
    """What a single file of `whole` says of itself; its hash is filled in while it is written."""
    facts = modelspec(whole.architecture, scrub(title), prediction=whole.prediction)
    return {**facts, "modelspec.hash_sha256": f"0x{DIGEST}"}


class SingleFile(Layout):
    """One file with UNet, autoencoder and text encoders."""

    name = "checkpoint"
    title = "single-file checkpoint"
    suffix = ".safetensors"
    kinds = (WEIGHTS,)
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

    def identify(self, contents: Contents) -> Identity:
        whole = open_file(contents.path)
        return Identity(WEIGHTS, FAMILIES[whole.version], whole.version)

    def read(self, contents: Contents) -> Artifact:
        return artifact_of(open_file(contents.path))

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        self.refuse_unsupported(artifact)
        whole, path, facts = complete(artifact, saving), Path(path), {}
        if saving.metadata:
            facts = {**describe(artifact, saving), **facts_of(whole, saving.title or path.stem)}
        return write_file(whole, path, facts)


LAYOUT = SingleFile()
