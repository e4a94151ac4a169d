"""The web UI's `.pt` embedding, and the original Textual Inversion files that it took after.

Read are also lists of `{word: vectors}`, as early merges of several embeddings were kept. One file is one word.
"""

from __future__ import annotations

import re
from pathlib import Path

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._embeddings import (
    as_vectors,
    embeds,
    entries,
    family_of,
    one_tower,
    read_web_ui_table,
    single,
    web_ui_table,
)
from likewise.formats.layout import Contents, Layout, Saving
from likewise.kinds import WORDS
from likewise.weights import read_object, write_object

TABLE = "string_to_param."


class WebUIEmbedding(Layout):
    """Word vectors in a pickled table."""

    name = "webui_embedding"
    title = "web UI embedding (.pt)"
    suffix = ".pt"
    kinds = (WORDS,)
    usual = "float32"
    readers = dict.fromkeys(
        ("AUTOMATIC1111", "ComfyUI", "Forge", "diffusers", "kohya sd-scripts", "likewise"), "exact"
    )

    def unsupported(self, artifact: Artifact) -> str | None:
        return super().unsupported(artifact) or one_tower(artifact, self.title)

    def sniff(self, contents: Contents) -> bool:
        if contents.form != "pickled":
            return False
        if any(name.startswith(TABLE) for name in contents.shapes):
            return True
        listed = all(re.fullmatch(r"\d+\.[^.]+", name) for name in contents.shapes)
        return listed and all(embeds(shape) for shape in contents.shapes.values())

    def read(self, contents: Contents) -> Artifact:
        path, tree = contents.path, read_object(contents.path)
        if isinstance(tree, dict):
            return read_web_ui_table(entries(tree), path)
        import torch

        parts = [as_vectors(t, str(word), path) for one in tree for word, t in entries(one).items()]
        if len({part.shape[1] for part in parts}) != 1:
            raise FormatError(f"{path} mixes vectors for several text towers")
        tensors = single(torch.cat(parts), "the whole list", path)
        return Artifact(WORDS.mark, family_of(tensors), path.stem, "", tensors)

    def portability(self, contents: Contents) -> dict[str, str]:
        """diffusers refuses the original files, whose table is a `ParameterDict`, and lists."""
        tree = read_object(contents.path)
        words = entries(tree).get("string_to_param")
        if type(words) is dict and "*" in words and isinstance(entries(tree).get("name"), str):
            return dict(self.readers)
        return {program: how for program, how in self.readers.items() if program != "diffusers"}

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        return write_object(path, web_ui_table(artifact, Path(path), saving))


LAYOUT = WebUIEmbedding()
