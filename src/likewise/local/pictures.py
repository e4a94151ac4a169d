"""Pictures of a folder by id: an address never holds a path, and nothing outside the folder is read.

What is sent are the pixels alone, encoded anew: the text in a file may name the method or the person, and a file may be more
than a picture.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from pathlib import Path

from PIL import Image

from likewise.picture import DECODE_ERRORS

MOST_BYTES = 64_000_000
MOST_PIXELS = 50_000_000
"""A file beyond either is not opened."""


def confined(folder: Path, name: str) -> Path | None:
    """The file `name` of a folder; None where it is missing, lies outside, or is reached through a symbolic link."""
    root = Path(folder).resolve()
    path = root / name
    try:
        return path if path.resolve(strict=True) == path and path.is_relative_to(root) else None
    except (OSError, ValueError, RuntimeError):  # missing, a null byte, a loop of links
        return None


class Pictures:
    """Pictures of one folder under ids that tell nothing, and that are others in every process."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._key = secrets.token_bytes(16)
        self._names: dict[str, str] = {}

    def add(self, name: str) -> str:
        """The id of the file `name`, relative to the folder; the same for the same name."""
        known = hashlib.blake2b(
            name.encode("utf-8", "surrogateescape"), key=self._key, digest_size=12
        ).hexdigest()
        self._names[known] = name
        return known

    def png(self, known: str) -> bytes | None:
        """The picture as PNG without its text; None where the id is unknown or its file is no picture of this folder."""
        name = self._names.get(known)
        path = None if name is None else confined(self.folder, name)
        if path is None or path.stat().st_size > MOST_BYTES:
            return None
        try:
            with Image.open(path) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    return None
                pixels = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
        except DECODE_ERRORS:
            return None
        pixels.info.clear()
        buffer = io.BytesIO()
        pixels.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
