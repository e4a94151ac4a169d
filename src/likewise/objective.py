"""Objectives: how clean latents are noised, what the backbone must predict, and how much each noise level counts.

The formulas are written once, for every family and method; families only say which of them they were trained with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from likewise.errors import RecipeError


class Objective(Protocol):
    """What the loop asks of any kind of diffusion model. `levels` are [B]; latents are [B, C, H, W] or 5-D."""

    @property
    def prediction(self) -> str:
        """What the backbone answers, as diffusers calls it: `epsilon`, `v_prediction`, ..."""

    def draw_levels(self, count: int, generator: torch.Generator, tokens: int) -> Tensor:
        """Random noise levels [count] for latents of `tokens` positions."""

    def corrupt(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """Noised latents, of the shape of `clean`."""

    def target(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """What `Base.denoise` should answer."""

    def weights(self, levels: Tensor, snr_gamma: float | None) -> Tensor:
        """How much each row's mean squared error counts, [B]."""


@dataclass(frozen=True)
class DenoisingObjective:
    """DDPM noise (Ho et al. 2020) with an epsilon or velocity (Salimans & Ho 2022) target."""

    alphas_cumprod: Tensor
    """[steps], from almost 1 down to almost 0."""
    prediction: Literal["epsilon", "v_prediction"]

    @classmethod
    def scaled_linear(
        cls,
        prediction: Literal["epsilon", "v_prediction"],
        start: float = 0.00085,
        end: float = 0.012,
        steps: int = 1000,
    ) -> DenoisingObjective:
        """Stable Diffusion's schedule: betas linear in their square roots."""
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
        return cls(torch.cumprod(1.0 - betas, 0).float(), prediction)

    def draw_levels(self, count: int, generator: torch.Generator, tokens: int) -> Tensor:
        """Uniform integer time steps; the number of tokens plays no part here."""
        return torch.randint(len(self.alphas_cumprod), (count,), generator=generator)

    def corrupt(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """`sqrt(abar) clean + sqrt(1 - abar) noise`."""
        signal, spread = self._scales(clean, levels)
        return signal * clean + spread * noise

    def target(self, clean: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """The noise itself, or `sqrt(abar) noise - sqrt(1 - abar) clean`."""
        if self.prediction == "epsilon":
            return noise
        signal, spread = self._scales(clean, levels)
        return signal * noise - spread * clean

    def weights(self, levels: Tensor, snr_gamma: float | None) -> Tensor:
        """Ones, or min-SNR weights: `min(SNR, gamma) / SNR` for epsilon, over `SNR + 1` for velocity."""
        if snr_gamma is None:
            return torch.ones(levels.shape, device=levels.device)
        abar = self.alphas_cumprod.to(levels.device)[levels]
        snr = abar / (1 - abar)
        return snr.clamp(max=snr_gamma) / (snr if self.prediction == "epsilon" else snr + 1)

    def _scales(self, like: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        abar = self.alphas_cumprod.to(like.device, like.dtype)[levels].view(-1, *[1] * (like.ndim - 1))
        return abar.sqrt(), (1 - abar).sqrt()


def check_prediction(name: str) -> Literal["epsilon", "v_prediction"]:
    """Return a scheduler's `prediction_type` if we can train it, else say so."""
    if name == "epsilon":
        return "epsilon"
    if name == "v_prediction":
        return "v_prediction"
    raise RecipeError(f"this base predicts {name!r}", "epsilon and v_prediction are understood")
