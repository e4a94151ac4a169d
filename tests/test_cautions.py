"""Cautions: a setting without effect, or one that defeats another, is said before training; what is usual is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers.training_utils import EMAModel
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from likewise import methods
from likewise.cache import Cache
from likewise.cautions import cautions
from likewise.comparison.preparing import prepare
from likewise.concept import Concept
from likewise.events import Progress, Stepped, Warned
from likewise.recipe import TrainingRecipe
from likewise.run import Run
from likewise.stack import Job, Stack
from likewise.train import average_decay, factor
from tests.bases import concept, pictures, tiny
from tests.metrics.judges import panel

BASE = tiny()


def said(folder: Path, method: str = "lora", **settings: Any) -> list[str]:
    recipe = methods.get(method).recipe().override({"steps": 20, **settings})
    return cautions(BASE, Stack((Job(concept(folder), recipe),)))


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "hypernetwork", "dreambooth", "aesthetic"])
def test_no_method_s_own_settings_are_warned_of(method: str, tmp_path: Path) -> None:
    recipe = methods.get(method).recipe()
    assert cautions(BASE, Stack((Job(concept(tmp_path), recipe),))) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"steps": 4, "warmup": 1000},
            "warmup=1000 is not over after the 4 steps: the learning rate rises to 0.004 of",
        ),
        ({"steps": 4, "warmup": 4}, "warmup=4 is not over after the 4 steps"),
        ({"ema": 0.9999}, "ema=0.9999 is not reached in 20 steps: the decay of the average rises to 0.69"),
        ({"checkpoint_every": 50}, "checkpoint_every=50 is more than the 20 steps"),
        ({"learning_rate": 0}, "learning_rate=0.0: nothing is learned at a rate of 0"),
        ({"learning_rate": "0:20, 1e-3"}, "learning_rate=0:20, 1e-3: nothing is learned at a rate of 0"),
        (
            {"learning_rate": "1e-3:20, 1e-4"},
            "learning_rate: the part 0.0001 begins after step 20, and training ends",
        ),
        ({"text_rate": 0}, "text_rate=0 changes nothing of the text tower"),
        (
            {"prior": "predicted", "prior_weight": 0},
            "prior=predicted costs time and has no effect with prior_weight=0",
        ),
        ({"snr_gamma": 1e6}, "snr_gamma=1e+06 is above the signal of every noise level"),
        (
            {"steps": 3},
            "training sees 3 of the 4 pictures of an epoch; more steps, or epochs=1, show them all",
        ),
        (
            {"optimizer": "prodigy"},
            "prodigy multiplies the rate it finds by learning_rate=0.0001: 1 is what it",
        ),
    ],
)
def test_what_defeats_itself_is_said_once(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    (text,) = said(tmp_path, **settings)
    assert text.startswith(words)


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup": 5},
        {"steps": 1000, "ema": 0.99},
        {"checkpoint_every": 20},
        {"checkpoint_every": 0},
        {"learning_rate": "1e-3:19, 1e-4"},
        {"learning_rate": "0:5, 1e-3"},
        {"text_rate": 1e-6},
        {"prior": "predicted", "prior_weight": 0.1},
        {"snr_gamma": 5},
        {"steps": 2, "batch_size": 2},
        {"steps": 1, "batch_size": 2, "accumulate": 2},
        {"optimizer": "prodigy", "learning_rate": 1},
    ],
)
def test_what_works_is_not_warned_of(settings: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, **settings) == []


def test_jobs_that_share_a_mistake_are_told_once(tmp_path: Path) -> None:
    recipe = methods.get("lora").recipe().override({"steps": 20, "warmup": 30})
    jobs = tuple(Job(concept(tmp_path, seed=n), recipe) for n in range(3))
    assert len(cautions(BASE, Stack(jobs))) == 1


def test_runs_and_comparisons_say_it_before_the_first_step(tmp_path: Path) -> None:
    recipe = methods.get("lora").recipe().override({"steps": 4, "warmup": 1000})
    run = Run(
        "tiny:sd", "lora", (Job(concept(tmp_path), recipe),), tmp_path / "run", cache=Cache(tmp_path / "c")
    )
    kinds = [
        type(e)
        for e in run.start(base=tiny())
        if isinstance(e, Stepped) or "warmup" in getattr(e, "text", "")
    ]
    assert kinds == [Warned, Stepped, Stepped, Stepped, Stepped]
    compared = prepare(
        pictures(tmp_path / "p", 5), noun="dog", token="sks", base=tiny(), methods="lora", seeds=1,
        prompts="a {}", out=tmp_path / "out", steps=4, warmup=1000,
    )  # fmt: skip
    inner = [e.inner for e in compared.start(judges=panel()) if isinstance(e, Progress)]
    assert any(isinstance(event, Warned) and "warmup=1000" in event.text for event in inner)


@given(st.integers(1, 3000), st.integers(0, 4000))
def test_a_warm_up_is_called_unfinished_just_when_the_full_rate_is_never_reached(
    steps: int, warmup: int
) -> None:
    recipe = TrainingRecipe().override({"steps": steps, "warmup": warmup})
    shown = Concept("x", "sks", "dog", ())
    found = cautions(BASE, Stack((Job(shown, recipe),)))
    reached = max(factor(recipe, step) for step in {0, steps - 1, min(warmup, steps - 1)})
    assert (reached < 1) == any("warmup" in text for text in found)


@given(st.floats(0.01, 0.99999), st.integers(1, 100_000))
def test_the_average_decays_as_diffusers_does(decay: float, update: int) -> None:
    theirs = EMAModel([nn.Parameter(nn.Linear(1, 1).weight.detach())], decay=decay)
    assert average_decay(decay, update) == pytest.approx(theirs.get_decay(update), rel=1e-12)


@given(st.floats(0.0101, 0.99999), st.integers(1, 300))
def test_an_average_is_called_unreached_just_when_its_decay_never_acts(decay: float, steps: int) -> None:
    recipe = TrainingRecipe().override({"steps": steps, "ema": decay})
    found = cautions(BASE, Stack((Job(Concept("x", "sks", "dog", ()), recipe),)))
    acts = any(average_decay(decay, update) == decay for update in range(1, steps + 1))
    assert acts != any("ema" in text for text in found)
