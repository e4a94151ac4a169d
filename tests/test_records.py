"""The run folder's files when they are not as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise import records
from likewise.errors import RunError

PLAN = {
    "base": "pocket",
    "method": "lora",
    "job": [{"concept": {"name": "x", "token": "x", "noun": "y"}, "recipe": {}}],
}


def test_a_plan_comes_back_without_what_was_empty(tmp_path: Path) -> None:
    records.write_plan(tmp_path, {**PLAN, "note": None})
    assert records.read_plan(tmp_path) == PLAN


@pytest.mark.parametrize(
    "content",
    [b"", b"steps = 4", b"job = 3", b"base = 'x'\nmethod = 'y'\njob = []", b"base = 'x'\nmethod = 'y'\njob = [1]",
     b"base = ", b"\xff\xfe"],
)  # fmt: skip
def test_a_plan_of_something_else_names_itself_and_spoils_no_listing(content: bytes, tmp_path: Path) -> None:
    records.write_plan(tmp_path / "good", PLAN)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.toml").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.toml"):
        records.read_plan(tmp_path / "other")
    status = {Path(row["folder"]).name: row["status"] for row in records.runs(tmp_path)}
    assert status["good"] == "unfinished"
    assert status["other"].startswith("unreadable: ")


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"status": "done"}', "{"])
def test_a_result_of_something_else_names_itself(content: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"result\.json"):
        records.read_result(tmp_path)


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        records.read_plan(tmp_path)


def test_an_event_cut_off_by_a_crash_is_skipped(tmp_path: Path) -> None:
    records.append_event(tmp_path, {"event": "stepped", "text": "ünï"})
    with (tmp_path / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"event": "ste')
    assert [event["text"] for event in records.events(tmp_path)] == ["ünï"]
