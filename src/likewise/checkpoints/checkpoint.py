"""A whole model in canonical names, every tensor still in its file: what single files and folders have in common.

Nothing is read before it is written elsewhere, and then piece by piece, so that a model of any size passes through little
memory; torch is needed only where numbers change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.kinds import WEIGHTS, Kind
from likewise.weights.numbers import REAL
from likewise.weights.pending import Pending, bytes_of, from_bytes, held, pieces, raw_bytes, torch_type

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
"""The choices of `Saving.dtype`, as safetensors spells them."""
TABLE = "text_model.embeddings.token_embedding.weight"
"""The vectors of a tower's words."""
FAMILIES = {"sd1": "sd", "sd2": "sd", "sdxl": "sdxl"}


@dataclass(frozen=True)
class Checkpoint:
    """All networks of a Stable Diffusion model."""

    kind: ClassVar[Kind] = WEIGHTS
    version: str
    """`sd1`, `sd2` or `sdxl`: which text towers it has, and how single files spell them."""
    tensors: Mapping[str, Pending]
    """By canonical name, below `backbone.`, `vae.`, `text.` and `text_2.`."""
    origin: Path
    """The file or folder that it is read from."""
    velocity: bool = False
    """Whether it predicts velocity rather than noise."""
    zero_snr: bool = False
    """Whether its last level holds no signal."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What had to be guessed, in sentences."""
    words: tuple[str, ...] = ()
    """What the last rows of its tables stand for, which its tokenizer does not know yet."""

    @property
    def architecture(self) -> str:
        """A key of `_metadata.ARCHITECTURES`."""
        return "sd2-v" if self.version == "sd2" and self.velocity else self.version

    @property
    def prediction(self) -> str:
        """What the UNet predicts, as diffusers calls it: `epsilon` or `v_prediction`."""
        return "v_prediction" if self.velocity else "epsilon"

    def part(self, name: str) -> dict[str, Pending]:
        """The tensors of `backbone`, `vae`, `text` or `text_2`, without that prefix."""
        return {n[len(name) + 1 :]: one for n, one in self.tensors.items() if n.startswith(f"{name}.")}

    def parts(self) -> list[str]:
        """The names of its networks."""
        return sorted({name.partition(".")[0] for name in self.tensors})

    def replaced(self, tensors: Mapping[str, Pending]) -> Self:
        """The same model with other values; raises `FormatError` unless each has a place of its shape."""
        for name, one in tensors.items():
            if name not in self.tensors:
                raise FormatError(f"{self.origin} has no place for {name}", "was it taught on another model?")
            if one.shape != self.tensors[name].shape:
                shapes = f"{one.shape}, where {self.origin} has {self.tensors[name].shape}"
                raise FormatError(f"{name} has the shape {shapes}", "was it taught on another model?")
        return replace(self, tensors={**self.tensors, **tensors})

    def cast(self, dtype: str) -> Self:
        """All floating tensors as `dtype`, a choice of `Saving`."""
        return replace(self, tensors={n: cast(one, DTYPES[dtype]) for n, one in self.tensors.items()})


def refuse_codes(source: object, tensors: Mapping[str, Pending]) -> None:
    """Raise `FormatError` naming a weight of a type that holds no real numbers."""
    for name, one in tensors.items():
        if one.dtype not in REAL:
            raise FormatError(
                f"{source}: {name} is of the type {one.dtype}, which is not read as a weight",
                "fetch the model in 16 bits",
            )


def of_codes(source: Path, scaled: Collection[str]) -> tuple[str, ...]:
    """What is to be known of a model whose weights were codes with a scale, if any were."""
    if not scaled:
        return ()
    return (
        f"{len(scaled)} weights of {source.name} are codes of 8 bits with a scale; "
        "what they mean is kept in float32, unless --dtype names another precision",
    )


def verify(whole: Checkpoint, again: Checkpoint) -> None:
    """Raise `FormatError` unless `again`, just written, has the very numbers of `whole`; tensor by tensor."""
    if again.tensors.keys() != whole.tensors.keys():
        lost = min(again.tensors.keys() ^ whole.tensors.keys())
        raise FormatError(f"{lost} was lost in writing", "please report this; keep what it was made from")
    for name, one in whole.tensors.items():
        if _digest(one) != _digest(again.tensors[name]):
            raise FormatError(
                f"{name} was changed in writing", "please report this; keep what it was made from"
            )


def _digest(one: Pending) -> tuple[tuple[int, ...], bytes]:
    """Shape and digest of a tensor, so that never two of them are in memory."""
    digest = hashlib.sha256()
    for data in pieces(one):
        digest.update(data)
    return one.shape, digest.digest()


def taught(artifact: Artifact) -> dict[str, Pending]:
    """The weights of a DreamBooth artifact."""
    return {name: held(tensor) for name, tensor in artifact.tensors.items()}


def cast(one: Pending, dtype: str) -> Pending:
    """The same numbers in another floating type; other types stay. Loading raises `FormatError` on overflow.

    Numbers are rounded once: what was cast before is cast anew from what it was.
    """
    if one.dtype == dtype or not one.dtype.startswith(("F", "BF")):
        return one
    if one.exact is not None:
        return cast(one.exact, dtype)

    def convert(before: Tensor) -> Tensor:
        after = before.to(torch_type(dtype))
        if _infinite(after) and not _infinite(before):
            raise FormatError("a weight is too large for half precision", "save as bfloat16 or float32")
        return after

    def read() -> Iterator[Any]:
        import torch

        for piece in filter(len, pieces(one)):  # torch makes no tensor of no bytes
            yield raw_bytes(convert(torch.frombuffer(piece, dtype=torch_type(one.dtype))))

    return Pending(dtype, one.shape, lambda: convert(one.load()), read if one.read else None, one)


def _infinite(tensor: Tensor) -> bool:
    """Whether its least or largest number is infinite. `isinf` would need the memory of the tensor once more."""
    return tensor.numel() > 0 and any(bool(end.isinf()) for end in tensor.aminmax())


def reshaped(one: Pending, shape: tuple[int, ...]) -> Pending:
    """The same numbers in another shape."""
    return one if one.shape == shape else from_bytes(one.dtype, shape, lambda: pieces(one))


def transposed(one: Pending) -> Pending:
    """Rows as columns."""
    return Pending(one.dtype, one.shape[::-1], lambda: one.load().T.contiguous())


def third(one: Pending, number: int) -> Pending:
    """One of the three parts that lie below each other in `one`."""
    if not one.shape or one.shape[0] % 3:
        raise FormatError(f"fused queries, keys and values of shape {one.shape} do not fall into three parts")
    shape = (one.shape[0] // 3, *one.shape[1:])
    size = bytes_of(one.dtype, shape)

    def read() -> Iterator[Any]:
        passed = -number * size
        for piece in pieces(one):
            yield piece[max(0, -passed) : max(0, size - passed)]
            passed += len(piece)

    return from_bytes(one.dtype, shape, read)


def stacked(parts: Sequence[Pending]) -> Pending:
    """Tensors below each other, in the type of the first."""
    first = parts[0]
    alike = [cast(part, first.dtype) for part in parts]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return from_bytes(first.dtype, shape, lambda: chain.from_iterable(map(pieces, alike)))
