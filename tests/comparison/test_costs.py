"""What N pictures cost, where costs cross, and when a curve reaches a quality."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from likewise.comparison.costs import (
    COUNTS,
    Crossing,
    Reached,
    circumstances,
    crossing,
    crossings,
    table,
    time_to_quality,
    total,
)
from likewise.comparison.results import Row
from likewise.comparison.standing import Cost


def cost(seconds: float, sample: float, slowest: float | None = None) -> Cost:
    """Several trials took as long for a picture, or up to `slowest`."""
    return Cost(seconds=seconds, sample_seconds=sample, sample_slowest=slowest or sample)


FREE, TAUGHT, SLOW = cost(0.0, 7.0), cost(600.0, 2.0), cost(900.0, 2.0)


def test_the_total_is_teaching_and_every_picture() -> None:
    assert [total(TAUGHT, count) for count in (0, 1, 100)] == [600.0, 602.0, 800.0]


@pytest.mark.parametrize("part", [Cost(seconds=1.0), Cost(sample_seconds=1.0), Cost()])
def test_a_total_of_unknown_parts_is_not_known(part: Cost) -> None:
    assert total(part, 10) is None
    assert crossing(("one", part), ("other", TAUGHT)) is None
    assert crossing(("one", TAUGHT), ("other", part)) is None


def test_the_table_has_every_condition_and_count() -> None:
    found = table({"free": FREE, "taught": TAUGHT})
    assert found == {
        "free": (7.0, 70.0, 700.0, 7000.0, 70_000.0),
        "taught": (602.0, 620.0, 800.0, 2600.0, 20_600.0),
    }
    assert len(COUNTS) == len(found["free"])


def test_lines_cross_where_computed_by_hand() -> None:
    # 600 + 2 N = 7 N at N = 120: 840 s either way
    assert crossing(("free", FREE), ("taught", TAUGHT)) == Crossing(120.0, before="free", after="taught")
    assert crossing(("taught", TAUGHT), ("free", FREE)) == Crossing(120.0, before="free", after="taught")
    assert total(FREE, 120) == total(TAUGHT, 120) == 840.0


def test_the_first_whole_number_is_cheaper_and_the_one_before_is_not() -> None:
    found = crossing(("free", FREE), ("taught", TAUGHT))
    assert found is not None
    assert found.first == 121
    for before, after in ((FREE, TAUGHT),):
        assert (total(after, 121) or 0) < (total(before, 121) or 0)
        assert (total(after, 120) or 0) >= (total(before, 120) or 0)


def test_parallel_lines_and_one_below_the_other_do_not_cross() -> None:
    assert crossing(("taught", TAUGHT), ("slow", SLOW)) is None
    assert crossing(("a", cost(1.0, 1.0)), ("b", cost(2.0, 3.0))) is None
    assert crossing(("a", cost(1.0, 1.0)), ("b", cost(1.0, 3.0))) is None


def test_times_of_a_picture_that_are_not_told_apart_tell_no_crossing() -> None:
    """A busy machine slows a trial; where the slowest of one reaches the fastest of the other, either may be quicker."""
    assert crossing(("free", FREE), ("taught", cost(600.0, 2.0, 6.9))) is not None
    assert crossing(("free", FREE), ("taught", cost(600.0, 2.0, 7.0))) is None
    assert crossing(("free", FREE), ("taught", Cost(seconds=600.0, sample_seconds=2.0))) is None, (
        "one trial each"
    )


def test_all_pairs_are_looked_at_and_sorted_by_pictures() -> None:
    found = crossings({"slow": SLOW, "free": FREE, "taught": TAUGHT, "unknown": Cost()})
    assert [(one.pictures, one.before, one.after) for one in found] == [
        (120.0, "free", "taught"),
        (180.0, "free", "slow"),
    ]


def test_quality_counts_from_the_point_after_which_it_stays() -> None:
    curve = [(10.0, 0.2), (20.0, 0.6), (30.0, 0.4), (40.0, 0.5), (50.0, 0.7)]
    assert time_to_quality(curve, 0.5) == Reached(40.0, 50.0)
    assert time_to_quality(reversed(curve), 0.5) == Reached(40.0, 50.0)


def test_quality_that_is_not_reached_is_censored_at_the_end_of_the_curve() -> None:
    assert time_to_quality([(10.0, 0.2), (20.0, 0.4)], 0.5) == Reached(None, 20.0)
    assert time_to_quality([(10.0, 0.6), (20.0, 0.4)], 0.5) == Reached(None, 20.0)


def test_a_quality_that_is_not_a_number_is_below_every_target() -> None:
    assert time_to_quality([(10.0, 0.6), (20.0, math.nan), (30.0, 0.6)], 0.5) == Reached(30.0, 30.0)


def test_a_curve_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="one point"):
        time_to_quality([], 0.5)


def taught(beside: int, threads: int, **more: Any) -> Row:
    return Row(
        trial="lora-0", title="LoRA", kind="method", status="done", condition="lora",
        machine={"side_by_side": beside, "threads": threads}, **more,
    )  # fmt: skip


def test_times_that_were_not_measured_alone_are_told() -> None:
    assert list(circumstances([taught(1, 2), taught(1, 2)])) == []
    (told,) = circumstances([taught(2, 1), taught(2, 1)])
    assert "went on 2 at a time with 1 thread each" in told
    assert "--workers 1" in told
    (told,) = circumstances([taught(1, 2), taught(2, 1)])
    assert "do not compare well" in told
    assert (
        "some trainings went on 1 at a time with 2 threads each, others 2 at a time with 1 thread each"
        in told
    )


def test_only_times_that_are_reported_count() -> None:
    """Shares of a batch are reported where nothing was measured alone; a row of an earlier likewise says nothing."""
    batch = {"seconds": 2.0, "shared": 2}
    assert list(circumstances([taught(1, 1), taught(2, 1, cost=batch)])) == []
    assert len(list(circumstances([taught(2, 1, cost=batch)]))) == 1
    assert list(circumstances([replace(taught(1, 1), machine={}), taught(1, 1)])) == []
