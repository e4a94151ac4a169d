"""Planning: which jobs follow from what a person asks for, and what is refused before a base is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from likewise import planning
from likewise.errors import Error, RecipeError, UnsupportedError
from likewise.planning import Subject, Way
from likewise.run import plan, teach
from tests.bases import pictures, tiny


def of(folder: Path, **words: Any) -> Subject:
    return Subject(pictures(folder), **{"noun": "dog", **words})


def test_every_subject_is_taught_with_every_seed_from_the_recipes_on(tmp_path: Path) -> None:
    way = Way("lora", {"steps": 2, "seed": 7}, seeds=2)
    found = planning.jobs(tiny(), [of(tmp_path / "dogs"), of(tmp_path / "cats", noun="cat")], way)
    assert [(job.concept.noun, job.recipe.seed) for job in found] == [
        ("dog", 7), ("dog", 8), ("cat", 7), ("cat", 8),
    ]  # fmt: skip
    one, two = found[0].concept.token, found[2].concept.token
    assert found[1].concept.token == one != two


def test_tokens_are_reserved_ones_in_order_then_rare_ones_and_never_twice(tmp_path: Path) -> None:
    base, folder = tiny(), pictures(tmp_path / "dogs")
    base.reserved_tokens = ("zwx", "ohwx")
    subjects = [Subject(folder, "dog", token) for token in (None, "ZWX", None, None)]
    first, named, second, third = (concept.token for concept in planning.concepts(base, subjects))
    assert (first, named) == ("ohwx", "ZWX"), "what is named is taken, wherever it stands"
    assert second not in ("zwx", "ohwx")
    assert second != third


@pytest.mark.parametrize(
    ("words", "way", "error", "told"),
    [
        ([{"token": "OHWX"}, {"token": "ohwx"}], Way(), RecipeError, "two concepts are to be called 'ohwx'"),
        ([{}], Way("dreambooth", seeds=2), UnsupportedError, "so 2 cannot be taught at once .start one run"),
        ([{}, {}], Way("dreambooth"), UnsupportedError, "so 2 cannot be taught at once .start one run"),
        ([{}], Way("aesthetic", seeds=2), RecipeError, "every seed gives the same"),
        ([{}], Way(seeds=0), RecipeError, "0 seeds teach nothing"),
    ],
)
def test_what_does_not_go_together_on_any_base_is_refused_before_one_is_loaded(
    words: list[dict[str, Any]], way: Way, error: type[Error], told: str, tmp_path: Path
) -> None:
    subjects = [of(tmp_path / "dogs", **one) for one in words]
    with pytest.raises(error, match=told):
        plan(subjects, way, base="no such base", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, r"must share prior: 'pictures' and 'none' \(set prior for all of them"),
        ({"prior": "none", "optimizer": "sgd"}, r"sgd has no learning rate per job .*start one run for each"),
    ],
)
def test_jobs_that_do_not_go_together_leave_no_folder(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """One of them brings class pictures, so that its prior is another."""
    protected = of(tmp_path / "dogs", class_pictures=pictures(tmp_path / "others", seed=1))
    with pytest.raises(RecipeError, match=told):
        plan([protected, of(tmp_path / "cats")], Way("lora", settings), base=tiny(), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("told", ["dogs", ("dogs",), ("dogs", None), ("dogs", "dog", "sks", "more")])
def test_what_else_is_to_be_taught_must_be_told_as_pictures_and_noun(told: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not say what else to teach"):
        teach(pictures(tmp_path / "p"), noun="dog", base="no such base", also=[told], out=tmp_path / "run")


def test_a_resolution_that_the_base_cannot_take_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    base, folder = tiny(), pictures(tmp_path / "dogs")
    side = base.grid + 1
    with pytest.raises(RecipeError, match=f"resolution {side} is not a multiple of {base.grid}") as refused:
        teach(folder, noun="dog", method="lora", base=base, out=tmp_path / "run", steps=1, resolution=side)
    assert refused.value.hint == f"{base.grid} or {2 * base.grid} is one"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("token", "noun", "warned"), [("dog", "Dog", True), ("dog", "big dog", True), ("do", "dog", False)]
)
def test_a_token_that_is_the_noun_is_warned_of(
    token: str, noun: str, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planning.concepts(tiny(), [of(tmp_path / "dogs", noun=noun, token=token)])
    assert ("is also the noun" in caplog.text) == warned
