"""Cases of the recommendation whose right answer is known beforehand: rows 32 to 36 of the evaluator's sanity set."""

from __future__ import annotations

import random

import pytest

from likewise.comparison.costs import Reached, crossing, time_to_quality, total
from likewise.comparison.recommending import Limits, recommend
from likewise.comparison.standing import Cost, Standing
from tests.comparison.situations import decided, standing

BASE = standing("base", 0.02, kind="floor")
FIELD = [
    BASE,
    standing("dreambooth", 0.70, cost={"bytes": 1_700_000_000, "seconds": 900.0}),
    standing("lora", 0.55, cost={"bytes": 3_200_000, "seconds": 300.0}),
    standing("textual_inversion", 0.40, cost={"bytes": 4_000, "seconds": 600.0}),
    standing(
        "aesthetic",
        0.25,
        cost={"bytes": 4_000, "seconds": 1.0, "sample_seconds": 20.0},
        programs={"AUTOMATIC1111": "exact"},
    ),
]


def test_row_32_time_to_quality_is_exact_and_what_never_reaches_is_censored() -> None:
    """Red when `reached = None` in `time_to_quality` is removed: a curve that falls again counts from its first touch."""
    reaching = [(30.0 * step, step / 10) for step in range(1, 11)]
    falling = [(30.0, 0.3), (60.0, 0.8), (90.0, 0.5), (120.0, 0.7), (150.0, 0.9)]
    never = [(30.0 * step, 0.4 * step / 10) for step in range(1, 11)]
    assert time_to_quality(reaching, 0.7) == Reached(210.0, 300.0)
    assert time_to_quality(falling, 0.7) == Reached(120.0, 150.0)
    assert time_to_quality(never, 0.7) == Reached(None, 300.0)


def test_row_33_totals_cross_where_computed_by_hand() -> None:
    """Red when `crossing` divides by the sum of the times of a picture in place of their difference."""
    cheap_to_teach, dear_to_teach = (
        Cost(seconds=10.0, sample_seconds=5.0, sample_slowest=5.5),
        Cost(seconds=400.0, sample_seconds=2.0, sample_slowest=2.5),
    )
    found = crossing(("aesthetic", cheap_to_teach), ("lora", dear_to_teach))
    assert found is not None
    assert found.pictures == 130.0  # 10 + 5 N = 400 + 2 N
    assert (found.before, found.after) == ("aesthetic", "lora")
    assert total(cheap_to_teach, 130) == total(dear_to_teach, 130) == 660.0


def test_row_34_what_is_dominated_on_all_axes_is_never_recommended() -> None:
    """Red when `recommend` takes its choice from the group alone, without `name in front`.

    Intervals are random, so the dominated condition is often not shown worse than the best.
    """
    for seed in range(200):
        draw = random.Random(seed)
        field = [BASE, *(_random(draw, f"condition-{number}") for number in range(draw.randint(1, 4)))]
        field.append(_below(draw, field[1]))
        taught = [one.name for one in field[1:]]
        wide = {(one, other): draw.choice((0.005, 0.9)) for one in taught for other in taught}
        for pictures in (1, 100, 10_000):
            found = recommend(field, decided(field, 0.005, halves=wide), Limits(pictures=pictures))
            assert found.choice != "a", seed
            assert "a" not in found.front, seed


def _below(draw: random.Random, over: Standing) -> Standing:
    """Less of everything, and slower; its name would win a tie, as the files are equal."""
    values = {axis: found.value - 0.01 * draw.random() for axis, found in over.axes.items()}
    slower = (over.cost.seconds or 0) + 1
    cost = {"bytes": over.cost.bytes, "seconds": slower, "sample_seconds": over.cost.sample_seconds}
    return standing("a", cost=cost, **values)


def _random(draw: random.Random, name: str) -> Standing:
    values = {axis: draw.uniform(0.3, 0.9) for axis in ("composite", "fidelity", "prompt")}
    cost = {
        "bytes": draw.randint(10, 10**9),
        "seconds": draw.uniform(1, 900),
        "sample_seconds": draw.uniform(1, 20),
    }
    return standing(name, cost=cost, **values)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, "dreambooth"),
        ({"at_most": "5MB"}, "lora"),
        ({"at_most": "1MB"}, "textual_inversion"),
        ({"within": "2min"}, "aesthetic"),
        ({"at_most": "1MB", "must_load": ["comfyui"]}, "textual_inversion"),
        ({"within": "2min", "must_load": ["comfyui"]}, None),
        ({"at_most": "1kB"}, None),
    ],
)
def test_row_35_tighter_limits_move_the_recommendation_to_what_is_feasible(
    limits: dict[str, object], wanted: str | None
) -> None:
    """Red when `broken` yields nothing of the size, or when `_group` keeps the excluded best as the lead."""
    found = recommend(FIELD, decided(FIELD), Limits.parse(**limits))  # type: ignore[arg-type]
    assert found.choice == wanted
    if wanted is None:
        assert set(found.excluded) == {one.name for one in FIELD if one.kind != "floor"}
        assert "No condition" in found.reasons[0]


@pytest.mark.parametrize("floor", [True, False])
def test_row_36_where_all_intervals_overlap_it_abstains_and_names_the_cheapest(floor: bool) -> None:
    """Red when `_decided` always answers True: then the cheapest is chosen as if that were known."""
    field = overlapping() + [standing("base", 0.4, kind="floor")] * floor
    found = recommend(field, decided(field, 0.3))
    assert found.choice is None
    assert found.tied == ("textual_inversion", "lora", "dreambooth")
    assert found.reasons[-1].startswith("The cheapest of them is textual_inversion: a file of 4 kB")
    assert found.next is not None
    assert found.next.startswith("Compare textual_inversion against lora with 12 more training seeds of each")


def test_what_beats_the_base_together_is_taken_by_its_price_and_the_tie_is_named() -> None:
    """Red when a tie among methods that all beat the untaught base is taken for no evidence at all."""
    field = [*overlapping(), BASE]
    found = recommend(field, decided(field, 0.3))
    assert found.choice == "textual_inversion"
    assert found.tied == ("lora", "dreambooth")
    assert any("cannot be told from" in reason for reason in found.reasons)


def overlapping() -> list[Standing]:
    """Three methods that cannot be told apart, of very different sizes."""
    values = {"dreambooth": 0.50, "lora": 0.49, "textual_inversion": 0.48}
    sizes = {"dreambooth": 1_700_000_000, "lora": 3_200_000, "textual_inversion": 4_000}
    return [standing(name, value, cost={"bytes": sizes[name]}) for name, value in values.items()]
