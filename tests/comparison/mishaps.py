"""Workers that meet with a mishap at a chosen moment by themselves: a busy test would come too early or too late with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.comparison import worker
from likewise.events import Progress, Stepped
from tests.disks import Disk

if TYPE_CHECKING:
    from likewise.comparison.tasks import Task


def starting(mishap: Callable[..., None], trial: str, step: int, *more: Any) -> str:
    """A program for a pool's processes, in place of their own: what it passes on are plain values."""
    given = ", ".join(map(repr, (trial, step, *more)))
    return (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
        f"from tests.comparison import mishaps; mishaps.{mishap.__name__}({given})"
    )


def dying(trial: str, step: int, mark: str, times: int) -> None:
    """A worker that is killed when it tells this step, before the step is saved; so often, as files of `mark` count."""

    def die() -> None:
        if len(list(Path(mark).iterdir())) < times:
            (Path(mark) / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    _at(trial, step, die)


def filling(trial: str, step: int, folder: str) -> None:
    """A worker whose disk becomes full when it tells this step."""
    _at(trial, step, Disk(Path(folder)).fill)


def _at(trial: str, step: int, act: Callable[[], None]) -> None:
    passed_on = worker.send

    def send(stream: Any, message: Any) -> None:
        match message:
            case Progress(trial=name, inner=Stepped(step=number)) if (name, number) == (trial, step):
                act()
        passed_on(stream, message)

    worker.send = send
    worker.main()


def losing(trial: str, step: int, mark: str, head: str = "") -> Callable[[Task], Any]:
    """What a cluster does with a task, in a process that is killed the first time when `trial` comes to this step.

    With the `head` node's id it is the first trial that comes to it on another node, and that node is killed as well.
    """

    def work(task: Task) -> Any:
        return _lost_once(task, trial, step, Path(mark), head)

    return work


def _lost_once(task: Task, trial: str, step: int, mark: Path, head: str) -> Any:
    from likewise.comparison import cluster

    passed_on = cluster.perform

    def is_meant(name: str) -> bool:
        if not head:
            return name == trial
        import ray

        return bool(ray.get_runtime_context().get_node_id() != head)

    def perform(*given: Any) -> Iterator[Any]:
        for told in passed_on(*given):
            match told:
                case Progress(trial=name, inner=Stepped(step=number)) if number == step and is_meant(name):
                    if not list(mark.iterdir()):
                        (mark / name).touch()
                        if head:
                            os.kill(os.getppid(), signal.SIGKILL)  # the node itself
                        os.kill(os.getpid(), signal.SIGKILL)
            yield told

    cluster.perform = perform
    try:
        return cluster.work_on(task)
    finally:
        cluster.perform = passed_on
