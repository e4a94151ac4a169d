"""Row 30 of the sanity set: a held-out picture in training, a burst across the split or a reused prompt stops a comparison.

The right answer is known, as each leak is planted. Mutations that turn these red: `check_pictures` looking through no parts
(`others = {}`), near-duplicates counting only where they are equal (`NEAR_BITS, NEAR_COLOUR = 0, 0.0`), `concept._groups`
without its `duplicates`, and `check_prompts` comparing texts as they are spelled instead of by `slug`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from likewise.comparison.banks import load
from likewise.comparison.folds import plan_folds
from likewise.comparison.kinds import KINDS, Kind
from likewise.comparison.split import check_split
from likewise.concept import Concept
from likewise.errors import ConceptError, RecipeError
from likewise.picture import Example

DEVELOPMENT = ("a {} in a forest", "a {} in the desert")
TEST = ("a {} on a beach", "a {} at night")


def scene(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((192, 128), Image.Resampling.BICUBIC)


@pytest.fixture
def whole(tmp_path: Path) -> Concept:
    (tmp_path / "My Dog").mkdir()
    for seed in range(6):
        scene(seed).save(tmp_path / "My Dog" / f"{seed}.png")
    return Concept.read(tmp_path / "My Dog", token="sks", noun="dog")


@pytest.fixture
def concept(whole: Concept) -> Concept:
    return whole.fold(plan_folds(whole.groups, 3).verdict[0])


def check(concept: Concept, tuned_on: tuple[str, ...] = (), **parts: list[Example]) -> None:
    check_split(concept, development=DEVELOPMENT, test=TEST, tuned_on=tuned_on, elsewhere=parts)


def held(concept: Concept) -> Image.Image:
    return concept.held_out[0].open()


def saved(picture: Image.Image, path: Path) -> Example:
    picture.save(path)
    return Example(path)


def test_every_fold_of_a_concept_that_was_read_keeps_the_rules(whole: Concept) -> None:
    folds = plan_folds(whole.groups, 2, tuning=True)
    assert folds.tuning is not None
    for fold in (*folds.verdict, folds.tuning):
        check(whole.fold(fold), tuned_on=DEVELOPMENT)


def test_a_burst_that_was_read_is_never_torn_apart(whole: Concept, tmp_path: Path) -> None:
    for seed in range(5):
        ImageEnhance.Brightness(scene(seed)).enhance(1.05).save(tmp_path / "My Dog" / f"{seed} later.jpg")
    again = Concept.read(tmp_path / "My Dog", token="sks", noun="dog")
    folds = plan_folds(again.groups, 4).verdict
    assert len(folds) == 4
    for fold in folds:
        check(again.fold(fold))


@pytest.mark.parametrize("name", ["copy.png", "copy.webp", "copy.tif"])
def test_a_held_out_picture_in_training_stops(concept: Concept, tmp_path: Path, name: str) -> None:
    lossless = {"lossless": True} if name.endswith("webp") else {}
    held(concept).save(tmp_path / name, **lossless)
    leaked = replace(concept, examples=(*concept.examples, Example(tmp_path / name)))
    message = f"the held-out picture {concept.held_out[0].name} is also among the training pictures"
    with pytest.raises(ConceptError, match=message):
        check(leaked)


def test_a_burst_across_the_split_stops(concept: Concept, tmp_path: Path) -> None:
    burst = saved(
        ImageEnhance.Brightness(held(concept)).enhance(1.05).resize((96, 64)), tmp_path / "burst.jpg"
    )
    leaked = replace(concept, examples=(*concept.examples, burst))
    with pytest.raises(ConceptError, match=r"looks like burst\.jpg of the training pictures"):
        check(leaked)


def test_a_held_out_picture_in_another_part_stops(concept: Concept, tmp_path: Path) -> None:
    copy = saved(held(concept), tmp_path / "copy.png")
    with pytest.raises(ConceptError, match="is also among the class pictures"):
        check(replace(concept, class_pictures=(copy,)))
    with pytest.raises(ConceptError, match="is also among look-alikes"):
        check(concept, **{"look-alikes": [saved(scene(99), tmp_path / "other.png"), copy]})
    check(concept, **{"look-alikes": [saved(scene(99), tmp_path / "other.png")]})


def test_a_test_prompt_that_was_tuned_on_stops(concept: Concept) -> None:
    check(concept, tuned_on=DEVELOPMENT)
    with pytest.raises(RecipeError, match=r"settings were chosen on the test prompt 'A {} at  night.'"):
        check(concept, tuned_on=(*DEVELOPMENT, "A {} at  night."))


def test_a_development_prompt_in_the_test_stops(concept: Concept) -> None:
    with pytest.raises(RecipeError, match=r"the prompt 'A {} on a beach' is in development and in test"):
        check_split(concept, development=(*DEVELOPMENT, "A {} on a beach"), test=TEST)


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_prompts_keep_the_rules(concept: Concept, kind: Kind) -> None:
    texts = {part: [p.text for p in load(kind).prompts if p.part == part] for part in ("development", "test")}
    check_split(concept, development=texts["development"], test=texts["test"], tuned_on=texts["development"])
