"""Solver: how a drawing walks from noise to a picture, level by level.

A base hands one out for each drawing. The sampling loop in `base.py` asks it for nothing else, so diffusion and flow models
walk through the same loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

Watch = Callable[[int, int], object]
"""Told how many denoising steps of how many are done, 0 of them once everything is checked and drawing begins."""


class Solver(Protocol):
    """One walk over the noise levels of one drawing."""

    @property
    def name(self) -> str:
        """What people call it, as the web UI spells it: `DPM++ 2M`, `Euler`, ..."""

    @property
    def levels(self) -> Sequence[Tensor]:
        """The levels in the order in which they are visited, scalars."""

    def start(self, noise: Tensor) -> Tensor:
        """The latents [B, ...] that standard normal `noise` [B, ...] begins as."""

    def input(self, latents: Tensor, level: Tensor) -> Tensor:
        """What the backbone is shown of `latents` at `level`, of the same shape."""

    def step(self, answer: Tensor, level: Tensor, latents: Tensor) -> Tensor:
        """The latents of the next level, from the backbone's `answer` at `level`."""


class Scheduled:
    """A scheduler of diffusers, set to its steps, as a solver.

    Flow schedulers have neither `init_noise_sigma` nor `scale_model_input`: their latents begin as the noise, and the
    backbone is shown them as they are.
    """

    def __init__(self, scheduler: Any, name: str) -> None:
        self.scheduler, self.name = scheduler, name

    @property
    def levels(self) -> Sequence[Tensor]:
        """The scheduler's `timesteps`."""
        return list(self.scheduler.timesteps)

    def start(self, noise: Tensor) -> Tensor:
        """`noise` times `init_noise_sigma`."""
        return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def input(self, latents: Tensor, level: Tensor) -> Tensor:
        """`scale_model_input`."""
        scale = getattr(self.scheduler, "scale_model_input", None)
        shown: Tensor = latents if scale is None else scale(latents, level)
        return shown

    def step(self, answer: Tensor, level: Tensor, latents: Tensor) -> Tensor:
        """`prev_sample` of the scheduler's own step."""
        after: Tensor = self.scheduler.step(answer, level, latents).prev_sample
        return after


def counting(total: int, watch: Watch | None) -> Callable[[], None]:
    """What is to be called after each of `total` steps; `watch` hears of the beginning at once, if there is any step."""
    done = 0

    def told() -> None:
        nonlocal done
        if watch is not None:
            watch(done, total)
        done += 1

    if total:
        told()
    return told
