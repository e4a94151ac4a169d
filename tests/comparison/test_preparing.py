"""What a person asks for becomes a comparison, or is refused by name before anything is loaded or written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from likewise import methods
from likewise.comparison import design
from likewise.comparison.preparing import Wish, prepare
from likewise.errors import ConceptError, RecipeError, RunError
from tests.bases import lora_run, pictures, tiny
from tests.comparison.plans import planned


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("preparing") / "owls", 8)


def names(source: Path, out: Path, **changes: Any) -> list[str]:
    made = planned(source, out, **{"recipes": {}, **changes})
    return [one.name for one in made.conditions if one.taught]


def test_no_methods_named_are_all_and_an_empty_list_is_none(source: Path, tmp_path: Path) -> None:
    assert names(source, tmp_path, methods=None) == methods.names()
    assert names(source, tmp_path, methods=None, conditions="big=lora,rank=8") == [*methods.names(), "big"]
    assert names(source, tmp_path, methods=[], conditions="big=lora,rank=8") == ["big"]
    assert names(source, tmp_path, methods="lora") == ["lora"]
    run = lora_run(tmp_path, tmp_path / "run", steps=1)
    list(run.start())
    file = next((tmp_path / "run").glob("*.safetensors"))
    made = prepare(source, noun="owl", base="tiny:sd", methods=[], files=file, out=tmp_path / "out")
    assert [one.kind for one in made.conditions] == ["floor", "description", "file"]
    assert made.conditions[-1].words == "sks owl"
    assert made.conditions[-1].file == file


def test_a_condition_is_a_method_with_named_settings(source: Path, tmp_path: Path) -> None:
    made = planned(
        source, tmp_path, conditions=["Big one=lora,rank=8"], rank=3, recipes={"lora": {"rank": 2}}
    )
    found = {one.name: one for one in made.conditions}
    assert found["big-one"].title == "Big one"
    assert dict(found["big-one"].given) == {"steps": 3, "rank": 8}
    assert dict(found["lora"].given) == {"steps": 3, "rank": 2}, "its own settings come after those for all"
    assert found["lora"].recipe is not None
    assert (found["lora"].recipe.rank, found["lora"].recipe.steps) == (2, 3)  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="two conditions are called"):
        planned(source, tmp_path, conditions=["lora=lora,rank=8"])


def test_size_and_seeds_per_method(source: Path, tmp_path: Path) -> None:
    quick = prepare(source, noun="owl", base="tiny:sd", methods="lora", out=tmp_path)
    assert (quick.protocol.size, quick.protocol.replicates, quick.protocol.seeds) == ("quick", 1, (0, 1))
    assert len(quick.protocol.of_role("use")) == 10
    wide = prepare(source, noun="owl", base="tiny:sd", methods="lora", size="standard", out=tmp_path)
    assert (wide.protocol.replicates, wide.protocol.seeds) == (3, (0, 1, 2, 3))
    assert set(quick.protocol.prompts) < set(wide.protocol.prompts)
    few = prepare(
        source, noun="owl", base="tiny:sd", methods="lora", size="standard", replicates=2, out=tmp_path
    )
    assert few.protocol.replicates == 2
    assert [fold.number for fold in few.folds] == [0, 1]
    with pytest.raises(RecipeError, match="no size 'huge'"):
        planned(source, tmp_path, size="huge", base="no such base")


def test_one_rotation_keeps_the_pictures_and_changes_the_seed(source: Path, tmp_path: Path) -> None:
    """Red when trainings of one rotation hold out other pictures, or share a seed."""
    made = planned(source, tmp_path, replicates=3, rotations=1)
    trials = [trial for trial in made.trials if trial.replicate is not None]
    assert ({trial.fold for trial in trials}, [trial.seed for trial in trials]) == ({0}, [0, 1, 2])
    assert [trial.fold for trial in planned(source, tmp_path, replicates=3).trials if trial.condition.taught] == [
        0, 1, 2,
    ]  # fmt: skip


def test_the_kind_follows_the_noun_unless_it_is_said(source: Path, tmp_path: Path) -> None:
    guessed = planned(source, tmp_path, prompts=None)
    assert guessed.protocol.kind == "live"
    said = planned(source, tmp_path, prompts=None, kind="object")
    assert (said.protocol.kind, said.protocol.kind_reason) == ("object", "You said so.")
    assert said.protocol.texts != guessed.protocol.texts
    with pytest.raises(RecipeError, match="no kind 'dragon'"):
        planned(source, tmp_path, kind="dragon", base="no such base")


def test_own_prompts_come_with_those_of_the_plain_class(source: Path, tmp_path: Path) -> None:
    made = planned(source, tmp_path, prompts=["two {}s on a beach", "a {} at night"], seeds=3)
    assert list(made.protocol.of_role("use").values()) == ["two {}s on a beach", "a {} at night"]
    assert made.protocol.of_role("class")
    assert made.protocol.seeds == (0, 1, 2)
    one = planned(source, tmp_path, prompts="a {} at night")
    assert list(one.protocol.of_role("use").values()) == ["a {} at night"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rnak": 4}, "no.* setting 'rnak'.*did you mean rank"),
        ({"replicate": 4}, "did you mean replicates"),
        ({"recipes": {"lorra": {}}}, "no method 'lorra'"),
        ({"recipes": {"dreambooth": {"steps": 3}}}, "settings for dreambooth, which is not compared"),
        ({"recipes": {"lora": {"vectors": 2}}}, "unknown setting 'vectors'"),
        ({"conditions": "big=lora,vectors=2"}, "unknown setting 'vectors'"),
        ({"conditions": "big=lorra"}, "no method 'lorra'"),
        ({"conditions": "big"}, "'big' is no condition"),
        ({"methods": [], "steps": 3, "recipes": {}}, "nothing that is compared has a setting 'steps'"),
    ],
)
def test_a_wrong_option_is_refused_by_name_before_the_base_is_loaded(
    source: Path, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        planned(source, tmp_path / "out", **{"base": "no such base", **asked})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompts": []}, "at least one prompt and one seed"),
        ({"seeds": 0}, "at least one prompt and one seed"),
        ({"replicates": 0}, "0 trainings per method"),
        ({"margin": 2}, "not between 0 and 1"),
    ],
)
def test_nothing_of_what_was_asked_for_is_taken_for_not_given(
    source: Path, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        planned(source, tmp_path, **asked)


def test_what_was_not_given_follows_from_the_size(source: Path, tmp_path: Path) -> None:
    """The command line hands in None for every option that nobody wrote."""
    empty = dict.fromkeys(
        ("methods", "size", "kind", "prompts", "seeds", "conditions", "files", "tune", "margin")
    )
    made = planned(source, tmp_path, **empty, recipes=None)
    assert made.protocol.size == "quick"
    assert made.search is None


def test_no_setting_of_a_method_is_called_like_an_option_of_comparisons() -> None:
    own = set(Wish.__dataclass_fields__)
    assert not own & {key for name in methods.names() for key in methods.get(name).recipe.model_fields}


def test_settings_that_do_nothing_are_named(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planned(source, tmp_path, prior_weight=0.5)
    assert "lora: prior_weight=0.5 has no effect: prior=none" in [one.getMessage() for one in caplog.records]


def test_tuning_takes_a_fold_and_prompts_of_its_own(source: Path, tmp_path: Path) -> None:
    made = planned(source, tmp_path, tune=True, replicates=2)
    assert made.search is not None
    assert made.search.fold.held_out not in [fold.held_out for fold in made.folds]
    assert not set(made.search.protocol.texts) & set(made.protocol.texts)
    assert made.search.protocol.replicates == 1


def test_where_nothing_can_be_written_is_said_before_the_base_is_loaded(source: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(RunError, match="is a file"):
        planned(source, tmp_path / "taken" / "here", base="no such base")


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="no picture is held out"):
        planned(pictures(tmp_path / "few", 3), tmp_path / "out")


def test_a_refused_setting_leaves_no_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="did you mean rank"):
        prepare(source, noun="owl", base="tiny:sd", recipes={"lora": {"rnk": 2}})
    assert not Path("comparisons").exists()


def test_folds_train_on_nothing_that_they_hold_out(source: Path, tmp_path: Path) -> None:
    made = planned(source, tmp_path, replicates=3)
    assert len({fold.held_out for fold in made.folds}) == 3
    for trial in made.trials:
        if trial.fold is not None:
            concept = made.concept.fold(made.folds[trial.fold])
            assert not {e.digest() for e in concept.examples} & {e.digest() for e in concept.held_out}
            assert len(concept.examples) + len(concept.held_out) == 8


def test_epochs_are_settled_as_steps(source: Path, tmp_path: Path) -> None:
    made = prepare(source, noun="owl", base="tiny:sd", methods="lora", epochs=2, out=tmp_path)
    recipe = next(one.recipe for one in made.conditions if one.taught)
    assert recipe is not None
    learned = made.concept.fold(made.folds[0])
    assert recipe.steps == 2 * len(learned.examples)  # type: ignore[attr-defined]
    assert recipe.epochs is None  # type: ignore[attr-defined]


def test_the_book_says_what_is_really_drawn_with(source: Path, tmp_path: Path) -> None:
    """A base advises its guidance; a later release may advise another."""
    base = tiny()
    base.guidance = 2.5
    made = prepare(source, noun="owl", base=base, methods="lora", out=tmp_path / "c", hold_out=1)
    assert made.protocol.to_json()["sampler"]["guidance"] == 2.5
    assert made.protocol.to_json()["sampler"]["size"] == base.resolution
    assert json.dumps(made.protocol.to_json())


def test_a_file_that_is_not_there_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run or file at"):
        planned(source, tmp_path / "out", files=[tmp_path / "missing.safetensors"])
    assert not (tmp_path / "out").exists()


def test_the_sizes_grow() -> None:
    sizes = list(design.SIZES.values())
    assert [one.replicates for one in sizes] == sorted(one.replicates for one in sizes)
    assert all(one.decides.endswith(".") for one in sizes)


def test_a_folder_of_several_concepts_is_no_single_file(source: Path, tmp_path: Path) -> None:
    single = lora_run(tmp_path, tmp_path / "run", steps=1)
    list(replace(single, jobs=single.jobs * 2).start())
    with pytest.raises(RecipeError, match="left 2 files, and each is scored by itself"):
        planned(source, tmp_path / "out", files=tmp_path / "run")
