"""Importing: tables as people write them, dumps as programs do; unrated is missing, and merges keep their place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

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


def imported(path: Path, content: str | bytes) -> tuple[list[dict[str, Any]], list[str]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with stores.open(path.parent / "survey.duckdb") as store:
        number, notes = importing.load(path, store)
        assert store.snapshot(number).mode == "import"
        found = store.models(number).order("id")
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()], notes


def test_a_spreadsheet_as_people_keep_it(tmp_path: Path) -> None:
    (small, plush, merge), notes = imported(tmp_path / "sheet.csv", SHEET)
    assert notes == ["column 'Mood' is not known and was left out"]
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
        ("sheet.csv", b"type,rating\n\xff\xfe,1\n", "cannot be read"),
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
