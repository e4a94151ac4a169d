"""The queue: one command at a time, in order, by a process that needs nobody, and how work stands meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from likewise import records
from likewise.studio import work

QUICK = ["examples", "--json"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def asked(root: Path, name: str, command: list[str]) -> Path:
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    work.ask(folder, command, noun="dog")
    return folder


def test_everything_is_done_in_order_one_after_the_other(place: Path) -> None:
    folders = [asked(place, name, QUICK) for name in "abc"]
    work.pause(place, True)
    for folder in folders:
        work.enqueue(place, folder, QUICK, folder.name)
    assert [item["title"] for _, item in work.waiting(place)] == ["a", "b", "c"]
    work.reorder(place, work.waiting(place)[2][0], -1)
    work.withdraw(place, work.waiting(place)[0][0])
    assert [item["title"] for _, item in work.waiting(place)] == ["c", "b"]
    assert [work.state(folder) for folder in folders] == ["stopped", "waiting", "waiting"]
    work.pause(place, False)
    until(lambda: work.state(folders[1]) == "done" and work.state(folders[2]) == "done")
    begun = [work.read(folder)["process"][1] for folder in folders[1:]]
    assert begun[1] < begun[0]
    assert '"ink-woman"' in (folders[1] / work.OUTPUT).read_text()
    until(lambda: work.current(place) is None)


def test_what_fails_says_so_and_the_next_is_done(place: Path) -> None:
    bad, good = asked(place, "bad", ["teach", "nowhere", "--noun=dog"]), asked(place, "good", QUICK)
    for folder in (bad, good):
        work.enqueue(place, folder, work.read(folder)["command"], folder.name)
    until(lambda: work.state(good) == "done")
    assert work.state(bad) == "failed"
    assert "nowhere" in work.said(bad)


def test_work_lives_on_when_whoever_asked_for_it_is_killed(place: Path) -> None:
    """A process asks, as the server does, and is killed at once. Red where the worker is its child in the same group."""
    folder = asked(place, "a", QUICK)
    code = (
        "import sys, time; from pathlib import Path; from likewise.studio import work; root = Path(sys.argv[1]);"
        "work.enqueue(root, root / 'runs' / 'a', ['examples', '--json'], 'a');"
        "print('asked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, env=work.environment(),
                               start_new_session=True)  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: work.state(folder) == "done")


def test_a_second_worker_goes_away_and_one_after_a_killed_one_goes_on(place: Path) -> None:
    """Red where the lock of the dead keeps the queue shut, or two work at once."""
    folder = asked(place, "a", QUICK)
    with records.locked(place / work.QUEUE):
        work.enqueue(place, folder, QUICK, "a")
        time.sleep(1.5)
        assert work.state(folder) == "waiting"
    until(lambda: work.state(folder) == "done")
    (place / work.QUEUE / "lock").write_text("999999 1.0")
    other = asked(place, "b", QUICK)
    work.enqueue(place, other, QUICK, "b")
    until(lambda: work.state(other) == "done")


def test_a_process_that_ended_and_was_not_waited_for_does_not_live() -> None:
    """Red where a zombie counts as living: a run would be at work for ever."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    known = records.self_of(process.pid)
    until(lambda: not records.lives(*known))
    process.wait()
    assert not records.lives(*known)
    assert records.lives(*records.self_of(os.getpid()))
