"""Hashes by which people and programs know a file: of the whole, of a slice, or of the tensors alone.

Everything streams. What a hash is good for is said at each; none of them protects against malice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.errors import FormatError
from likewise.weights import is_safetensors
from likewise.weights.pending import spelled
from likewise.weights.pickled import brief
from likewise.weights.streaming import in_order, payload, serialise_header

if TYPE_CHECKING:
    from torch import Tensor

SLICE = range(0x100000, 0x110000)
"""The 64 KiB that the first, shortest hashes look at."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class FileHashes:
    """Lower-case hexadecimal, full length where nothing else is said."""

    sha256: str
    """The hash of the whole file; editing metadata changes it."""
    auto_v1: str
    """8 digits, of the 64 KiB at 1 MiB: the web UI's old model hash. `e3b0c442` for files that end before."""
    payload: str = ""
    """The hash of what follows a safetensors header (`sshs_model_hash`, `modelspec.hash_sha256`); else empty."""

    @property
    def auto_v2(self) -> str:
        """10 digits, of the whole file: checkpoints and hypernetworks in the web UI, and model sites."""
        return self.sha256[:10]

    @property
    def embedding(self) -> str:
        """12 digits, of the whole file: embeddings in the web UI."""
        return self.sha256[:12]

    @property
    def lora(self) -> str:
        """12 digits, of the payload: `Lora hashes` of the web UI. Empty for files that are not safetensors."""
        return self.payload[:12]


def hash_file(path: Path) -> FileHashes:
    """All hashes of a file in one pass over it; raises `FormatError` if it cannot be read."""
    whole, middle, inner = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    try:
        tensors = is_safetensors(path)
        with Path(path).open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            file.seek(0)
            begin = 0
            while chunk := file.read(CHUNK):
                whole.update(chunk)
                middle.update(chunk[max(0, SLICE.start - begin) : max(0, SLICE.stop - begin)])
                inner.update(chunk[max(0, start - begin) :])
                begin += len(chunk)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {brief(error)}") from None
    return FileHashes(whole.hexdigest(), middle.hexdigest()[:8], inner.hexdigest() if tensors else "")


def payload_sha256(tensors: Mapping[str, Tensor]) -> str:
    """`FileHashes.payload` of the safetensors file that `tensors` would make."""
    digest = hashlib.sha256()
    for data in payload(tensors):
        digest.update(data)
    return digest.hexdigest()


def legacy_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """`sshs_legacy_hash`: `FileHashes.auto_v1` of a file of `tensors` that has only the `ss_*` of `metadata`.

    kohya leaves everything else out, so that later edits of title or author do not change it.
    """
    entries = {name: (spelled(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}
    names = in_order((name, dtype) for name, (dtype, _) in entries.items())
    own = {key: text for key, text in metadata.items() if key.startswith("ss_")}
    digest, begin = hashlib.sha256(), 0
    for data in [serialise_header({name: entries[name] for name in names}, own), *payload(tensors)]:
        digest.update(data[max(0, SLICE.start - begin) : max(0, SLICE.stop - begin)])
        begin += len(data)
    return digest.hexdigest()[:8]


def embedding_checksum(vectors: Tensor) -> str:
    """4 digits that the web UI shows for an embedding [n, d]: a rolling hash of its values in hundredths."""
    rolled = 0
    for value in (vectors.detach().reshape(-1) * 100).tolist():
        rolled = (rolled * 281 ^ int(value) * 997) & 0xFFFFFFFF
    return f"{rolled & 0xFFFF:04x}"
