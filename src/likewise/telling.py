"""Telling: the steps of a training as events, several at a time, because to read a loss is to wait for the device."""

from __future__ import annotations

import time

import psutil

from likewise.events import Event, Stepped
from likewise.train import Step

SECONDS = 0.5
"""How long a step may go untold."""


class Telling:
    """Steps of a training of `steps`, which are kept until they are due."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._kept: list[Step] = []
        self._last = time.perf_counter()
        self._process = psutil.Process()

    def add(self, step: Step) -> None:
        """One more; nothing is waited for."""
        self._kept.append(step)

    @property
    def due(self) -> bool:
        """Whether the last were told long enough ago."""
        return time.perf_counter() - self._last > SECONDS

    def told(self) -> list[Event]:
        """An event for every step that was not told; the wait for the device is shared among their seconds."""
        kept, self._kept = self._kept, []
        memory, began = self._process.memory_info().rss, time.perf_counter()
        losses = [step.losses for step in kept]
        self._last = time.perf_counter()
        waited = (self._last - began) / max(1, len(kept))
        return [
            Stepped(step.number, self.steps, lost, dict(step.rates), step.seconds + waited, memory)
            for step, lost in zip(kept, losses, strict=True)
        ]
