"""Placing: how many processes with how many threads work on this machine, from its cores, its load and its memory.

Independent trainings go into processes of one thread, which share a busy machine fairly. Several threads are for one
training that has cores to itself, where a short probe shows that it gains from them. What a person says comes first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from likewise.base import Base

WATCH_SECONDS = 0.3
"""How long other programs are watched."""
WORTH = 1.4
"""More threads must be so many times as fast as one in the probe. A step gains less, as its layers are laid out for the
processor: where two threads were 1.35 times as fast in the probe, a LoRA's step took as long with two as with one; where
they were 1.5 times as fast, it was 1.4 times as fast."""
LARGE_SECONDS = 1.0
"""Layers that take longer than this for a batch are large, and large ones gain from threads: no probe is made."""
SPARE = 0.9
"""The share of free memory that is filled: what others take may grow."""


@dataclass(frozen=True)
class Facts:
    """What this process may use."""

    cores: int
    busy: float
    """Cores that other programs keep busy."""
    threads: int | None = None
    """What OMP_NUM_THREADS says."""

    @property
    def free(self) -> int:
        """Cores that nobody uses, and one at least."""
        return max(1, self.cores - round(self.busy))


@dataclass(frozen=True)
class Placing:
    """So many processes of so many threads, and one sentence about why."""

    workers: int
    threads: int
    line: str


def here() -> Facts:
    """This machine now. A program counts as busy if it computes at this moment and did in the last minute."""
    import psutil

    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    shares = psutil.cpu_percent(WATCH_SECONDS, percpu=True)
    busy = sum(share for number, share in enumerate(shares) if number in allowed) / 100
    if hasattr(os, "getloadavg"):
        busy = min(busy, os.getloadavg()[0])
    cores = len(allowed) if (quota := _quota()) is None else min(len(allowed), max(1, int(quota)))
    return Facts(cores, busy, _asked())


def many(facts: Facts, tasks: int, each: float, memory: float, workers: int | None = None) -> Placing:
    """Processes for `tasks` trainings that do not need one another, of which each holds at most `each` of the free bytes
    `memory`; `workers` are asked for by a person."""
    fitting = max(1, int(SPARE * memory / each)) if each else tasks
    count = workers or max(1, min(facts.free // (facts.threads or 1), tasks, fitting))
    threads = facts.threads or max(1, (facts.cores if workers else facts.free) // count)
    why = f"{_cores(facts)} {'is' if facts.cores == 1 else 'are'} there{_busy(facts)}"
    if workers:
        why = "as --workers says"
    elif count == fitting < min(facts.free, tasks):
        why = f"memory is free for {count}"
    with_threads = "one thread" if threads == 1 else f"{threads} threads"
    at_a_time = (
        f"{count} trainings go on at a time, each in a process"
        if count > 1
        else "One training goes on at a time,"
    )
    return Placing(count, threads, f"{at_a_time} with {with_threads}: {why}.")


def one(facts: Facts, gain: Callable[[int], float | None]) -> Placing:
    """Threads for one training. `gain` tells how many times as fast so many threads are as one; None where the work is so
    large that nobody need ask."""
    count = facts.free
    if facts.threads:
        return Placing(1, facts.threads, f"Teaching uses {_count(facts.threads)}, as OMP_NUM_THREADS says.")
    if count == 1:
        return Placing(1, 1, f"Teaching uses one thread: {_cores(facts)}{_busy(facts)}.")
    times = gain(count)
    if times is None:
        return Placing(1, count, f"Teaching uses {count} threads: {_cores(facts)}{_busy(facts)}.")
    if times < WORTH:
        return Placing(
            1,
            1,
            f"Teaching uses one thread: {count} would hardly be faster ({times:.2g} times in a short probe).",
        )
    return Placing(1, count, f"Teaching uses {count} threads: {times:.2g} times as fast as one here.")


def settle(placing: Placing) -> None:
    """Have this process compute with so many threads."""
    import torch

    torch.set_num_threads(placing.threads)


def gained(base: Base, rows: int, size: int) -> Callable[[int], float | None]:
    """A probe for `one`: the base predicts noise for so many pictures of `size`, by turns with one thread and with more."""

    def gain(threads: int) -> float | None:
        import torch

        size_here = size or base.resolution
        latents = torch.zeros(rows, *base.latent_shape(size_here), device=base.device)
        levels = torch.ones(rows, dtype=torch.long, device=base.device)
        before = torch.get_num_threads()

        def seconds(count: int) -> float:
            torch.set_num_threads(count)
            began = time.perf_counter()
            base.denoise(latents, levels, given)
            return time.perf_counter() - began

        try:
            with torch.no_grad(), base.autocast():
                given = base.encode_text(["a"] * rows)
                if seconds(threads) > LARGE_SECONDS:
                    return None
                turns = [(count, seconds(count)) for count in (1, threads, threads, 1, 1, threads)]
        finally:
            torch.set_num_threads(before)
        best = {count: min(took for n, took in turns if n == count) for count in (1, threads)}
        return best[1] / best[threads]

    return gain


def _asked() -> int | None:
    """What OMP_NUM_THREADS says, whose first number counts where there are several."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    return None


def _quota() -> float | None:
    """The cores that the control group of this process may fill, where it has a limit."""
    root, found = Path("/sys/fs/cgroup"), list[float]()
    with suppress(OSError, ValueError):
        most, period = (
            int((root / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
        )
        found += [most / period] if most > 0 else []
    with suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()[-1].split(":", 2)[2]
        inner = root / own.lstrip("/")
        for folder in (inner, *(up for up in inner.parents if up.is_relative_to(root))):
            with suppress(OSError, ValueError):
                limit, period_ = (folder / "cpu.max").read_text().split()
                found.append(int(limit) / int(period_))  # `max` is no number, and no limit
    return min(found, default=None)


def _cores(facts: Facts) -> str:
    return "one core" if facts.cores == 1 else f"{facts.cores} cores"


def _busy(facts: Facts) -> str:
    count = facts.cores - facts.free
    return f", {'one' if count == 1 else count} of them busy with other programs" if count else ""


def _count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
