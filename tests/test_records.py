"""The run folder's files when they are not as they were written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from likewise import journal, records
from likewise.errors import RunError
from likewise.events import Attached, Event, Failed, Finished, Stepped, Stopped

PLAN: dict[str, Any] = {
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
     b"base = 'x'\nmethod = 'y'\njob = [{recipe = {}, concept = {name = 'x', token = 'x'}}, {}]",
     b"base = ", b"\xff\xfe"],
)  # fmt: skip
def test_a_plan_of_something_else_names_itself_and_spoils_no_listing(content: bytes, tmp_path: Path) -> None:
    records.write_plan(tmp_path / "good", PLAN)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.toml").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.toml"):
        records.read_plan(tmp_path / "other")
    status = {Path(row["folder"]).name: row["status"] for row in records.runs(tmp_path)}
    assert status["good"] == "planned"
    assert status["other"].startswith("unreadable: ")


def job(token: str, seed: int) -> dict[str, Any]:
    return {"concept": {"name": token.lower(), "token": token, "noun": "dog"}, "recipe": {"seed": seed}}


def test_a_run_of_several_jobs_lists_each_and_one_file_of_each_concept_acts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records.write_plan(tmp_path, {**PLAN, "job": [job("sks", 3), job("SKS", 4), job("ohwx", 3)]})
    (row,) = records.runs(tmp_path)
    assert [(one["concept"], one["seed"]) for one in row["jobs"]] == [("sks", 3), ("sks", 4), ("ohwx", 3)]
    found = records.together(tmp_path, {"files": ["a", "b", "c"]})
    assert [path.name for path in found] == ["a", "c"]
    (said,) = caplog.messages
    assert "taught 'sks' with 2 seeds, and a is taken; name a file to take another, such as " in said
    with pytest.raises(RunError, match="2 files of 3 jobs"):
        records.together(tmp_path, {"files": ["a", "b"]})


def test_the_only_file_of_a_run_needs_no_plan(tmp_path: Path) -> None:
    assert records.together(tmp_path, {"files": ["a"]}) == [tmp_path / "a"]


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"status": "done"}', "{"])
def test_a_result_of_something_else_names_itself(content: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=r"result\.json"):
        records.read_result(tmp_path)


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        records.read_plan(tmp_path)


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """Another process that is alive."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield psutil.Process(child.pid)
    child.kill()
    child.wait()


def test_a_lock_says_who_holds_it_and_since_when_that_one_lives(tmp_path: Path) -> None:
    with records.locked(tmp_path / "new" / "folder"):
        number, began = (tmp_path / "new" / "folder" / "lock").read_text().split()
    assert int(number) == os.getpid()
    assert float(began) == psutil.Process().create_time()
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_a_lock_of_the_living_is_respected(tmp_path: Path, sleeper: psutil.Process) -> None:
    (tmp_path / "lock").write_text(f"{sleeper.pid} {sleeper.create_time()}")
    records.ask_to_stop(tmp_path)
    with pytest.raises(RunError, match=f"trained by process {sleeper.pid}"), records.locked(tmp_path):
        pass
    assert records.stop_asked(tmp_path), "which was meant for the one that holds it"


@pytest.mark.parametrize("left", ["{pid} 1.5", "", "no number", "-1 0.0", "{pid} soon"])
def test_a_lock_that_nobody_holds_is_taken_over(tmp_path: Path, sleeper: psutil.Process, left: str) -> None:
    """A process of the same number that began at another time is another process."""
    (tmp_path / "lock").write_text(left.format(pid=sleeper.pid))
    records.ask_to_stop(tmp_path)
    with records.locked(tmp_path):
        assert not records.stop_asked(tmp_path), "the dead one was asked"


STEPPED = Stepped(1, 2, (0.5,), {}, 1.0, 0)
ATTACHED = Attached("lora", 1, 2)
RESULT = {"status": "done", "files": [], "steps": 2}


@pytest.mark.parametrize(
    ("expected", "events", "result", "lock"),
    [
        ("planned", [], None, None),
        ("running", [], None, "{pid} {began}"),
        ("running", [Failed("earlier", None)], None, "{pid} {began}"),
        ("running", [Finished(RESULT), STEPPED], RESULT, "{pid} {began}"),
        ("dead", [], None, "{pid} 1.5"),
        ("dead", [STEPPED], None, "{pid} 1.5"),
        ("dead", [STEPPED], None, None),
        ("dead", [Stopped("asked", None), ATTACHED], None, None),
        ("dead", [Finished(RESULT)], None, None),
        ("stopped", [STEPPED, Stopped("asked", "go on")], None, None),
        ("failed", [STEPPED, Failed("no room", None)], None, None),
        ("done", [STEPPED, Finished(RESULT)], RESULT, None),
        ("done", [STEPPED], RESULT, None),
        ("done", [], RESULT, "{pid} 1.5"),
    ],
)
def test_a_run_says_how_it_stands(
    expected: str,
    events: list[Event],
    result: dict[str, Any] | None,
    lock: str | None,
    tmp_path: Path,
    sleeper: psutil.Process,
) -> None:
    records.write_plan(tmp_path, PLAN)
    for event in events:
        journal.append(tmp_path, event)
    if result is not None:
        records.write_result(tmp_path, result)
    if lock is not None:
        (tmp_path / "lock").write_text(lock.format(pid=sleeper.pid, began=sleeper.create_time()))
    assert records.status(tmp_path) == expected
    assert [row["status"] for row in records.runs(tmp_path)] == [expected]


def test_the_machine_is_told_with_what_was_measured_on_it(tmp_path: Path) -> None:
    """Results of before it was kept have none."""
    for name, known in (("new", {"machine": {"cores": 2}}), ("old", {})):
        records.write_plan(tmp_path / name, PLAN)
        records.write_result(tmp_path / name, RESULT | known)
    told = {Path(row["folder"]).name: row["machine"] for row in records.runs(tmp_path)}
    assert told == {"new": {"cores": 2}, "old": None}


def test_a_run_that_is_lengthened_is_not_done_before_its_last_step(tmp_path: Path) -> None:
    job = {**PLAN["job"][0], "recipe": {"steps": 2}}
    records.write_plan(tmp_path, {**PLAN, "job": [job], "more_steps": 3})
    records.write_result(tmp_path, RESULT)
    for event, expected in ((STEPPED, "dead"), (Stopped("asked", None), "stopped")):
        journal.append(tmp_path, event)
        assert records.status(tmp_path) == expected
    records.write_result(tmp_path, {**RESULT, "steps": 5})
    assert records.status(tmp_path) == "done"


def test_a_wish_to_stop_is_heeded_once(tmp_path: Path) -> None:
    """One that was left lying is older than the events that came after it; a new one is not."""
    records.write_plan(tmp_path, PLAN)
    journal.append(tmp_path, STEPPED)
    records.ask_to_stop(tmp_path)
    for seconds, stands in ((1, True), (-1, False)):
        written = (tmp_path / "events.jsonl").stat().st_mtime + seconds
        records.ask_to_stop(tmp_path)
        os.utime(tmp_path / records.STOP, (written, written))
        assert records.status(tmp_path) == ("dead" if stands else "stopped")
        with records.locked(tmp_path):
            assert records.stop_asked(tmp_path) is stands


def test_how_no_run_stands_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        records.status(tmp_path)


def test_a_filesystem_without_links_has_locks_all_the_same(
    tmp_path: Path, sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "lock").write_text(f"{sleeper.pid} {sleeper.create_time()}")
    with pytest.raises(RunError, match="is being trained"), records.locked(tmp_path):
        pass
    (tmp_path / "lock").unlink()
    with records.locked(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} ")
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_written_is_tried_and_leaves_nothing(tmp_path: Path) -> None:
    records.check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="is a file, not a folder"):
        records.check_writable(tmp_path / "file" / "x")
    with pytest.raises(RunError, match="cannot be written"):
        records.check_writable(tmp_path / ("x" * 300))
