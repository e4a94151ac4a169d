"""What a census lost: the interval holds the truth, and never contradicts what is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from likewise.survey.probing import Probe

COUNTS = st.integers(0, 2000)


def test_the_interval_of_the_loss_holds_the_truth() -> None:
    draw, missed = np.random.default_rng(0), 0
    for _ in range(400):
        models, kept = 3000, int(draw.integers(1, 3000))
        hits = int(draw.integers(1, 300))
        lost = int(draw.hypergeometric(models - kept, kept, hits))
        low, high = Probe(kept, hits, lost, 0, 0, True).interval
        missed += not low <= 1 - kept / models <= high
    assert missed <= 0.05 * 400


@given(kept=COUNTS, drawn=COUNTS, drawn_lost=COUNTS, others=COUNTS, others_lost=COUNTS)
def test_the_interval_never_contradicts_what_is_known(
    kept: int, drawn: int, drawn_lost: int, others: int, others_lost: int
) -> None:
    probe = Probe(kept, drawn + drawn_lost, drawn_lost, others + others_lost, others_lost, True)
    low, high = probe.interval
    assert 0 <= low <= high <= 1
    assert probe.lost == drawn_lost + others_lost
    if probe.lost:
        assert low >= probe.lost / (kept + probe.lost)  # the type has at least these
    if not probe.drawn:
        assert high == 1


def test_nothing_found_says_nothing_and_much_found_says_much() -> None:
    assert Probe(100, 0, 0, 0, 0, True).interval == (0, 1)
    low, high = Probe(10_000, 1000, 0, 0, 0, True).interval
    assert low == 0
    assert high < 0.004
