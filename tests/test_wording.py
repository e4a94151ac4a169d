"""What a value should be, in our own words, whichever library found that it is not."""

from __future__ import annotations

from typing import Any

import pytest

from likewise import methods
from likewise.errors import RecipeError
from tests.cli.commands import Call
from tests.cli.conftest import call  # noqa: F401 - a fixture

WRONG = [
    ("steps", "abc", "give a whole number"),
    ("steps", 1.5, "give a whole number"),
    ("steps", 0, "give more than 0"),
    ("seed", -1, "give 0 or more"),
    ("seed", 2**32, "give less than 4294967296"),
    ("ema", "x", "give a number"),
    ("noise_offset", float("nan"), "give a finite number"),
    ("flip", "maybe", "give true or false"),
    ("keep", "fp8", "give 'fp16' or 'fp32'"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_setting_that_does_not_fit_is_asked_for_in_plain_words(key: str, value: Any, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        methods.get("lora").recipe().override({key: value})
    assert told.value.message == f"{key} = {value!r}: {said}"


def test_no_setting_of_any_method_is_asked_for_in_other_words() -> None:
    """Every field is given what nothing takes."""
    for name in methods.names():
        for key in methods.get(name).recipe.model_fields:
            with pytest.raises(RecipeError) as told:
                methods.get(name).recipe().override({key: [{}]})
            assert "Input should" not in told.value.message, f"{name}: {told.value.message}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["selfcheck", "--repeats", "50"], "give 100 or more"),
        (["selfcheck", "--repeats", "many"], "give a whole number"),
        (["sample", "a dog", "--steps", "2000"], "give 1000 or less"),
        (["sample", "a dog", "--guidance", "much"], "give a number"),
    ],
)
def test_an_option_that_does_not_fit_as_well(call: Call, words: list[str], said: str) -> None:  # noqa: F811
    result = call(*words)
    assert result.exit_code == 2
    assert f"Invalid value for '{words[-2]}': {said}" in result.stderr
