"""Tasks: trials that belong together, with all that a process must know to do them, wherever it runs.

A task can be pickled and done twice: what is finished in a trial's folder is found there and not done again. Whoever does it
writes in the folders of its trials alone; rows go back to the driver, which writes them. Nothing here knows where tasks run.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from likewise import families, records
from likewise.base import Base
from likewise.comparison import design
from likewise.comparison.design import TOGETHER, Trial
from likewise.comparison.protocol import Protocol
from likewise.comparison.results import Row
from likewise.comparison.trial import GO_ON, STOPPED, Place, ended, execute
from likewise.concept import Concept
from likewise.errors import Interrupted, RunError, StorageError
from likewise.events import Event
from likewise.memory import release
from likewise.stack import SHARED

CLAIMS = "claims"
"""Where a folder of a comparison keeps who works on which trial."""
WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Task:
    """What one process does: trials in order, of which the later ones may share the first one's batch."""

    folder: Path
    """The folder of the comparison."""
    base: str
    fingerprint: str
    """Of the base as it came; another base of that name is refused."""
    precision: str
    trials: tuple[Trial, ...]
    concept: Concept
    """With all its pictures."""
    folds: tuple[Concept, ...]
    """The concept with the pictures of each fold."""
    protocol: Protocol
    digests: Mapping[str, str]
    """Trial -> the digest of everything that it depends on."""
    alone: bool
    """Whether first trainings have a batch to themselves."""
    beside: int = 1
    """How many tasks are done at a time on the machine; kept with what a trial cost."""

    def place(self, base: Base, stop: Callable[[], bool]) -> Place:
        """Where its trials happen in this process."""
        return Place(
            self.folder, base, self.base, self.concept_of, self.protocol, self.digest, stop, self.beside
        )

    def concept_of(self, trial: Trial) -> Concept:
        """The concept with the pictures of the trial's fold."""
        return self.concept if trial.fold is None else self.folds[trial.fold]

    def digest(self, trial: Trial) -> str:
        """What the trial depends on."""
        return self.digests[trial.name]


class Home:
    """The base of a process: loaded when it is needed, and again if a trial left it changed."""

    def __init__(self, loaded: Base | None = None) -> None:
        self.loaded = loaded
        self._called: str | None = None

    def base(self, task: Task) -> Base:
        """The task's base, as it came; raises `RunError` where it is another than the comparison began with."""
        if self.loaded is None or self._called not in (None, task.base):
            self.loaded = families.load(task.base)
            self.loaded.precision = task.precision  # type: ignore[assignment]
            if self.loaded.fingerprint() != task.fingerprint:
                raise RunError(
                    f"{task.base} is no longer what it was when the comparison began", "start it again"
                )
        self._called = task.base
        return self.loaded

    def is_sound(self, task: Task) -> bool:
        """Whether the base is as it came; else it is loaded anew."""
        base = self.base(task)
        if base.fingerprint() == task.fingerprint and not any(tower.filters for tower in base.towers):
            return True
        self.loaded = None
        self.base(task)
        return False


def grouped(
    pending: Sequence[Trial],
    alone: bool,
    taught: Callable[[Trial], bool],
    begun: Callable[[Trial], Sequence[str]],
) -> Iterator[tuple[Trial, ...]]:
    """`pending` in tasks: what shares a batch together, up to a limit, all else by itself.

    A batch that was `begun` before stays together. What was `taught` with one that came to an end only has to be drawn.
    """
    left = {trial.name: trial for trial in pending}
    alike: dict[str, dict[str, Trial]] = {}
    for trial in pending:
        if trial.condition.shares and not taught(trial):
            alike.setdefault(_key(trial), {})[trial.name] = trial
    for trial in pending:
        if trial.name not in left:
            continue
        others = alike.get(_key(trial), {})
        names = set(begun(trial))
        if not names or not names <= left.keys():
            names = {trial.name}
            if trial.name in others:
                later = [one for one in others.values() if one is not trial]
                found = design.mates(trial, later, SHARED, alone=alone)[: TOGETHER - 1]
                names |= {one.name for one in found}
        members = [one for one in others.values() if one.name in names]  # in the order of the plan
        members += [left[name] for name in names if name not in others]
        yield (trial, *(one for one in members if one is not trial))
        for name in names:
            del left[name]
            others.pop(name, None)


def _key(trial: Trial) -> str:
    """What trials of one batch certainly have in common."""
    return repr([trial.condition.method, *(getattr(trial.recipe, key, None) for key in SHARED)])


def perform(task: Task, home: Home, stop: Callable[[], bool]) -> Iterator[Trial | Event | Row]:
    """Do a task: every trial as it begins, its events, its row. Raises `Interrupted` where it was asked to stop."""
    left = list(task.trials)
    while left:
        trial = left.pop(0)
        if stop():
            raise Interrupted(STOPPED, GO_ON)
        yield trial
        if trial.condition.words is None:
            yield ended(trial, task.digest(trial), "skipped", trial.condition.reason)
            continue
        with claimed(task.folder / CLAIMS / trial.name, stop):
            yield (yield from _one(trial, task, home, stop, left))


def _one(
    trial: Trial, task: Task, home: Home, stop: Callable[[], bool], later: Sequence[Trial]
) -> Generator[Event, None, Row]:
    """The trial's events and its row; after it the base is as before, whatever the trial did."""
    release()  # so that a trial's peak is not its predecessor's
    place = task.place(home.base(task), stop)
    row = yield from execute(trial, place, design.mates(trial, later, SHARED, alone=task.alone))
    if home.is_sound(task):
        return row
    for void in ("run", "gallery"):  # with the files of those that shared its batch
        shutil.rmtree(task.folder / "trials" / trial.name / void, ignore_errors=True)
    why = f"{trial.title} left the base changed; its pictures and all costs are void"
    return replace(row, status="failed", reason=why, gallery=None, cost={})


@contextmanager
def claimed(folder: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold a trial, so that no two processes of this machine do it: one of an earlier start may still save its state."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(records.locked(folder))
                break
            except RunError:
                if stop():
                    raise Interrupted(STOPPED, GO_ON) from None
                time.sleep(WAIT_SECONDS)
            except StorageError as error:
                raise error.then(GO_ON) from None
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        yield
