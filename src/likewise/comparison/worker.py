"""Worker: a process of the local pool. It does the tasks that come on its standard input and answers on its output.

Messages are pickles between a driver and the child that it started, each led by its length. The end of the input means that
the driver is gone, however it went: the worker then saves its state and ends.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import struct
import sys
import threading
from collections.abc import Callable
from typing import IO, Any

from likewise import narrow

_LENGTH = struct.Struct("!Q")


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    data = pickle.dumps(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; raises `EOFError` where there is none, or half of one."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


class _Forwarding(logging.Handler):
    """Sends what is logged to the driver, where a person reads it."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        super().__init__()
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(("log", record.name, record.levelno, record.getMessage()))


def main() -> None:
    """Work until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    narrow.own_process()
    lock, stopped = threading.Lock(), threading.Event()

    def tell(message: Any) -> None:
        try:
            with lock:
                send(answers, message)
        except BrokenPipeError:  # the driver is gone: what is being done is saved first
            stopped.set()

    log = logging.getLogger("likewise")
    log.addHandler(_Forwarding(tell))
    log.propagate = False
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, stopped), daemon=True).start()
    _work(tasks, stopped, tell)
    os._exit(0)  # at once: nobody reads what would be flushed


def _listen(tasks: queue.SimpleQueue[Any], stopped: threading.Event) -> None:
    try:
        while (message := receive(sys.stdin.buffer)) != "stop":
            tasks.put(message)
    except EOFError:
        pass
    stopped.set()
    tasks.put(None)


def _work(tasks: queue.SimpleQueue[Any], stopped: threading.Event, tell: Callable[[Any], None]) -> None:
    import torch

    from likewise.comparison.tasks import Home, perform

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    home = Home()
    tell("ready")
    while (task := tasks.get()) is not None:
        try:
            for told in perform(task, home, stopped.is_set):
                tell(told)
        except Exception as error:
            tell(("raised", sendable(error)))
        else:
            tell("done")


def sendable(error: Exception) -> Exception:
    """The error itself, where it can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
