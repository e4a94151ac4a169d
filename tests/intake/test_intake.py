"""Every layout people have is understood, a bad file becomes one line, no source harms the machine."""

from __future__ import annotations

import json
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise import intake
from likewise.errors import ConceptError
from likewise.intake import listing
from tests.intake.drawn import captions, draw, pack, reasons


def test_flat_folder_in_counting_order_with_rubbish_ignored(tmp_path: Path) -> None:
    names = ["1.PNG", "2 ünï çödé 犬.Jpg", "10.webp"]
    for seed, name in enumerate(names):
        draw(tmp_path / name, seed)
    draw(tmp_path / "__MACOSX" / "a.png")
    draw(tmp_path / ".cache" / "b.png")
    (tmp_path / "._1.png").write_bytes(b"mac")
    (tmp_path / "Thumbs.db").write_bytes(b"win")
    (tmp_path / "notes.pdf").write_bytes(b"pdf")
    found = intake.read(tmp_path)
    assert (found.layout, list(found.names)) == ("flat folder", names)
    assert found.problems == ()
    assert found.notes == ("1 other file not read: notes.pdf", "hidden, not read: .cache")
    assert found.sizes == ((96, 64),) * 3
    assert captions(found) == dict.fromkeys(names)
    assert [example.repeats for example in found.examples] == [1, 1, 1]


def test_nested_folders_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / "/".join("abcdefgh") / "x.png"
    draw(deep, 1)
    draw(tmp_path / "y.png", 2)
    found = intake.read(str(tmp_path))
    assert (found.layout, set(found.names)) == ("nested folders", {"a/b/c/d/e/f/g/h/x.png", "y.png"})
    assert {example.path for example in found.examples} == {deep, tmp_path / "y.png"}


@pytest.mark.parametrize("leaf", [False, True])
def test_kohya_parent_or_leaf(tmp_path: Path, leaf: bool) -> None:
    folder = tmp_path / "img" / "10_sks white dog"
    draw(folder / "a.png", 1)
    draw(folder / "b.png", 2)
    (folder / "b.txt").write_text("b lies down")
    found = intake.read(folder if leaf else folder.parent)
    assert (found.layout, found.token, found.noun) == ("kohya", "sks", "white dog")
    assert [example.repeats for example in found.examples] == [10, 10]
    assert [example.caption for example in found.examples] == ["sks white dog", "b lies down"]


def test_two_kohya_concepts_are_pointed_out(tmp_path: Path) -> None:
    draw(tmp_path / "5_sks dog" / "a.png", 1)
    draw(tmp_path / "3_zwx cat" / "b.png", 2)
    found = intake.read(tmp_path)
    assert (found.token, found.noun) == (None, None)
    assert {example.repeats for example in found.examples} == {3, 5}
    assert "sks dog, zwx cat" in reasons(found)[tmp_path.name]


@pytest.mark.parametrize("name", ["2024_holiday", "10_05_2024", "0_sks dog", "dog_10"])
def test_folders_that_only_look_like_kohya(tmp_path: Path, name: str) -> None:
    found = intake.read(draw(tmp_path / name / "a.png").parent)
    assert (found.layout, found.token, found.examples[0].repeats) == ("flat folder", None, 1)


def test_file_names_are_not_read_as_kohya_folders(tmp_path: Path) -> None:
    assert intake.read(draw(tmp_path / "12_my dog.png")).examples[0].repeats == 1


def test_metadata_comes_before_text_files(tmp_path: Path) -> None:
    for seed, name in enumerate(["a.png", "sub/b.png", "c.png", "d.png"]):
        draw(tmp_path / name, seed)
    rows = [
        {"file_name": "A.png", "text": "from\u2028metadata"},
        {"file_name": "sub/b.png", "text": "also"},
        {"file_name": "../../etc/passwd", "text": "no"},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.txt").write_text("from text")
    (tmp_path / "c.caption").write_text("from caption")
    (tmp_path / "c.txt").write_text("  ")
    (tmp_path / "d.PNG.txt").write_text("from the full name")
    found = intake.read(tmp_path)
    assert found.layout == "metadata.jsonl"
    assert captions(found) == {
        "a.png": "from metadata",
        "c.png": "from caption",
        "d.png": "from the full name",
        "sub/b.png": "also",
    }
    assert "passwd" in reasons(found)["metadata.jsonl"]


def test_metadata_csv(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "metadata.csv").write_text(
        'file_name,text\na.png,"a dog, asleep"\n', encoding="utf-8-sig"
    )
    found = intake.read(tmp_path)
    assert (found.layout, captions(found)) == ("metadata.csv", {"train/a.png": "a dog, asleep"})


@pytest.mark.parametrize("content", ["{broken", "[" * 100_000, '"text"\n3\nnull'])
def test_broken_metadata_costs_its_captions_only(tmp_path: Path, content: str) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("still here")
    (tmp_path / "metadata.jsonl").write_text(content)
    found = intake.read(tmp_path)
    assert captions(found) == {"a.png": "still here"}
    said = reasons(found)["metadata.jsonl"]
    assert "line 1" in said or "nested" in said


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_captions_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("ein Hündchen\r\nim Gras".encode(encoding))
    assert captions(intake.read(tmp_path)) == {"a.png": "ein Hündchen im Gras"}


@pytest.mark.parametrize("encoding", ["cp1251", "gbk", "shift-jis", "cp1252"])
def test_captions_that_are_not_utf_8_are_said_once(tmp_path: Path, encoding: str) -> None:
    text = {"cp1251": "собака в траве", "gbk": "草地上的狗", "shift-jis": "草の上の犬"}.get(
        encoding, "Hündchen"
    )
    for seed, name in enumerate("abc"):
        draw(tmp_path / f"{name}.png", seed)
        (tmp_path / f"{name}.txt").write_bytes((text if name != "a" else "a dog").encode(encoding))
    (tmp_path / "bills.csv").write_bytes("é,1\n".encode("cp1252"))
    said = [note for note in intake.read(tmp_path).notes if "UTF-8" in note]
    assert said == [
        "2 caption files are not UTF-8 and are read as Western European text (cp1252), such as b.txt; "
        "save as UTF-8 what is in another script"
    ]


def test_a_table_that_is_not_utf_8_is_said_too(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_bytes("file_name,text\na.png,собака\n".encode("cp1251"))
    assert any("1 caption file is not UTF-8" in note for note in intake.read(tmp_path).notes)


def test_an_endless_caption_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("x" * 100_000)
    found = intake.read(tmp_path)
    assert captions(found) == {"a.png": None}
    assert "shorten" in reasons(found)["a.txt"]


@settings(deadline=None, max_examples=30)  # a busy machine is no failure
@given(content=st.binary(max_size=200))
def test_any_bytes_beside_a_picture_give_one_line_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    draw(folder / "a.png")
    for name in ("a.txt", "metadata.jsonl", "metadata.csv"):
        (folder / name).write_bytes(content)
    caption = intake.read(folder).examples[0].caption
    assert caption is None or caption == " ".join(caption.split()) != ""


def bomb() -> bytes:
    """A PNG that claims 60 000 x 60 000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_each_bad_file_gives_one_line_and_the_rest_go_on(tmp_path: Path) -> None:
    draw(tmp_path / "good.png")
    whole = draw(tmp_path / "cut.jpg", 1, (300, 200))
    whole.write_bytes(whole.read_bytes()[:-500])
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "lie.png").write_text("hello")
    (tmp_path / "phone.HEIC").write_bytes(b"heic")
    draw(tmp_path / "tiny.png", 2, (200, 31))
    draw(tmp_path / "edge.png", 3, (200, 32))
    draw(tmp_path / "good-masklabel.png", 4)
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere.png")
    found = intake.read(tmp_path)
    assert found.names == ("edge.png", "good.png")
    said = reasons(found)
    wanted = {
        "cut.jpg": "cut short", "bomb.png": "100 megapixels", "empty.jpg": "0 bytes", "dead.png": "link",
        "lie.png": "not a picture", "phone.HEIC": "export", "tiny.png": "200 x 31",
        "good-masklabel.png": "mask",
    }  # fmt: skip
    assert said.keys() == wanted.keys()
    for name, words in wanted.items():
        assert words in said[name]
        assert "\n" not in said[name] and name not in said[name]  # noqa: PT018
    notes = {row["file"]: (row["width"], row["note"]) for row in found.table()}
    assert notes["tiny.png"] == (None, said["tiny.png"])
    assert notes["good.png"] == (96, "")


def test_links_that_turn_in_circles_end(tmp_path: Path) -> None:
    inside = tmp_path / "above" / "photos"
    draw(inside / "a.png")
    draw(tmp_path / "above" / "private.png", 1)
    draw(tmp_path / "linked" / "b.png", 2)
    (inside / "self").symlink_to(inside)
    (inside / "up").symlink_to(inside.parent)
    (inside / "there").symlink_to(tmp_path / "linked")
    (tmp_path / "linked" / "back").symlink_to(inside)
    (inside / "knot").symlink_to(inside / "knot")
    assert set(intake.read(inside).names) == {"a.png", "there/b.png"}


def test_zip_is_read_without_unpacking(tmp_path: Path) -> None:
    picture = draw(tmp_path / "source" / "a.jpg", 1).read_bytes()
    other = draw(tmp_path / "source" / "b.png", 2).read_bytes()
    members = {
        "set/4_sks dog/ä b.jpg": picture,
        "set/4_sks dog/ä b.txt": b"from the zip",
        "./set/b.png": other,
    }
    where = tmp_path / "zips"
    where.mkdir()
    path = pack(where / "my.zip", members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/set/._b.png", b"mac")
    found = intake.read(path)
    assert found.layout == "zip"
    assert captions(found) == {"set/4_sks dog/ä b.jpg": "from the zip", "set/b.png": None}
    assert [example.repeats for example in found.examples] == [4, 1]
    with Image.open(tmp_path / "source" / "b.png") as truth:
        assert found.examples[1].open().tobytes() == truth.convert("RGB").tobytes()
    assert found.examples[1].name == "b.png"
    assert os.listdir(where) == ["my.zip"]
    assert found.problems == ()


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:/evil.png", "..\\evil.png"]
)
def test_zip_members_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    picture = draw(tmp_path / "a.png").read_bytes()
    found = intake.read(pack(tmp_path / "x.zip", {"good.png": picture, name: picture}))
    assert found.names == ("good.png",)
    assert "leads out" in found.problems[0].reason


def test_zip_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = draw(tmp_path / "a.png").read_bytes()
    path = pack(tmp_path / "x.zip", {"good.png": picture, "zeros.bmp": bytes(3 << 20)})
    found = intake.read(path)
    assert found.names == ("good.png",)
    assert "3 MiB" in reasons(found)["zeros.bmp"]
    for limit, value in (("MOST_ZIP_BYTES", 1 << 20), ("MOST_FILES", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(listing, limit, value)
            with pytest.raises(ConceptError, match="holds 2 files"):
                intake.read(path)


def test_zip_member_whose_bytes_are_damaged(tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png").read_bytes()
    path = pack(tmp_path / "x.zip", {"bad.png": picture, "good.png": picture}, zipfile.ZIP_STORED)
    damaged = bytearray(path.read_bytes())
    damaged[80] ^= 255
    path.write_bytes(damaged)
    found = intake.read(path)
    assert found.names == ("good.png",)
    assert "damaged" in reasons(found)["bad.png"]


def test_what_is_no_zip_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK no")
    with pytest.raises(ConceptError, match=r"x\.zip is no readable zip"):
        intake.read(tmp_path / "x.zip")


def test_files_one_by_one(tmp_path: Path) -> None:
    one, two = draw(tmp_path / "p" / "a.png", 1), draw(tmp_path / "q" / "a.png", 2)
    (tmp_path / "q" / "a.txt").write_text("beside")
    assert intake.read(one).names == ("a.png",)
    assert captions(intake.read(two)) == {"a.png": "beside"}
    found = intake.read([one, str(two), one])
    assert (found.layout, captions(found)) == ("files", {"p/a.png": None, "q/a.png": "beside"})
    no_suffix = tmp_path / "nosuffix"
    no_suffix.write_bytes(one.read_bytes())
    assert intake.read(no_suffix).names == ("nosuffix",)


def test_folder_and_zip_in_one_list(tmp_path: Path) -> None:
    folder = draw(tmp_path / "f" / "a.png", 1).parent
    packed = pack(tmp_path / "x.zip", {"a.png": draw(tmp_path / "b.png", 2).read_bytes()})
    assert intake.read([folder, packed]).names == ("f/a.png", "x.zip/a.png")


def test_nothing_usable_says_what_was_found_and_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="no file at all") as empty:
        intake.read(tmp_path)
    assert "png" in (empty.value.hint or "")
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").touch()
    (tmp_path / "c.png").touch()
    with pytest.raises(ConceptError, match=r"2 \.txt, 1 \.png; c\.png: an empty file"):
        intake.read(tmp_path)
    with pytest.raises(ConceptError, match="list of pictures is empty"):
        intake.read([])


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "my_dog_photos").mkdir()
    with pytest.raises(ConceptError, match="does not exist") as caught:
        intake.read(tmp_path / "my_dog_photo" / "deeper")
    assert caught.value.hint == f"did you mean {tmp_path / 'my_dog_photos'}?"
    with pytest.raises(ConceptError) as other:
        intake.read(tmp_path / "zzz")
    assert other.value.hint == f"{tmp_path} exists, but has no zzz"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ConceptError, match="neither a file nor a folder"):
        intake.read(tmp_path / "pipe.png")


def test_duplicates_are_noted_and_json_is_free_of_paths(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "sub" / "a.jpg", 1, (192, 128))
    draw(tmp_path / "c.png", 2)
    (tmp_path / "bad.png").touch()
    found = intake.read(tmp_path)
    assert found.duplicates == (("a.png", "sub/a.jpg"),)
    assert {row["file"]: row["note"] for row in found.table()}["a.png"] == "near-duplicate of sub/a.jpg"
    text = json.dumps(found.to_json())
    assert str(tmp_path) not in text
    assert [row["file"] for row in json.loads(text)["examples"]] == list(found.names)


def test_contact_sheet_shows_pictures_and_frames_warnings(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    Image.new("RGB", (64, 64), (10, 200, 10)).save(folder / "a.png")
    draw(folder / "b.png", 1)
    draw(folder / "c.png", 1, (192, 128))
    (folder / "ü 犬.png").touch()
    path = intake.contact_sheet(intake.read(folder), tmp_path / "out" / "sheet.png", columns=3)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        colours = sheet.convert("RGB")
    third, half = colours.width // 3, colours.height // 2
    assert colours.getpixel((third // 2, third // 2)) == (10, 200, 10)
    framed = [
        {colour for _, colour in colours.crop((x, y, x + third, y + half)).getcolors(1 << 20) or []}
        for y in (0, half)
        for x in (0, third, 2 * third)
    ]
    orange, red = (224, 128, 0), (192, 0, 0)
    assert [orange in cell for cell in framed] == [False, True, True, False, False, False]
    assert [red in cell for cell in framed] == [False, False, False, True, False, False]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow letters only")
def test_names_whose_bytes_are_no_letters_are_refused_in_words(tmp_path: Path) -> None:
    """A run could not write down where such a picture is."""
    draw(tmp_path / "a.png", 1)
    os.rename(draw(tmp_path / "b.png", 2), os.fsencode(tmp_path) + b"/caf\xe9.png")
    found = intake.read(tmp_path)
    assert found.names == ("a.png",)
    assert "rename" in reasons(found)["caf\\xe9.png"]
