"""Executors: where tasks are done. One small interface, and the simplest that keeps it: here, one after the other.

An executor only carries: it decides nothing, and what it returns depends on the tasks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from likewise.comparison.design import Trial
from likewise.comparison.results import Row
from likewise.comparison.tasks import Home, Task, perform
from likewise.events import Event

Told = Trial | Event | Row
"""A trial that begins, something that happens within one, and how one ended."""


class Executor(Protocol):
    """Does tasks."""

    beside: int
    """How many at a time on one machine."""
    note: str
    """One sentence for people."""

    def run(self, tasks: Iterable[Task], stop: Callable[[], bool]) -> Iterator[Told]:
        """Do all `tasks`, taking the next one when there is room for it; yields what comes of them, in any order.

        Raises `Interrupted` soon after `stop` says so, with everything saved, and `StorageError` for a full disk. A
        task whose process is lost is done again, and fails if it is lost again. Closing the iterator ends every process.
        """


@dataclass
class Here:
    """In this process, with the base that it has."""

    home: Home = field(default_factory=Home)
    beside: int = 1
    note: str = ""

    def run(self, tasks: Iterable[Task], stop: Callable[[], bool]) -> Iterator[Told]:
        """One after the other."""
        for task in tasks:
            yield from perform(task, self.home, stop)
