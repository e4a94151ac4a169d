"""Averages, intervals and normalised scores, against numbers worked out by hand or taken from tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.metrics.score import Score, by_prompt, distinguishable, normalise, summarise

VALUES = st.lists(st.integers(-1000, 1000).map(lambda n: n / 1000), min_size=2, max_size=8)


def test_prompts_weigh_the_same_whatever_their_number_of_pictures() -> None:
    prompts = by_prompt(["a", "a", "a", "b"], [1.0, 1.0, 1.0, 0.0])
    assert prompts == {"a": 1.0, "b": 0.0}
    assert summarise(prompts).mean == 0.5


def test_the_interval_is_over_prompts() -> None:
    score = summarise({"a": 0.2, "b": 0.4, "c": 0.6, "d": 0.8})
    error = math.sqrt(0.2 / 3 / 4)
    assert score.error == pytest.approx(error)
    assert score.high == pytest.approx(0.5 + 3.18245 * error, abs=1e-5)
    assert score.low == pytest.approx(0.5 - 3.18245 * error, abs=1e-5)
    assert score.to_json() == {"mean": score.mean, "low": score.low, "high": score.high, "n": 4}


def test_one_prompt_gives_no_interval() -> None:
    score = summarise({"a": 0.3})
    assert (score.mean, score.low, score.high, score.error) == (0.3, None, None, None)


def test_intervals_stop_where_no_score_can_be() -> None:
    score = summarise({"a": 0.0, "b": 1.0}, (0.0, 1.0))
    assert (score.low, score.high) == (0.0, 1.0)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_swapping_two_methods_flips_their_difference(a: list[float], b: list[float]) -> None:
    first, second = (summarise({str(i): v for i, v in enumerate(values)}) for values in (a, b))
    floor, ceiling = Score(-2, -2, -2, 9), Score(2, 2, 2, 9)
    ahead, behind = normalise(first, floor, ceiling), normalise(second, floor, ceiling)
    assert ahead is not None
    assert behind is not None
    assert (ahead - behind) == -(behind - ahead)
    assert (ahead - behind) * 4 == pytest.approx(first.mean - second.mean)


def test_anchors_read_zero_and_one() -> None:
    floor, ceiling = Score(0.4, 0.38, 0.42, 8, 0.01), Score(0.8, 0.78, 0.82, 3, 0.01)
    assert normalise(floor, floor, ceiling) == 0.0
    assert normalise(ceiling, floor, ceiling) == 1.0
    assert normalise(Score(0.6, None, None, 8), floor, ceiling) == pytest.approx(0.5)


def test_anchors_within_three_errors_give_no_number() -> None:
    score, floor = Score(0.5, None, None, 8), Score(0.4, None, None, 8, 0.03)
    near, far = Score(0.54, None, None, 3, 0.04), Score(0.56, None, None, 3, 0.04)  # three errors are 0.15
    assert not distinguishable(floor, near)
    assert normalise(score, floor, near) is None
    assert normalise(score, floor, far) is not None
    assert normalise(score, None, far) is None
    assert normalise(score, far, floor) is None, "a ceiling below the floor ranks nothing"
