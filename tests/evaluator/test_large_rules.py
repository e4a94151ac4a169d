"""Cases whose right answer is known from publications, on a real Stable Diffusion: rows 6, 9, 38, 39 and 42.

They need an accelerator and what cannot be bundled, each in a folder that a variable names:

    LIKEWISE_TEST_SD        Stable Diffusion 1.5 as a diffusers folder
    LIKEWISE_TEST_SUBJECTS  the DreamBooth set: a folder per subject, as google/dreambooth has them
    LIKEWISE_TEST_PEOPLE    photos of people in `one`, `other`, and of the first as paintings or drawings in `styled`

What is not there is skipped, and the reason says what is missing. DINOv2 and CLIP must be in the Hub's cache: the bundled
judge knows no photographs, so a test that would fall back on it is skipped as well.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likewise import families, intake
from likewise.base import Base, Sampler
from likewise.comparison.concluded import read_verdict
from likewise.comparison.preparing import prepare
from likewise.comparison.standing import Standing
from likewise.comparison.verdicts import decide
from likewise.errors import BaseError
from likewise.metrics.features import Features, Panel, load, read
from likewise.metrics.score import Evidence, Reading
from likewise.picture import Example
from tests.evaluator.seen import evidence, score

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

SUBJECTS = {
    "dog6": ("dog", "corgi with a wide smile", "teapot"),
    "cat2": ("cat", "grey cat with green eyes", "car"),
    "rc_car": ("toy", "green toy truck with large wheels", "cat"),
    "teapot": ("teapot", "brown clay teapot", "dog"),
    "backpack": ("backpack", "red backpack with many pockets", "clock"),
}
"""Folder of the DreamBooth set -> its noun, a careful description, and a noun that is wrong."""
STEPS = {"textual_inversion": 3000, "dreambooth": 800, "lora": 800}
"""Published settings: Gal et al. and the examples of diffusers."""
SEEDS = 4
ORDER = ("base", "textual_inversion", "dreambooth")
"""By likeness, lowest first, as Ruiz et al. 2023 have them."""


def folder(variable: str) -> Path:
    """The folder that a variable names; skips the test without it."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no folder")
    if not Path(named).is_dir():
        pytest.skip(f"{variable} names {named}, which is no folder")
    return Path(named)


@pytest.fixture(scope="module")
def diffusion() -> Base:
    import torch

    device = "cuda" if torch.cuda.is_available() else "mps"
    return families.load(str(folder("LIKEWISE_TEST_SD")), device=device)


@pytest.fixture(scope="module")
def panel() -> Panel:
    """DINOv2 for the subject and CLIP for the prompt."""
    try:
        return Panel(load("dinov2"), load("clip"))
    except BaseError as error:
        pytest.skip(error.message)


def standings(base: Base, panel: Panel, subject: str, out: Path, **wish: Any) -> dict[str, Standing]:
    """A comparison of a subject of the DreamBooth set."""
    pictures = folder("LIKEWISE_TEST_SUBJECTS") / subject
    if not pictures.is_dir():
        pytest.skip(f"LIKEWISE_TEST_SUBJECTS has no {subject}")
    noun, described, _ = SUBJECTS[subject]
    usual: dict[str, Any] = {
        "noun": noun,
        "description": described,
        "sampler": Sampler(steps=50),
        "token": "sks",
    }
    comparison = prepare(pictures, base=base, out=out, seeds=SEEDS, replicates=1, **{**usual, **wish})
    for _ in comparison.start(judges=panel):
        pass
    return {one.name: one for one in read_verdict(comparison.folder)[0]}


def value(found: dict[str, Standing], name: str, axis: str) -> float:
    return found[name].axes[axis].value


@pytest.mark.parametrize("subject", SUBJECTS)
def test_row_6_a_description_is_between_the_base_and_what_was_taught(
    diffusion: Base, panel: Panel, subject: str, tmp_path: Path
) -> None:
    """Red when the condition `description` is drawn with the noun alone."""
    settings = {"dreambooth": {"steps": STEPS["dreambooth"]}}
    found = standings(diffusion, panel, subject, tmp_path / "c", methods=["dreambooth"], recipes=settings)
    low, middle, high = (value(found, name, "fidelity") for name in ("base", "description", "dreambooth"))
    assert low < middle < high


@pytest.mark.parametrize("subject", ["dog6", "cat2"])
def test_row_9_a_wrong_noun_teaches_less(diffusion: Base, panel: Panel, subject: str, tmp_path: Path) -> None:
    """Red when training prompts leave the noun out. Published: 0.744 with the right noun, 0.454 with a wrong one."""
    noun, _, wrong = SUBJECTS[subject]
    settings = {"dreambooth": {"steps": STEPS["dreambooth"]}}
    raw = {}
    for one in (noun, wrong):
        found = standings(
            diffusion, panel, subject, tmp_path / one, noun=one, methods=["dreambooth"], recipes=settings
        )
        raw[one] = value(found, "dreambooth", "fidelity")
    assert raw[wrong] < raw[noun]


@pytest.mark.parametrize("judge", ["dinov2", "clip"])
def test_row_38_equal_pictures_tie_and_the_order_of_a_pair_changes_nothing(
    judge: str, diffusion: Base
) -> None:
    """Red when the features of a picture depend on its place in a batch by more than rounding.

    The judges here measure one picture at a time, so a pair is judged by two measurements.
    """
    try:
        features = load(judge)
    except BaseError as error:
        pytest.skip(error.message)
    prompts = ["a dog on a beach", "a dog in the snow"]
    first, second = (
        list(diffusion.sample(prompts * 2, seeds, Sampler())) for seeds in ([0, 1] * 2, [2, 3] * 2)
    )
    one, other = likenesses(features, [*first, *second])
    again_other, again_one = likenesses(features, [*second, *first])
    assert one == pytest.approx(again_one, abs=1e-4)
    assert other == pytest.approx(again_other, abs=1e-4)
    table = np.array(one).reshape(2, 2)
    (pair,) = decide("fidelity", {"one": table, "the same": table.copy()}).pairs
    assert pair.verdict == "same"


def likenesses(features: Features, pictures: list[Image.Image]) -> tuple[list[float], list[float]]:
    """Of each half of the pictures with the whole of them."""
    seen = read(features, pictures)
    found = (seen.vectors @ seen.vectors.mean(0)).tolist()
    return found[: len(found) // 2], found[len(found) // 2 :]


def test_row_39_another_person_is_told_and_what_shows_nobody_is_a_failure(panel: Panel) -> None:
    """Red when a blank picture is left out, or the gallery holds no look-alikes."""
    photos = folder("LIKEWISE_TEST_PEOPLE")
    one, other, styled = (_people(panel.pictures, photos / name) for name in ("one", "other", "styled"))
    (train, kept), (another, others) = _halves(one), _halves(other)
    rows = {"the same": train, "another": another, "styled": styled}
    found = {
        name: score("rank", _among(panel.pictures, seen, train, kept, others)).mean
        for name, seen in rows.items()
    }
    assert found["another"] < found["styled"] < found["the same"]
    black = read(panel.pictures, [Image.new("RGB", (512, 512))] * 4)
    nobody = score("fidelity", evidence(panel.pictures, black, train, kept))
    assert nobody.n == 4
    assert nobody.mean <= 0


def _people(features: Features, place: Path) -> Reading:
    if not place.is_dir():
        pytest.skip(f"LIKEWISE_TEST_PEOPLE has no {place.name}")
    found: tuple[Example, ...] = intake.read(str(place), None).examples
    return read(features, [one.open() for one in found])


def _halves(seen: Reading) -> tuple[Reading, Reading]:
    half = len(seen) // 2
    return seen.pick(range(half)), seen.pick(range(half, len(seen)))


def _among(features: Features, seen: Reading, train: Reading, kept: Reading, others: Reading) -> Evidence:
    return replace(evidence(features, seen, train, kept), others=others)


def test_row_42_the_order_of_methods_is_the_published_one(
    diffusion: Base, panel: Panel, tmp_path: Path
) -> None:
    """Red when likeness is taken from the noun's prompts, or pictures of one method are drawn with another's file.

    Means over five subjects. Published (DINO): base 0.393, Textual Inversion 0.569, DreamBooth 0.668, real 0.774; prompt
    following (CLIP-T): Textual Inversion 0.255, DreamBooth 0.305, base 0.337.
    """
    names = [name for name in ORDER if name != "base"]
    recipes = {name: {"steps": STEPS[name]} for name in names}
    every = [
        standings(diffusion, panel, subject, tmp_path / subject, methods=names, recipes=recipes)
        for subject in SUBJECTS
    ]
    like, follow = (
        {name: sum(value(found, name, axis) for found in every) / len(every) for name in ORDER}
        for axis in ("fidelity", "prompt")
    )
    assert like["base"] < like["textual_inversion"] < like["dreambooth"] < 1
    assert follow["textual_inversion"] < follow["dreambooth"] <= follow["base"] + 0.08
