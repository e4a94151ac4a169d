"""Pictures of the root's folders by id, as small as they are shown. No address holds a path, and every file is decoded anew.

An id is a keyed digest of the folder, the name in it and the file's time, so that it is the same after a restart, and
another one as soon as the file is. An id is found again by listing the places of a folder where pictures lie.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

from likewise.local import pictures as local
from likewise.picture import DECODE_ERRORS, FORMATS
from likewise.studio.root import COMPARISONS, CONCEPTS, DRAWINGS, RUNS, Root

WIDTHS = (160, 320, 640, 1280)
"""Longest sides that are given out."""
PLACES = {
    RUNS: ("samples/*/*.png",),
    COMPARISONS: ("pictures/*.png", "trials/*/gallery/*.png", "trials/*/run/samples/*/*.png", "anchors/*/*.png"),
    CONCEPTS: ("*", "*/*"),
    DRAWINGS: ("*.png", "*/*.png"),
}  # fmt: skip
"""Where pictures lie in each kind of folder."""


class Thumbnails:
    """Pictures under `root`, whose ids nobody can make up without `secret`."""

    def __init__(self, root: Root, secret: bytes) -> None:
        self.root, self._secret = root, secret
        self._known: dict[str, Path] = {}

    def id(self, path: Path) -> str | None:
        """The id of a picture; None where there is no file."""
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return None
        text = f"{path}\0{stamp}".encode("utf-8", "surrogateescape")
        known = hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:24]
        self._known[known] = path
        return known

    def address(self, path: Path, width: int = 320) -> str | None:
        """Where the page finds a picture of one of the root's folders."""
        known = self.id(path)
        kind, name = path.relative_to(self.root.folder).parts[:2] if known else ("", "")
        if known and kind not in PLACES:  # a run that lies in the root itself
            kind, name = next(k for k in (RUNS, COMPARISONS) if self.root.find(k, kind)), kind
        return f"/pictures/{kind}/{name}/{known}/{width}" if known else None

    def webp(self, kind: str, name: str, known: str, width: int) -> bytes | None:
        """The pixels alone; None for what is no picture of this folder, or no width that is given out."""
        path = self._find(kind, name, known)
        folder = self.root.find(kind, name) if kind in PLACES else None
        if path is None or folder is None or width not in WIDTHS:
            return None
        if (
            local.confined(folder, str(path.relative_to(folder))) is None
            or path.stat().st_size > local.MOST_BYTES
        ):
            return None
        return _webp(path, width)

    def _find(self, kind: str, name: str, known: str) -> Path | None:
        if known not in self._known:
            folder = self.root.find(kind, name) if kind in PLACES else None
            for one in _all(folder, kind) if folder else ():
                self.id(one)
        path = self._known.get(known)
        return path if path is not None and self.id(path) == known else None


def _all(folder: Path, kind: str) -> Iterator[Path]:
    return (path for place in PLACES[kind] for path in folder.glob(place))


def _webp(path: Path, width: int) -> bytes | None:
    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > local.MOST_PIXELS:
                return None
            opened.draft("RGB", (width, width))
            picture = ImageOps.exif_transpose(opened).convert(
                "RGBA" if opened.has_transparency_data else "RGB"
            )
    except DECODE_ERRORS:
        return None
    picture.info.clear()
    picture.thumbnail((width, width), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small = max(picture.size) <= 128
    if (
        small
    ):  # exact; the least effort takes a fifth of the time, for some more bytes that stay on this machine
        picture.save(buffer, "WEBP", lossless=True, quality=0, method=0)
    else:
        picture.save(buffer, "WEBP", quality=84, method=2)
    return buffer.getvalue()
