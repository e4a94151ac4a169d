"""Layout: one way in which people keep what was taught. Each layout is one file of this folder.

A layout knows names and tensors of files; it imports no method and no family, and no torch before a tensor
is wanted, so that `likewise inspect` stays quick.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.kinds import Kind
from likewise.weights.streaming import open_tensors

if TYPE_CHECKING:
    import torch

PICTURES = frozenset({".png", ".webp"})
Dtype = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class Contents:
    """What a file shows before any tensor is read. Of pickled files and pictures no metadata is known."""

    path: Path
    form: Literal["safetensors", "pickled", "picture", "folder"]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes of all named tensors. Dots join nested names, a bare tensor is called "". Empty for pictures and folders."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """As safetensors spells them: `F16`, `BF16`, ... Empty for pictures and folders."""
    scaled: frozenset[str] = frozenset()
    """Weights that the file keeps as codes of 8 bits with a scale."""


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """What a file is, as far as its names, shapes, types and metadata tell."""

    kind: Kind
    family: str
    version: str = ""
    """The version of a whole model: `sd1`, `sd2` or `sdxl`."""
    layers: Mapping[str, Mapping[str, Shape]] = field(default_factory=dict)
    """Shapes of each layer's tensors in a low-rank file, by our suffix."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What was left out, guessed or is worth knowing, in words."""


@dataclass(frozen=True)
class Saving:
    """How to write. The defaults are what people expect of a shared file."""

    dtype: Dtype | None = None
    """Empty: what is `usual` in the layout."""
    metadata: bool = True
    """Write the training facts that readers show; off writes only what is needed to load the file."""
    title: str = ""
    """Name shown by readers; empty: the file's stem."""
    base: Path | None = None
    """A whole model, file or folder, that the layouts of whole models take the rest from."""

    def torch_dtype(self) -> torch.dtype:
        """`dtype` as torch knows it, half precision if it is empty."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype or "float16")
        return found


class Layout(ABC):
    """Reads and writes one community layout. Instances have no state; a module's instance is its `LAYOUT`."""

    name: ClassVar[str]
    """As in `likewise convert --to NAME`; the module is called the same."""
    title: ClassVar[str]
    suffix: ClassVar[str]
    """The suffix of the files that it writes; empty for folders."""
    kinds: ClassVar[tuple[Kind, ...]]
    """What it can hold."""
    usual: ClassVar[Dtype] = "float16"
    """The precision that its readers expect, where nobody asks for another."""
    readers: ClassVar[Mapping[str, str]]
    """Program -> how it takes this layout: `exact`, or in words what differs. Programs that are not named refuse it."""

    @property
    def marks(self) -> list[str]:
        """What it can hold, as files say it, sorted."""
        return sorted(kind.mark for kind in self.kinds)

    @property
    def streamed(self) -> bool:
        """Whether what it holds may be too large for memory."""
        return any(kind.streamed for kind in self.kinds)

    @abstractmethod
    def sniff(self, contents: Contents) -> bool:
        """Whether a file is of this layout: by names and shapes, never by the file's name. At most one layout says yes."""

    def identify(self, contents: Contents) -> Identity:
        """What the file is: without its numbers and without torch where they are many, else by reading it.

        Raises `FormatError` for everything that `read` refuses, but for what only the numbers tell.
        """
        artifact = self.read(contents)
        return Identity(artifact.kind, artifact.family, notes=artifact.notes)

    @abstractmethod
    def read(self, contents: Contents) -> Artifact:
        """The artifact with canonical names (see `Artifact.tensors`); floating tensors as float32.

        Raises `FormatError` for anything missing, damaged or of impossible shape.
        """

    @abstractmethod
    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        """Write whole or not at all. Raises `FormatError` where `unsupported` gives a reason."""

    def portability(self, contents: Contents) -> Mapping[str, str]:
        """`readers` for this very file: what differs may depend on what is in it."""
        return self.readers

    def kept(self, artifact: Artifact) -> Artifact:
        """What of an artifact comes back when its file is read; everything, unless the layout has no place for it."""
        return artifact

    def unsupported(self, artifact: Artifact) -> str | None:
        """Why this artifact has no place in this layout, in words; None if it has one."""
        if artifact.kind not in self.kinds:
            return f"{self.title} holds {', '.join(self.marks)}, not {artifact.method}"
        return None

    def refuse_unsupported(self, artifact: Artifact) -> None:
        """Raise `FormatError` if `unsupported` says so."""
        reason = self.unsupported(artifact)
        if reason:
            raise FormatError(reason, "`likewise convert --help` lists the layouts")


def examine(path: Path) -> Contents:
    """Look at a file or folder without reading its tensors; raises `FormatError` for what is no file of tensors.

    Of quantised weights the scales and other companions are left out, and those of an unknown kind refused.
    """
    path = Path(path)
    if path.is_dir():
        return Contents(path, "folder")
    if not path.exists():
        raise FormatError.missing(f"there is no file {path}")
    if path.suffix.lower() in PICTURES:
        return Contents(path, "picture")
    opened = open_tensors(path)
    shapes = {name: one.shape for name, one in opened.tensors.items()}
    form: Literal["safetensors", "pickled"] = "safetensors" if opened.tree is None else "pickled"
    return Contents(path, form, shapes, opened.metadata, opened.dtypes, opened.scaled)
