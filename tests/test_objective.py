"""Noise, targets and weights against diffusers' scheduler and the formulas of the papers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from likewise.errors import RecipeError
from likewise.objective import DenoisingObjective, check_prediction

LEVELS = torch.tensor([0, 1, 250, 600, 999])
OURS = {kind: DenoisingObjective.scaled_linear(kind) for kind in ("epsilon", "v_prediction")}


def theirs() -> DDPMScheduler:
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


@pytest.mark.parametrize("kind", OURS)
def test_noise_and_target_are_those_of_diffusers(kind: str) -> None:
    random = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(5, 4, 8, 8, generator=random) for _ in range(2))
    objective, scheduler = OURS[kind], theirs()
    noisy = objective.corrupt(clean, noise, LEVELS)
    assert torch.allclose(noisy, scheduler.add_noise(clean, noise, LEVELS), atol=1e-5)
    wanted = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, LEVELS)
    assert torch.allclose(objective.target(clean, noise, LEVELS), wanted, atol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("kind", OURS)
def test_min_snr_weights(kind: str, gamma: float) -> None:
    """Hang et al. 2023: on predicted pictures min(SNR, gamma), here turned into errors of noise or velocity."""
    abar = theirs().alphas_cumprod[LEVELS].double()
    snr = abar / (1 - abar)
    capped = torch.minimum(snr, torch.tensor(gamma, dtype=torch.float64))
    wanted = capped / snr if kind == "epsilon" else capped / (snr + 1)
    assert torch.allclose(OURS[kind].weights(LEVELS, gamma).double(), wanted, rtol=1e-3)
    assert OURS[kind].weights(LEVELS, None).tolist() == [1.0] * 5


def test_no_weight_is_lost_where_the_last_step_is_pure_noise() -> None:
    """Zero terminal SNR: the weight of a velocity there is 0, and no number is undefined."""
    objective = DenoisingObjective(torch.tensor([0.99, 0.5, 0.0]), "v_prediction")
    assert torch.isfinite(objective.weights(torch.arange(3), 5.0)).all()


def test_levels_are_spread_evenly_over_all_steps() -> None:
    levels = OURS["epsilon"].draw_levels(20_000, torch.Generator().manual_seed(0), 64)
    counts = torch.histc(levels.float(), bins=10, min=0, max=999)
    assert (int(levels.min()), int(levels.max())) == (0, 999)
    assert (counts - 2000).abs().max() < 200


def test_other_kinds_of_prediction_are_refused() -> None:
    with pytest.raises(RecipeError, match="'sample'"):
        check_prediction("sample")
