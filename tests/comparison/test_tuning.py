"""Looking for each method's best settings: what is tried, who goes on, and when the defaults are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from likewise import methods
from likewise.comparison import tuning
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Condition
from likewise.comparison.standing import Measured, Standing
from likewise.comparison.tuning import ROUNDS, TRIES, Found, Try, best, shortened, survivors, tries
from likewise.errors import Interrupted, RecipeError
from likewise.recipe import TrainingRecipe
from tests.bases import pictures
from tests.comparison.plans import attached, done_anew, planned, rows_of, stop_after
from tests.metrics.judges import panel


def plain(method: str = "lora", given: Mapping[str, Any] | None = None) -> Condition:
    given = given or {}
    recipe = methods.get(method).recipe().override(given)
    return Condition(method, methods.get(method).title, "method", "sks owl", method, recipe, given)


def standing(name: str, value: float | None, error: float | None = 0.02) -> Standing:
    measured = {} if value is None else {"composite": Measured(value, None, None, 4, 1, "card", error)}
    return Standing(name, name, "method", axes=measured)


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
    values = [standing("a", 0.1), standing("b", 0.5), standing("c", 0.7)]
    assert [one.name for one in survivors(values, asked, 2)] == ["c", "a"]
    assert [one.name for one in survivors(values, asked, 3)] == ["c", "b", "a"]
    assert [one.name for one in survivors([standing("a", 0.9), *values[1:]], asked, 2)] == ["a", "c"]


LAST = [Try("a", {}), Try("b", {"rank": 16})]


@pytest.mark.parametrize(
    ("default", "other", "error", "kept"),
    [
        (0.50, 0.53, 0.02, False),
        (0.50, 0.515, 0.02, True),
        (0.50, 0.40, 0.02, True),
        (0.50, 0.90, None, True),
        (None, 0.40, 0.02, False),
        (0.50, None, 0.02, True),
        (None, None, 0.02, True),
    ],
)
def test_the_defaults_are_kept_unless_another_is_better_by_a_standard_error(
    default: float | None, other: float | None, error: float | None, kept: bool
) -> None:
    found = best([standing("a", default), standing("b", other, error)], LAST, plain())
    assert dict(found.settings) == ({} if kept else {"rank": 16})
    assert found.told is not (default is None and other is None)


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
    found = best([standing("a", 0.1), standing("b", 0.9)], [Try("a", {}), Try("b", settings)], plain())
    assert found.edges == edges
    said = replace(found, tries=8).sentence("LoRA")
    assert said.startswith("LoRA is best with rank=")
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


def chosen(standings: Any, last: Any, plain: Condition) -> Found:
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
