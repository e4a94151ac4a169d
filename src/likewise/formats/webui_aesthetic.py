"""The aesthetic embedding of the web UI's extension and of the original script: one bare tensor in a `.pt`.

It is the mean CLIP feature of pictures, of any length. Word and settings have no place in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likewise.artifact import Artifact
from likewise.formats._embeddings import one_tower
from likewise.formats.layout import Contents, Layout, Saving
from likewise.kinds import DIRECTION
from likewise.weights import read_object, write_object
from likewise.weights.numbers import real, rounded

if TYPE_CHECKING:
    from torch import Tensor

KEY = "aesthetic.mean"
CLIP_L = 768
"""Features of the only CLIP model that the published programs compare with."""


class WebUIAesthetic(Layout):
    """A mean of picture features."""

    name = "webui_aesthetic"
    title = "web UI aesthetic embedding (.pt)"
    suffix = ".pt"
    kinds = (DIRECTION,)
    usual = "float32"
    readers = {
        "AUTOMATIC1111": "exact, with the aesthetic gradients extension",
        "likewise": "exact",
        "the original script": "exact",
    }

    def sniff(self, contents: Contents) -> bool:
        shape = contents.shapes.get("", ())
        return contents.form == "pickled" and len(shape) in (1, 2) and min(shape) > 0

    def read(self, contents: Contents) -> Artifact:
        path = contents.path
        rows = real(read_object(path), "the embedding", path)
        return Artifact(DIRECTION.mark, "sd", path.stem, "", {KEY: _row(rows)})

    def portability(self, contents: Contents) -> dict[str, str]:
        """Other widths fit other CLIP models; a file of one dimension cannot be blended along an arc."""
        shape = contents.shapes[""]
        if shape[-1] != CLIP_L:
            return {"likewise": "exact"}
        if len(shape) == 1:
            return {
                **self.readers,
                "AUTOMATIC1111": "exact, but its slerp mode fails on a file of one dimension",
            }
        return dict(self.readers)

    def unsupported(self, artifact: Artifact) -> str | None:
        if reason := super().unsupported(artifact):
            return reason
        return one_tower(artifact, self.title)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        return write_object(path, rounded(_row(artifact.tensors[KEY]), saving.torch_dtype()))


def _row(rows: Tensor) -> Tensor:
    """[1, d]: published files are [d] and [1, d], and the mean of several rows is what their readers take."""
    return rows.reshape(-1, rows.shape[-1]).mean(dim=0, keepdim=True)


LAYOUT = WebUIAesthetic()
