"""Limits as people write them, and which conditions keep them."""

from __future__ import annotations

import pytest

from likewise.comparison.limits import Limits, broken, program, programs
from likewise.errors import RecipeError
from tests.comparison.situations import standing


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("1MB", 10**6),
        ("1.5 mb", 1_500_000),
        ("4kB", 4000),
        ("8GiB", 8 * 2**30),
        ("2GB", 2 * 10**9),
        ("300B", 300),
    ],
)
def test_sizes(words: str, wanted: int) -> None:
    assert Limits.parse(at_most=words).most_bytes == wanted
    assert Limits.parse(memory=words).most_memory == wanted


@pytest.mark.parametrize(
    ("words", "wanted"), [("5min", 300), ("90s", 90), ("1h30min", 5400), ("1 h 30 min", 5400), ("0.5h", 1800)]
)
def test_times(words: str, wanted: float) -> None:
    assert Limits.parse(within=words).most_seconds == wanted


@pytest.mark.parametrize(
    "words", ["5", "", "MB", "5 m", "-1MB", "0MB", "1MB or so", "1,5MB", "five MB", "nanMB", "1e3MB", "2min"]
)
def test_a_size_that_is_not_understood_is_refused_with_an_example(words: str) -> None:
    with pytest.raises(RecipeError, match="is not a size") as refused:
        Limits.parse(at_most=words)
    assert "1MB" in (refused.value.hint or "")


@pytest.mark.parametrize("words", ["5", "5 months", "5 m", "1MB", "0s", "min"])
def test_a_time_that_is_not_understood_is_refused_with_an_example(words: str) -> None:
    with pytest.raises(RecipeError, match="is not a time") as refused:
        Limits.parse(within=words)
    assert "5min" in (refused.value.hint or "")


def test_no_pictures_are_refused() -> None:
    with pytest.raises(RecipeError, match="0 pictures"):
        Limits.parse(pictures=0)


def test_programs_are_known_by_what_people_call_them() -> None:
    called = [
        "comfyui",
        "ComfyUI",
        "a1111",
        "Automatic1111",
        "kohya",
        "sd-scripts",
        "forge",
        "DIFFUSERS",
        "peft",
    ]
    assert [program(name) for name in called] == [
        "ComfyUI", "ComfyUI", "AUTOMATIC1111", "AUTOMATIC1111", "kohya sd-scripts", "kohya sd-scripts", "Forge",
        "diffusers", "PEFT",
    ]  # fmt: skip
    assert Limits.parse(must_load=["comfyui", "ComfyUI"]).must_load == ("ComfyUI",)


def test_a_program_that_is_not_known_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'comfi' loads is not known") as refused:
        program("comfi")
    assert refused.value.hint == "did you mean ComfyUI?"
    with pytest.raises(RecipeError) as refused:
        program("photoshop")
    assert all(name in (refused.value.hint or "") for name in programs())


def test_each_limit_that_is_not_kept_is_said_with_both_numbers() -> None:
    one = standing(
        "lora", 0.6, cost={"bytes": 3_200_000, "seconds": 480.0, "peak_bytes": 15 * 10**9}, programs={}
    )
    limits = Limits.parse(at_most="1MB", within="5min", memory="8GB", must_load=["comfyui"])
    assert list(broken(one, limits)) == [
        "the size of its file is 3.2 MB, above 1 MB",
        "the time of its teaching is 8 min, above 5 min",
        "the memory of its teaching is 15 GB, above 8 GB",
        "ComfyUI does not load its file",
    ]


def test_what_is_at_the_limit_keeps_it_and_one_byte_more_does_not() -> None:
    limits = Limits.parse(at_most="1MB")
    assert not list(broken(standing("at", 0.6, cost={"bytes": 10**6}), limits))
    assert list(broken(standing("over", 0.6, cost={"bytes": 10**6 + 1}), limits)) == [
        "the size of its file is 1,000,001 B, above 1,000,000 B"
    ]


def test_what_is_not_known_keeps_no_limit() -> None:
    one = standing("lora", 0.6, cost={"bytes": None})
    assert list(broken(one, Limits.parse(at_most="1MB"))) == [
        "the size of its file is not known, and 1 MB is the limit"
    ]
    assert not list(broken(one, Limits.parse(within="5min")))


def test_a_program_that_loads_a_file_otherwise_than_meant_does_not_count() -> None:
    limits = Limits.parse(must_load=["comfyui"])
    wrong = standing("hypernetwork", 0.5, programs={"ComfyUI": "wrong: it does not know the activation"})
    noted = standing("lora", 0.5, programs={"ComfyUI": "exact, called by the file's name"})
    assert "does not know the activation" in next(broken(wrong, limits))
    assert not list(broken(noted, limits))


def test_an_untaught_base_keeps_all_limits_and_a_file_those_of_teaching() -> None:
    limits = Limits.parse(at_most="1MB", within="1s", memory="1MB", must_load=["comfyui"])
    assert not list(broken(standing("words", 0.5, kind="description", programs={}), limits))
    theirs = standing("theirs", 0.5, kind="file", cost={"bytes": 10**6, "seconds": None, "peak_bytes": None})
    assert not list(broken(theirs, limits))
