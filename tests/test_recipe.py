"""Recipes: what is written is what is meant, and what cannot be meant is refused with the key that was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise import methods
from likewise.comparison.preparing import prepare
from likewise.concept import Concept
from likewise.errors import RecipeError
from likewise.materials import Materials
from likewise.picture import Example
from likewise.planning import Subject, Way
from likewise.recipe import Rate, Recipe, TrainingRecipe, setting
from likewise.run import plan
from likewise.stack import Job
from tests.bases import pictures


def test_a_rate_has_pieces() -> None:
    rate = Rate.parse("0.005:100, 1e-3:1000, 1e-4")
    assert [rate.at(step) for step in (0, 99, 100, 999, 1000, 10**6)] == [
        0.005, 0.005, 1e-3, 1e-3, 1e-4, 1e-4,
    ]  # fmt: skip
    assert Rate.parse("0.5:3").at(99) == 0.5, "past the last bound the last value holds"
    assert Rate.parse(3e-4) == Rate.parse("3e-4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "-1",
        "nan",
        "inf",
        "1e-3,1e-4",
        "1:5,2:5",
        "1:9,2:3,4",
        "1:x",
        "1e-3:",
        "1:0",
        "1:-5",
        "1,",
    ],
)
def test_a_rate_that_does_not_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Rate.parse(text)
    with pytest.raises(RecipeError, match="learning_rate"):
        TrainingRecipe().override({"learning_rate": text})


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("steps=400", 400),
        ("learning_rate=0.005:100, 1e-3", "0.005:100, 1e-3"),
        ("flip=true", True),
        ("snr_gamma=5", 5.0),
        ("ema=none", None),
        ("ema=", None),
        ("optimizer=radam", "radam"),
    ],
)
def test_settings_are_read_as_they_are_written(pair: str, value: object) -> None:
    assert getattr(TrainingRecipe().override([pair]), pair.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("stpes=4", "did you mean steps?"),
        ("steps=-1", "steps = -1"),
        ("steps=0", "steps = 0"),
        ("steps=1.5", "steps"),
        ("steps", "key=value"),
        ("=4", "key=value"),
        ("ema=1", "ema"),
        ("snr_gamma=0", "snr_gamma"),
        ("batch_size=0", "batch_size"),
        ("noise_offset=nan", "noise_offset"),
        ("optimizer=adamx", "optimizer"),
        ("precision=fp8", "precision"),
        ("seed=x", "seed"),
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
    ],
)
def test_a_wrong_setting_names_itself(pair: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        TrainingRecipe().override([pair])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["steps = ", "[recipe", "recipe = 3", "\x00", "steps = 4\nsteps = 5"])
def test_a_broken_file_names_itself(text: str, tmp_path: Path) -> None:
    path = tmp_path / "my recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"my recipe\.toml"):
        Recipe.read(path)


@pytest.mark.parametrize("text", ["[1, 2]", "3", '{"job": [1]}', '{"recipe": []}', "{"])
def test_a_file_of_other_json_names_itself(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"settings\.json"):
        Recipe.read(path)


def test_a_text_that_is_no_toml_stays_a_text() -> None:
    assert setting("initialiser=old dog") == ("initialiser", "old dog")
    assert setting(" steps = 4 ") == ("steps", 4)


def test_a_setting_of_training_is_missed_where_nothing_trains() -> None:
    class StillRecipe(Recipe):
        """Its own."""

        slerp: bool = False

    with pytest.raises(RecipeError, match=r"'steps' for Still .*nothing trains.* its settings are .*slerp"):
        StillRecipe().override(["steps=5"])
    with pytest.raises(RecipeError, match=r"'slrp' for Still .*did you mean slerp\?"):
        StillRecipe().override(["slrp=true"])


def test_steps_and_epochs_together_are_refused_and_the_later_one_holds() -> None:
    plain = TrainingRecipe()
    for both in (["steps=4", "epochs=2"], {"epochs": 2, "steps": 4}):
        with pytest.raises(RecipeError, match="steps=4 and epochs=2 both say how long to train"):
            plain.override(both)
    assert plain.override(["epochs=3"]).epochs == 3
    assert plain.override(["epochs=3"]).override(["steps=7"]).epochs is None
    assert plain.override(["steps=7"]).override({"epochs": 3}).epochs == 3
    assert plain.override(["steps=7", "epochs=none"]).steps == 7
    assert plain.override(plain.override(["epochs=3"]).resolved(5).model_dump()).steps == 15
    with pytest.raises(RecipeError, match="epochs = 0"):
        plain.override(["epochs=0"])


REPEATS = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@given(REPEATS, st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_so_many_epochs_see_every_picture_so_often_and_no_step_longer(
    repeats: list[int], epochs: int, batch: int, accumulate: int, flip: bool
) -> None:
    asked = TrainingRecipe().override(
        {"epochs": epochs, "batch_size": batch, "accumulate": accumulate, "flip": flip}
    )
    shown = Concept(
        "x", "sks", "dog", tuple(Example(Path(f"{n}.png"), repeats=r) for n, r in enumerate(repeats))
    )
    recipe = Job(shown, asked).recipe
    assert isinstance(recipe, TrainingRecipe)
    assert recipe.epochs is None
    times = tuple(repeats * (1 + flip))
    own = Materials(
        torch.zeros(len(times), 2, 1),
        torch.zeros(len(times), 6),
        ("",) * len(times),
        ("",) * len(times),
        times,
    )

    def seen(steps: int) -> Counter[int]:
        return Counter(n for step in range(steps) for n in own.order(recipe, step, "own"))

    assert all(seen(recipe.steps)[n] >= epochs * r for n, r in enumerate(times))
    assert any(seen(recipe.steps - 1)[n] < epochs * r for n, r in enumerate(times))


def test_a_run_keeps_the_steps_that_its_epochs_made(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "2_sks dog", 4)
    run, _ = plan(
        [Subject(folder, "dog", "sks")],
        Way("lora", {"epochs": 3, "batch_size": 4}),
        base="tiny:sd",
        out=tmp_path / "run",
    )
    assert run.jobs[0].recipe.steps == 6  # type: ignore[attr-defined]
    compared = prepare(
        folder, noun="dog", base="tiny:sd", methods="lora", out=tmp_path / "c", hold_out=1, epochs=3
    )
    (condition,) = (one for one in compared.conditions if one.taught)
    assert condition.recipe is not None
    assert condition.recipe.steps == 18  # type: ignore[attr-defined]


def test_settings_of_training_that_were_kept_where_nothing_trains_are_left_out() -> None:
    recipe = methods.get("aesthetic").recipe()
    assert recipe.stored({"steps": 0, "angle": 0.3}) == recipe.override({"angle": 0.3})
    with pytest.raises(RecipeError, match="unknown setting 'steps'"):
        recipe.override({"steps": 0})
    with pytest.raises(RecipeError, match="unknown setting 'angel'"):
        recipe.stored({"angel": 0.3})
    assert methods.get("lora").recipe().stored({"steps": 7}).model_dump()["steps"] == 7
