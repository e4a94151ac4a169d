"""Importing: tables as people write them, dumps as programs do; unrated is missing, and merges keep their place."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from likewise.cli import app
from likewise.errors import SurveyError
from likewise.survey import importing
from likewise.survey import store as stores
from tests.survey.test_shapes import RECORDED

SHEET = """\
Model Name,Method,Downloads,Average Rating,Number of Ratings,Favorites,Link,Mood
Plush,Textual Inversion,"1,234",4.75,4,55,https://civitai.com/models/4201/plush,good
Merge of all,DreamBooth,12.5k,0,0,7,https://civitai.com/models/4202,bad
Small one,LoRA,,0,,,,
"""


def imported(
    path: Path, content: str | bytes, date: datetime | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with stores.open(path.parent / "survey.duckdb") as store:
        number, notes = importing.load(path, store, date=date)
        assert store.snapshot(number).mode == "import"
        found = store.models(number).order("id")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()], notes


def test_a_spreadsheet_as_people_keep_it(tmp_path: Path) -> None:
    (small, plush, merge), notes = imported(tmp_path / "sheet.csv", SHEET)
    assert notes[0] == "column 'Mood' is not known and was left out"
    assert notes[1:] == [notes[-1]]
    assert "when the file was last changed; --date names another day" in notes[-1]
    assert (plush["id"], plush["type"], plush["downloads"]) == (4201, "TextualInversion", 1234)
    assert (plush["rating"], plush["rating_count"], plush["favourites"]) == (4.75, 4, 55)
    assert (merge["type"], merge["downloads"]) == ("Checkpoint", 12500)
    assert (merge["rating"], merge["rating_count"]) == (None, 0)
    assert (small["id"], small["type"], small["downloads"], small["favourites"]) == (-3, "LORA", None, None)
    assert (small["rating"], small["rating_count"]) == (None, 0)


def test_unrated_models_do_not_enter_the_mean(tmp_path: Path) -> None:
    """Ten of a type, one of them rated: five stars, where counting the others as zero gives half a star."""
    lines = ["type,rating,votes", "hypernetwork,5,3", *["hypernetwork,0,0"] * 9]
    rows, _ = imported(tmp_path / "sheet.csv", "\n".join(lines))
    rated = [row["rating"] for row in rows if row["rating"] is not None]
    assert (sum(rated) / len(rated), len(rows)) == (5.0, 10)


@pytest.mark.parametrize(("separator", "suffix"), [(",", "csv"), (";", "csv"), ("\t", "tsv")])
def test_separators_and_a_mark_at_the_front(tmp_path: Path, separator: str, suffix: str) -> None:
    lines = [["id", "type", "rating"], ["7", "lora", "4.5"]]
    text = "\ufeff" + "\n".join(separator.join(line) for line in lines)
    rows, _ = imported(tmp_path / f"sheet.{suffix}", text)
    assert [(row["id"], row["type"], row["rating"]) for row in rows] == [(7, "LORA", 4.5)]


def test_numbers_that_no_store_holds_are_missing(tmp_path: Path) -> None:
    lines = "id,type,versions,downloads\n1,lora,99999999999,9007199254740992m\n2,lora,2,3\n"
    rows, _ = imported(tmp_path / "sheet.csv", lines)
    assert [(row["versions"], row["downloads"]) for row in rows] == [(None, None), (2, 3)]
    rows, _ = imported(
        tmp_path / "dump.json", '{"id": 5, "nsfwLevel": 1099511627776, "stats": {"downloadCount": 7}}'
    )
    assert [(row["nsfw_level"], row["downloads"]) for row in rows] == [(None, 7)]


def test_a_comma_for_the_point(tmp_path: Path) -> None:
    rows, _ = imported(tmp_path / "sheet.csv", "id;type;rating\n7;lora;4,75\n")
    assert rows[0]["rating"] == 4.75


@pytest.mark.parametrize("shape", ["page", "indented", "list", "pages by line", "models by line", "packed"])
def test_dumps_of_the_api_in_every_shape(tmp_path: Path, shape: str) -> None:
    page = json.loads(RECORDED)
    text = {
        "page": json.dumps(page),
        "indented": json.dumps(page, indent=1),
        "list": json.dumps(page["items"]),
        "pages by line": "\n".join(json.dumps({"items": [item]}) for item in page["items"]),
        "models by line": "\n\n".join(json.dumps(item) for item in page["items"]),
        "packed": json.dumps(page),
    }[shape]
    packed = shape == "packed"
    name = "dump.json.gz" if packed else "dump.jsonl" if "line" in shape else "dump.json"
    rows, _ = imported(tmp_path / name, gzip.compress(text.encode()) if packed else text)
    assert [row["id"] for row in rows] == list(range(900001, 900006))
    assert rows[3]["rating"] == 4.75


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("photo.png", b"\x89PNG", "no kind that can be imported"),
        ("sheet.csv", "a,b\n1,2\n", "no column for type"),
        ("sheet.csv", "", "no column for type"),
        ("sheet.csv", "type,rating\n", "holds no model"),
        ("book.xlsx", b"PK", "no kind that can be imported"),
        ("dump.json.gz", gzip.compress(b'{"id": 1}', mtime=0)[:-12] + b"\xff" * 12, "cannot be read"),
        ("dump.json", '{"items": [{"id": 1}', "cannot be read"),
        ("dump.json", "[]", "holds no model"),
        ("dump.json", "7", "holds no model"),
        ("dump.json.gz", "not packed", "cannot be read"),
        ("dump.json", "[" * 100_000, "cannot be read"),
        ("dump.jsonl", '{"id": 1}\n\n{"id": 2', "cannot be read: line 3"),
        ("sheet.csv", 'type,rating\n"lora,5\nlora,4\n', "cannot be read: unexpected end of data"),
    ],
)
def test_what_cannot_be_read_is_said_and_leaves_no_snapshot(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(SurveyError, match=said):
        imported(tmp_path / name, content)
    with stores.open(tmp_path / "survey.duckdb") as store:
        assert store.snapshots() == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with stores.open(tmp_path / "survey.duckdb") as store:
        with pytest.raises(SurveyError, match="cannot be read: No such file"):
            importing.load(tmp_path / "none.csv", store)
        with pytest.raises(SurveyError, match="no recorded pages"):
            importing.load(tmp_path, store)


DAY = datetime(2023, 1, 15)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_tables_in_every_encoding_plain_and_packed(tmp_path: Path, encoding: str, packed: bool) -> None:
    content = "type,name,rating\r\nLoRA,Ca\u00f1\u00f3n,4.5\r\n".encode(encoding)
    rows, notes = imported(tmp_path / "sheet.csv", gzip.compress(content) if packed else content, DAY)
    assert [(row["type"], row["name"], row["rating"]) for row in rows] == [("LORA", "Ca\u00f1\u00f3n", 4.5)]
    assert bool(notes) == (encoding == "cp1252")  # which is a guess, and said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_dumps_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    lines = "\n".join(
        json.dumps({"id": n, "name": "\u00e9", "type": "LORA"}, ensure_ascii=False) for n in (1, 2)
    )
    rows, _ = imported(tmp_path / "dump.jsonl", lines.encode(encoding))
    assert [(row["id"], row["name"]) for row in rows] == [(1, "\u00e9"), (2, "\u00e9")]


def test_bytes_that_are_no_letters_spoil_one_name_of_a_dump(tmp_path: Path) -> None:
    rows, _ = imported(tmp_path / "dump.jsonl", b'{"id": 1, "name": "caf\xe9"}\n{"id": 2, "name": "b"}\n')
    assert [row["name"] for row in rows] == ["caf\N{REPLACEMENT CHARACTER}", "b"]


@pytest.mark.parametrize(
    ("cell", "count"),
    [("1234", 1234), ("1,234", 1234), ("1.234", 1234), ("1.234.567", 1234567), ("1 234", 1234), ("1\u202f234", 1234),
     ("1'234", 1234), ("1.2k", 1200), ("1,2k", 1200), ("12 k", 12_000), ("0", 0), ("n/a", None), ("-", None)],
)  # fmt: skip
def test_counts_as_people_write_them(tmp_path: Path, cell: str, count: int | None) -> None:
    rows, notes = imported(tmp_path / "sheet.csv", f'id;type;downloads\n7;lora;"{cell}"\n', DAY)
    assert (rows[0]["downloads"], notes) == (count, [])


def test_cells_that_are_not_understood_are_named_and_no_number_is_made_of_them(tmp_path: Path) -> None:
    lines = ["id,type,downloads,rating,published", "1,lora,3.7,4.5,3.2.2023", "2,lora,many,4/5,2023-02-03",
             "3,lora,-5,99,1970-01-01", "4,lora,,,1675382400"]  # fmt: skip
    rows, notes = imported(tmp_path / "sheet.csv", "\n".join(lines), datetime(2024, 1, 1))
    assert [row["downloads"] for row in rows] == [None] * 4
    assert [row["rating"] for row in rows] == [4.5, None, None, None]
    assert [row["first_published"] for row in rows] == [
        None,
        datetime(2023, 2, 3),
        None,
        datetime(2023, 2, 3),
    ]
    assert notes == [
        "3 cells of column 'downloads' are not understood and count as missing, the first is '3.7'",
        "2 cells of column 'first_published' are not understood and count as missing, the first is '3.2.2023'",
        "2 cells of column 'rating' are not understood and count as missing, the first is '4/5'",
    ]


def test_control_codes_of_a_file_reach_no_terminal(tmp_path: Path) -> None:
    sheet = "id,type,downloads,\x1b[2Jmood\n1,lora,\x1b]0;owned\x07,x\n2,lo\x1bra,3,\u202eevil\n"
    (tmp_path / "sheet.csv").write_text(sheet, encoding="utf-8")
    words = ["survey", "import", str(tmp_path / "sheet.csv"), "--store", str(tmp_path / "survey.duckdb")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\x07", "\u202e"} & set(result.output)
    rows, _ = imported(tmp_path / "sheet.csv", sheet, DAY)
    assert rows[1]["type"] == "LORA"


def test_the_date_of_the_counts_can_be_named_and_is_guessed_aloud(tmp_path: Path) -> None:
    sheet = "id,type,published\n1,lora,2023-01-05\n2,lora,2023-03-01\n"
    _, notes = imported(tmp_path / "sheet.csv", sheet, DAY)
    assert notes == [
        "models were published up to 2023-03-01, after the date of the counts (2023-01-15); these have no age"
    ]
    with stores.open(tmp_path / "survey.duckdb") as store:
        assert store.snapshot(1).taken == DAY
        os.utime(tmp_path / "sheet.csv", (1.7e9, 1.7e9))
        _, notes = importing.load(tmp_path / "sheet.csv", store)
        assert "taken to be of 2023-11-14" in notes[0]
    words = ["survey", "import", str(tmp_path / "sheet.csv"), "--store", str(tmp_path / "s.duckdb"), "--date"]
    assert CliRunner().invoke(app, [*words, "2023-01-15"]).exit_code == 0
    assert CliRunner().invoke(app, [*words, "January"]).exit_code == 2
    with stores.open(tmp_path / "s.duckdb") as store:
        assert store.snapshot().taken == DAY


def test_a_file_is_its_content_wherever_it_lies(tmp_path: Path) -> None:
    sheet, moved = tmp_path / "sheet.csv", tmp_path / "elsewhere" / "other.csv"
    sheet.write_text("id,type\n1,lora\n", encoding="utf-8")
    moved.parent.mkdir()
    with stores.open(tmp_path / "survey.duckdb") as store:
        first = importing.load(sheet, store)[0]
        shutil.copy(sheet, moved)
        assert importing.load(moved, store)[0] == first
        moved.write_text("id,type\n2,lora\n", encoding="utf-8")
        assert importing.load(moved, store)[0] != first
        assert len(store.snapshots()) == 2
        assert not any(str(tmp_path) in one.source for one in store.snapshots())


def test_repeated_ids_and_items_without_one_are_said(tmp_path: Path) -> None:
    lines = [
        '{"id": 1, "stats": {"downloadCount": 5}}',
        '{"id": 1, "stats": {"downloadCount": 9}}',
        '{"name": "x"}',
    ]
    rows, notes = imported(tmp_path / "dump.jsonl", "\n".join(lines), DAY)
    assert [(row["id"], row["downloads"]) for row in rows] == [(1, 5)]
    assert notes == ["1 rows repeat the id of an earlier one and were left out",
                     "1 items have no id and were left out"]  # fmt: skip


def test_types_are_spelled_as_people_do_in_dumps_too(tmp_path: Path) -> None:
    names = ["Textual Inversion", "lora", "Hypernetworks", "aesthetic_gradient", "NewKind"]
    lines = [json.dumps({"id": n, "type": name}) for n, name in enumerate(names, start=1)]
    rows, _ = imported(tmp_path / "dump.jsonl", "\n".join(lines))
    kinds = [row["type"] for row in rows]
    assert kinds == ["TextualInversion", "LORA", "Hypernetwork", "AestheticGradient", "NewKind"]


def test_a_line_that_names_the_separator_is_no_title(tmp_path: Path) -> None:
    rows, _ = imported(tmp_path / "sheet.csv", "sep=|\nid|type|name\n7|lora|a,b;c\n", DAY)
    assert (rows[0]["id"], rows[0]["name"]) == (7, "a,b;c")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def read_or_refused(name: str, content: str) -> tuple[list[dict[str, Any]], list[str]] | None:
    """The rows and notes of a file, or None where it is refused with a hint."""
    with TemporaryDirectory() as folder, stores.open(Path(":memory:")) as store:
        path = Path(folder) / name
        path.write_text(content, encoding="utf-8")
        try:
            number, notes = importing.load(path, store, date=DAY)
        except SurveyError as error:
            return None if error.hint else pytest.fail(f"no hint: {error}")
        found = store.models(number)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()], notes


@settings(max_examples=30, deadline=None)
@given(
    cells=st.lists(st.lists(WORDS, min_size=5, max_size=5), min_size=1, max_size=4),
    separator=st.sampled_from(",;\t"),
)
def test_any_table_is_read_or_refused_in_one_line(cells: list[list[str]], separator: str) -> None:
    titles = ["id", "type", "downloads", "rating", "published"]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in cells]
    text = "\n".join(separator.join(line) for line in [titles, *quoted])
    if (read := read_or_refused("sheet.csv", text)) is None:
        return
    rows, notes = read
    assert 1 <= len(rows) <= len(cells)
    assert all(note.isprintable() for note in notes)
    for row in rows:
        assert row["downloads"] is None or row["downloads"] >= 0
        assert row["rating"] is None or 0 < row["rating"] <= 5
        assert row["first_published"] is None or row["first_published"].year >= 2020


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "type", "stats", "items", "modelVersions", "publishedAt", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None)
@given(value=JSON)
def test_any_dump_is_read_or_refused_in_one_line(value: Any) -> None:
    if (read := read_or_refused("dump.json", json.dumps(value))) is None:
        return
    rows, notes = read
    assert all(row["id"] > 0 for row in rows)
    assert all(note.isprintable() for note in notes)
