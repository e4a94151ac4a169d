"""Pictures decode to the right pixels, captions always call the concept, splits are fair and repeatable."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from likewise.concept import Concept, Fold, article, held_out_for, plural, slug
from likewise.errors import ConceptError
from likewise.picture import Example, fingerprint, near_duplicates

Colour = tuple[int, int, int]


def scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth random picture: unlike others by its seed, and it survives JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def halves(left: Colour = (220, 30, 30), right: Colour = (30, 30, 220)) -> Image.Image:
    """96 x 64, left half red and right half blue: which way is up can be told."""
    picture = Image.new("RGB", (96, 64), left)
    picture.paste(right, (48, 0, 96, 64))
    return picture


def close(pixel: object, wanted: Colour, within: int = 12) -> bool:
    return isinstance(pixel, tuple) and all(abs(a - b) <= within for a, b in zip(pixel, wanted, strict=True))


def concept(token: str = "sks", noun: str = "dog") -> Concept:
    return Concept("it", token, noun, ())


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


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        (None, "a sks dog"),
        ("  ", "a sks dog"),
        ("a photo of [trigger] on grass", "a photo of sks dog on grass"),
        ("a photo of [trigger] dog on grass", "a photo of sks dog on grass"),
        ("a [NAME], asleep", "a sks dog, asleep"),
        ("[filewords] at night", "sks dog at night"),
        ("a {} in a box", "a sks dog in a box"),
        ("two desks", "sks dog, two desks"),
        ("sks sitting\n on a  chair", "sks sitting on a chair"),
        ("[trigger] dogma", "sks dog dogma"),
    ],
)
def test_caption(caption: str | None, wanted: str) -> None:
    assert concept().caption(Example(Path("a.png"), caption)) == wanted


TOKENS = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=12)


@settings(deadline=None)  # a busy machine is no failure
@given(caption=st.none() | st.text(max_size=60), token=TOKENS, noun=st.sampled_from(["dog", "oil painting"]))
def test_every_caption_is_one_line_that_holds_the_token(caption: str | None, token: str, noun: str) -> None:
    assume(token.isprintable() and not any(letter.isspace() for letter in token))
    line = concept(token, noun).caption(Example(Path("a.png"), caption))
    assert token in line
    assert line == " ".join(line.split())


@settings(deadline=None)
@given(
    before=st.text("abc ", max_size=9), place=st.sampled_from(["[trigger]", "[name]", "[filewords]", "{}"])
)
def test_placeholders_are_filled_anywhere(before: str, place: str) -> None:
    line = concept("zwx").caption(Example(Path("a.png"), f"{before}{place} after"))
    assert place not in line
    assert line.endswith("zwx dog after")


def test_prompts_and_articles() -> None:
    assert concept().prompt() == "a sks dog"
    assert concept(noun="hourglass").class_prompt() == "an hourglass"
    an = [
        "apple",
        "umbrella",
        "uncle",
        "unknown toy",
        "unimportant thing",
        "heirloom",
        "8-bit toy",
        "owl",
    ]
    a = [
        "dog",
        "unicorn",
        "uniform",
        "ukulele",
        "European bison",
        "one-eyed cat",
        "utensil",
        "house",
        "user",
        "ewe",
    ]
    assert {word: article(word) for word in an} == dict.fromkeys(an, "an")
    assert {word: article(word) for word in a} == dict.fromkeys(a, "a")


@pytest.mark.parametrize("token", ["", "  ", "my toy", "sks,dog", "a\nb", "a\x00b"])
def test_tokens_that_prompts_cannot_carry_are_refused(token: str) -> None:
    with pytest.raises(ConceptError, match="token"):
        concept(token)


def test_tokens_and_nouns_are_trimmed_and_bad_ones_refused() -> None:
    assert concept(" <my-toy> ").token == "<my-toy>"
    assert concept(noun=" oil   painting ").noun == "oil painting"
    with pytest.raises(ConceptError, match="noun"):
        concept(noun=" ")
    with pytest.raises(ConceptError, match="nocolour"):
        Concept("it", "sks", "dog", (), background="nocolour")


@settings(deadline=None)
@given(st.text(max_size=80))
def test_slugs_are_safe_folder_names(text: str) -> None:
    found = slug(text)
    assert len(found) <= 60
    assert not set(found) & set('/\\:*?"<>|. ')
    assert slug(found) == found


def test_slug() -> None:
    assert slug("Mein Hündchen (2)") == "mein-hundchen-2"
    assert slug("犬の写真") == "犬の写真"


def test_near_duplicates_are_grouped_but_flips_are_not() -> None:
    picture = scene(3, (240, 160))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=40)
    looks = {
        "original": picture,
        "small": picture.resize((120, 80)),
        "packed": Image.open(packed).convert("RGB"),
        "bright": picture.point([min(255, value + 8) for value in range(256)] * 3),
        "flipped": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "other": scene(4, (240, 160)),
        "red": Image.new("RGB", (64, 64), "red"),
        "blue": Image.new("RGB", (64, 64), "blue"),
    }
    groups = near_duplicates(list(looks), [fingerprint(look) for look in looks.values()])
    assert groups == (("original", "small", "packed", "bright"),)
    several = [fingerprint(scene(seed)) for seed in range(40)]
    assert near_duplicates([str(seed) for seed in range(40)], several) == ()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    def make(count: int) -> Path:
        where = tmp_path / "My Dog"
        where.mkdir()
        for index in range(count):
            scene(index).save(where / f"{index}.png")
        return where

    return make


def test_held_out_table() -> None:
    counts = {n: held_out_for(n) for n in (1, 3, 4, 5, 7, 8, 12, 13, 16, 17, 20)}
    assert counts == {1: 0, 3: 0, 4: 1, 5: 2, 7: 2, 8: 3, 12: 3, 13: 4, 16: 4, 17: 5, 20: 5}


def test_read_splits_deterministically_and_by_seed(folder: Callable[[int], Path]) -> None:
    where = folder(8)
    splits = {}
    for seed in range(6):
        read = [Concept.read(where, token="sks", noun="dog", hold_out=None, seed=seed) for _ in range(2)]
        assert read[0] == read[1]
        assert (len(read[0].examples), len(read[0].held_out)) == (5, 3)
        assert not set(read[0].examples) & set(read[0].held_out)
        splits[seed] = tuple(example.name for example in read[0].held_out)
    assert len(set(splits.values())) > 1
    assert read[0].name == "my-dog"
    assert Concept.read(where, token="sks", noun="dog").held_out == ()


def test_near_duplicates_stay_on_one_side(folder: Callable[[int], Path]) -> None:
    where = folder(5)
    scene(0).resize((192, 128)).save(where / "0 again.png")
    for seed in range(12):
        read = Concept.read(where, token="sks", noun="dog", hold_out=2, seed=seed)
        sides = [{e.name for e in side} & {"0.png", "0 again.png"} for side in (read.examples, read.held_out)]
        assert sorted(map(len, sides)) == [0, 2]
        assert 1 <= len(read.held_out) <= 2


def test_a_fold_keeps_everything_but_the_split(folder: Callable[[int], Path]) -> None:
    where = folder(5)
    (where / "reg").mkdir()
    scene(9).save(where / "reg" / "other.png")
    (where / "2.txt").write_text("asleep")
    whole = Concept.read(where, token="sks", noun="dog", background="#102030")
    assert sorted(whole.groups) == [(0,), (1,), (2,), (3,), (4,)]
    folded = whole.fold(Fold(1, (0, 2, 3), (1, 4)))
    assert [example.name for example in folded.examples] == ["0.png", "2.png", "3.png"]
    assert [example.name for example in folded.held_out] == ["1.png", "4.png"]
    assert folded.examples[1].caption == "asleep"
    assert all(example.sha256 for example in (*folded.examples, *folded.held_out))
    kept = ("name", "token", "noun", "background", "class_pictures")
    assert all(getattr(folded, name) == getattr(whole, name) for name in kept)
    assert len(folded.class_pictures) == 1
    assert folded.groups == ()
    assert Concept.from_json(folded.to_json()) == folded


def test_a_fold_of_other_pictures_is_refused(folder: Callable[[int], Path]) -> None:
    whole = Concept.read(folder(4), token="sks", noun="dog")
    for fold in (Fold(0, (0, 1), (2,)), Fold(0, (0, 1, 2), (2, 3)), Fold(0, (0, 1, 2, 3), (4,))):
        with pytest.raises(ConceptError, match="fold 0 does not split the pictures of my-dog"):
            whole.fold(fold)
    with pytest.raises(ConceptError, match="does not split"):
        whole.fold(Fold(0, (0, 1, 2), (3,))).fold(Fold(1, (0, 1), (2,)))


@pytest.mark.parametrize("hold_out", [-1, 3, 9])
def test_impossible_hold_out_is_refused(folder: Callable[[int], Path], hold_out: int) -> None:
    with pytest.raises(ConceptError, match="hold out"):
        Concept.read(folder(3), token="sks", noun="dog", hold_out=hold_out)


def test_holding_out_of_copies_alone_is_refused(folder: Callable[[int], Path]) -> None:
    where = folder(1)
    scene(0).save(where / "b.png")
    scene(0).save(where / "c.png")
    with pytest.raises(ConceptError, match="near-duplicates"):
        Concept.read(where, token="sks", noun="dog", hold_out=1)


def test_kohya_words_give_way_to_the_words_asked_for(tmp_path: Path) -> None:
    leaf = tmp_path / "7_sks dog"
    leaf.mkdir()
    scene(1).save(leaf / "a.png")
    read = Concept.read(leaf, token="zwx", noun="cat")
    assert (read.caption(read.examples[0]), read.examples[0].repeats) == ("zwx cat", 7)
    assert read.name == "sks-dog"


def test_digest_changes_with_all_that_training_sees(folder: Callable[[int], Path]) -> None:
    where = folder(4)

    def digest(token: str = "sks", noun: str = "dog", hold_out: int = 0, background: str = "white") -> str:
        return Concept.read(where, token=token, noun=noun, hold_out=hold_out, background=background).digest()

    first = digest()
    assert digest() == first
    others = {digest(token="zwx"), digest(noun="cat"), digest(hold_out=1), digest(background="black")}
    (where / "0.txt").write_text("sks asleep")
    others.add(digest())
    scene(9).save(where / "0.png")
    others.add(digest())
    others.add(Concept("it", "sks", "dog", (Example(where / "0.png"),)).digest())
    others.add(Concept("it", "sks", "dog", (Example(where / "0.png", repeats=2),)).digest())
    assert len(others - {first}) == 8


def test_json_rebuilds_the_concept(folder: Callable[[int], Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(folder(4) / "1.png", "in/ünï 1.png")
    sources = [tmp_path / "My Dog", tmp_path / "more.zip"]
    read = Concept.read(sources, token="sks", noun="dog", hold_out=1, background="#102030")
    again = Concept.from_json(json.loads(json.dumps(read.to_json())))
    assert again == read
    assert again.digest() == read.digest()
    assert {e.member for e in (*again.examples, *again.held_out)} == {None, "in/ünï 1.png"}
    with pytest.raises(ConceptError, match="cannot be read"):
        Concept.from_json({"name": "it"})


def test_neither_file_imports_torch() -> None:
    heavy = "{'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    command = f"import sys, likewise.concept, likewise.intake; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("cat", "cats"), ("bus", "buses"), ("toy box", "toy boxes"), ("puppy", "puppies"), ("toy", "toys"),
        ("fish", "fish"), ("woman", "women"), ("policewoman", "policewomen"), ("human", "humans"), ("German", "Germans"),
        ("old man", "old men"), ("person", "people"), ("brush", "brushes"), ("dwarf", "dwarfs"), ("mouse", "mice"),
    ],
)  # fmt: skip
def test_several_of_a_noun(noun: str, many: str) -> None:
    assert plural(noun) == many
