"""The embedding of kohya, ComfyUI and OneTrainer: safetensors, or their `.pt`, with a tensor per text tower.

Called `emb_params` where there is one tower, and by the tower (`clip_l`, `clip_g`, `t5`) where there are several.
The word is not in the file: readers take its name.
"""

from __future__ import annotations

from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._embeddings import as_vectors, family_of, identify, single
from likewise.formats._metadata import base_of, describe, noun_of, prediction_of, seal, token_of
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import WORDS
from likewise.weights import read_tensors, write_tensors
from likewise.weights.numbers import rounded

SOLE = ("emb_params", "emp_params")
"""kohya's name, and OneTrainer's misspelling of it."""
TOWERS = {"vectors": "clip_l", "vectors_2": "clip_g", "vectors_3": "t5"}
OUTPUT = "_out"
"""Ends the names of what OneTrainer adds to a tower's output. No other program uses that, and neither do we."""


class Embedding(Layout):
    """Word vectors by text tower."""

    name = "embedding"
    title = "embedding (safetensors)"
    suffix = ".safetensors"
    kinds = (WORDS,)
    usual = "float32"
    readers = {
        "AUTOMATIC1111": "exact; for SDXL from 1.6 on",
        "ComfyUI": "exact",
        "Forge": "exact",
        "diffusers": "exact if called with `token=`, else the word is `emb_params`; SDXL needs a call per text encoder",
        "kohya sd-scripts": "exact",
        "likewise": "exact",
    }

    def sniff(self, contents: Contents) -> bool:
        names = {name.removesuffix(OUTPUT) for name in contents.shapes}
        return (len(names) == 1 and names <= set(SOLE)) or (bool(names) and names <= set(TOWERS.values()))

    def identify(self, contents: Contents) -> Identity:
        return identify(contents, _towers(contents))

    def read(self, contents: Contents) -> Artifact:
        path, metadata, found = contents.path, contents.metadata, read_tensors(contents.path)
        towers = _towers(contents)
        identify(contents, towers)
        tensors = {ours: as_vectors(found[name], name, path) for ours, name in towers.items()}
        if sole := next((name for name in towers.values() if name in SOLE), None):
            tensors = single(found[sole], sole, path)
        family, token = family_of(tensors), token_of(metadata, path)
        notes = prediction_of(metadata)
        return Artifact(WORDS.mark, family, token, noun_of(metadata), tensors, {}, base_of(metadata), notes)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        dtype = saving.torch_dtype()
        names = TOWERS if len(artifact.tensors) > 1 else dict.fromkeys(TOWERS, SOLE[0])
        tensors = {names[ours]: rounded(vectors, dtype) for ours, vectors in artifact.tensors.items()}
        return write_tensors(path, tensors, seal(describe(artifact, saving), tensors))


def _towers(contents: Contents) -> dict[str, str]:
    """The file's name of each of our vectors; raises `FormatError` for a file that has none of them."""
    names = [name for name in contents.shapes if not name.endswith(OUTPUT)]
    if not names:
        raise FormatError(
            f"{contents.path} has vectors for a text tower's output only, which nothing else reads"
        )
    sole = next((name for name in SOLE if name in names), None)
    return {"vectors": sole} if sole else {ours: name for ours, name in TOWERS.items() if name in names}


LAYOUT = Embedding()
