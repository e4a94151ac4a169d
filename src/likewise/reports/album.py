"""Album: the pictures of a page, each content once, inside the page or, where they are too many, in a folder beside it."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape
from PIL import Image

from likewise.files import write_with
from likewise.picture import DECODE_ERRORS

CAP = 24_000_000
"""Characters of pictures in one page; a larger set goes to a folder beside it."""
LEVELS = ((1024, 90), (640, 84), (512, 76), (384, 66), (256, 62), (192, 58))
"""Longest side and WebP quality, tried in turn."""


class Album:
    """The pictures of a comparison's folder by number. Files outside the folder are not opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.files: list[Path] = []
        self._known: dict[str, int] = {}
        self._sources: list[str] = []
        self._placed: set[int] = set()

    def add(self, file: str | Path) -> int | None:
        """The number of a picture, or None where it is missing or no picture."""
        path = (self.folder / file).resolve()
        try:
            if not path.is_relative_to(self.folder):
                return None
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest not in self._known:
                with Image.open(path) as image:
                    image.verify()
                self.files.append(path)
                self._known[digest] = len(self.files) - 1
        except DECODE_ERRORS:
            return None
        return self._known[digest]

    def encode(self, out: Path) -> bool:
        """Make every picture a WebP in the page, or (True) a file beside it where it would be too large."""
        probe = self.files[:: max(1, len(self.files) // 16)]  # spares encoding a large set at every level
        for level in LEVELS:
            sizes = [len(_webp(file, *level)) for file in probe]
            if sum(sizes) * len(self.files) * 4 / 3 > CAP * len(sizes):
                continue
            texts = [base64.b64encode(_webp(file, *level)).decode() for file in self.files]
            if sum(map(len, texts)) <= CAP:
                self._sources = [f"data:image/webp;base64,{text}" for text in texts]
                return False
        beside = out.with_name(f"{out.stem}_files")
        names = [f"{number:05d}.webp" for number in range(len(self.files))]

        def fill(target: Path) -> None:
            target.mkdir()
            for name, file in zip(names, self.files, strict=True):
                (target / name).write_bytes(_webp(file, *LEVELS[0]))

        write_with(beside, fill)
        self._sources = [f"{quote(beside.name)}/{name}" for name in names]
        return True

    def place(self, number: int) -> Markup:
        """The attributes that give an <img> its picture: the data once, then where the script finds it."""
        if number in self._placed:
            return Markup(f'data-same="{number}"')
        self._placed.add(number)
        return Markup(f'id="i{number}" src="{escape(self._sources[number])}"')

    def rest(self) -> dict[int, str]:
        """The pictures that no <img> has been given, for the script."""
        return {k: source for k, source in enumerate(self._sources) if k not in self._placed}


class Linked(Album):
    """An album whose pictures have addresses and are fetched when they come into view; their bytes are not read here."""

    def __init__(self, folder: Path, address: Callable[[Path], str]) -> None:
        super().__init__(folder)
        self._address = address

    def add(self, file: str | Path) -> int | None:
        """The number of a file of the folder, or None where it is missing."""
        path = (self.folder / file).resolve()
        if not path.is_relative_to(self.folder) or not path.is_file():
            return None
        if str(path) not in self._known:
            self.files.append(path)
            self._sources.append(self._address(path))
            self._known[str(path)] = len(self.files) - 1
        return self._known[str(path)]

    def place(self, number: int) -> Markup:
        """The attributes that give an <img> its picture."""
        known = Markup(f'id="i{number}" ') if number not in self._placed else Markup()
        self._placed.add(number)
        return known + Markup('src="{}" loading="lazy" decoding="async"').format(self._sources[number])

    def rest(self) -> dict[int, str]:
        """Every picture, for the script."""
        return dict(enumerate(self._sources))


def _webp(file: Path, side: int, quality: int) -> bytes:
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    small = max(image.size) <= 128  # lossy WebP halves the resolution of colours
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=small, quality=50 if small else quality, method=2 if small else 4)
    return buffer.getvalue()
