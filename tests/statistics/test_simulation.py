"""The simulated comparisons: what they are drawn with is what comes out, and a broken promise is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.statistics import simulation
from likewise.statistics.simulation import Share, World


def test_scores_vary_by_what_they_are_drawn_with() -> None:
    """Red where a spread is drawn once for all methods that each should have for itself."""
    world = World(prompt=0, method_and_prompt=0, picture=0, fold=0)
    scores = world.draw(np.random.default_rng(0), 20_000, 3, (0.03, 0.0), (0.0, 0.5))
    assert scores.shape == (20_000, 2, 3, 20)
    assert scores[:, 0].std() == pytest.approx(0.03 / 0.375, rel=0.03)
    assert (scores[:, 1] == 0.5).all()
    both = world.draw(np.random.default_rng(1), 20_000, 3, (0.03, 0.03), (0, 0))
    assert (both[:, 0] - both[:, 1]).std() == pytest.approx(2**0.5 * 0.03 / 0.375, rel=0.03)
    whole = World().draw(np.random.default_rng(0), 2000, 2, (0.015, 0.015), (0, 0))
    own = (0.015**2 + 0.03**2 + 0.04**2) ** 0.5 / 0.375
    assert (whole[:, 0] - whole[:, 1]).std() == pytest.approx(2**0.5 * own, rel=0.05)


def test_the_same_seed_gives_the_same_shares() -> None:
    one, other = (list(simulation.run(repeats=100, seed=4)) for _ in range(2))
    assert one == other
    assert {share.check for share in one} == {"false_winner", "coverage", "power", "best", "permuted"}


@pytest.mark.parametrize(
    ("value", "least", "most", "kept"),
    [(0.056, None, 0.05, True), (0.058, None, 0.05, False), (0.92, 0.93, None, False), (0.9, None, None, True),
     (0.0, None, 0.05, True), (1.0, 0.95, None, True), (0.0, 0.95, None, False)],
)  # fmt: skip
def test_a_promise_is_broken_beyond_three_standard_errors(
    value: float, least: float | None, most: float | None, kept: bool
) -> None:
    assert Share("x", value, 10_000, {}, least, most).kept is kept


def test_naive_verdicts_would_break_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: intervals that take every prompt for evidence find winners between equal methods."""
    monkeypatch.setattr(simulation.pairs.Crossed, "reach", lambda self, risk: 2.1 * np.sqrt(self.columns))
    monkeypatch.setattr(
        simulation.pairs.Crossed, "p", lambda self: np.where(np.abs(self.value) > self.reach(0.05), 0, 1)
    )
    bench = simulation.Bench(World(), 1000, np.random.default_rng(0))
    winners, coverage = bench.equal(3, [0.015] * 2)
    assert not winners.kept
    assert not coverage.kept
