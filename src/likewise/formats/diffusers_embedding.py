"""diffusers' `learned_embeds`: one tensor, called by the word it stands for. Safetensors, or the older `.bin`.

SDXL has a second such file for its second text tower; each is read and written by itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from likewise.artifact import Artifact
from likewise.formats._embeddings import embeds, family_of, identify, one_tower, single
from likewise.formats._metadata import base_of, describe, noun_of, prediction_of, seal
from likewise.formats.embedding import OUTPUT, SOLE, TOWERS
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import WORDS
from likewise.weights import read_tensors, write_tensors
from likewise.weights.numbers import rounded

PARAMETER = r".*\.(weight|bias|alpha|diff|diff_b|w_norm|b_norm|oft_blocks|(lora|hada|lokr)_\w+)|__metadata__"
"""A tensor's name that is no word: a file with one layer in it is no embedding."""


class DiffusersEmbedding(Layout):
    """A word and its vectors."""

    name = "diffusers_embedding"
    title = "diffusers embedding"
    suffix = ".safetensors"
    kinds = (WORDS,)
    usual = "float32"
    readers = {
        "AUTOMATIC1111": "exact, called by the file's name",
        "ComfyUI": "exact, called by the file's name",
        "Forge": "exact, called by the file's name",
        "diffusers": "exact; further vectors become the words WORD_1, WORD_2, ...",
        "kohya sd-scripts": "exact",
        "likewise": "exact",
    }

    def unsupported(self, artifact: Artifact) -> str | None:
        if re.fullmatch(PARAMETER, artifact.token):
            return f"{self.title} cannot tell the word {artifact.token!r} from a layer's name"
        return super().unsupported(artifact) or one_tower(artifact, self.title)

    def sniff(self, contents: Contents) -> bool:
        if len(contents.shapes) != 1 or "likewise.version" in contents.metadata:
            return False
        ((name, shape),) = contents.shapes.items()
        nested = contents.form == "pickled" and "." in name.strip(".")
        known = name.removesuffix(OUTPUT) in ("", *SOLE, *TOWERS.values())
        return embeds(shape) and not (nested or known or re.fullmatch(PARAMETER, name))

    def identify(self, contents: Contents) -> Identity:
        return identify(contents, {"vectors": next(iter(contents.shapes))})

    def read(self, contents: Contents) -> Artifact:
        metadata = contents.metadata
        ((token, vectors),) = read_tensors(contents.path).items()
        tensors = single(vectors, token, contents.path)
        family = family_of(tensors)
        notes = prediction_of(metadata)
        return Artifact(WORDS.mark, family, token, noun_of(metadata), tensors, {}, base_of(metadata), notes)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        (vectors,) = artifact.tensors.values()
        tensors = {artifact.token or Path(path).stem: rounded(vectors, saving.torch_dtype())}
        return write_tensors(path, tensors, seal(describe(artifact, saving), tensors))


LAYOUT = DiffusersEmbedding()
