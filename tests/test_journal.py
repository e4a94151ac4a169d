"""The journal: what was appended is read and followed, whatever a crash left of it; and how a run ended stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise import journal
from likewise.errors import Interrupted, RunError, StorageError
from likewise.events import Attached, Event, Failed, Finished, Stepped, Stopped, Unknown, Warned
from likewise.run import Run
from tests.bases import lora_run, tiny
from tests.disks import limited

TORN = b'{"event": "ste'


def stepped(step: int, seconds: float = 1.0) -> Stepped:
    return Stepped(step, 9, (0.5,), {}, seconds, 0)


def test_an_event_cut_off_by_a_crash_is_not_read(tmp_path: Path) -> None:
    journal.append(tmp_path, Warned("ünï"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(TORN)
    assert journal.events(tmp_path) == [Warned("ünï")]
    assert journal.last(tmp_path) == Warned("ünï")


def test_an_event_after_one_that_was_cut_off_is_read(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(TORN)
    journal.append(tmp_path, Warned("two\u2028lines"))
    torn, whole = journal.events(tmp_path)
    assert torn == Unknown(TORN.decode(), "this is not JSON")
    assert whole == Warned("two\u2028lines")


def test_bytes_that_are_no_text_spoil_their_own_line_alone(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"\xff\xfe\n")
    journal.append(tmp_path, Warned("x"))
    first, second = journal.events(tmp_path)
    assert isinstance(first, Unknown)
    assert second == Warned("x")


def test_an_event_without_room_is_an_error_and_leaves_no_half(tmp_path: Path) -> None:
    journal.append(tmp_path, Warned("first"))
    before = (tmp_path / "events.jsonl").read_bytes()
    with limited(len(before) + 5), pytest.raises(StorageError, match="no space is left"):
        journal.append(tmp_path, Warned("second"))
    assert (tmp_path / "events.jsonl").read_bytes() == before


def test_a_journal_is_followed_line_by_line_and_nothing_is_read_twice(tmp_path: Path) -> None:
    assert journal.tail(tmp_path, 0) == ([], 0)
    journal.append(tmp_path, Warned("ünï"))
    found, offset = journal.tail(tmp_path, 0)
    assert found == [Warned("ünï")]
    assert offset == (tmp_path / "events.jsonl").stat().st_size
    assert journal.tail(tmp_path, offset) == ([], offset)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(TORN)
    assert journal.tail(tmp_path, offset) == ([], offset), "the line may still be written"
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"pped\n")
    (torn,), offset = journal.tail(tmp_path, offset)
    assert isinstance(torn, Unknown)
    journal.append(tmp_path, Warned("second"))
    assert journal.tail(tmp_path, offset)[0] == [Warned("second")]


@pytest.mark.parametrize("left", [None, b"", b"{}\n"])
def test_a_journal_that_was_begun_anew_says_so(left: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal.append(tmp_path, Warned("x"))
    _, offset = journal.tail(tmp_path, 0)
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(RunError, match="begun anew"):
        journal.tail(tmp_path, offset)


@pytest.mark.parametrize("length", [1, journal.BLOCK - 100, journal.BLOCK, 9 * journal.BLOCK])
def test_the_newest_event_is_found_from_the_end(length: int, tmp_path: Path) -> None:
    assert journal.last(tmp_path) is None
    (tmp_path / "events.jsonl").touch()
    assert journal.last(tmp_path) is None
    for text in ("a" * length, "b" * length):
        journal.append(tmp_path, Warned(text))
        assert journal.last(tmp_path) == Warned(text)


def test_a_repeated_step_counts_once_and_only_what_a_later_start_kept(tmp_path: Path) -> None:
    def write(*done: tuple[int, float], resumed: int) -> None:
        journal.append(tmp_path, Attached("lora", 1, resumed))
        for step, seconds in done:
            journal.append(tmp_path, stepped(step, seconds))

    write((1, 1.0), (2, 2.0), (3, 4.0), resumed=0)
    write((2, 8.0), (3, 16.0), resumed=1)
    write((3, 32.0), (4, 64.0), resumed=2)
    steps, earlier = journal.steps(tmp_path)
    assert [step.seconds for step in steps] == [1.0, 8.0, 32.0, 64.0]
    assert earlier == 1.0 + 8.0
    assert journal.steps(tmp_path / "empty") == ([], 0.0)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (Interrupted("stopped after step 3", "go on"), Stopped("stopped after step 3", "go on")),
        (RunError("what", "do this"), Failed("what", "do this")),
        (ValueError("odd"), Failed("ValueError: odd", None)),
        (
            KeyboardInterrupt(),
            Stopped("stopped at once; what followed the last checkpoint is not kept", None),
        ),
    ],
)
def test_how_the_work_ended_stands_in_the_journal(raised: BaseException, told: Event, tmp_path: Path) -> None:
    with pytest.raises(type(raised)) as again, journal.ending(tmp_path):
        raise raised
    assert again.value is raised
    assert journal.events(tmp_path) == [told]
    with journal.ending(tmp_path):
        pass
    assert journal.events(tmp_path) == [told]


def test_a_full_disk_hides_no_other_error(tmp_path: Path) -> None:
    with limited(0), pytest.raises(ValueError, match="odd"), journal.ending(tmp_path):
        raise ValueError("odd")
    assert journal.events(tmp_path) == []


def test_a_run_that_is_stopped_or_left_says_so(tmp_path: Path) -> None:
    run, base = lora_run(tmp_path, tmp_path / "run", steps=3, checkpoint_every=1), tiny()
    started = run.start(base=base)
    while not isinstance(next(started), Stepped):
        pass
    run.stop()
    with pytest.raises(Interrupted) as asked:
        list(started)
    assert journal.last(run.folder) == Stopped(asked.value.message, asked.value.hint)
    started = run.start(base=base)
    while not isinstance(next(started), Attached):
        pass
    started.close()
    assert isinstance(journal.last(run.folder), Stopped)
    for event in run.start(base=base):
        if isinstance(event, Finished):
            break
    assert journal.last(run.folder) == event, "whoever leaves after the end has stopped nothing"


def test_a_run_that_fails_says_so_but_a_refused_one_leaves_no_word(tmp_path: Path) -> None:
    run, base = lora_run(tmp_path, tmp_path / "run", steps=1, learning_rate=1e30, clip=0.0), tiny()
    with pytest.raises(Exception, match="not finite") as told:
        list(run.start(base=base))
    failed = journal.last(run.folder)
    assert isinstance(failed, Failed)
    assert str(told.value) == f"{failed.message} ({failed.hint})"
    other = lora_run(tmp_path, tmp_path / "other", steps=1)
    list(other.start(base=base))
    before = (other.folder / "events.jsonl").read_bytes()
    refused: Run = lora_run(tmp_path, other.folder, steps=2)
    with pytest.raises(RunError, match="holds another run"):
        list(refused.start(base=base))
    assert (other.folder / "events.jsonl").read_bytes() == before
