"""Trials side by side in processes of their own: the rows of a serial start, whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from likewise import journal
from likewise.comparison import pool
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Condition, Trial
from likewise.comparison.executing import Here
from likewise.comparison.pool import Pool
from likewise.comparison.results import Row
from likewise.comparison.tasks import Task, grouped
from likewise.errors import Interrupted, StorageError
from likewise.events import Noted, Stepped, TrialStarted
from tests.bases import pictures
from tests.comparison.mishaps import dying, filling, starting
from tests.comparison.plans import Done, pixels, planned, rows_of
from tests.disks import disk
from tests.metrics.judges import panel

posix = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 on this system")


def made(source: Path, out: Path, executor: Pool | None = None, **changes: Any) -> Comparison:
    """DreamBooth, which can share no batch, and LoRA, which can; two trainings of each."""
    options: dict[str, Any] = {
        "replicates": 2, "seeds": 1, "methods": ("dreambooth", "lora"), "checkpoint_every": 1,
    }  # fmt: skip
    comparison = planned(source, out, **options | changes)
    comparison.executor = executor
    return comparison


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What is compared to the bit is computed with the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("pool")
    source = pictures(root / "owls", 6)
    return Done(source, root / "out", list(made(source, root / "out").start(judges=panel())))


def same(folder: Path, done: Done) -> None:
    """The rows, pictures and files are those of the serial start, to the bit; what they cost is their own."""
    ours, theirs = rows_of(folder), done.rows()
    assert list(ours) == list(theirs)
    for name, row in ours.items():
        assert replace(row, cost={}, machine={}) == replace(theirs[name], cost={}, machine={})
        if row.status == "done":
            assert pixels(folder, name) == pixels(done.folder, name)
            kept = sorted(path.name for path in (folder / "trials" / name / "run").glob("*.safetensors"))
            for file in kept:
                place = Path("trials", name, "run", file)
                assert (folder / place).read_bytes() == (done.folder / place).read_bytes()


def test_two_at_a_time_give_the_rows_of_one(done: Done, tmp_path: Path) -> None:
    events = list(made(done.source, tmp_path / "out", Pool(2)).start(judges=panel()))
    same(tmp_path / "out", done)
    assert (tmp_path / "out" / "verdict.json").is_file()
    started = [event for event in events if isinstance(event, TrialStarted)]
    assert sorted(event.number for event in started) == list(range(1, len(done.rows()) + 1))
    machines = [row.machine for row in rows_of(tmp_path / "out").values() if row.kind == "method"]
    assert {one["side_by_side"] for one in machines} == {2}, "costs carry how they were measured"
    assert {one["threads"] for one in machines} == {1}
    assert {row.machine["side_by_side"] for row in done.rows().values() if row.kind == "method"} == {1}
    assert not list((tmp_path / "out" / "claims").glob("*/lock"))


def test_a_stop_saves_every_training_and_a_start_goes_on(done: Done, tmp_path: Path) -> None:
    two = Pool(2)
    comparison, crew = made(done.source, tmp_path / "out", two), []

    def stop_at_the_first_step() -> None:
        for event in comparison.start(judges=panel()):
            if isinstance(getattr(event, "inner", None), Stepped):
                crew.extend(one.process for one in two._crew)
                comparison.stop()

    with pytest.raises(Interrupted):
        stop_at_the_first_step()
    assert crew
    assert all(one.poll() is not None for one in crew), "nobody works on"
    list(made(done.source, tmp_path / "out", Pool(2)).start(judges=panel()))
    same(tmp_path / "out", done)
    for name in ("dreambooth-0", "lora-0"):
        assert taken(tmp_path / "out", name) == [1, 2, 3], "no step is done twice"


def taken(folder: Path, name: str) -> list[int]:
    return [e.step for e in journal.events(folder / "trials" / name / "run") if isinstance(e, Stepped)]


DRIVER = """
import os, signal, sys
from pathlib import Path
from likewise.comparison.pool import Pool
from tests.comparison.test_pool import made
from tests.metrics.judges import panel
source, out = map(Path, sys.argv[1:])
pool = Pool(2)
for event in made(source, out, pool).start(judges=panel()):
    if type(getattr(event, "inner", event)).__name__ == "Stepped":
        print(*(one.process.pid for one in pool._crew), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_a_killed_driver_loses_nothing_and_nothing_is_computed_twice(done: Done, tmp_path: Path) -> None:
    out, root = tmp_path / "out", Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", DRIVER, str(done.source), str(out)]
    # Not `communicate`: its workers outlive the driver and hold on to its other outputs.
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        workers = [int(number) for number in driver.stdout.readline().split()]
    assert driver.returncode == -signal.SIGKILL
    assert len(workers) == 2
    list(made(done.source, out, Pool(2)).start(judges=panel()))  # at once: it waits for what the orphans save
    same(out, done)
    for name in ("dreambooth-0", "dreambooth-1", "lora-0", "lora-1"):
        assert taken(out, name) == [1, 2, 3], "no step is done twice"
    alive = [psutil.Process(number) for number in workers if psutil.pid_exists(number)]
    _, alive = psutil.wait_procs(alive, timeout=300)
    assert alive == [], "workers without a driver end"


@posix
def test_a_killed_worker_costs_one_step(done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mark := tmp_path / "killed").mkdir()
    program = starting(dying, "dreambooth-0", 2, str(mark), 1)
    monkeypatch.setattr(pool, "_START", program)
    events = list(made(done.source, tmp_path / "out", Pool(2)).start(judges=panel()))
    same(tmp_path / "out", done)
    notes = [event.text for event in events if isinstance(event, Noted) and "is done again" in event.text]
    assert len(notes) == 1
    assert "by the system, most likely for want of memory" in notes[0]
    assert taken(tmp_path / "out", "dreambooth-0") == [1, 2, 2, 3], (
        "the step that was not saved is done again"
    )


@posix
def test_a_trial_that_always_loses_its_process_fails_and_the_others_are_done(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, out = "lora-0", tmp_path / "out"
    (mark := tmp_path / "killed").mkdir()
    monkeypatch.setattr(pool, "_START", starting(dying, victim, 1, str(mark), 2))
    comparison = made(done.source, out, Pool(2), methods=("lora",))
    list(comparison.start(judges=panel()))
    rows = rows_of(out)
    assert rows[victim].status == "failed"
    assert "its process was ended by the system, most likely for want of memory, twice" in str(
        rows[victim].reason
    )
    assert rows["lora-1"].status == "done"
    assert [trial.name for trial in comparison.pending()] == [victim], "it is tried again by the next start"


def test_a_full_disk_stops_every_worker_and_costs_no_step(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk(tmp_path / "disk") as small:
        out = small.folder / "out"
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_START", starting(filling, "lora-0", 2, str(small.folder)))
            with pytest.raises(StorageError, match="no space is left") as told:
                list(made(done.source, out, Pool(2), methods=("lora",)).start(judges=panel()))
        assert str(told.value.hint).endswith("start the comparison again to go on")
        small.free()
        list(made(done.source, out, Pool(2), methods=("lora",)).start(judges=panel()))
        assert taken(out, "lora-0") == [1, 2, 3], "no step is done twice"
        for name in ("base", "lora-0", "lora-1"):
            assert pixels(out, name) == pixels(done.folder, name)


def test_a_base_of_another_content_is_refused_in_the_worker(done: Done, tmp_path: Path) -> None:
    comparison = made(done.source, tmp_path / "out", Pool(1))
    comparison._fingerprint = "another"  # type: ignore[misc]
    with pytest.raises(Exception, match="no longer what it was"):
        list(comparison.start(judges=panel()))


def still(count: int) -> list[Trial]:
    """Trials of which nothing is taught or drawn."""
    condition = Condition("lora", "LoRA", "method", None, "lora", None, reason="only planned")
    return [Trial(condition, number, 0) for number in range(count)]


@pytest.mark.slow
def test_ten_thousand_planned_trials_are_claimed_and_collected_in_flat_memory(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = made(done.source, tmp_path / "out", Pool(2))
    process, sizes, count = psutil.Process(), list[int](), 0
    given = iter(comparison._tasks(still(10_000), 2))
    with closing(comparison.executor.run(given, lambda: False)) as told:  # type: ignore[union-attr,type-var]
        for one in told:
            if isinstance(one, Row):
                comparison._results.put(one)
                count += 1
                if count in (2_000, 10_000):
                    sizes.append(process.memory_info().rss)
    assert count == 10_000
    assert sizes[1] - sizes[0] < 20e6, "bytes for 8,000 trials more"
    assert len(comparison.rows()) == 10_000


def test_tasks_are_handed_out_when_there_is_room(done: Done, tmp_path: Path) -> None:
    comparison, taken_by_then = made(done.source, tmp_path / "out"), []
    given = 0

    def counted() -> Iterator[Task]:
        nonlocal given
        for task in comparison._tasks(still(50), 1):
            given += 1
            yield task

    for one in Here().run(counted(), lambda: False):
        if isinstance(one, Row):
            taken_by_then.append(given)
    assert taken_by_then == list(range(1, 51))


def test_a_batch_that_was_begun_stays_together_and_one_that_ended_is_not_taught_again() -> None:
    recipe = planned_recipe()
    condition = Condition("lora", "LoRA", "method", "sks owl", "lora", recipe, shares=True)
    trials = [Trial(condition, number, 0) for number in range(1, 12)]

    def names(**given: Any) -> list[list[str]]:
        options = {"taught": lambda _: False, "begun": lambda _: ()} | given
        return [[one.name for one in group] for group in grouped(trials, True, **options)]

    every = [trial.name for trial in trials]
    assert names() == [every[:8], every[8:]]
    assert names(taught=lambda one: one.replicate == 1) == [every[:1], every[1:9], every[9:]]
    begun = [every[0], every[5]]
    assert names(begun=lambda one: begun if one.replicate == 1 else ())[0] == begun
    gone = [every[0], "lora-99"]
    assert names(begun=lambda one: gone if one.replicate == 1 else ())[0] == every[:8]


def planned_recipe() -> Any:
    from likewise import methods

    return methods.get("lora").recipe()
