"""Votes whose truth is known: simulated judges of known taste, with ties, a clean sweep and a leaning to one side.

Each test says which change of `statistics/preference.py` turns it red.
"""

from __future__ import annotations

import math

import numpy as np

from likewise.statistics import preference
from likewise.statistics.preference import Choice, Preference, Vote

TRUTH = {"dreambooth": 0.9, "lora": 0.3, "hypernetwork": -0.4, "aesthetic": -0.8}
PROMPTS = [f"prompt-{number}" for number in range(10)]
ANSWERS: tuple[Choice, ...] = ("left", "right", "tie")


def judged(truth: dict[str, float], *, position: float, ties: float, times: int, seed: int) -> list[Vote]:
    """Votes of a judge who follows Davidson's model: every pair `times` per prompt, each side at random."""
    generator, votes = np.random.default_rng(seed), []
    for prompt in PROMPTS:
        for n, first in enumerate(truth):
            for second in list(truth)[n + 1 :]:
                for _ in range(times):
                    left, right = (first, second) if generator.random() < 0.5 else (second, first)
                    lead = math.exp((truth[left] - truth[right] + position) / 2)
                    odds = np.array([lead, 1 / lead, ties])
                    answer = ANSWERS[generator.choice(3, p=odds / odds.sum())]
                    votes.append(Vote(left, right, answer, prompt))
    return votes


def fitted(votes: list[Vote]) -> Preference:
    found = preference.fit(votes)
    assert found is not None
    return found


def within(interval: preference.Interval, value: float) -> bool:
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= value <= interval.high


def test_known_strengths_with_ties_are_recovered() -> None:
    """Red where the first cell of a pair counts answers by side: `answer = 2 if tie else int(choice == "right")`."""
    found = fitted(judged(TRUTH, position=0.0, ties=0.8, times=30, seed=3))
    assert [one.name for one in found.strengths] == list(TRUTH)
    assert all(within(one.strength, TRUTH[one.name]) for one in found.strengths)
    assert all(abs(one.strength.value - TRUTH[one.name]) < 0.15 for one in found.strengths)
    assert sum(pair.ties for pair in found.pairs) > 300
    verdicts = {(pair.first, pair.second): pair.said for pair in found.pairs}
    assert verdicts["aesthetic", "dreambooth"] == "second"
    assert verdicts["hypernetwork", "lora"] == "second"


def test_intervals_hold_as_often_as_they_say() -> None:
    """Red where the spread is too small: `(drawn - found) * 0.7`."""
    caught = [
        within(one.strength, TRUTH[one.name])
        for seed in range(60)
        for one in fitted(judged(TRUTH, position=0.3, ties=0.5, times=3, seed=seed)).strengths
    ]
    assert 0.9 <= sum(caught) / len(caught) <= 0.99


def test_equal_pictures_are_rarely_told_apart() -> None:
    """Red where p-values are not adjusted for the number of pairs: `p = chances` instead of `_holm(chances)`."""
    equal = dict.fromkeys(TRUTH, 0.0)
    wrong = sum(
        any(
            pair.said != "undecided"
            for pair in fitted(judged(equal, position=0, ties=0.5, times=5, seed=seed)).pairs
        )
        for seed in range(60)
    )
    assert wrong <= 6


def test_a_clean_sweep_is_finite_and_has_an_interval() -> None:
    """Red where resamples keep the doubts fixed (`shaky = doubts`): the interval of 40 out of 40 has no width."""
    votes = [
        Vote("lora", "aesthetic", "left", PROMPTS[n % 10])
        if n % 2
        else Vote("aesthetic", "lora", "right", PROMPTS[n % 10])
        for n in range(40)
    ]
    found = fitted(votes)
    best, share = found.strengths[0], found.strengths[0].share
    assert best.name == "lora"
    assert math.isfinite(best.strength.value)
    assert share.low is not None
    assert share.high is not None
    assert 0.85 < share.low < 0.96, "Jeffreys' interval of 40 out of 40 begins at 0.94"
    assert share.low < share.value < share.high <= 1
    assert [pair.said for pair in found.pairs] == ["second"]
    assert within(found.position, 0.0), "he who always finds the better one leans to no side"


def test_a_judge_who_leans_to_one_side_is_seen_and_allowed_for() -> None:
    """Red where the design has no position: `cells[:, -1], alone[:, -1] = 0, 0`."""
    found = fitted(judged(TRUTH, position=1.5, ties=0.5, times=20, seed=6))
    assert found.position.low is not None
    assert found.position.low > 1
    assert within(found.position, 1.5)
    assert all(within(one.strength, TRUTH[one.name]) for one in found.strengths)


def test_a_judge_who_always_says_left_prefers_nothing() -> None:
    """Red where the position is taken from the votes' order instead of the side: `[1, 1] * len(self.pairs)`."""
    sides = [("lora", "aesthetic"), ("aesthetic", "lora")]
    votes = [Vote(*sides[n // 10 % 2], "left", PROMPTS[n % 10]) for n in range(80)]
    found = fitted(votes)
    assert [pair.said for pair in found.pairs] == ["undecided"]
    assert found.position.low is not None
    assert found.position.low > 2
    mirrored = [(vote, Vote(vote.right, vote.left, "left", vote.prompt)) for vote in votes[:8]]
    assert preference.consistency(mirrored) == preference.Consistency(repeated=8, agreed=0)


def test_a_condition_shown_on_one_side_only_cannot_be_told_from_a_leaning() -> None:
    """Red where the design has no position: 80 wins on the left would then be a preference."""
    found = fitted([Vote("lora", "aesthetic", "left", PROMPTS[n % 10]) for n in range(80)])
    assert [pair.said for pair in found.pairs] == ["undecided"]


def test_nothing_is_said_before_forty_votes_of_a_pair() -> None:
    """Red where `ENOUGH` is 39."""
    votes = judged({"lora": 3.0, "aesthetic": -3.0}, position=0, ties=0.1, times=4, seed=0)
    assert [pair.said for pair in fitted(votes[:39]).pairs] == ["too few votes"]
    assert [pair.said for pair in fitted(votes[:40]).pairs] == ["second"]


def test_both_bad_is_counted_apart_and_changes_no_strength() -> None:
    """Red where "both bad" enters the table: `ordered = list(votes)`."""
    votes = judged(TRUTH, position=0, ties=0.5, times=3, seed=1)
    bad = [Vote("lora", "aesthetic", "both_bad", prompt) for prompt in PROMPTS]
    without, found = fitted(votes), fitted(votes + bad)
    assert [one.strength for one in found.strengths] == [one.strength for one in without.strengths]
    assert {one.name: one.both_bad for one in found.strengths} == {
        "dreambooth": 0, "lora": 10, "hypernetwork": 0, "aesthetic": 10,
    }  # fmt: skip
    assert found.both_bad == 10
    assert preference.fit(bad) is None


def test_one_prompt_gives_no_interval_and_no_statement() -> None:
    """Red where resampling one prompt is allowed: `if prompts < 1`."""
    found = fitted([Vote("lora", "aesthetic", "left", "only") for _ in range(50)])
    assert found.strengths[0].strength.low is None
    assert [pair.said for pair in found.pairs] == ["too few votes"]


def test_the_same_votes_give_the_same_numbers() -> None:
    """Red where the resampling draws from a fresh generator: `default_rng()`."""
    votes = judged(TRUTH, position=0.2, ties=0.5, times=2, seed=8)
    assert fitted(votes) == fitted(list(reversed(votes)))
