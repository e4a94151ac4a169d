"""Plans of the coming steps, made by other processes while an accelerator paints and learns.

One picture takes a sixth of a millisecond to plan, and should take far less to learn on a large accelerator. On
the CPU nothing is gained, and plans are made when they are asked for. What a step gets is the same either way.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor

import torch

from workshop.plan import Order

MOST = 12
_make: list[Callable[[int], Order]] = []
"""In a planning process: its one function."""


class Ahead:
    """Calls ``make`` for each step; where the device is an accelerator, some steps before they are needed.

    Planning processes are forked, which copies nothing and needs no importing; they touch no device.
    """

    def __init__(
        self, make: Callable[[int], Order], device: torch.device, processes: int | None = None
    ) -> None:
        self.make, self.coming = make, dict[int, Future[Order]]()
        if processes is None:
            processes = 0 if device.type == "cpu" else min(MOST, max(1, (os.cpu_count() or 1) - 2))
        self.depth = 2 * processes
        self.pool = (
            ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _make.append, (make,))
            if processes
            else None
        )

    def __call__(self, step: int) -> Order:
        """The order of a step; steps are asked for in rising order."""
        if self.pool is None:
            return self.make(step)
        for number in range(step, step + self.depth):
            if number not in self.coming:
                self.coming[number] = self.pool.submit(_made, number)
        return self.coming.pop(step).result()


def _made(step: int) -> Order:
    return _make[-1](step)
