"""The run folder's files when they are not as they were written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
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
