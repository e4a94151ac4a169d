"""Executors: where tasks are done. One small interface, and the simplest that keeps it: here, one after the other.

An executor only carries: it decides nothing, and what it returns depends on the tasks alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from likewise.comparison.design import Trial
from likewise.comparison.results import Row
from likewise.comparison.tasks import Home, Task, perform
from likewise.comparison.trial import ended
from likewise.events import Event, Noted

Told = Trial | Event | Row
"""A trial that begins, something that happens within one, and how one ended."""
TWICE = 2
"""How often a trial may lose its process."""


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


class Backlog:
    """Tasks that are still to be done, those first whose process was lost."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._waiting = iter(tasks)
        self._lost: deque[Task] = deque()
        self._losses: Counter[str] = Counter()

    def take(self) -> Task | None:
        """The next one; None where none is left."""
        return self._lost.popleft() if self._lost else next(self._waiting, None)

    def lose(self, task: Task, left: Sequence[Trial], why: str, how: str = "") -> Iterator[Told]:
        """A process is lost, and with it the trials `left` of its task. They are done again, in the way that `how` says.

        Once that is bad luck, twice it is the doing of the first of them, which fails.
        """
        if not left:
            return
        first, *others = left
        self._losses[first.name] += 1
        if self._losses[first.name] < TWICE:
            yield Noted(f"{first.title} is done again{how}: {why}")
            others = list(left)
        else:
            yield ended(first, task.digest(first), "failed", f"{why}, twice")
        if others:
            self._lost.append(replace(task, trials=tuple(others)))
