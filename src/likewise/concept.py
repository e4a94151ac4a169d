"""Concept: the pictures, captions, token and noun to be taught, as plain data, and how a picture is decoded.

What a folder or zip holds is worked out in `intake.py`; this file knows no layouts. No torch here:
commands that only look at a concept must start in a blink.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import unicodedata
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, UnidentifiedImageError

from likewise.errors import ConceptError

MOST_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
"""What may be decoded, whatever the suffix claims. Never EPS or other formats that start programs."""

# What Pillow's decoders raise on hostile or damaged bytes; a plain `Exception` would hide bugs of our own.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError,
    MemoryError, struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112
_TURN = Image.Transpose
_UPRIGHT = {
    2: _TURN.FLIP_LEFT_RIGHT, 3: _TURN.ROTATE_180, 4: _TURN.FLIP_TOP_BOTTOM, 5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270, 7: _TURN.TRANSVERSE, 8: _TURN.ROTATE_90,
}  # fmt: skip


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

    def open(self) -> Image.Image:
        """The picture: RGB, upright, sRGB, no transparency. Raises ConceptError naming the file."""
        return self.preview(0)[0]

    def preview(self, at_least: int) -> tuple[Image.Image, tuple[int, int]]:
        """As `open`, with the upright size; a JPEG may come smaller, not below `at_least` px (0: full)."""
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
        except _DECODE_ERRORS as error:
            detail = " ".join(str(error).split()) or type(error).__name__
            raise ConceptError(
                f"{self.name}: damaged or cut short ({detail})", "copy or export it again"
            ) from None


_TOO_LARGE = f"more than {MOST_PIXELS // 1_000_000} megapixels"
_SHRINK = "make it smaller first; a few thousand pixels a side are plenty"


def _decode(file: BinaryIO, background: str, at_least: int) -> tuple[Image.Image, tuple[int, int]]:
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
    if turn in _UPRIGHT:
        picture = picture.transpose(_UPRIGHT[turn])
    return picture, ((height, width) if turn >= 5 else (width, height))


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except _DECODE_ERRORS:  # broken EXIF is common and no reason to lose the picture
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


@dataclass(frozen=True)
class Concept:
    """What is to be learned: pictures with captions, the token that calls it and the noun it is."""

    name: str
    """Slug for folders."""
    token: str
    """What prompts say: `sks`."""
    noun: str
    """What it is: `dog`."""
    examples: tuple[Example, ...]
    held_out: tuple[Example, ...] = ()
    """Kept from training, for judging."""
    background: str = "white"
    """What transparency was laid on; set on every example."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", check_token(self.token))
        object.__setattr__(self, "noun", _check_noun(self.noun))
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            hint = "use a name such as white, or #rrggbb"
            raise ConceptError(f"{self.background!r} is not a colour to lay transparency on", hint) from None
        for part in ("examples", "held_out"):
            laid = tuple(replace(example, background=self.background) for example in getattr(self, part))
            object.__setattr__(self, part, laid)

    def prompt(self) -> str:
        """`a sks dog`, as DreamBooth words it."""
        return f"a {self.token} {self.noun}"

    def class_prompt(self) -> str:
        """`a dog`: any of its kind."""
        return f"{article(self.noun)} {self.noun}"

    def caption(self, example: Example) -> str:
        """One line that always holds the token: placeholders filled, or `sks dog, ` put in front."""
        called = f"{self.token} {self.noun}"
        # "[trigger] dog", as ai-toolkit writes it, must not become "sks dog dog".
        places = rf"(?:\[(?:trigger|name|filewords)\]|\{{\}})(?:\s+{re.escape(self.noun)}(?!\w))?"
        text = re.sub(places, lambda _: called, example.caption or "", flags=re.IGNORECASE)
        text = " ".join(text.split())
        if not text:
            return self.prompt()
        if re.search(rf"(?<!\w){re.escape(self.token)}(?!\w)", text):
            return text
        return f"{called}, {text}"

    @classmethod
    def read(
        cls,
        source: str | Path | Sequence[str | Path],
        *,
        token: str,
        noun: str,
        hold_out: int | None = 0,
        seed: int = 0,
        background: str = "white",
    ) -> Self:
        """Read whatever `source` holds; keep `hold_out` pictures for judging (None: as the protocol says).

        Near-duplicates stay on one side, so fewer may be kept. The choice depends on names and `seed` alone.
        Raises ConceptError when nothing is usable or `hold_out` cannot be met.
        """
        from likewise import intake  # intake builds on Example, so the two cannot both import at the top

        token, noun = check_token(token), _check_noun(noun)
        found = intake.read(source)
        words = " ".join(filter(None, (found.token, found.noun)))
        examples = [
            # A kohya folder's words are a stand-in for a caption; the words asked for now take their place.
            replace(example, caption=f"{token} {noun}") if words and example.caption == words else example
            for example in found.examples
        ]
        kept = _hold_out(found.names, found.duplicates, hold_out, seed)
        return cls(
            name=slug(found.title) or slug(f"{token} {noun}") or "concept",
            token=token,
            noun=noun,
            examples=tuple(e for e, name in zip(examples, found.names, strict=True) if name not in kept),
            held_out=tuple(e for e, name in zip(examples, found.names, strict=True) if name in kept),
            background=background,
        )

    def digest(self) -> str:
        """sha256 over all that training sees: bytes, captions, repeats, split, token, noun, background."""
        parts = [self.token, self.noun, self.background, str(len(self.examples))]
        for example in (*self.examples, *self.held_out):
            with example.stream() as file:
                parts.append(hashlib.sha256(file.read()).hexdigest())
            parts += [self.caption(example), str(example.repeats)]
        # Each part with its length, so that "ab" + "c" and "a" + "bc" differ.
        return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`. Holds absolute paths: for the run folder only."""
        head: dict[str, Any] = {
            "name": self.name,
            "token": self.token,
            "noun": self.noun,
            "background": self.background,
        }
        for part in ("examples", "held_out"):
            head[part] = [
                {"path": str(e.path), "caption": e.caption, "repeats": e.repeats, "member": e.member}
                for e in getattr(self, part)
            ]
        return head

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The concept that `to_json` described."""
        try:
            values = dict(data)
            for part in ("examples", "held_out"):
                rows = [{**row, "path": Path(row["path"])} for row in values[part]]
                values[part] = tuple(Example(**row) for row in rows)
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            hint = "was the file edited? Teach again from the pictures"
            raise ConceptError(f"the description of the concept cannot be read: {error!r}", hint) from None


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


def _hold_out(
    names: Sequence[str], duplicates: Sequence[Sequence[str]], wanted: int | None, seed: int
) -> frozenset[str]:
    count = held_out_for(len(names)) if wanted is None else wanted
    if not 0 <= count < max(len(names), 1):
        hint = f"0 to {len(names) - 1} leave something to learn from"
        raise ConceptError(f"cannot hold out {count} of {len(names)} usable pictures", hint)
    group = {name: tuple(names) for names in duplicates for name in names}
    groups = {group.get(name, (name,)) for name in names}
    kept: set[str] = set()
    # Ordered by a hash rather than a generator: the same on every platform and version of Python.
    for members in sorted(
        groups, key=lambda g: hashlib.sha256(f"{seed}/{g[0]}".encode("utf-8", "surrogateescape")).digest()
    ):
        if len(kept) + len(members) <= count:
            kept.update(members)
    if wanted and not kept:
        hint = "add pictures that differ, or hold out none"
        raise ConceptError(f"cannot hold out {wanted}: the pictures are near-duplicates of one another", hint)
    return frozenset(kept)


def held_out_for(pictures: int) -> int:
    """How many of so many pictures the comparison protocol keeps for judging; a quarter beyond twelve."""
    if pictures < 4:
        return 0
    return next((held for most, held in ((4, 1), (7, 2), (12, 3)) if pictures <= most), -(-pictures // 4))


def check_token(token: str) -> str:
    """The token without outer blanks. Raises ConceptError on one that a prompt could not carry."""
    token = token.strip()
    if not token:
        raise ConceptError("the token is empty", "choose a rare word such as sks")
    if "," in token or not token.isprintable() or any(letter.isspace() for letter in token):
        hint = "choose one word such as sks or <my-toy>"
        raise ConceptError(f"the token {token!r} has blanks or commas", hint)
    return token


def _check_noun(noun: str) -> str:
    noun = " ".join(noun.split())
    if not noun or not noun.isprintable():
        hint = "say what the pictures show: dog, mug, oil painting"
        raise ConceptError(f"the noun {noun!r} says nothing", hint)
    return noun


# Sound decides, not spelling: silent h takes "an"; the "yoo" and "wun" sounds take "a".
_AN = re.compile(r"(?:[aeiou]|hour|honest|hono|heir|8|11\b|18\b)", re.IGNORECASE)
_A = re.compile(r"(?:uni(?!n|m)|us[eu]|ut[eio]|uku|ur[ai]|ubiq|ufo|u-|eu|ewe|(?:once|one)\b)", re.IGNORECASE)


def article(noun: str) -> str:
    """`a` or `an`, by the sound of the noun's first word."""
    return "an" if _AN.match(noun) and not _A.match(noun) else "a"


def slug(text: str) -> str:
    """A folder name: lower case, ASCII where the text has any, 60 characters at most; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    for candidate in (plain, unicodedata.normalize("NFC", text)):
        found = re.sub(r"[^\w]+", "-", candidate.lower()).strip("-_")[:60].strip("-_")
        if found:
            return found
    return ""
