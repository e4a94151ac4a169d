"""Banks of prompts: their sizes and strata, strict reading, and pocket's own, which its judge can check."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from likewise.comparison.banks import Bank, bank_for, load, parse
from likewise.comparison.kinds import KINDS, Kind
from likewise.concept import slug
from likewise.errors import RecipeError
from likewise.families._advice import advice
from likewise.metrics import judge
from likewise.metrics.prompt import wanted

POCKET = Path(judge.__file__).parents[1] / "pocket" / "model"
STRATA = {
    "object": {"place": 7, "interaction": 5, "property": 4, "art": 3, "view": 3, "imaginative": 2},
    "live": {"place": 6, "interaction": 4, "accessory": 6, "art": 3, "view": 3, "imaginative": 2},
    "person": {"place": 5, "interaction": 4, "accessory": 4, "art": 4, "view": 5, "imaginative": 2},
    "style": {"content": 20, "imaginative": 4},
}
SMALL: dict[str, Any] = {
    "development": {"use": {"place": {"forest": "a {} in a forest"}}},
    "test": {"use": {"place": {"beach": "a {} on a beach"}}, "class": {"view": {"alone": "a {}"}}},
}


def counts(bank: Bank) -> dict[tuple[str, str], int]:
    return dict(Counter((prompt.part, prompt.role) for prompt in bank.prompts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bank_has_every_stratum_and_role(kind: Kind) -> None:
    bank = load(kind)
    assert Counter(prompt.stratum for prompt in bank.select("test", "use")) == STRATA[kind]
    assert set(STRATA[kind]) == {prompt.stratum for prompt in bank.select("development", "use")}
    found = counts(bank)
    assert 20 <= found["test", "use"] <= 25
    assert 8 <= found["development", "use"] <= 10
    assert 4 <= found["test", "class"] <= 6
    assert found["test", "reconstruct"] == found["test", "compose"] == 3
    assert bank.name == kind


@pytest.mark.parametrize("name", [*KINDS, "pocket"])
def test_no_two_prompts_share_a_text_an_id_or_a_part(name: Any) -> None:
    prompts = pocket().prompts if name == "pocket" else load(name).prompts
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert len({slug(prompt.text) for prompt in prompts}) == len(prompts)
    assert all(prompt.text.count("{}") == 1 and " an {}" not in f" {prompt.text}" for prompt in prompts)


def pocket() -> Bank:
    return bank_for("object", advice(POCKET).prompts, "pocket")


def test_the_judge_of_pocket_can_check_what_pocket_is_asked_for() -> None:
    bank, phrases = pocket(), judge.load().phrases
    found = counts(bank)
    assert (found["development", "use"], found["test", "use"]) == (8, 20)
    assert (found["test", "class"], found["test", "reconstruct"], found["test", "compose"]) == (4, 2, 2)
    used = [prompt for prompt in bank.prompts if prompt.role != "class"]
    assert all(wanted(prompt.text, phrases) for prompt in used)
    several = [prompt for prompt in used if prompt.text.startswith(("two", "three"))]
    assert all(any("count" in clause for clause in wanted(prompt.text, phrases)) for prompt in several)
    assert len(several) == 5


def test_pocket_decides_on_nothing_that_its_settings_were_chosen_on() -> None:
    chosen = (
        "in a forest",
        "in the desert",
        "on a pink background",
        "on a red background",
        "on a black background",
    )
    test = [prompt.text for prompt in pocket().prompts if (prompt.part, prompt.role) == ("test", "use")]
    assert not [text for text in test if text.endswith(chosen)]


def test_the_workshop_exports_what_pocket_has() -> None:
    workshop = Path(__file__).parents[2] / "workshop"
    for name in ("likewise.toml", "prompts.toml"):
        assert (workshop / name).read_bytes() == (POCKET / name).read_bytes()


def test_a_base_without_prompts_has_those_of_the_kind() -> None:
    assert bank_for("live", {}, "a base") == load("live")
    assert bank_for("live", SMALL, "a base").name == "a base"


def test_selection_keeps_the_order() -> None:
    bank = parse(SMALL, "it")
    assert [prompt.id for prompt in bank.prompts] == ["forest", "beach", "alone"]
    assert [prompt.id for prompt in bank.select("test", "class")] == ["alone"]
    assert bank.select("test", "compose") == ()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("training",), {}, "there is no 'training' .there are development, test"),
        (("test", "used"), {}, "there is no 'used'"),
        (("test", "use", "weather"), {}, "there is no 'weather'"),
        (("test", "use"), "a {}", "use is no table"),
        (("test", "use", "place", "beach"), "on a beach", "has no place for the concept"),
        (("test", "use", "place", "beach"), "a {} and a {}", "has no place for the concept"),
        (("test", "use", "place", "beach"), "a {} on a {beach}", "has no place for the concept"),
        (("test", "use", "place", "beach"), 3, "has no place for the concept"),
        (("test", "use", "place", "At night"), "a {} at night", "the id 'At night' is no plain word"),
        (("test", "use", "view", "forest"), "a {} afar", "development.use and test.use have one id"),
        (("test", "use", "place", "wood"), "A {}  in a forest.", "development.use and test.use have one text"),
        (("development", "use"), {}, r"\[development.use\] has none"),
        (("test", "use"), {}, r"\[test.use\] has none"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(place: tuple[str, ...], value: Any, message: str) -> None:
    data = copy.deepcopy(SMALL)
    table = data
    for key in place[:-1]:
        table = table.setdefault(key, {})
    table[place[-1]] = value
    with pytest.raises(RecipeError, match=message):
        parse(data, "it")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"there is no kind 'dog' .there are object, live, person, style"):
        load("dog")  # type: ignore[arg-type]
