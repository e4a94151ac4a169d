"""Picture: one file or member of a zip as training sees it, RGB, upright and sRGB, and what it looks like.

Damaged and hostile files are refused in words. No torch here: commands that only look must start in a blink.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms, UnidentifiedImageError

from likewise.errors import ConceptError

MOST_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
"""What may be decoded, whatever the suffix claims. Never EPS or other formats that start programs."""

DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError,
    MemoryError, struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on hostile or damaged bytes; a plain `Exception` would hide bugs of our own."""
_ORIENTATION = 0x0112
_TURN = Image.Transpose
_UPRIGHT = {
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip


class Look(NamedTuple):
    """A decoded picture with the upright size of the whole; `moves` where the file holds further frames."""

    picture: Image.Image
    size: tuple[int, int]
    moves: bool = False


@dataclass(frozen=True)
class Example:
    """One picture: a file, or a member of a zip, with what is known of it."""

    path: Path
    caption: str | None = None
    repeats: int = 1
    member: str | None = None
    """Name inside the zip at `path`."""
    background: str = "white"
    """What transparency is laid on."""
    mask: Example | None = field(default=None, compare=False)
    """A picture of its owner's, bright where the subject is."""
    sha256: str | None = field(default=None, compare=False)
    """Digest of the bytes as they were when somebody looked. What a picture is, wherever it lies later."""

    @property
    def name(self) -> str:
        """The file's own name, for messages."""
        return (self.member or str(self.path)).replace("\\", "/").rsplit("/", 1)[-1]

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The raw bytes, seekable. Nothing is ever unpacked onto the disk."""
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive:
                yield io.BytesIO(archive.read(self.member))

    def digest(self) -> str:
        """sha256 of the bytes as they are now."""
        with self.stream() as file:
            return hashlib.sha256(file.read()).hexdigest()

    def open(self) -> Image.Image:
        """The picture: RGB, upright, sRGB, no transparency. Raises ConceptError naming the file."""
        return self.look(0).picture

    def outline(self) -> Image.Image | None:
        """Where the subject is, bright on dark and upright: by its owner's mask, else where it is not transparent.

        None where its owner says nothing. Raises ConceptError naming the file.
        """
        if self.mask is not None:
            return self.mask.open().convert("L")
        clear = [replace(self, background=colour).open() for colour in ("black", "white")]
        difference = ImageChops.difference(*clear).convert("L")
        return ImageChops.invert(difference) if difference.getextrema()[1] else None

    def preview(self, at_least: int) -> tuple[Image.Image, tuple[int, int]]:
        """As `open`, with the upright size; a JPEG may come smaller, not below `at_least` px (0: full)."""
        look = self.look(at_least)
        return look.picture, look.size

    def look(self, at_least: int) -> Look:
        """As `preview`, with what else the file holds."""
        try:
            with self.stream() as file:
                return _decode(file, self.background, at_least)
        except ConceptError as error:
            raise ConceptError(f"{self.name}: {error.message}", error.hint) from None
        except (FileNotFoundError, PermissionError) as error:
            hint = f"look at {self.path}"
            raise ConceptError(f"{self.name}: cannot be opened, {error.strerror}", hint) from None
        except UnidentifiedImageError:
            hint = "save it again as JPEG or PNG"
            raise ConceptError(f"{self.name}: not a picture, whatever its name says", hint) from None
        except Image.DecompressionBombError:
            raise ConceptError(f"{self.name}: {_TOO_LARGE}", _SHRINK) from None
        except DECODE_ERRORS as error:
            detail = " ".join(str(error).split()) or type(error).__name__
            raise ConceptError(
                f"{self.name}: damaged or cut short ({detail})", "copy or export it again"
            ) from None


_TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
_SHRINK = "make it smaller first; a few thousand pixels a side are plenty"


def _decode(file: BinaryIO, background: str, at_least: int) -> Look:
    if not file.read(1):
        raise ConceptError("an empty file (0 bytes)", "copy it again")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and of sizes that are checked here anyway
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:  # known from the header: nothing has been decoded yet
                raise ConceptError(f"{_TOO_LARGE} ({width} x {height})", _SHRINK)
            if at_least:
                image.draft(None, (at_least, at_least))
            image.load()
            turn = _orientation(image)  # after loading: Pillow turns TIFF by itself, and then forgets the tag
            picture = _flatten(image, background)
            moves = _moves(image)
    if turn in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[turn])
    return Look(picture, (height, width) if turn >= 5 else (width, height), moves)


def _moves(image: Image.Image) -> bool:
    """Whether there are further frames or pages. Phones put small helpers behind a JPEG (MPO), which are none."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except DECODE_ERRORS:  # what is damaged behind the first frame is not used anyway
        return False


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except DECODE_ERRORS:  # broken EXIF is common and no reason to lose the picture
        return 1
    return turn if turn in _UPRIGHT else 1


def _flatten(image: Image.Image, background: str) -> Image.Image:
    """Any mode to sRGB, transparency laid on `background`."""
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    colour = _to_srgb(image, profile) if profile else image.convert("RGB")
    if alpha is None:
        return colour
    flat = Image.new("RGB", colour.size, background)
    flat.paste(colour, mask=alpha)
    return flat


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating point, to 8 bits: `convert` would clip instead of scaling."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode == "F":
        top = next((top for top in (1.0, 255.0) if values.max() <= top), 65535.0)
    else:
        top = 65535.0
    return Image.fromarray((values / top * 255.0).round().clip(0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply a colour profile; one that is broken or made for other channels is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in (source.profile.profile_description or ""):
            return image.convert("RGB")
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[source.profile.xcolor_space.strip()]
        if (mode == "CMYK") != (image.mode == "CMYK"):
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image.convert(mode), source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, LookupError):
        return image.convert("RGB")
    return converted or image.convert("RGB")


NEAR_BITS, NEAR_COLOUR = 8, 24.0
"""Near-duplicates differ by at most so many of 64 bits, and by so many of 255 levels in a miniature."""

# The type-II discrete cosine transform of 32 samples; only the eight slowest waves are used.
_DCT = np.cos(np.pi / 32 * np.outer(np.arange(8), np.arange(32) + 0.5))
Fingerprint = tuple[NDArray[np.bool_], NDArray[np.float64]]


def fingerprint(picture: Image.Image) -> Fingerprint:
    """Perceptual hash [64] (slow waves of brightness against their median) and a miniature [8, 8, 3].

    The hash alone would call all plain pictures alike, whatever their colour.
    """
    grey = np.asarray(picture.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    waves = (_DCT @ grey @ _DCT.T).round(3).flatten()
    small = picture.resize((8, 8), Image.Resampling.BOX)
    return waves > np.median(waves[1:]), np.asarray(small, dtype=np.float64)


def near_duplicates(names: Sequence[str], prints: Sequence[Fingerprint]) -> tuple[tuple[str, ...], ...]:
    """Groups of names whose pictures look alike, directly or through others. Mirrored ones do not."""
    leader = list(range(len(names)))
    bits = np.array([hashed for hashed, _ in prints])
    for i in range(len(names)):
        for j in (i + 1 + np.flatnonzero((bits[i] != bits[i + 1 :]).sum(axis=1) <= NEAR_BITS)).tolist():
            if np.abs(prints[i][1] - prints[j][1]).mean() <= NEAR_COLOUR:
                old, new = leader[j], leader[i]
                leader = [new if each == old else each for each in leader]
    groups = [tuple(n for n, own in zip(names, leader, strict=True) if own == one) for one in set(leader)]
    return tuple(sorted(group for group in groups if len(group) > 1))
