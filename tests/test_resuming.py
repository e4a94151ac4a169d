"""Checkpoints on disks that take no more: nothing is taught twice, and one line says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from likewise import journal, methods, resuming
from likewise.cache import Cache
from likewise.errors import Interrupted, StorageError
from likewise.events import Event, Finished, Stepped
from likewise.run import Run
from likewise.stack import Job
from tests.bases import concept, tiny
from tests.disks import Disk, disk, limited

STEPS = 6


def run_in(out: Path, pictures: Path, **settings: Any) -> Run:
    recipe = methods.get("lora").recipe().override({"steps": STEPS, "checkpoint_every": 2, **settings})
    return Run("tiny:sd", "lora", (Job(concept(pictures), recipe),), out, cache=Cache(pictures / "cache"))


def taught(run: Run) -> bytes:
    """The bytes that the run leaves."""
    *_, last = run.start(base=tiny())
    assert isinstance(last, Finished)
    return (run.folder / last.result["files"][0]).read_bytes()


def steps_of(run: Run) -> list[int]:
    return [event.step for event in journal.events(run.folder) if isinstance(event, Stepped)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with disk(tmp_path_factory.mktemp("disks") / "small") as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a run leaves that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    return taught(run_in(folder / "run", folder))


def test_a_disk_that_cannot_hold_the_states_is_said_before_the_first_step(
    tmp_path: Path, whole: bytes
) -> None:
    run = run_in(tmp_path / "run", tmp_path)
    with (
        limited(100_000),
        pytest.raises(StorageError, match=r"no space is left in .*MB more are needed") as told,
    ):
        list(run.start(base=tiny()))
    assert told.value.hint == f"free some, then likewise teach --resume {run.folder}"
    assert steps_of(run) == []
    assert sorted(path.name for path in run.folder.iterdir()) == ["events.jsonl", "run.toml"]
    assert taught(Run.open(run.folder)) == whole
    assert sorted(path.name for path in (run.folder / "checkpoint").iterdir()) == ["state.safetensors"]


def disturbed(run: Run, at: int, disturb: Callable[[], None]) -> StorageError:
    """Start the run, disturb it after step `at`, and give the error that ends it."""

    def start() -> None:
        for event in run.start(base=tiny()):
            if isinstance(event, Stepped) and event.step == at:
                lines = run.folder / "events.jsonl"
                with lines.open("ab") as file:  # so that the next line needs a block of its own
                    file.write(b"\n" * (-lines.stat().st_size % 4096))
                disturb()

    with pytest.raises(StorageError) as told:
        start()
    return told.value


@pytest.mark.parametrize("at", range(1, STEPS))
def test_a_disk_that_others_fill_costs_no_step(at: int, small: Disk, tmp_path: Path, whole: bytes) -> None:
    """The events of the next step find no room; that step is kept in the room that was reserved."""
    run = run_in(small.folder / f"run{at}", tmp_path)
    error = disturbed(run, at, small.fill)
    small.free()
    assert error.message == f"no space is left in {run.folder}"
    assert error.hint == f"free some, then likewise teach --resume {run.folder}"
    assert steps_of(run) == list(range(1, at + 1))
    assert taught(replace(Run.open(run.folder), cache=run.cache)) == whole
    done = steps_of(run)
    assert len(set(done)) == len(done), "nothing is done twice"
    assert set(range(1, STEPS + 1)) - set(done) <= {at + 1}, "a line is lost with the disk, the step is not"


def test_a_disk_that_is_full_at_the_end_still_has_room_for_the_state_and_the_result(
    small: Disk, tmp_path: Path, whole: bytes
) -> None:
    run = run_in(small.folder / "end", tmp_path)
    for event in run.start(base=tiny()):
        if isinstance(event, Stepped) and event.step == STEPS:
            small.fill()
    small.free()
    assert isinstance(event, Finished)
    assert (run.folder / "pictures0-lora.safetensors").read_bytes() == whole


def test_a_full_disk_at_a_preview_costs_no_step(small: Disk, tmp_path: Path, whole: bytes) -> None:
    run = replace(run_in(small.folder / "seen", tmp_path), previews=("a {}",) * 9, preview_steps=(3,))
    disturbed(run, 3, lambda: small.fill(but=4096))  # room for the line of the step, not for nine pictures
    small.free()
    events: list[Event] = list(replace(Run.open(run.folder), cache=run.cache).start(base=tiny()))
    assert [event.step for event in events if isinstance(event, Stepped)] == [4, 5, 6]
    assert (run.folder / "pictures0-lora.safetensors").read_bytes() == whole


def test_a_disk_that_becomes_read_only_is_said(tmp_path: Path, whole: bytes) -> None:
    with disk(tmp_path / "disk") as made:
        run = run_in(made.folder / "run", tmp_path)
        error = disturbed(run, 3, lambda: made.remount("ro"))
        made.remount("rw")
        assert error.message == f"{run.folder} cannot be written to"
        assert str(error.hint).startswith("make it writable")
        assert str(error.hint).endswith(f"then likewise teach --resume {run.folder}")
        assert taught(replace(Run.open(run.folder), cache=run.cache)) == whole
        assert steps_of(run)[3:] == [3, 4, 5, 6], "only what no checkpoint kept is done again"


def test_a_full_cache_is_said_with_its_folder(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "64k") as made:
        run = replace(run_in(tmp_path / "run", tmp_path), cache=Cache(made.folder / "cache"))
        made.fill()
        with pytest.raises(StorageError, match=f"no space is left in {made.folder}") as told:
            list(run.start(base=tiny()))
        assert told.value.hint == f"free some, then likewise teach --resume {run.folder}"
        made.free()
        taught(replace(Run.open(run.folder), cache=run.cache))


def test_a_large_state_is_kept_while_it_is_needed_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    monkeypatch.setattr(resuming, "LARGE", 1000)
    run, kept = run_in(tmp_path / "run", tmp_path), []
    for event in run.start(base=tiny()):
        if isinstance(event, Stepped):
            kept.append(resuming.SavedState(run.folder).step)
    assert kept == [None, None, 2, 2, 4, 4]
    assert not (run.folder / "checkpoint").exists()
    assert (run.folder / "pictures0-lora.safetensors").read_bytes() == whole


def test_no_room_stays_taken_when_a_run_is_left(tmp_path: Path) -> None:
    run = run_in(tmp_path / "run", tmp_path)
    events = run.start(base=tiny())
    for event in events:
        if isinstance(event, Stepped) and event.step == 3:
            room = run.folder / "checkpoint" / "room"
            assert room.stat().st_size > (run.folder / "checkpoint" / "state.safetensors").stat().st_size
            events.close()
    assert [path.name for path in (run.folder / "checkpoint").iterdir()] == ["state.safetensors"]


def test_a_training_goes_on_with_the_threads_that_it_began_with(tmp_path: Path) -> None:
    """How sums are shared out moves their last bits; the load of the day must not."""
    seen: list[int] = []
    run = run_in(tmp_path / "run", tmp_path, checkpoint_every=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for event in run.start(base=tiny()):
            if isinstance(event, Stepped):
                run.stop()
    except Interrupted:
        pass
    finally:
        torch.set_num_threads(before)
    assert 0 < len(steps_of(run)) < STEPS
    torch.set_num_threads(1)
    try:
        for event in Run.open(run.folder).start(base=tiny()):
            if isinstance(event, Stepped):
                seen.append(torch.get_num_threads())
        assert set(seen) == {2}
        assert torch.get_num_threads() == 1, "the process is as it was"
    finally:
        torch.set_num_threads(before)
