"""Meter: what a piece of work cost in seconds and memory. Bytes and parameters are counted where they are made."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil


class Meter:
    """A `with` block that measures wall seconds and the peak memory of this process while it runs.

    `peak` is the largest resident set in bytes, sampled every 20 ms and, on Linux, corrected by the kernel's own high-water
    mark, which is reset on entry. On a CUDA device it is the allocator's peak instead. `before` is the resident set on
    entry, so that `peak - before` is what the block added.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.seconds = 0.0
        self.peak = 0
        self.foreseen = 0
        """The peak that was expected before the work began; 0 where nobody said."""
        self.before = 0
        self._process = psutil.Process()
        self._done = threading.Event()
        self._left_out = 0.0

    def __enter__(self) -> Self:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        else:
            _reset_high_water()
            self.before = self.peak = self._process.memory_info().rss
            self._watch = threading.Thread(target=self._sample, daemon=True)
            self._watch.start()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start - self._left_out
        if self.device.startswith("cuda"):
            import torch

            self.peak = torch.cuda.max_memory_allocated(self.device)
            return
        self._done.set()
        self._watch.join()
        self.peak = max(self.peak, self._process.memory_info().rss, _high_water())

    @property
    def running(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start - self._left_out

    @property
    def highest(self) -> int:
        """The peak so far, in bytes."""
        if self.device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated(self.device))
        return max(self.peak, _high_water())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave a stretch out of the seconds (not out of the peak)."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._left_out += time.perf_counter() - start

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._process.memory_info().rss)


def _reset_high_water() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox without it: the samples remain
            Path("/proc/self/clear_refs").write_text("5")


def _high_water() -> int:
    if sys.platform != "linux":
        return 0
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    line = next((row for row in status.splitlines() if row.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024


def machine(device: str, precision: str) -> dict[str, Any]:
    """What costs were measured on."""
    import torch

    if device.startswith("cuda"):
        device = torch.cuda.get_device_name(device)
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "precision": precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        except (OSError, StopIteration):
            pass
    return platform.processor() or platform.machine()
