"""Which trainings a comparison makes: trials, seeds, folds, and what may share a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from likewise import methods
from likewise.comparison.design import Condition, Trial, mates, parse_condition, size_called, trials, unique
from likewise.errors import RecipeError
from likewise.stack import SHARED


def condition(name: str = "lora", method: str = "lora", **settings: Any) -> Condition:
    recipe = methods.get(method).recipe().override(settings)
    return Condition(name, name.title(), "method", "sks owl", method, recipe, settings, shares=True)


BASE = Condition("base", "Untrained base", "floor", "owl")
FILE = Condition("theirs", "theirs.safetensors", "file", "sks owl", "lora", file=Path("theirs.safetensors"))


def test_trials_go_replicate_by_replicate_after_what_is_not_taught() -> None:
    found = trials([BASE, condition(), FILE, condition("big")], 3, 2)
    names = ["base", "theirs", "lora-0", "big-0", "lora-1", "big-1", "lora-2", "big-2"]
    assert [one.name for one in found] == names
    assert [one.fold for one in found] == [None, None, 0, 0, 1, 1, 0, 0], "folds come round again"
    assert [one.seed for one in found] == [None, None, 0, 0, 1, 1, 2, 2]


def test_seeds_count_on_from_the_one_that_was_given() -> None:
    found = [Trial(condition(seed=7), number).recipe for number in range(3)]
    assert [one.seed for one in found if one] == [7, 8, 9]
    last = Trial(condition(seed=2**32 - 1), 1).recipe
    assert last is not None
    assert last.seed == 0


def test_more_replicates_change_no_earlier_trial() -> None:
    few, many = (trials([BASE, condition()], count, count) for count in (2, 5))
    assert few == many[: len(few)]


def test_titles_count_from_one_and_say_so_where_there_are_several() -> None:
    assert [Trial(condition(), number).title for number in (0, 1)] == ["Lora", "Lora (2)"]
    assert Trial(BASE).title == "Untrained base"


def test_a_condition_is_read_from_its_words() -> None:
    asked = parse_condition("Big one=textual-inversion, vectors=4,learning_rate=1e-3")
    assert (asked.name, asked.method, asked.title) == ("Big one", "textual_inversion", "Big one")
    assert dict(asked.settings) == {"vectors": 4, "learning_rate": 1e-3}
    assert dict(parse_condition("same=lora").settings) == {}
    for text in ("lora", "=lora", "name=", "name=,rank=3"):
        with pytest.raises(RecipeError, match="is no condition"):
            parse_condition(text)
    with pytest.raises(RecipeError):
        parse_condition("big=lora,rank")


def test_names_are_unique_and_say_something() -> None:
    assert unique([BASE, condition(), condition("big")])
    with pytest.raises(RecipeError, match="two conditions are called 'Base'"):
        unique([BASE, condition("base")])
    with pytest.raises(RecipeError, match=r"'\?!' is no name"):
        unique([replace(condition(), name="", title="?!")])


def test_sizes_are_known_by_name() -> None:
    assert size_called("quick").replicates == 1
    with pytest.raises(RecipeError, match="no size 'small'"):
        size_called("small")


def together(lead: Condition, replicate: int, later: list[Trial], *, alone: bool = True) -> list[str]:
    return [one.name for one in mates(Trial(lead, replicate, 0), later, SHARED, alone=alone)]


def test_the_first_of_each_is_alone_and_later_ones_share() -> None:
    later = trials([condition("lora"), condition("big", rank=16)], 3, 3)
    assert together(condition(), 0, later) == []
    assert together(condition(), 1, later) == ["lora-1", "lora-2", "big-1", "big-2"], "its own come first"
    assert set(together(condition(), 0, later, alone=False)) == {one.name for one in later}


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (condition("other", rank=32, learning_rate=1e-3, steps=7, seed=3), True),
        (condition("other", batch_size=2), False),
        (condition("other", resolution=64), False),
        (condition("other", "textual_inversion"), False),
        (replace(condition("other"), shares=False), False),
    ],
)
def test_only_jobs_that_go_together_share(other: Condition, shared: bool) -> None:
    assert bool(together(condition(), 1, [Trial(other, 1, 0)])) is shared
    assert together(replace(condition(), shares=False), 1, [Trial(condition(), 2, 0)]) == []
