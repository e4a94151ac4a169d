"""Cluster: tasks as plain tasks of Ray, on this machine's local Ray or on the computers of a cluster (the extra `ray`).

The comparison's folder must be at the same path on every computer, as on a shared disk, and a task says so where it is not.
Rows come back to the driver, which alone writes them. What happens within a training stands in its own journal in that
folder; from here only the beginnings and ends of trials are told, when their task ends.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from likewise import records
from likewise.comparison.executing import Backlog, Told
from likewise.comparison.results import Row
from likewise.comparison.tasks import Home, Task, perform
from likewise.comparison.trial import GO_ON, STOPPED
from likewise.comparison.worker import sendable
from likewise.errors import Interrupted, RunError

POLL_SECONDS = 0.5
GRACE_SECONDS = 600.0
"""For saving the states of trainings."""
LOCAL = "ray"
"""The address of a Ray that is begun for this comparison and ends with it."""
_home = Home()
"""The base of a process of Ray, kept between its tasks."""


@dataclass
class Cluster:
    """A Ray at `address`: `ray` begins one here, `HOST:6379` is one that runs and that this computer belongs to."""

    address: str
    beside: int = 1
    """Tasks on one computer at a time: each takes a core, so the cores of the least of them. Known once connected."""
    note: str = ""
    work: Callable[[Task], tuple[list[Told], Exception | None]] | None = None
    """What does a task in a process of Ray; None: `work_on`."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise RunError("Ray is not installed", "pip install 'likewise[ray]'")
        self.ray = _connected(self.address)
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        cores = [int(node["Resources"].get("CPU", 0)) for node in nodes]
        self.beside, self._room = max(1, min(cores)), max(1, sum(cores))
        computers = "one computer" if len(nodes) == 1 else f"{len(nodes)} computers that share this folder"
        self.note = (
            f"Up to {self._room} trainings go on at a time, each with one thread, by Ray on {computers}."
        )

    def run(self, tasks: Iterable[Task], stop: Callable[[], bool]) -> Iterator[Told]:
        """See `Executor`. What is told of a task comes when it ends."""
        ray = self.ray
        remote = ray.remote(num_cpus=1, max_retries=0)(self.work or work_on)
        backlog, stopping = Backlog(tasks), False
        going: dict[Any, Task] = {}
        try:
            while True:
                if not stopping and stop():
                    stopping = True
                    _ask_to_stop(going.values())
                while not stopping and len(going) < self._room:
                    task = backlog.take()
                    if task is None:
                        break
                    going[remote.remote(task)] = task
                if not going:
                    break
                ready, _ = ray.wait(list(going), timeout=POLL_SECONDS)
                for reference in ready:
                    yield from self._ended(reference, going.pop(reference), backlog)
        finally:
            if going:
                _ask_to_stop(going.values())
                ray.wait(list(going), num_returns=len(going), timeout=GRACE_SECONDS)
        if stopping:
            raise Interrupted(STOPPED, GO_ON)

    def _ended(self, reference: Any, task: Task, backlog: Backlog) -> Iterator[Told]:
        """What a task told; one whose process or computer was lost is done again, and what it kept is found there."""
        from ray.exceptions import RayError, RayTaskError

        try:
            told, error = self.ray.get(reference)
        except RayTaskError:
            raise  # a fault of ours, not of the task
        except RayError as gone:
            yield from backlog.lose(task, task.trials, f"its process was lost ({type(gone).__name__})")
            return
        yield from told
        if error is not None and not isinstance(error, Interrupted):
            raise error


def _ask_to_stop(tasks: Iterable[Task]) -> None:
    """By the folder that every computer sees; a round of a search has one of its own."""
    for folder in {task.folder for task in tasks}:
        records.ask_to_stop(folder)


def _connected(address: str) -> Any:
    """Ray's module, connected; raises `RunError` where there is no Ray at the address."""
    import ray

    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    if not ray.is_initialized():
        try:
            if address == LOCAL:
                ray.init(address="local", include_dashboard=False, **options)
            else:
                ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RunError(
                f"there is no Ray at {address}: {line}",
                "begin one with: ray start --head; RAY_AUTH_TOKEN must be the same there and here",
            ) from None
    return ray


def work_on(task: Task) -> tuple[list[Told], Exception | None]:
    """Do a task in a process of Ray: what a driver would be told live but steps and previews, and what it raised."""
    import torch

    torch.set_num_threads(1)
    if not (task.folder / "comparison.json").is_file():
        why = "every computer must have it at the same path, as on a shared disk"
        return [], RunError(f"{task.folder} is not on the computer {platform.node()}", why)
    told = list[Told]()
    try:
        for one in perform(task, _home, lambda: records.stop_asked(task.folder)):
            if isinstance(one, Row) or not hasattr(one, "inner"):
                told.append(one)
    except Exception as error:
        return told, sendable(error)
    return told, None
