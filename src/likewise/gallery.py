"""Gallery: sampled pictures on disk with their prompts and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from likewise import __version__
from likewise.errors import RunError
from likewise.files import expand, read_text, write_text, write_with

PARAMETERS = "parameters"
"""The text chunk in which the AUTOMATIC1111 web UI keeps how a picture was drawn, and where other programs look for it."""
NEGATIVE = "Negative prompt"


@dataclass(frozen=True)
class Picture:
    """One sampled picture: which prompt, which seed, and its file inside the gallery's folder."""

    prompt: str
    seed: int
    file: str
    role: str = "use"


class Gallery:
    """A folder of lossless pictures and `gallery.json`, written as they come; opening it again finds what is there.

    `facts` (steps, sampler, model and the like) go into every picture's text beside its prompt and seed.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str] | None = None) -> None:
        self.folder, self.facts = expand(folder), dict(facts or {})
        self.pictures: list[Picture] = []
        index = self.folder / "gallery.json"
        if index.exists():
            try:
                self.pictures = [Picture(**row) for row in json.loads(read_text(index))]
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
        text = PngInfo()
        text.add_text(PARAMETERS, self._parameters(picture, image.size))
        write_with(self.folder / picture.file, lambda temporary: image.save(temporary, "PNG", pnginfo=text))
        self.pictures.append(picture)
        return picture

    def _parameters(self, picture: Picture, size: tuple[int, int]) -> str:
        """How it was drawn, laid out as the web UI does: the prompt, the negative one, then `Name: value` pairs."""
        facts = {**self.facts, "Seed": str(picture.seed), "Size": f"{size[0]}x{size[1]}"}
        negative = facts.pop(NEGATIVE, "")
        order = ("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model")
        pairs = [(key, facts[key]) for key in sorted(facts, key=lambda key: (*order, key).index(key))]
        pairs.append(("Version", f"likewise {__version__}"))
        lines = [picture.prompt, f"{NEGATIVE}: {negative}" if negative else ""]
        lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs))
        plain = "\n".join(line for line in lines if line)
        return plain.replace("\0", "").encode("utf-8", "replace").decode()

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


def _quoted(value: str) -> str:
    """A value in quotes where it would be taken for several."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(",:\n") else value
