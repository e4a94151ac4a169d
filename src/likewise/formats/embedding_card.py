"""The web UI's embedding card: a picture that carries an embedding, as text inside a PNG and in strips at its sides.

The strips survive programs that drop a PNG's texts, as long as no pixel changes, and are all that WebP has. A card is
to be shown; whoever wants small files takes another layout.
"""

from __future__ import annotations

import base64
import json
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.formats._embeddings import one_tower, read_web_ui_table, web_ui_table
from likewise.formats.layout import Contents, Layout, Saving
from likewise.kinds import WORDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

TEXT = "sd-ti-embedding"
TENSOR = "TORCHTENSOR"
SIDE = 384
"""Height of a card, and width of the picture between the strips, in pixels."""
SHADE = 0x60
"""High half of every byte in a strip: readers ignore it, and cut away borders that are quite black."""
MULTIPLIER, INCREMENT, MODULUS, KEEP = 1664525, 1013904223, 1 << 32, 255
"""The linear congruential generator whose numbers hide the strips' nibbles: state, then remainder by 255."""
MOST_PIXELS, MOST_BYTES = 40_000_000, 64_000_000
NONE = "has no embedding in it"


class EmbeddingCard(Layout):
    """Word vectors in a picture."""

    name = "embedding_card"
    title = "embedding card (.png, .webp)"
    suffix = ".png"
    kinds = (WORDS,)
    usual = "float32"
    readers = dict.fromkeys(("AUTOMATIC1111", "Forge", "likewise"), "exact")

    def unsupported(self, artifact: Artifact) -> str | None:
        return super().unsupported(artifact) or one_tower(artifact, self.title)

    def sniff(self, contents: Contents) -> bool:
        return contents.form == "picture"

    def read(self, contents: Contents) -> Artifact:
        path = contents.path
        try:
            found = _open(path)
        except FormatError as error:
            raise FormatError(f"{path} {error.message}", error.hint) from None
        return read_web_ui_table(found, path)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        """PNG, or WebP without loss where the path says so. Numbers are written out whole, whatever `saving.dtype`."""
        from PIL import Image, PngImagePlugin

        table = web_ui_table(artifact, Path(path), Saving("float32", saving.metadata))
        (vectors,) = artifact.tensors.values()
        written = json.dumps(table, default=lambda tensor: {TENSOR: tensor.tolist()}).encode()
        card = Image.fromarray(_with_strips(_portrait(vectors.float().numpy(), table["name"]), written))
        if Path(path).suffix.lower() == ".webp":
            return write_with(path, lambda temporary: card.save(temporary, "WEBP", lossless=True))
        text = PngImagePlugin.PngInfo()
        text.add_text(TEXT, base64.b64encode(written).decode())
        return write_with(path, lambda temporary: card.save(temporary, "PNG", pnginfo=text))


def _open(path: Path) -> dict[str, Any]:
    """The table in a picture; raises `FormatError` without the path."""
    import numpy as np
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are checked here
            with Image.open(path, formats=("PNG", "WEBP")) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise FormatError("is too large for an embedding card")
                text = getattr(image, "text", {}).get(TEXT)
                pixels = None if text else np.asarray(image.convert("RGB"))
    except FormatError:
        raise
    except Exception as error:  # decoders raise anything on damaged bytes, and all of it means the same
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise FormatError(f"is damaged or no picture: {reason}", "fetch the file again") from None
    return _decode(_from_text(str(text)) if pixels is None else _from_strips(pixels))


def _from_text(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise FormatError("has a damaged embedding in its text", "fetch the file again") from None


def _from_strips(pixels: Bytes) -> bytes:
    """Unite the strips' halves of bytes: what is left of the first, and right of the last column without low halves."""
    import numpy as np

    lit = np.min(pixels, axis=2) > 0
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        raise FormatError(NONE)
    low: Bytes = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & np.uint8(15)
    empty = np.flatnonzero(~low.any(axis=2).any(axis=0))
    if not len(empty):
        raise FormatError(NONE)
    left, right = _hidden(low[:, : empty[0]]), _hidden(low[:, empty[-1] + 1 :])
    if not left.size or left.shape != right.shape:
        raise FormatError(NONE)
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress((right << 4 | left).tobytes(), MOST_BYTES)
    except zlib.error:
        raise FormatError(NONE, "was the picture resized, or saved as JPEG?") from None
    if not unpacking.eof:
        raise FormatError("has a damaged embedding in its strips", "fetch the file again")
    return found


def _decode(written: bytes) -> dict[str, Any]:
    import torch

    def tensors(table: dict[str, Any]) -> Any:
        return torch.tensor(table[TENSOR], dtype=torch.float32) if set(table) == {TENSOR} else table

    try:
        found = json.loads(written, object_hook=tensors)
    except (ValueError, TypeError, OverflowError, RuntimeError, RecursionError):
        raise FormatError("has a damaged embedding in it", "fetch the file again") from None
    if not isinstance(found, dict):
        raise FormatError(NONE)
    return found


def _with_strips(picture: Bytes, written: bytes) -> Bytes:
    """`picture` [h, w, 3] between two strips, with black columns: `written`'s low halves left, high ones right."""
    import numpy as np

    height = len(picture)
    packed = np.frombuffer(zlib.compress(written, 9), np.uint8)
    width = -(-len(packed) // (height * 3))
    low, high = (np.resize(half, (height, width, 3)) for half in (packed & 15, packed >> 4))
    black = np.zeros((height, 1, 3), np.uint8)
    return np.concatenate([_hidden(low) | SHADE, black, picture, black, _hidden(high) | SHADE], axis=1)


def _hidden(nibbles: Bytes) -> Bytes:
    """Hide a strip's nibbles [h, w, 3] behind the generator's, or uncover them: it is the same step."""
    import numpy as np

    states, jump, add = np.array([INCREMENT], np.uint32), MULTIPLIER, INCREMENT
    while len(states) < nibbles.size:  # a jump over all states so far doubles them
        states = np.concatenate([states, states * np.uint32(jump) + np.uint32(add)])
        jump, add = jump * jump % MODULUS, (jump * add + add) % MODULUS
    noise = (states[: nibbles.size] % KEEP & 15).astype(np.uint8)
    return nibbles ^ noise.reshape(nibbles.shape)


def _portrait(vectors: NDArray[np.float32], name: str) -> Bytes:
    """A pattern [SIDE, SIDE, 3] of the vectors' numbers, the same for the same embedding, with the name below."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    scale = float(abs(vectors).max()) or 1.0
    shown = np.resize(vectors / scale, (16, 16, 3))
    tiles = Image.fromarray((shown * 80 + 128).astype(np.uint8))
    picture = tiles.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, SIDE - 48, SIDE, SIDE), fill=(24, 24, 24))
    draw.text((16, SIDE - 40), name[:24], fill=(240, 240, 240), font=ImageFont.load_default(24))
    return np.asarray(picture)


LAYOUT = EmbeddingCard()
