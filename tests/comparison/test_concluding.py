"""What follows from known values: the scale, the verdicts, who is left out and why, and no number that is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.comparison import concluding
from likewise.comparison.concluded import read_verdict
from likewise.comparison.concluding import composite, conclude
from likewise.errors import RunError
from likewise.statistics import crossed
from tests.comparison.folders import Array, comparison, condition, floor, put, taught, write


def around(value: float, seed: int = 0, replicates: int = 3, prompts: int = 4) -> Array:
    """[replicates, prompts] near `value`, whose mean it is."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (replicates, prompts))
    return np.asarray(value + noise - noise.mean())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two methods that are far apart, and the untaught base."""
    comparison(tmp_path, [condition("base", "floor"), condition("good"), condition("poor")])
    floor(tmp_path)
    taught(tmp_path, "good", around(0.8, 1), around(0.9, 2))
    taught(tmp_path, "poor", around(0.3, 3), around(0.9, 4))
    return tmp_path


def axes(book: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one["axes"] for one in book["standings"] if one["name"] == name)


def test_the_floor_is_zero_and_real_pictures_are_one(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("real")])
    floor(tmp_path)
    taught(tmp_path, "real", around(1.0), around(1.0))
    book = conclude(tmp_path)
    assert axes(book, "base")["fidelity"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert axes(book, "base")["composite"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert axes(book, "base")["prompt"]["value"] == pytest.approx(1.0)
    assert axes(book, "real")["fidelity"]["value"] == pytest.approx(1.0)
    assert axes(book, "real")["composite"]["value"] == pytest.approx(1.0)
    assert book["scale"]["fidelity"] == {"floor": pytest.approx(0.2), "ceiling": pytest.approx(0.7)}
    assert book["scale"]["prompt"] == {"chance": 0.1, "base": pytest.approx(0.5)}


def test_values_have_their_cards_and_intervals_over_replicates_and_prompts(folder: Path) -> None:
    found = axes(conclude(folder), "good")
    assert found["fidelity"]["card"] == "f-v1"
    assert found["composite"]["card"] == "f-v1 + p-v1"
    assert (found["fidelity"]["replicates"], found["fidelity"]["prompts"]) == (3, 4)
    expected = crossed.mean(around(0.8, 1))
    assert found["fidelity"]["value"] == pytest.approx(0.8)
    assert found["fidelity"]["error"] == pytest.approx(expected.error, rel=0.3), (
        "the base's own prompts add some"
    )
    assert found["fidelity"]["low"] < 0.8 < found["fidelity"]["high"]
    assert found["copying"]["value"] == 0.0


def test_the_composite_is_the_product_with_the_spread_of_both() -> None:
    """By hand: at (.64, .81) the slopes are .81 and .64. Red when cells are multiplied one by one."""
    like, follow = around(0.64, 5), around(0.81, 6)
    found = composite(like, follow)
    assert found.mean() == pytest.approx(0.64 * 0.81)
    assert found - found.mean() == pytest.approx(0.81 * (like - 0.64) + 0.64 * (follow - 0.81))


def test_the_composite_of_the_untaught_base_is_nothing_and_of_worse_is_less() -> None:
    ones = np.ones((2, 2))
    assert composite(ones * 0.0, ones).mean() == 0.0
    assert composite(ones * -0.5, ones * 0.8).mean() == pytest.approx(-0.4)


def test_every_fold_has_its_own_way_from_floor_to_ceiling(tmp_path: Path) -> None:
    """Red when all folds are divided by the mean way, or a short way blows noise up."""
    comparison(tmp_path, [condition("base", "floor"), condition("real")])
    floor(tmp_path)
    taught(tmp_path, "real", around(1.0), around(1.0))
    anchors = json.loads((tmp_path / "anchors.json").read_text(encoding="utf-8"))
    tops = {"0": [0.7, 0.7], "1": [1.2, 1.2], "2": [0.21, 0.21]}
    write(tmp_path / "anchors.json", anchors | {"fidelity": {"ceiling": tops}})
    frame = concluding.frame(tmp_path)
    mean = (0.5 + 1.0 + 0.01) / 3
    assert list(frame.way) == pytest.approx([0.5, 1.0, concluding.SHORTEST * mean])
    array = frame.array("fidelity", "real", frame.prompts("fidelity", ["real"]))
    assert array is not None
    assert array[:2].mean(1) == pytest.approx([1.0, 0.5], abs=0.02)


def test_what_was_changed_by_hand_is_found_when_it_is_computed_again(folder: Path) -> None:
    """Red when a value is compared by its text, or only some are."""
    path = concluding.write(folder)
    assert concluding.differences(folder)[0] == []
    book = json.loads(path.read_text(encoding="utf-8"))
    book["standings"][1]["axes"]["fidelity"]["value"] += 0.1
    book["recommendation"]["reasons"][0] = "Because."
    write(path, book)
    found, count = concluding.differences(folder)
    assert [line.split(":")[0] for line in found] == [
        "standings[1].axes.fidelity.value", "recommendation.reasons[0]",
    ]  # fmt: skip
    assert count > 100


def test_the_better_one_is_named_and_the_base_is_one_of_those_compared(folder: Path) -> None:
    book = conclude(folder)
    pairs = {(one["first"], one["second"]): one["verdict"] for one in book["decisions"]["composite"]["pairs"]}
    assert pairs[("good", "poor")] == "better"
    assert pairs[("base", "good")] == pairs[("base", "poor")] == "worse"
    assert list(book["decisions"]["composite"]["best"]) == ["good"]
    assert book["recommendation"]["choice"] == "good"


def test_one_training_gives_values_and_no_verdict(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("good")], replicates=1)
    floor(tmp_path, 1)
    taught(tmp_path, "good", around(0.8, 1, 1), around(0.9, 2, 1))
    book = conclude(tmp_path)
    found = axes(book, "good")["composite"]
    assert found["value"] == pytest.approx(0.72)
    assert found["low"] is found["high"] is None
    assert found["error"] > 0, "over prompts"
    assert book["decisions"]["composite"]["refused"].startswith("one replicate does not tell")
    assert book["recommendation"]["choice"] is None


def test_one_prompt_gives_values_without_an_interval(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("good")], prompts=1)
    floor(tmp_path, prompts=1)
    taught(tmp_path, "good", around(0.8, 1, 3, 1), around(0.9, 2, 3, 1))
    book = conclude(tmp_path)
    found = axes(book, "good")["fidelity"]
    assert found["value"] == pytest.approx(0.8)
    assert found["low"] is found["high"] is found["error"] is None
    assert "1 prompt carries no interval" in book["decisions"]["fidelity"]["refused"]


def test_a_condition_with_a_failed_training_is_in_no_verdict_and_named(folder: Path) -> None:
    book = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    book["conditions"] += [
        condition("shaky"),
        condition("broken"),
        condition("odd"),
        condition("quiet", "description"),
    ]
    write(folder / "comparison.json", book)
    taught(folder, "shaky", around(0.7, 7), around(0.9, 8), only=(0, 2))
    put(
        folder,
        trial="shaky-1",
        title="s",
        kind="method",
        status="failed",
        reason="out of memory",
        condition="shaky",
    )
    for number in range(3):
        put(
            folder,
            trial=f"broken-{number}",
            title="b",
            kind="method",
            status="failed",
            reason="it broke.",
            condition="broken",
        )
    put(
        folder,
        trial="odd-0",
        title="o",
        kind="method",
        status="unsupported",
        reason="it has no eyes",
        condition="odd",
    )
    put(
        folder,
        trial="quiet",
        title="q",
        kind="description",
        status="skipped",
        reason="none given",
        condition="quiet",
    )
    found = conclude(folder)
    assert found["notes"] == [
        "Shaky is in no verdict, as 1 of 3 trials gave no result: out of memory.",
        "Broken is in no verdict, as 3 of 3 trials gave no result: it broke.",
        "Odd is in no verdict, as 3 of 3 trials gave no result: it has no eyes.",
    ]
    named = {
        name for one in found["decisions"]["composite"]["pairs"] for name in (one["first"], one["second"])
    }
    assert named == {"base", "good", "poor"}
    assert axes(found, "shaky")["composite"]["replicates"] == 2, "what there is of it is shown"
    assert axes(found, "shaky")["fidelity"]["value"] == pytest.approx(around(0.7, 7)[[0, 2]].mean())


def test_a_subject_like_any_other_is_not_ranked(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("good"), condition("poor")])
    floor(tmp_path)
    anchors = json.loads((tmp_path / "anchors.json").read_text(encoding="utf-8"))
    anchors["fidelity"]["ceiling"] = {str(n): [0.15, 0.26] for n in range(3)}
    write(tmp_path / "anchors.json", anchors)
    taught(tmp_path, "good", around(0.8), around(0.9))
    taught(tmp_path, "poor", around(0.1), around(0.2))
    book = conclude(tmp_path)
    assert not {"fidelity", "composite"} & set(axes(book, "good"))
    assert "prompt" in axes(book, "good")
    assert any("likeness ranks no method" in note for note in book["notes"])
    assert book["recommendation"]["choice"] is None


def test_better_than_real_is_a_warning(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("smooth")])
    floor(tmp_path)
    taught(tmp_path, "smooth", around(1.4), around(0.9))
    assert any("Smooth scores above real pictures" in note for note in conclude(tmp_path)["notes"])


def test_scores_of_other_metrics_or_other_pictures_are_refused(folder: Path) -> None:
    path = folder / "trials" / "good-1" / "scores.json"
    book = json.loads(path.read_text(encoding="utf-8"))
    write(path, book | {"cards": book["cards"] | {"fidelity": "f-v2"}})
    with pytest.raises(RunError, match=r"good-1.*other metrics.*start the comparison again"):
        conclude(folder)
    write(path, book | {"digest": "of another training"})
    with pytest.raises(RunError, match=r"good-1.*other pictures"):
        conclude(folder)
    path.unlink()
    with pytest.raises(RunError, match=r"good-1.*is missing"):
        conclude(folder)


def test_what_is_no_number_is_refused_and_named(folder: Path) -> None:
    path = folder / "trials" / "good-1" / "scores.json"
    book = json.loads(path.read_text(encoding="utf-8"))
    book["folds"]["1"]["fidelity"]["pictures"]["p0"][0] = float("nan")
    write(path, book)
    with pytest.raises(RunError, match=r"good-1.*NaN is not a finite number"):
        concluding.write(folder)
    assert not (folder / "verdict.json").exists()


def test_a_folder_of_another_likewise_is_refused(folder: Path) -> None:
    book = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    write(folder / "comparison.json", book | {"schema": 1})
    with pytest.raises(RunError, match="another likewise"):
        conclude(folder)


def test_costs_are_of_what_was_alone_and_else_shared(tmp_path: Path) -> None:
    comparison(tmp_path, [condition("base", "floor"), condition("good"), condition("poor")])
    floor(tmp_path)
    taught(
        tmp_path,
        "good",
        around(0.8),
        around(0.9),
        only=(0,),
        cost={"seconds": 9.0, "bytes": 5, "peak_bytes": 7},
    )
    shared = {"seconds": 2.0, "bytes": 5, "peak_bytes": None, "shared": 2}
    taught(tmp_path, "good", around(0.8), around(0.9), only=(1, 2), cost=shared)
    taught(tmp_path, "poor", around(0.3), around(0.9), cost=shared)
    costs = {one["name"]: one["cost"] for one in conclude(tmp_path)["standings"]}
    assert (costs["good"]["seconds"], costs["good"]["peak_bytes"], costs["good"]["shared"]) == (9.0, 7, False)
    assert (costs["poor"]["seconds"], costs["poor"]["peak_bytes"], costs["poor"]["shared"]) == (
        2.0,
        None,
        True,
    )


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, float):
        yield value


def test_the_verdict_is_the_same_whoever_works_it_out(folder: Path) -> None:
    first = concluding.write(folder).read_bytes()
    assert concluding.write(folder).read_bytes() == first
    assert all(math.isfinite(one) for one in numbers(json.loads(first)))
    assert [one.name for one in read_verdict(folder)[0]] == ["base", "good", "poor"]
    assert concluding.notes(folder) == tuple(json.loads(first)["notes"])
