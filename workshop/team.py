"""Several processes that learn one model: each goes its own way for some steps, then all go on from the average.

Local SGD (Stich 2019, arXiv:1805.09767). Two processes of one thread each see a third more pictures than one
process of two threads on two cores, because small layers share badly.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

MEET = 8  # steps between two averages


class Team:
    """One worker among ``size``; alone it never waits."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        """Whether this worker writes what all have learned."""
        return self.rank == 0

    def number(self, step: int) -> int:
        """A number that no other step of any worker has."""
        return step * self.size + self.rank

    def meets(self, step: int) -> bool:
        """Whether all workers hold the same after this step."""
        return self.size == 1 or step % MEET == 0

    @torch.no_grad()
    def meet(self, weights: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        """Replace weights and moments by their mean over all workers."""
        if self.size == 1:
            return
        moments = [optimizer.state[w][name] for name in ("exp_avg", "exp_avg_sq") for w in weights]
        tensors = [*weights, *moments]
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, (flat / self.size).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _work(rank: int, size: int, meeting: Path, job: Callable[[Team], None]) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # sent when the first process dies; nohup ignores it
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else it looks the machine's name up
    dist.init_process_group("gloo", store=dist.FileStore(str(meeting), size), rank=rank, world_size=size)
    try:
        job(Team(rank, size))
    finally:
        dist.destroy_process_group()


def gather(size: int, folder: Path, job: Callable[[Team], None]) -> None:
    """Do a job with so many workers on this machine; it must be a function that other processes can import."""
    if size == 1:
        job(Team())
        return
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(_work, (size, meeting.resolve(), job), nprocs=size)
