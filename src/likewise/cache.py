"""Cache: latents, text and class pictures that were computed once, addressed by what they were computed from.

Everything in it can be deleted at any time. Keys are digests of weights and inputs, so nothing stale can be found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from likewise.files import expand, write_with

if TYPE_CHECKING:
    from torch import Tensor


def home() -> Path:
    """`LIKEWISE_HOME`, or this system's folder for caches."""
    named = os.environ.get("LIKEWISE_HOME")
    return expand(named) if named else user_cache_path("likewise")


def key(*parts: object) -> str:
    """A digest of the parts' texts."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


class Cache:
    """Tensors and folders by key."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = expand(folder) if folder else home() / "cache"

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors kept under `name`, made and kept first where there are none (or they do not read)."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        path = self.folder / name[:2] / f"{name}.safetensors"
        if path.exists():
            try:
                return load_file(path)
            except (SafetensorError, OSError):
                path.unlink(missing_ok=True)
        made = {k: v.contiguous() for k, v in make().items()}
        write_with(path, lambda temporary: save_file(made, temporary))
        return made

    def folder_for(self, name: str) -> Path:
        """A folder kept under `name`; it may not exist yet."""
        return self.folder / name[:2] / name
