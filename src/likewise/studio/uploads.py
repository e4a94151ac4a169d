"""Uploads: pictures and zips that somebody drops on the page, taken in with limits and written anew.

Nothing that is sent is kept as it came: pictures are decoded and encoded again, without their metadata, upright; texts are
captions of a few lines. What is refused is said by name.
"""

from __future__ import annotations

import io
import re
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

from likewise.errors import ConceptError, Error
from likewise.files import decode, write_text, write_with
from likewise.picture import DECODE_ERRORS, FORMATS

MOST_FILE = 64_000_000
MOST_ZIP = 512_000_000
"""Bytes of one file as it is sent."""
MOST_FOLDER = 2_000_000_000
MOST_PICTURES = 500
"""Bytes and pictures of one concept."""
MOST_PIXELS = 50_000_000
MOST_RATIO = 60
"""How many times as large a member of a zip may be as it is packed; pictures hardly pack."""
MOST_CAPTION = 4000
TOO_LARGE = f"it has more than {MOST_PIXELS // 1_000_000} megapixels; make it smaller first"
"""Said by us or by Pillow, which looks at the header before we can."""
TEXTS = (".txt", ".caption")


@dataclass
class Taken:
    """What became of the files that were sent."""

    kept: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(name, why)."""


async def receive(name: str, body: AsyncIterator[bytes], folder: Path) -> Taken:
    """Stream a file into a temporary one, and take in what it holds. Raises `ConceptError` where it is too large."""
    most = MOST_ZIP if name.lower().endswith(".zip") else MOST_FILE
    with tempfile.TemporaryFile(prefix="likewise-") as file:
        size = 0
        async for piece in body:
            size += len(piece)
            if size > most:
                raise ConceptError(f"{name} has more than {most // 1_000_000} MB", "make it smaller first")
            file.write(piece)
        file.seek(0)
        return take(name, file, folder)


def take(name: str, file: IO[bytes], folder: Path) -> Taken:
    """Take in one picture, caption or zip."""
    taken = Taken()
    if file.read(4) == b"PK\x03\x04":
        file.seek(0)
        _zip(name, file, folder, taken)
    else:
        file.seek(0)
        _one(name, file, folder, taken)
    return taken


def _one(name: str, file: IO[bytes], folder: Path, taken: Taken) -> None:
    try:
        if name.lower().endswith(TEXTS):
            caption(folder, _safe(name), decode(file.read(MOST_CAPTION * 4), "cp1252"))
            return
        _room(folder)
        taken.kept.append(_picture(file, folder, _safe(name)))
    except Error as error:
        taken.refused.append((name, str(error)))
    except Image.DecompressionBombError:
        taken.refused.append((name, TOO_LARGE))
    except DECODE_ERRORS:
        taken.refused.append((name, "this is no picture that can be read; save it again as JPEG or PNG"))


def _zip(name: str, file: IO[bytes], folder: Path, taken: Taken) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[: MOST_PICTURES * 4]:
                base = member.filename.replace("\\", "/").rsplit("/", 1)[-1]
                if member.is_dir() or base.startswith(".") or "__MACOSX" in member.filename:
                    continue
                packed = max(member.compress_size, 1)
                if member.file_size > MOST_FILE or (
                    member.file_size > 100_000 and member.file_size / packed > MOST_RATIO
                ):
                    taken.refused.append((base, "unpacked it would be far larger than any picture"))
                elif member.flag_bits & 1:
                    taken.refused.append((base, "it is locked with a password"))
                else:
                    with archive.open(
                        member
                    ) as inner:  # the header may lie about the size, so no more is read
                        _one(
                            base, io.BytesIO(inner.read(min(member.file_size, MOST_FILE) + 1)), folder, taken
                        )
            if len(archive.infolist()) > MOST_PICTURES * 4:
                taken.refused.append((name, f"only the first {MOST_PICTURES * 4} files were looked at"))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, RuntimeError, EOFError):
        taken.refused.append((name, "this zip is damaged; pack it again"))


def _room(folder: Path) -> None:
    sizes = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    if len(sizes) >= MOST_PICTURES * 2 or sum(sizes) > MOST_FOLDER:
        raise ConceptError(f"a concept has {MOST_PICTURES} pictures at most", "4 to 20 are best")


def _picture(file: IO[bytes], folder: Path, name: str) -> str:
    """Decode, turn upright, and write without anything but pixels and their colour profile; gives the new name."""
    with Image.open(file, formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        lossy, profile = opened.format in ("JPEG", "MPO"), opened.info.get("icc_profile")
        opened.load()
        upright = ImageOps.exif_transpose(opened)
        picture = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    picture.info.clear()
    target = _free(folder, f"{Path(name).stem}.{'jpg' if lossy else 'png'}")
    kept = {"icc_profile": profile} if isinstance(profile, bytes) and len(profile) < 1_000_000 else {}
    how = (
        {"format": "JPEG", "quality": 95, "subsampling": 0}
        if lossy
        else {"format": "PNG", "compress_level": 3}
    )
    write_with(target, lambda temporary: picture.save(temporary, **how, **kept))  # type: ignore[arg-type]
    return target.name


def caption(folder: Path, name: str, text: str) -> None:
    """Write a picture's caption beside it; an empty one is taken away."""
    path = folder / f"{Path(name).stem}.txt"
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[
        :MOST_CAPTION
    ]
    if words:
        write_text(path, words + "\n")
    else:
        path.unlink(missing_ok=True)


def _safe(name: str) -> str:
    """A file's name of plain letters; what a path or a system reads in it is gone."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    stem, _, suffix = plain.rpartition(".")
    stem, suffix = re.sub(r"[^\w -]+", "_", stem).strip(" _")[:80], re.sub(r"\W+", "", suffix)[:8]
    return f"{stem or 'picture'}.{suffix}"


def _free(folder: Path, name: str) -> Path:
    stem, suffix = Path(name).stem, Path(name).suffix
    every = (
        folder / f"{stem}{f'-{number}' if number else ''}{suffix}" for number in range(MOST_PICTURES * 4)
    )
    return next(path for path in every if not any(folder.glob(f"{glob_safe(path.stem)}.[jp][pn]g")))


def glob_safe(text: str) -> str:
    """A name whose letters mean themselves in a pattern."""
    return re.sub(r"([\[\]*?])", r"[\1]", text)
