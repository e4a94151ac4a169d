"""The journal of a folder: events.jsonl, one event per line in the order in which they happened.

It is appended to by whoever holds the folder's lock and may be read, or followed, by anybody meanwhile. What an event is
stands in `events`; what else a folder holds in `records`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from likewise.errors import Interrupted, RunError, StorageError
from likewise.events import Attached, Event, Failed, Stepped, Stopped, read
from likewise.files import append_line

BLOCK = 1 << 14
"""Bytes that are read first from the end of a journal to find its last line."""


def append(folder: Path, event: Event) -> None:
    """Add one line to events.jsonl, whole or not at all. A line cut off by a crash is ended first."""
    append_line(_path(folder), json.dumps(event.to_json(), ensure_ascii=False))


@contextmanager
def ending(folder: Path) -> Iterator[None]:
    """Write `Stopped` or `Failed` where the block raises, so that the journal says how the work ended; then raise it on.

    A block that is left at once, by a second Ctrl-C or by whoever iterates it, has stopped too.
    """
    try:
        yield
    except BaseException as error:
        with suppress(StorageError):  # the disk may be why it failed, which matters more
            append(folder, _ended(error))
        raise


def _ended(error: BaseException) -> Event:
    if isinstance(error, Interrupted):
        return Stopped(error.message, error.hint)
    if isinstance(error, Exception):
        return Failed.by(error)
    return Stopped("stopped at once; what followed the last checkpoint is not kept", None)


def events(folder: Path) -> list[Event]:
    """The events so far; none where there is no journal. A line that is not ended yet is not read."""
    return tail(folder, 0)[0]


def tail(folder: Path, offset: int) -> tuple[list[Event], int]:
    """The events from byte `offset` on, and the offset of what comes after them, to be given the next time.

    Only whole lines are read, and none twice. Raises `RunError` where the journal is shorter than `offset`: it was begun
    anew, and is to be followed from 0.
    """
    found, offset = lines(folder, offset)
    return [_event(line) for line in found if line], offset


def lines(folder: Path, offset: int) -> tuple[list[bytes], int]:
    """As `tail`, but each line as it is written, for who passes it on."""
    path, size, found = _path(folder), 0, b""
    with suppress(FileNotFoundError), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset)
        found = file.read()
    if size < offset:
        raise RunError(f"{path} was begun anew since it was read", "follow it from its beginning")
    whole = found[: found.rfind(b"\n") + 1]
    return whole.split(b"\n")[:-1], offset + len(whole)


def last(folder: Path) -> Event | None:
    """The newest event, None where there is none; only the end of the journal is read."""
    try:
        with _path(folder).open("rb") as file:
            size, block = file.seek(0, os.SEEK_END), BLOCK
            while True:
                start = max(0, size - block)
                file.seek(start)
                lines = file.read(size - start).split(b"\n")[:-1]
                if len(lines) > 1 or start == 0:
                    return _event(lines[-1]) if lines else None
                block *= 4
    except FileNotFoundError:
        return None


def steps(folder: Path) -> tuple[list[Stepped], float]:
    """The event of every step as it was last done, and the seconds of those that were done before the newest start."""
    done: dict[int, Stepped] = {}
    earlier = 0.0
    for event in events(folder):
        if isinstance(event, Stepped):
            done[event.step] = event
        elif isinstance(event, Attached):  # a start, which repeats what no checkpoint kept
            done = {number: step for number, step in done.items() if number <= event.resumed}
            earlier = sum(step.seconds for step in done.values())
    return list(done.values()), earlier


def _path(folder: Path) -> Path:
    return Path(folder) / "events.jsonl"


def _event(line: bytes) -> Event:
    return read(line.decode("utf-8", errors="replace"))
