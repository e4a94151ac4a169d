"""Decisions with names and reasons: what is refused, what is said, and that nothing depends on the order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple

import numpy as np
import pytest

from likewise.comparison.verdicts import Decision, Pair, decide, sentence
from likewise.statistics.crossed import Estimate, difference
from likewise.statistics.equivalence import MARGIN

TITLES = {"lora": "LoRA", "ti": "Textual Inversion", "base": "Untaught base"}


def tables(effects: Mapping[str, float], replicates: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    prompts, folds = draw.normal(0, 0.15, 20), draw.normal(0, 0.1, (replicates, 1))
    return {
        name: effect + prompts + folds + draw.normal(0, 0.02, (replicates, 1)) + draw.normal(0, 0.1, (replicates, 20))
        for name, effect in effects.items()
    }  # fmt: skip


def test_a_clear_order_is_found() -> None:
    found = decide("composite", tables({"ti": 0.3, "lora": 0.8, "base": 0.0}))
    assert found.refused is None
    assert [(pair.first, pair.second, pair.verdict) for pair in found.pairs] == [
        ("ti", "lora", "worse"), ("ti", "base", "better"), ("lora", "base", "better"),
    ]  # fmt: skip
    assert found.best == ("lora",)
    assert all(pair.beyond_margin and pair.p < 0.05 and pair.more_seeds == 0 for pair in found.pairs)
    assert (found.axis, found.margin) == ("composite", MARGIN)


def test_two_conditions_alone_have_the_interval_of_their_difference() -> None:
    scores = tables({"lora": 0.5, "ti": 0.45})
    found, wanted = decide("fidelity", scores).pairs[0].estimate, difference(scores["lora"], scores["ti"])
    assert astuple(found) == pytest.approx(astuple(wanted), rel=1e-12)


def test_the_best_come_first_by_their_mean() -> None:
    found = decide("composite", tables({"base": -1.0, "ti": 0.50, "lora": 0.53}))
    assert found.best == ("lora", "ti")


def test_a_tie_is_undecided_and_says_what_would_settle_it() -> None:
    scores = tables({"lora": 0.5, "ti": 0.5}, replicates=3)
    scores["lora"] += np.array([[0.2], [0.0], [-0.1]])
    pair = decide("composite", scores).pairs[0]
    assert pair.verdict == "undecided"
    assert pair.more_seeds is None or pair.more_seeds > 0


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"lora": np.zeros((3, 20))}, "two conditions"),
        ({}, "two conditions"),
        ({"lora": np.zeros((1, 20)), "ti": np.ones((1, 20))}, "one replicate"),
        ({"lora": np.zeros((3, 20)), "ti": np.zeros((3, 19))}, "ti has 19 prompts and lora has 20"),
        ({"lora": np.zeros((3, 20)), "ti": np.zeros((2, 20))}, "ti has 2 replicates and lora has 3"),
        ({"lora": np.zeros((3, 20)), "ti": np.full((3, 20), np.nan)}, "ti has a score that is not a finite number"),
        ({"lora": np.zeros(20), "ti": np.zeros(20)}, "lora has scores of 1 dimensions"),
    ],
)  # fmt: skip
def test_what_allows_no_verdict_is_refused_with_the_reason(scores: dict[str, np.ndarray], said: str) -> None:
    """Red where a check is left out: numpy then fails, or a verdict comes from nothing."""
    found = decide("composite", scores)
    assert found.refused is not None
    assert said in found.refused
    assert (found.pairs, found.best) == ((), ())


def test_a_decision_survives_json() -> None:
    for found in (
        decide("prompt", tables({"lora": 0.5, "ti": 0.2, "base": 0})),
        Decision("prompt", 0.08, refused="why"),
    ):
        text = json.dumps(found.to_json(), allow_nan=False)
        assert Decision.from_json(json.loads(text)) == found


def test_exchanging_two_conditions_mirrors_everything() -> None:
    """Red where either end is rounded, or a side decides."""
    scores = tables({"lora": 0.5, "ti": 0.4})
    one = decide("x", scores).pairs[0]
    other = decide("x", dict(reversed(scores.items()))).pairs[0]
    mirrored = {"better": "worse", "worse": "better"}
    assert other.verdict == mirrored.get(one.verdict, one.verdict)
    assert (one.estimate.low, one.estimate.high) == (-other.estimate.high, -other.estimate.low)
    assert (one.p, one.beyond_margin, one.more_seeds) == (other.p, other.beyond_margin, other.more_seeds)
    assert sentence(one, TITLES) == sentence(other, TITLES) or one.verdict in ("same", "undecided")


def pair(
    verdict: str, value: float, low: float, high: float, more: int | None = 0, beyond: bool = False
) -> Pair:
    return Pair("lora", "ti", verdict, Estimate(value, 0.05, 3.0, low, high, 3, 20), 0.01, beyond, more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (pair("better", 0.21, 0.1, 0.32, beyond=True),
         "LoRA is better than Textual Inversion by 0.21 (0.10 to 0.32); the whole interval is beyond the margin."),
        (pair("worse", -0.21, -0.42, -0.001), "Textual Inversion is better than LoRA by 0.21 (0.00 to 0.42)."),
        (pair("same", 0.01, -0.03, 0.05), "LoRA and Textual Inversion are practically the same: they differ by 0.01 "
         "(-0.03 to 0.05), which is inside the margin."),
        (pair("undecided", -0.001, -0.2, 0.2, more=1), "LoRA and Textual Inversion cannot be told apart yet: they "
         "differ by 0.00 (-0.20 to 0.20). 1 more seed of each is expected to settle it."),
        (pair("undecided", 0.1, -0.1, 0.3, more=4), "LoRA and Textual Inversion cannot be told apart yet: they "
         "differ by 0.10 (-0.10 to 0.30). 4 more seeds of each are expected to settle it."),
        (pair("undecided", 0.1, -0.1, 0.3, more=None), "LoRA and Textual Inversion cannot be told apart yet: they "
         "differ by 0.10 (-0.10 to 0.30). More seeds alone are not expected to settle it."),
    ],
)  # fmt: skip
def test_sentences(found: Pair, text: str) -> None:
    assert sentence(found, TITLES) == text


def test_undecided_is_never_worded_as_equal() -> None:
    for more in (None, 1, 7):
        text = sentence(pair("undecided", 0.0, -0.3, 0.3, more=more), TITLES).lower()
        assert not any(word in text for word in ("same", "equal", "no difference", "as good"))
