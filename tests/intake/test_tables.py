"""Tables of captions in the shapes that trainers and spreadsheets have, and what is said of a row that is wrong."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likewise import intake
from tests.intake.drawn import captions, draw, reasons

WANTED = {"a.png": "a dog", "b.jpg": "a cat"}
ROWS = [{"file_name": "a.png", "text": "a dog"}, {"file_name": "b.jpg", "text": "a cat"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures."""
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "b.jpg", 2)
    return tmp_path


def lines(rows: list[Any]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


SHAPES = {
    "metadata.jsonl": lines(ROWS),
    "captions.jsonl": lines([{"image": "a.png", "caption": "a dog"}, {"image": "b.jpg", "caption": "a cat"}]),
    "train.jsonl": lines([{"file": "./a.png", "prompt": "a dog"}, {"path": "/data/set/b.jpg", "Description": "a cat"}]),
    "captions.json": json.dumps({"a.png": "a dog", "b.jpg": "a cat"}),
    "meta_cap.json": json.dumps({"a": {"caption": "a dog"}, "/data/set/b": {"tags": "a cat"}}),
    "metadata.json": json.dumps(ROWS),
    "dataset.json": json.dumps({"images": ROWS}),
    "annotations.json": json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"image_id": 2, "caption": "a cat"}, {"image_id": 1, "caption": "a dog"}],
    }),
    "metadata.csv": "file_name,text\na.png,a dog\nb.jpg,a cat\n",
    "metadata.tsv": "File Name\tCaption\na.png\ta dog\nb.jpg\ta cat\n",
    "captions.csv": "filename;text\na.png;a dog\nb.jpg;a cat\n",
    "excel.csv": "sep=;\nimage;caption\na.png;a dog\nb.jpg;a cat\n",
    "bare.csv": "a.png,a dog\nb.jpg,a cat\n",
    "bars.csv": "image|caption\na.png|a dog\nb.jpg|a cat\n",
    "hf.jsonl": lines([
        {"image": {"path": "a.png", "bytes": None}, "text": "a dog"}, {"image": {"path": "b.jpg"}, "text": "a cat"},
    ]),
    "paths.csv": "image_path,caption\nC:\\set\\A.PNG,a dog\nsub/b.jpg,a cat\n",
    "one.jsonl": lines([{"a.png": "a dog"}, {"b.jpg": "a cat"}]),
    "lists.jsonl": lines([{"file_name": "a.png", "text": ["a dog", "its tail"]}, {"file_name": "b.jpg", "text": ["a cat"]}]),
    "tags.json": json.dumps({"a.png": {"tags": ["a dog"]}, "b.jpg": {"caption": "a cat"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_same_captions(folder: Path, name: str) -> None:
    (folder / name).write_text(SHAPES[name], encoding="utf-8")
    found = intake.read(folder)
    assert captions(found) == WANTED
    assert found.problems == ()
    assert not any("not read" in note for note in found.notes)


@pytest.mark.parametrize("name", ["metadata.jsonl", "captions.json", "captions.csv"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_tables_in_every_encoding(folder: Path, name: str, mark: bytes, encoding: str) -> None:
    text = SHAPES[name].replace("a cat", "a cat, très belle 犬") if name != "captions.csv" else SHAPES[name]
    (folder / name).write_bytes(mark + text.replace("\n", "\r\n").encode(encoding))
    found = intake.read(folder)
    assert captions(found)["a.png"] == "a dog"
    assert found.problems == ()


def test_caption_and_tags_are_joined_as_kohya_joins_them(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps({"a": {"caption": "a dog", "tags": "grass, sky"}}))
    assert captions(intake.read(folder))["a.png"] == "a dog, grass, sky"


def test_of_several_captions_the_first_is_used_and_said_to_be(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(lines([{"file_name": "a.png", "text": ["one", "two"]}]))
    found = intake.read(folder)
    assert captions(found)["a.png"] == "one"
    assert found.notes == ("1 picture with several captions, of which the first is used: a.png",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metadata.jsonl", lines([ROWS[0], {"image_url": "b.jpg", "text": "x"}]), "line 2 has no key for its file"),
        ("metadata.jsonl", lines([ROWS[0], {"image_url": "b.jpg", "text": "x"}]), "it has image_url, text"),
        ("metadata.jsonl", lines([ROWS[0], {"file_name": "b.jpg", "words": "x"}]), "line 2 has no key for its caption"),
        ("metadata.jsonl", lines([ROWS[0], {"file_name": "b.jpg", "text": 3}]), "line 2 has a caption that is no text"),
        ("metadata.jsonl", lines([ROWS[0], {"file_name": "c.png", "text": "x"}]), "line 2 names no picture that is there"),
        ("metadata.jsonl", lines([ROWS[0], 3]), "line 2 is a number"),
        ("metadata.jsonl", lines([ROWS[0]]) + "{broken\n", "line 2 is no JSON"),
        ("metadata.csv", "file_name,text\na.png,a dog\nb.jpg\n", "line 3 has 1 columns, the first line has 2"),
        ("metadata.csv", "photo_url,text\nb.jpg,x\n", "line 1 has no column for the file"),
        ("captions.json", '{"c.png": "x", "a.png": "a dog"}', "entry 'c.png' names no picture"),
        ("captions.json", "[1", "cannot be understood"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_understood_is_named_with_what_it_lacks(
    folder: Path, name: str, text: str, said: str
) -> None:
    (folder / name).write_text(text)
    found = intake.read(folder)
    assert said in reasons(found)[name]
    if "a dog" in text:
        assert captions(found)["a.png"] == "a dog", "the other rows are used"


def test_many_wrong_rows_are_few_words(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(lines([{"url": n} for n in range(500)]))
    (reason,) = reasons(intake.read(folder)).values()
    assert len(reason) < 400
    assert "497 more rows" in reason


def test_a_name_that_two_pictures_have_is_not_guessed(tmp_path: Path) -> None:
    draw(tmp_path / "x" / "a.png", 1)
    draw(tmp_path / "y" / "a.png", 2)
    (tmp_path / "metadata.jsonl").write_text(lines([ROWS[0], {"file_name": "y/a.png", "text": "the second"}]))
    found = intake.read(tmp_path)
    assert captions(found) == {"x/a.png": None, "y/a.png": "the second"}
    assert "2 pictures are called so" in reasons(found)["metadata.jsonl"]


def test_accents_that_are_letters_of_their_own_are_the_same_name(tmp_path: Path) -> None:
    draw(tmp_path / "e\u0301te\u0301.png")
    (tmp_path / "metadata.jsonl").write_text(lines([{"file_name": "\u00e9t\u00e9.png", "text": "summer"}]))
    (tmp_path / "\u00e9t\u00e9.txt").write_text("unused")
    found = intake.read(tmp_path)
    assert list(captions(found).values()) == ["summer"]
    assert found.notes == ("1 text file not used, as a table has captions: \u00e9t\u00e9.txt",)


def test_a_table_of_something_else_is_mentioned_with_the_rest(folder: Path) -> None:
    (folder / "settings.json").write_text('{"theme": "dark"}')
    (folder / "list.csv").write_text("city;people\nRome;3\n")
    assert intake.read(folder).notes == ("2 other files not read: list.csv, settings.json",)


def test_captions_with_weights_are_said_to_have_them(folder: Path) -> None:
    (folder / "a.txt").write_text("a (red:1.4) dog <lora:x:0.8>")
    (note,) = intake.read(folder).notes
    assert "a.png have weights such as (red:1.4)" in note


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": null}\n{"file_name": "b.jpg", "text": "b"}',
            "line 1",
        ),
        (
            "metadata.jsonl",
            '{"file_name": "b.jpg", "text": "b"}\n{"file_name": "a.png", "text": " "}',
            "line 2",
        ),
        ("captions.json", '{"a.png": "", "b.jpg": "b"}', "entry 'a.png'"),
        ("captions.json", '{"a.png": [], "b.jpg": "b"}', "entry 'a.png'"),
        ("metadata.csv", "file_name,text\na.png,\nb.jpg,b", "line 2"),
        ("metadata.csv", "a.png,\nb.jpg,b", "line 1"),
    ],
)
def test_an_empty_caption_is_named(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    found = intake.read(folder)
    assert captions(found) == {"a.png": None, "b.jpg": "b"}
    assert f"{said} has an empty caption for a.png;" in reasons(found)[name]
    (folder / "a.txt").write_text("from text")
    found = intake.read(folder)
    assert captions(found)["a.png"] == "from text"
    assert f"{said} has an empty caption for a.png, so a.txt is used;" in reasons(found)[name]


def test_an_entry_that_stands_twice_is_named(folder: Path) -> None:
    (folder / "x.json").write_text('{"a.png": "1", "b.jpg": "b", "a.png": "2"}')
    found = intake.read(folder)
    assert captions(found) == {"a.png": "2", "b.jpg": "b"}
    assert "entry 'a.png' stands there several times, and the last one is used;" in reasons(found)["x.json"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "text": "1"}\n{"file_name": "A", "text": "2"}',
            "line 2 is another row for A, of which line 1 is used",
        ),
        ("x.csv", "file,text\na.png,1\nb.jpg,b\na.png,1", "line 4 is another row for a.png, of which line 2"),
    ],
)
def test_a_second_row_for_a_picture_is_named(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_text(content)
    found = intake.read(folder)
    assert captions(found)["a.png"] == "1"
    assert said in reasons(found)[name]


NAMES = ('"a.png"', '"b.jpg"', '"a"')
"""A table may name pictures and have no caption for them."""
KEYS = [
    "file_name",
    "image",
    "text",
    "caption",
    "tags",
    "a.png",
    "images",
    "annotations",
    "id",
    "image_id",
    "x",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["a.png", "b.jpg", "a"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, name=st.sampled_from(["metadata.json", "metadata.jsonl", "captions.json", "x.json"]))
def test_any_json_is_captions_or_named(folder: Path, value: Any, name: str) -> None:
    (folder / name).write_text(json.dumps(value))
    found = intake.read(folder)
    told = " ".join([*found.notes, *(p.file for p in found.problems)])
    assert set(captions(found)) == {"a.png", "b.jpg"}
    assert all(text is None or text == " ".join(text.split()) for text in captions(found).values())
    assert (
        any(captions(found).values()) or name in told or any(spoken in json.dumps(value) for spoken in NAMES)
    )
    (folder / name).unlink()
