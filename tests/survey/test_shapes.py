"""Shapes: every answer of the recorded page is read, and nothing that is missing becomes a number."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.survey.shapes import Page, count, quantity, read, text, when
from likewise.survey.store import MODELS

RECORDED = r"""
{"items":[
 {"id":900001,"name":"Example plush","description":"<p>…</p>","type":"LORA","poi":false,"nsfw":false,"nsfwLevel":1,
  "allowCommercialUse":["Image","Rent"],
  "stats":{"downloadCount":1532,"thumbsUpCount":214,"thumbsDownCount":1,"commentCount":9,"tippedAmountCount":120},
  "creator":{"username":"someone","image":null},"tags":["plush","object"],
  "modelVersions":[{"id":990001,"index":0,"name":"v1.1","baseModel":"SD 1.5","publishedAt":"2024-02-03T10:11:12.345Z",
    "stats":{"downloadCount":700,"thumbsUpCount":90,"thumbsDownCount":0},
    "files":[{"id":1,"sizeKB":18432.5,"name":"example.safetensors","type":"Model",
      "metadata":{"format":"SafeTensor","size":"full","fp":"fp16"},"primary":true}],"images":[{"id":5}]}]},
 {"id":900002,"name":"Hidden counts","type":"Checkpoint","stats":{"downloadCount":null,"thumbsUpCount":3,
  "thumbsDownCount":0,"commentCount":0,"tippedAmountCount":null},"modelVersions":[]},
 {"id":900003,"name":"Archived","type":"Hypernetwork","mode":"Archived","stats":{"downloadCount":41,"thumbsUpCount":0,
  "thumbsDownCount":0,"commentCount":0},"modelVersions":[{"id":990003,"files":[],"images":[],"publishedAt":null}]},
 {"id":900004,"name":"Old shape","type":"TextualInversion","allowCommercialUse":"Sell","stats":{"downloadCount":812,
  "favoriteCount":55,"commentCount":2,"ratingCount":4,"rating":4.75},"modelVersions":[{"id":990004,
  "createdAt":"2023-01-05T00:00:00.000Z","files":[{"sizeKB":24.1,"type":"Model","name":"x.pt"}]}]},
 {"id":900005,"name":"New kind","type":"SomethingNew","stats":{}}],
 "metadata":{"nextCursor":"75|341|146864","nextPage":"https://civitai.com/api/v1/models?limit=5&cursor=75"}}
"""
"""Invented values in the shapes of the real site: today's, hidden, archived, old, and of a type nobody knows."""


def recorded() -> Page:
    return Page((), 200, json.loads(RECORDED), datetime(2026, 1, 1))


def model(**facts: Any) -> dict[str, Any]:
    found = read({"id": 7, **facts})
    assert found is not None
    return found.row()


def test_the_recorded_page_is_read_whole() -> None:
    plush, hidden, archived, old, new = (found.row() for found in recorded().models)
    assert recorded().cursor == "75|341|146864"
    assert (plush["downloads"], plush["likes"], plush["dislikes"], plush["creator"]) == (
        1532,
        214,
        1,
        "someone",
    )
    assert (plush["top_version_downloads"], plush["size_kb"], plush["file_format"]) == (
        700,
        18432.5,
        "SafeTensor",
    )
    assert plush["first_published"] == plush["last_published"] == datetime(2024, 2, 3, 10, 11, 12, 345000)
    assert (hidden["downloads"], hidden["likes"], hidden["versions"]) == (None, 3, 0)
    assert (archived["archived"], archived["downloads"], archived["likes"]) == (True, 41, 0)
    assert archived["first_published"] is None
    assert (old["rating"], old["rating_count"], old["favourites"], old["likes"]) == (4.75, 4, 55, None)
    assert old["first_published"] == datetime(2023, 1, 5)
    assert (new["type"], new["downloads"], new["rating"]) == ("SomethingNew", None, None)


def test_a_row_has_every_column_of_the_store() -> None:
    assert model().keys() == MODELS.keys()


def test_unrated_is_missing_and_not_zero_stars() -> None:
    unrated = model(stats={"rating": 0, "ratingCount": 0})
    assert (unrated["rating"], unrated["rating_count"]) == (None, 0)
    assert model(stats={"rating": 0})["rating"] is None
    assert model(stats={"rating": 5, "ratingCount": 0})["rating"] is None


def test_the_leading_version_is_the_one_with_the_most_downloads() -> None:
    def version(base: str, downloads: int | None) -> dict[str, Any]:
        return {"baseModel": base, "stats": {"downloadCount": downloads}, "files": [{"sizeKB": len(base)}]}

    row = model(modelVersions=[version("new", 3), version("best", 90), version("old", None)])
    assert (row["base_model"], row["size_kb"], row["top_version_downloads"], row["versions"]) == (
        "best",
        4,
        90,
        3,
    )
    assert model(modelVersions=[version("new", None), version("old", None)])["base_model"] == "new"


def test_the_primary_file_is_measured() -> None:
    files = [{"sizeKB": 1, "type": "Config"}, {"sizeKB": 2, "type": "Model"}, {"sizeKB": 3, "primary": True}]
    assert model(modelVersions=[{"files": files}])["size_kb"] == 3
    assert model(modelVersions=[{"files": files[:2]}])["size_kb"] == 2


def test_a_cursor_is_whatever_is_there_and_its_lack_is_the_end() -> None:
    def cursor(metadata: object) -> str | None:
        return Page((), 200, {"items": [], "metadata": metadata}, datetime(2026, 1, 1)).cursor

    assert cursor({"nextCursor": 12}) == "12"
    assert [cursor(none) for none in ({}, {"nextCursor": None}, {"nextCursor": ""}, None, [])] == [None] * 5


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3), (0, 0), ("1,532", 1532), ("1,234,567.5", 1234567.5), (" 7 ", 7), ("18432.5", 18432.5),
        (None, None), ("", None), ("4,75", None), (True, None), (-1, None), (float("nan"), None),
        (float("inf"), None), ([], None), (2**60, None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_numbers_in_any_spelling(value: object, number: float | None) -> None:
    assert quantity(value) == number


def test_counts_are_whole() -> None:
    assert (count("12"), count(12.0), count(12.5), count(2**60)) == (12, 12, None, None)
    assert (count(7, 7), count("8", 7), count(8, 7)) == (7, None, None)


@pytest.mark.parametrize("value", ["2024-02-03T10:11:12Z", "2024-02-03T11:11:12+01:00", 1706955072000])
def test_moments_are_utc(value: object) -> None:
    assert when(value) == datetime(2024, 2, 3, 10, 11, 12)
    assert when(value) == datetime.fromtimestamp(1706955072, UTC).replace(tzinfo=None)


@pytest.mark.parametrize("value", [None, "", "soon", "2024-13-01", 1e300, True, {}])
def test_what_is_no_moment_is_missing(value: object) -> None:
    assert when(value) is None


def test_text_can_be_written_anywhere() -> None:
    assert text("a\ud83db\0c") == "a?bc"
    assert text("  ") is None
    assert len(text("x" * 5000) or "") == 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ITEMS = st.fixed_dictionaries(
    {"id": st.integers(1, 9)},
    optional={
        name: JSON
        for name in ("name", "type", "nsfw", "nsfwLevel", "mode", "stats", "creator", "tags", "modelVersions")
    },
)


@given(ITEMS | JSON)
def test_nothing_that_json_can_say_breaks_the_reader(item: Any) -> None:
    found = read(item)
    if found is not None:
        json.dumps(found.row(), default=str, allow_nan=False).encode("utf-8")
