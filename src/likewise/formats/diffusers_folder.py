"""diffusers folders: a whole Stable Diffusion 1, 2 or XL model, a component to a subfolder.

As with single files, a DreamBooth artifact is completed from the model it was taught on, which `Saving.base` names.
"""

from __future__ import annotations

from pathlib import Path

from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import FAMILIES
from likewise.checkpoints.folder import is_model_folder, open_folder, write_folder
from likewise.formats.checkpoint import artifact_of, complete
from likewise.formats.layout import Contents, Identity, Layout, Saving
from likewise.kinds import WEIGHTS


class DiffusersFolder(Layout):
    """A folder with `model_index.json`."""

    name = "diffusers_folder"
    title = "diffusers folder"
    suffix = ""
    kinds = (WEIGHTS,)
    readers = {
        "likewise": "exact",
        "diffusers": "exact",
        "kohya sd-scripts": "exact",
    }

    def sniff(self, contents: Contents) -> bool:
        return contents.form == "folder" and is_model_folder(contents.path)

    def identify(self, contents: Contents) -> Identity:
        whole = open_folder(contents.path)
        return Identity(WEIGHTS, FAMILIES[whole.version], whole.version)

    def read(self, contents: Contents) -> Artifact:
        return artifact_of(open_folder(contents.path))

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        self.refuse_unsupported(artifact)
        return write_folder(complete(artifact, saving), Path(path))


LAYOUT = DiffusersFolder()
