"""Archive: pages come back as they were, whatever a crash left of the last one."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path

import pytest

from likewise.errors import SurveyError
from likewise.survey.archive import PAGES, Archive, find
from likewise.survey.shapes import Page


def page(cursor: str, *numbers: int) -> Page:
    items = [{"id": number, "name": "näme\ud83d"} for number in numbers]
    return Page(
        (("types", "LORA"), ("cursor", cursor)), 200, {"items": items}, datetime(2026, 1, 2, 3, 4, 5, 6)
    )


def made(root: Path, *pages: Page) -> Archive:
    archive = Archive.create(root, "census", {"mode": "census"})
    with archive:
        for one in pages:
            archive.append(one)
    return archive


def test_pages_come_back_in_order(tmp_path: Path) -> None:
    pages = [page("a", 1, 2), page("b"), page("a", 3)]
    archive = made(tmp_path, *pages)
    assert list(archive.pages()) == pages
    assert Archive(archive.folder).plan == {"mode": "census"}


def test_any_program_can_read_them(tmp_path: Path) -> None:
    archive = made(tmp_path, page("a", 1, 2))
    with gzip.open(archive.folder / PAGES, "rt", encoding="utf-8") as file:
        head, answer = map(json.loads, file)
    assert head["asked"] == [["types", "LORA"], ["cursor", "a"]]
    assert [item["id"] for item in answer["items"]] == [1, 2]


def test_a_page_is_taken_once_and_in_turn(tmp_path: Path) -> None:
    archive = made(tmp_path, page("a", 1), page("b", 2), page("a", 3))
    for _ in range(2):  # and again after a new look
        archive.index()
        taken = [archive.take(page(cursor).asked) for cursor in "aaab"]
        assert [one and one.models[0].id for one in taken] == [1, 3, None, 2]


def test_whatever_a_crash_leaves_the_pages_before_it_stay(tmp_path: Path) -> None:
    archive = made(tmp_path, page("a", 1), page("b", 2))
    path = archive.folder / PAGES
    whole = path.read_bytes()
    first = len(made(tmp_path, page("a", 1)).folder.joinpath(PAGES).read_bytes())
    for length in (*range(first, len(whole), 7), first + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert [one.models[0].id for one in archive.pages()] == [1]
        with archive:
            archive.append(page("c", 3))
        assert [one.models[0].id for one in archive.pages()] == [1, 3], length


def test_two_processes_do_not_fill_one(tmp_path: Path) -> None:
    archive = made(tmp_path)
    (archive.folder / "lock").write_text("1")  # a process that is alive and not this one
    with pytest.raises(SurveyError, match="another process"), archive:
        pass


def test_how_it_ended_is_kept(tmp_path: Path) -> None:
    archive = made(tmp_path)
    assert archive.done is None
    archive.finish({"complete": True})
    assert Archive(archive.folder).done == {"complete": True}


def test_archives_are_found_and_other_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    made(tmp_path)
    made(tmp_path)
    assert [archive.folder.name[-1] for archive in find(tmp_path)] == ["1", "2"]
    with pytest.raises(SurveyError, match="holds no recorded pages"):
        Archive(tmp_path / "holiday")
