"""Looking for each method's best settings: what is tried, who goes on, and when the defaults are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise import methods
from likewise.comparison import tuning
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Condition
from likewise.comparison.tuning import (
    ROUNDS,
    TRIES,
    Found,
    Scored,
    Try,
    best,
    choose,
    shortened,
    survivors,
    tries,
)
from likewise.errors import Interrupted, RecipeError
from likewise.recipe import TrainingRecipe
from tests.bases import pictures
from tests.comparison.plans import attached, done_anew, planned, rows_of, stop_after
from tests.metrics.judges import panel


def plain(method: str = "lora", given: Mapping[str, Any] | None = None) -> Condition:
    given = given or {}
    recipe = methods.get(method).recipe().override(given)
    return Condition(method, methods.get(method).title, "method", "sks owl", method, recipe, given)


SPREAD = np.array([-0.4, 0.4, -0.2, 0.2])
"""What the prompts of a round differ by; all tries share it."""


def scored(refused: Mapping[str, str] | None = None, **values: Any) -> Scored:
    """A round in which each try has a mean over four prompts; None for one that failed."""
    prompts = {name: value + SPREAD for name, value in values.items() if value is not None}
    return Scored(prompts, refused or {})


def test_as_many_settings_are_tried_of_every_method() -> None:
    for name in methods.names():
        found = tries(plain(name))
        assert found[0] == Try(f"{name}-0", {}), "the defaults are among them"
        assert len(found) == TRIES
        assert len({json.dumps(one.settings, sort_keys=True) for one in found}) == TRIES
        assert found == tries(plain(name)), "and the same every time"


def test_tries_spread_over_every_axis() -> None:
    found = tries(plain())
    for choices in methods.get("lora").space:
        own = getattr(plain().recipe, choices.key)
        tried = {one.settings.get(choices.key, own) for one in found}
        assert len(tried) >= len(choices.values) - 1, choices.key
        assert {type(value) for value in tried} == {type(own)}
    for one in found:
        plain().recipe.override(one.settings)  # type: ignore[union-attr]


def test_what_a_person_has_set_is_left_alone() -> None:
    given = {"rank": 3, "steps": 40}
    assert {key for one in tries(plain("lora", given)) for key in one.settings} == {"learning_rate"}
    everything = {choices.key: getattr(plain().recipe, choices.key) for choices in methods.get("lora").space}
    assert len(tries(plain("lora", everything))) == 1
    schedule = plain("lora", {"learning_rate": "1e-3:10, 1e-4"})
    assert all("learning_rate" not in one.settings for one in tries(schedule))
    with pytest.raises(RecipeError, match="is a schedule, which a search cannot scale"):
        tries(replace(schedule, given={}))


def test_a_round_trains_for_a_part_of_the_steps() -> None:
    recipe = TrainingRecipe(steps=400)
    assert [shortened(recipe, share)["steps"] for _, share in ROUNDS] == [100, 200, 400]
    assert shortened(TrainingRecipe(steps=2), 4) == {"steps": 1}
    assert shortened(methods.get("aesthetic").recipe(), 4) == {}


def test_the_best_go_on_and_the_defaults_with_them() -> None:
    asked = [Try("a", {}), Try("b", {"rank": 4}), Try("c", {"rank": 16}), Try("d", {"rank": 32})]
    values = {"a": 0.1, "b": 0.5, "c": 0.7}
    assert [one.name for one in survivors(scored(None, **values), asked, 2)] == ["c", "a"]
    assert [one.name for one in survivors(scored(None, **values), asked, 3)] == ["c", "b", "a"]
    assert [one.name for one in survivors(scored(None, **{**values, "a": 0.9}), asked, 2)] == ["a", "c"]
    refused = {"c": "12 of 16 pictures are copies."}
    assert [one.name for one in survivors(scored(refused, **values), asked, 3)] == ["b", "a", "c"]
    both = refused | {"a": "9 of 16 pictures are copies."}
    assert [one.name for one in survivors(scored(both, **values), asked, 2)] == ["c", "a"]


LAST = [Try("a", {}), Try("b", {"rank": 16})]


@pytest.mark.parametrize(
    ("default", "other", "kept"),
    [
        (0.50, 0.53, False),
        (0.50, 0.50, True),
        (0.50, 0.40, True),
        (None, 0.40, False),
        (0.50, None, True),
        (None, None, True),
    ],
)
def test_what_is_better_on_every_prompt_is_taken_however_much_prompts_differ(
    default: float | None, other: float | None, kept: bool
) -> None:
    """Red where the error of one setting alone, which the prompts' own spread makes large, hides a steady difference."""
    found = best(scored(a=default, b=other), LAST, plain())
    assert dict(found.settings) == ({} if kept else {"rank": 16})
    assert found.told is not (default is None and other is None)


def test_luck_is_not_taken() -> None:
    uneven = Scored({"a": np.zeros(4), "b": np.array([0.5, -0.4, 0.5, -0.4])}, {})
    assert best(uneven, LAST, plain()).settings == {}
    one_prompt = Scored({"a": np.zeros(1), "b": np.ones(1)}, {})
    assert best(one_prompt, LAST, plain()).settings == {}, "a single prompt gives no error"


def test_what_a_gate_keeps_out_is_not_taken_and_is_named() -> None:
    """Red where a search takes what the comparison then refuses to recommend."""
    copies = {"b": "12 of 16 pictures are copies."}
    found = best(scored(copies, a=0.5, b=0.9), LAST, plain())
    assert found.settings == {}
    assert found.refused == {"rank": 16}
    said = found.sentence("LoRA")
    assert said == (
        "LoRA keeps its defaults: none of 2 settings that may be taken is better by a standard error. "
        "rank=16 scores higher and is left out. 12 of 16 pictures are copies."
    )
    both = copies | {"a": "9 of 16 pictures are copies."}
    assert best(scored(both, a=0.5, b=0.9), LAST, plain()).settings == {"rank": 16}


def test_what_an_earlier_round_left_out_is_named_at_the_end() -> None:
    last = best(scored(a=0.5, b=0.4), LAST, plain())
    earlier = best(scored({"b": "12 of 16 pictures are copies."}, a=0.5, b=0.9), LAST, plain())
    assert tuning._with(last, None) == last
    assert tuning._with(last, earlier).refused == {"rank": 16}
    taken = best(scored(a=0.5, b=0.9), LAST, plain())
    assert tuning._with(taken, earlier) == taken, "a gate let it through when it was taught in full"


def test_over_several_concepts_a_try_may_be_kept_out_as_often_as_the_defaults() -> None:
    copies = {"b": "12 of 16 pictures are copies."}
    often = [scored(copies, a=0.1, b=0.4), scored(a=0.2, b=0.4)]
    assert not choose(LAST, often).better
    assert choose(LAST, often).kept_out == (0, 1)
    as_often = [often[0], scored({"a": "Nine are."}, a=0.2, b=0.4)]
    assert choose(LAST, as_often).better
    assert choose(LAST, as_often).gain == pytest.approx(0.25)
    assert not choose(LAST, [scored(a=0.1, b=0.9), scored(a=0.1)]).better, "it failed on one"


@pytest.mark.parametrize(
    ("settings", "edges"),
    [
        ({"rank": 32, "learning_rate": 1e-4}, ("rank",)),
        ({"rank": 16, "learning_rate": 2.5e-5}, ("learning_rate",)),
        ({"rank": 16}, ()),
        ({"rank": 4, "steps": 1000}, ("rank", "steps")),
    ],
)
def test_a_best_value_at_the_edge_of_what_was_tried_is_flagged(
    settings: dict[str, Any], edges: tuple[str, ...]
) -> None:
    found = best(scored(a=0.1, b=0.9), [Try("a", {}), Try("b", settings)], plain())
    assert found.edges == edges
    said = replace(found, tries=8).sentence("LoRA")
    assert said.startswith("LoRA is best with rank=")
    assert "among 8 settings, by 0.80 ± 0.00." in said
    assert ("lies at the edge" in said) == bool(edges)


def test_what_people_are_told_where_the_defaults_are_kept() -> None:
    assert (
        Found("lora", {}, True, (), 8, 1.0)
        .sentence("LoRA")
        .endswith("none of 8 settings is better by a standard error.")
    )
    assert "has a score" in Found("lora", {}, False, (), 8, 1.0).sentence("LoRA")


@pytest.fixture(autouse=True)
def fewer_tries(request: pytest.FixtureRequest) -> Iterator[None]:
    """In whole searches three tries, of which two go on."""
    with pytest.MonkeyPatch.context() as patch:
        if "source" in request.fixturenames:
            patch.setattr(tuning, "TRIES", 3)
            patch.setattr(tuning, "ROUNDS", ((3, 2), (2, 1)))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("tuning") / "owls", 6)


def tuned(source: Path, out: Path, **changes: Any) -> Comparison:
    """LoRA with its rate to be found, on two prompts."""
    made = planned(source, out, **{"tune": True, "seeds": 1, "steps": 4, **changes})
    assert made.search is not None
    few = replace(made.search.protocol, prompts=made.search.protocol.prompts[:2], seeds=(0,))
    made.search = replace(made.search, protocol=few)
    return made


def test_a_search_is_rounds_on_pictures_and_prompts_of_its_own(source: Path, tmp_path: Path) -> None:
    made = tuned(source, tmp_path / "out", conditions="big=lora,rank=3", methods=("lora", "aesthetic"))
    aesthetic = {"gradient_steps": 5, "gradient_rate": 1e-4}
    made = tuned(
        source, tmp_path / "out", conditions="big=lora,rank=3", methods=("lora", "aesthetic"),
        recipes={"lora": {"rank": 2}, "aesthetic": aesthetic},
    )  # fmt: skip
    held = (
        {made.concept.examples[place].digest() for place in made.search.fold.held_out}
        if made.search
        else set()
    )
    assert len(made.trials) == 5
    list(made.start(judges=panel()))
    rounds = [tmp_path / "out" / "tuning" / f"round-{number}" for number in (1, 2)]
    first, second = (rows_of(folder) for folder in rounds)
    assert list(first) == ["base", "lora-0-0", "lora-1-0", "lora-2-0"]
    assert len(second) == 3
    assert [row.recipe["steps"] for row in list(first.values())[1:]] == [2, 2, 2]
    assert [row.recipe["steps"] for row in list(second.values())[1:]] == [4, 4]
    assert {row.status for row in (*first.values(), *second.values())} == {"done"}
    assert [row.cost["shared"] for row in list(first.values())[1:]] == [3, 3, 3]
    for folder in rounds:
        book = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
        (fold,) = book["folds"]
        assert {made.concept.examples[place].digest() for place in fold["held_out"]} == held
        assert not {one["text"] for one in book["prompts"]} & set(made.protocol.texts)
    told = json.loads((tmp_path / "out" / "tuning.json").read_text(encoding="utf-8"))
    assert [len(one) for one in told["rounds"]] == [3, 2]
    assert told["notes"][0] == "Aesthetic embedding is not tuned: no setting is left to try."
    assert [one["condition"] for one in told["found"]] == ["lora"]
    assert told["found"][0]["seconds"] > 0
    assert "lora-tuned-0" not in rows_of(made.folder), "nothing is added where the defaults are kept"
    verdict = json.loads((made.folder / "verdict.json").read_text(encoding="utf-8"))
    assert set(told["notes"]) <= set(verdict["notes"])


def test_files_and_conditions_of_a_name_of_their_own_are_not_tuned() -> None:
    assert tuning._searched(plain())
    assert not tuning._searched(replace(plain(), name="big"))
    assert not tuning._searched(replace(plain(), kind="file", recipe=None))


def chosen(measured: Any, last: Any, plain: Condition) -> Found:
    return Found(plain.name, dict(last[0].settings or last[1].settings), True, (), 0, 0.0)


def test_what_is_better_is_compared_as_well(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "best", chosen)
    made = tuned(source, tmp_path / "out", replicates=2)
    assert len(made.trials) == 4, "asked for before the search, and not for good"
    list(made.start(judges=panel()))
    rows = rows_of(made.folder)
    assert {"lora-tuned-0", "lora-tuned-1"} <= set(rows)
    rate = rows["lora-tuned-0"].recipe["learning_rate"]
    assert rate != rows["lora-0"].recipe["learning_rate"]
    assert (rows["lora-tuned-0"].title, rows["lora-tuned-0"].recipe["rank"]) == ("LoRA, tuned", 2)
    described = {
        one["name"]: one
        for one in json.loads((made.folder / "comparison.json").read_text(encoding="utf-8"))["conditions"]
    }
    assert described["lora-tuned"]["settings"] == {"steps": 4, "rank": 2, "learning_rate": rate}
    again = tuned(source, tmp_path / "out", replicates=2)
    assert done_anew(list(again.start(judges=panel()))) == [], "neither tried nor taught again"


def test_a_search_stops_when_its_comparison_is_asked_to_and_goes_on(source: Path, tmp_path: Path) -> None:
    made = tuned(source, tmp_path / "out")
    with pytest.raises(Interrupted):
        stop_after(made, 1)
    assert list(rows_of(made.folder / "tuning" / "round-1")) == ["base"]
    events = list(tuned(source, tmp_path / "out").start(judges=panel()))
    assert "base" in done_anew(events)
    assert attached(events).count("lora-0-0") == 2, "in either round"
    assert rows_of(made.folder)["lora-0"].status == "done"
