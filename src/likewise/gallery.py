"""Gallery: sampled pictures on disk with their prompts and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from likewise.errors import RunError
from likewise.files import write_text, write_with


@dataclass(frozen=True)
class Picture:
    """One sampled picture: which prompt, which seed, and its file inside the gallery's folder."""

    prompt: str
    seed: int
    file: str
    role: str = "use"


class Gallery:
    """A folder of lossless pictures and `gallery.json`, written as they come; opening it again finds what is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.pictures: list[Picture] = []
        index = self.folder / "gallery.json"
        if index.exists():
            try:
                self.pictures = [Picture(**row) for row in json.loads(index.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise RunError(
                    f"{index} cannot be read: {error}", "delete the folder to draw it again"
                ) from None

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[Picture]:
        return iter(self.pictures)

    def add(self, image: Image.Image, prompt: str, seed: int, role: str = "use") -> Picture:
        """Save one picture and remember it; `save` writes the index."""
        picture = Picture(prompt, seed, f"{len(self.pictures):04d}.png", role)
        write_with(self.folder / picture.file, lambda temporary: image.save(temporary, "PNG"))
        self.pictures.append(picture)
        return picture

    def save(self) -> None:
        """Write the index, atomically."""
        rows = [asdict(picture) for picture in self.pictures]
        write_text(self.folder / "gallery.json", json.dumps(rows, indent=1, ensure_ascii=False))

    def open(self, picture: Picture) -> Image.Image:
        """The pixels of one picture, RGB."""
        with Image.open(self.folder / picture.file) as image:
            return image.convert("RGB")

    def images(self, role: str | None = None) -> list[Image.Image]:
        """All pictures (of one role), in order."""
        return [self.open(p) for p in self.pictures if role is None or p.role == role]
