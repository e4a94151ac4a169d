"""All conditions against one another: who is among the best, what pooling gains, and what it may not cost."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.statistics import pairs
from likewise.statistics.simulation import World

MARGIN = 0.08
NO_LUCK = (0.0, 0.0, 0.0, 0.03, 0.03)


def scores(
    effects: tuple[float, ...], seeds: tuple[float, ...], repeats: int, replicates: int = 3
) -> np.ndarray:
    return World().draw(np.random.default_rng(11), repeats, replicates, seeds, effects)


def test_five_methods_find_more_with_three_replicates_than_each_pair_alone() -> None:
    """Red where `pooled` gives its own spread back: 29 % instead of 97 %."""
    found = pairs.compare(scores((0.32, 0, 0, 0, 0), (0.015,) * 5, 400), margin=MARGIN)
    assert (found.verdicts[:, 0] == "better").mean() > 0.9


def test_a_pair_is_never_decided_more_easily_than_alone() -> None:
    """Red where `_reach` or p forgets the pair's own replicates: 9 % false winners in the last pair instead of 4."""
    found = pairs.compare(scores((-1.5, -1.0, -0.5, 0, 0), NO_LUCK, 4000), margin=MARGIN)
    wrong = np.isin(found.verdicts[:, -1], ("better", "worse"))
    assert wrong.mean() <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5
    alone = found.own.reach(0.05)
    decided = np.isin(found.verdicts, ("better", "worse"))
    assert (np.abs(found.own.value) >= alone)[decided].all()


def test_p_interval_and_verdict_agree() -> None:
    """Red where intervals are left as Bonferroni makes them."""
    found = pairs.compare(scores((0.2, 0.1, 0, 0, -0.2), (0.015,) * 5, 500), margin=MARGIN)
    apart = (found.low >= 0) | (found.high <= 0)
    sure = np.abs(found.p - 0.05) > 1e-5
    assert (apart == (found.p <= 0.05))[sure].all()
    decided = np.isin(found.verdicts, ("better", "worse"))
    assert apart[decided].all()
    assert (found.p <= 0.05 + 1e-5)[decided].all()
    assert ((found.low == 0) | (found.high == 0)).any()  # Holm has decided more than Bonferroni would


def test_the_best_stays_and_the_clearly_worse_leaves() -> None:
    """Red where the sides of `ahead` and `behind` are exchanged."""
    found = pairs.compare(scores((0.5, 0.5, 0, -0.5, -1), (0.015,) * 5, 500, 5), margin=MARGIN)
    assert found.best[:, 0].mean() >= 0.95
    assert found.best[:, 1].mean() >= 0.95
    assert found.best[:, 2:].mean() == 0


def test_nobody_among_the_best_is_shown_worse_than_another_condition() -> None:
    """Red where what Holm shows does not leave the set."""
    found = pairs.compare(scores((0.1, 0.05, 0, -0.1), (0.005, 0.005, 0.03, 0.03), 800), margin=MARGIN)
    for pair, (first, second) in enumerate(found.indices):
        assert not (found.best[:, second] & (found.verdicts[:, pair] == "better")).any()
        assert not (found.best[:, first] & (found.verdicts[:, pair] == "worse")).any()
    assert found.best.any(-1).all()


def test_what_is_practically_the_same_as_the_best_stays() -> None:
    """Red where a trifle that is certain makes a condition leave."""
    base = np.random.default_rng(0).normal(0.5, 0.001, (2, 3, 20))
    base[1] -= 0.01
    found = pairs.compare(base, margin=MARGIN)
    assert list(found.verdicts) == ["same"]
    assert found.high[0] > found.low[0] > 0
    assert list(found.best) == [True, True]


def test_more_replicates_are_few_for_a_large_difference_and_none_where_seeds_are_not_the_trouble() -> None:
    """Red where the number counts all replicates instead of further ones."""
    draw = np.random.default_rng(5)
    luck = draw.normal(0, 0.01, (2, 3, 20))
    luck[0] += np.array([[-0.08], [0.0], [0.08]]) + 0.15 - (luck[0] - luck[1]).mean()
    found = pairs.compare(luck, margin=MARGIN)
    assert list(found.verdicts) == ["undecided"]
    more = pairs.more_replicates(found, MARGIN)[0]
    assert more is not None
    assert 1 <= more <= 10
    enough, short = found.own.grown(3 + more), found.own.grown(2 + more)
    assert enough.reach(0.05) + 0.8416 * enough.error() < 0.15  # four chances in five
    assert short.reach(0.05) + 0.8416 * short.error() >= 0.15
    prompts = luck * 0.01 + np.array([1.0, 0.0])[:, None, None] * draw.normal(0.1, 1.0, (1, 1, 20))
    found = pairs.compare(prompts, margin=MARGIN)
    assert list(found.verdicts) == ["undecided"]
    assert pairs.more_replicates(found, MARGIN) == [None]


def test_a_settled_pair_wants_no_more_replicates() -> None:
    found = pairs.compare(scores((1.0, 0.0), (0.005, 0.005), 1, 5)[0], margin=MARGIN)
    assert pairs.more_replicates(found, MARGIN) == [0]


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (3, 2, 1, 0)])
def test_the_order_of_conditions_says_nothing(order: tuple[int, ...]) -> None:
    table = scores((0.2, 0.1, 0, -0.1), (0.015,) * 4, 1)[0]
    plain, moved = pairs.compare(table, margin=MARGIN), pairs.compare(table[list(order)], margin=MARGIN)
    assert list(moved.best) == [plain.best[k] for k in order]
    known = {pair: (plain.low[k], plain.high[k], plain.p[k]) for k, pair in enumerate(plain.indices)}
    for k, (first, second) in enumerate(moved.indices):
        low, high, p = moved.low[k], moved.high[k], moved.p[k]
        pair = (order[first], order[second])
        if pair not in known:
            pair, low, high = (pair[1], pair[0]), -high, -low
        assert (low, high, p) == pytest.approx(known[pair])
