"""Pictures are opened upright, in RGB, or refused with file, reason and way out."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from likewise.concept import Concept
from likewise.errors import ConceptError
from likewise.picture import Example
from tests.bases import scene

Colour = tuple[int, int, int]


def halves(left: Colour = (220, 30, 30), right: Colour = (30, 30, 220)) -> Image.Image:
    """96 x 64, left half red and right half blue: which way is up can be told."""
    picture = Image.new("RGB", (96, 64), left)
    picture.paste(right, (48, 0, 96, 64))
    return picture


def close(pixel: object, wanted: Colour, within: int = 12) -> bool:
    return isinstance(pixel, tuple) and all(abs(a - b) <= within for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "avif", "bmp", "tif", "TIFF", "gif"])
def test_every_format_opens_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    halves().save(path)
    picture = Example(path).open()
    assert (picture.mode, picture.size) == ("RGB", (96, 64))
    assert close(picture.getpixel((10, 32)), (220, 30, 30))
    assert close(picture.getpixel((86, 32)), (30, 30, 220))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, turn: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = halves()
    upright.paste((30, 200, 30), (0, 0, 24, 16))
    stored = upright.transpose(undo[turn]) if turn in undo else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / f"a.{suffix}", exif=exif)
    picture, size = Example(tmp_path / f"a.{suffix}").preview(0)
    assert picture.size == size == (96, 64)
    assert close(picture.getpixel((8, 6)), (30, 200, 30), 40)
    assert close(picture.getpixel((86, 58)), (30, 30, 220), 40)


def test_profile_is_converted_and_a_broken_one_ignored(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    # Exchanging the primaries' offsets makes a valid profile in which red and green mean each other.
    srgb[red + 4 : red + 12], srgb[green + 4 : green + 12] = (
        srgb[green + 4 : green + 12],
        srgb[red + 4 : red + 12],
    )
    swapped = bytes(srgb).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    picture = Image.new("RGB", (64, 64), (200, 40, 90))
    for name, profile in (("swapped", swapped), ("broken", b"rubbish"), ("lab", lab)):
        picture.save(tmp_path / f"{name}.png", icc_profile=profile)
    assert close(Example(tmp_path / "swapped.png").open().getpixel((5, 5)), (40, 200, 90), 3)
    assert Example(tmp_path / "broken.png").open().getpixel((5, 5)) == (200, 40, 90)
    assert Example(tmp_path / "lab.png").open().getpixel((5, 5)) == (200, 40, 90)


def test_unusual_modes(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(np.full((64, 64), 32768, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((64, 64), 0.5, np.float32)).save(tmp_path / "float.tif")
    Image.new("1", (64, 64), 1).save(tmp_path / "bit.png")
    halves().quantize(8).save(tmp_path / "palette.png")
    assert close(Example(tmp_path / "cmyk.jpg").open().getpixel((5, 5)), (255, 0, 0))
    assert Example(tmp_path / "deep.png").open().getpixel((5, 5)) == (128, 128, 128)
    assert Example(tmp_path / "float.tif").open().getpixel((5, 5)) == (128, 128, 128)
    assert Example(tmp_path / "bit.png").open().getpixel((5, 5)) == (255, 255, 255)
    assert close(Example(tmp_path / "palette.png").open().getpixel((90, 5)), (30, 30, 220))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB key"])
def test_transparency_is_laid_on_the_stated_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    if mode == "RGB key":
        Image.new("RGB", (64, 64), (1, 2, 3)).save(path, transparency=(1, 2, 3))
    elif mode == "P":
        Image.new("P", (64, 64), 0).save(path, transparency=0)
    else:
        Image.new(mode, (64, 64), 0).save(path)
    assert Example(path).open().getpixel((3, 3)) == (255, 255, 255)
    there = Concept("it", "sks", "dog", (Example(path),), (Example(path),), background="#204060")
    assert there.examples[0].open().getpixel((3, 3)) == (32, 64, 96)
    assert there.held_out[0].open().getpixel((3, 3)) == (32, 64, 96)


def test_half_transparent_is_blended(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (200, 0, 0, 128)).save(tmp_path / "a.png")
    assert close(Example(tmp_path / "a.png", background="black").open().getpixel((3, 3)), (100, 0, 0), 1)


def test_gif_gives_its_first_frame(tmp_path: Path) -> None:
    later = [Image.new("RGB", (64, 64), "blue")]
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.gif", save_all=True, append_images=later)
    assert close(Example(tmp_path / "a.gif").open().getpixel((5, 5)), (255, 0, 0), 3)


def bomb(side: int = 60_000) -> bytes:
    """A PNG whose header claims side x side pixels, and that holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    file = io.BytesIO()
    scene(1, (300, 200)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"hello", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not a picture"),
        (bomb(), "100 megapixels"),
        (bomb(12_000), "12000 x 12000"),
        (jpeg()[:-400], "damaged or cut short"),
        (jpeg()[: len(jpeg()) // 2], "damaged or cut short"),
    ],
)
def test_what_cannot_be_opened_names_file_reason_and_way_out(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    for at_least in (0, 64):
        with pytest.raises(ConceptError, match=rf"bad\.png: .*{says}") as caught:
            Example(tmp_path / "bad.png").preview(at_least)
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    with pytest.raises(ConceptError, match=r"gone\.png"):
        Example(tmp_path / "gone.png").open()


def test_preview_of_a_large_jpeg_is_smaller_and_tells_the_full_size(tmp_path: Path) -> None:
    scene(2, (1600, 1200)).save(tmp_path / "a.jpg")
    picture, size = Example(tmp_path / "a.jpg").preview(64)
    assert size == (1600, 1200)
    assert 64 <= min(picture.size) < 600
