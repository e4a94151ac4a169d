"""Pool: tasks side by side on this machine, each in a process of its own with few threads.

Processes of one thread share a machine fairly: a busy neighbour takes its share and no more, where several threads of one
process wait for the slowest. And the peak memory of a trial is that of its own process. They are started with this Python's
own paths, not forked, as torch does not survive that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from likewise.comparison.design import Trial
from likewise.comparison.executing import Backlog, Told
from likewise.comparison.results import Row
from likewise.comparison.tasks import Task
from likewise.comparison.trial import GO_ON, STOPPED
from likewise.comparison.worker import receive, send
from likewise.errors import Interrupted
from likewise.events import Event

POLL_SECONDS = 0.2
GRACE_SECONDS = 600.0
"""For saving the state of a training before its process is killed."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from likewise.comparison.worker import main; main()"


class _Process:
    """One worker, what it does, and a thread that reads its answers into the pool's inbox."""

    def __init__(self, threads: int, inbox: queue.SimpleQueue[tuple[_Process, Any]]) -> None:
        env = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
            start_new_session=True,  # Ctrl-C is for the driver, which asks everybody to save
        )  # fmt: skip
        self.task: Task | None = None
        self.left: list[Trial] = []
        """Trials of the task without a row; the first one may have begun."""
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    def _read(self, inbox: queue.SimpleQueue[tuple[_Process, Any]]) -> None:
        assert self.process.stdout is not None
        try:
            while True:
                inbox.put((self, receive(self.process.stdout)))
        except (EOFError, OSError):
            inbox.put((self, None))

    def tell(self, message: Any) -> None:
        """Send a task, or `stop`. A worker that is gone is told of by its reader."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            send(self.process.stdin, message)

    def give(self, task: Task) -> None:
        """Have it do a task."""
        self.task, self.left = task, list(task.trials)
        self.tell(task)

    def end(self) -> None:
        """Let it go: a worker whose input ends saves its state and ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(GRACE_SECONDS if self.task else 10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Pool:
    """So many processes of so many threads."""

    beside: int
    threads: int = 1
    note: str = ""
    _inbox: queue.SimpleQueue[tuple[_Process, Any]] = field(default_factory=queue.SimpleQueue)
    _crew: list[_Process] = field(default_factory=list)

    def run(self, tasks: Iterable[Task], stop: Callable[[], bool]) -> Iterator[Told]:
        """See `Executor`."""
        backlog, size, stopping = Backlog(tasks), self.beside, False
        try:
            while True:
                if not stopping and stop():
                    stopping = True
                    for one in self._crew:
                        one.tell("stop")
                if not stopping:
                    self._hand_out(backlog, size)
                if not any(one.task for one in self._crew):
                    break
                try:
                    worker, message = self._inbox.get(timeout=POLL_SECONDS)
                except queue.Empty:
                    continue
                if message is None:
                    if worker.task is not None and not stopping:
                        size = max(1, size - 1)
                        why = f"its process was ended{_by(worker.process.wait())}"
                        yield from backlog.lose(
                            worker.task, worker.left, why, ", in fewer processes at a time"
                        )
                    self._crew.remove(worker)
                    worker.task = None
                    worker.end()
                    continue
                yield from _heard(worker, message)
        finally:
            for one in self._crew:
                one.tell("stop")
            for one in self._crew:
                one.end()
            self._crew.clear()
        if stopping:
            raise Interrupted(STOPPED, GO_ON)

    def _hand_out(self, backlog: Backlog, size: int) -> None:
        """Give every free process a task, and start processes while there are more tasks than processes."""
        while True:
            free = next((one for one in self._crew if one.task is None), None)
            if free is None and len(self._crew) >= size:
                return
            task = backlog.take()
            if task is None:
                return
            if free is None:
                free = _Process(self.threads, self._inbox)
                self._crew.append(free)
            free.give(task)


def _by(code: int) -> str:
    """What ended a process, as far as its exit code tells."""
    if code == -getattr(signal, "SIGKILL", 9):
        return " by the system, most likely for want of memory"
    return f" by {signal.Signals(-code).name}" if code < 0 else f" with the code {code}"


def _heard(worker: _Process, message: Any) -> Iterator[Told]:
    """What a worker said, for whoever iterates; raises what it raised."""
    match message:
        case "ready":
            return
        case "done":
            worker.task = None
        case ("log", name, level, text):
            logging.getLogger(name).log(level, "%s", text)
        case ("raised", error):
            worker.task = None
            if not isinstance(error, Interrupted):
                raise error
        case Row():
            worker.left = [trial for trial in worker.left if trial.name != message.trial]
            yield message
        case Trial() | Event():
            yield message
