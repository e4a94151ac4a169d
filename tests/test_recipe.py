"""Recipes: what is written is what is meant, and what cannot be meant is refused with the key that was."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.errors import RecipeError
from likewise.recipe import Rate, Recipe, TrainingRecipe, setting


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
