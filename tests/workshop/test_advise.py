"""What a search of settings takes."""

from __future__ import annotations

import numpy as np

from likewise.comparison.tuning import Try
from workshop.advise import advised

TRIES = [Try("lora-0", {}), Try("lora-1", {"steps": 600})]


def test_a_setting_is_taken_by_the_error_of_its_differences() -> None:
    """Red where the spread of prompts, which both settings share, hides a difference that every prompt shows."""
    prompts = np.array([0.1, 0.9, 0.3, 0.7])
    better = {"lora-0": prompts, "lora-1": prompts + np.array([0.04, 0.05, 0.06, 0.05])}
    found = advised(TRIES, {"cat": better, "duck": better})
    assert found["take"] == {"steps": 600}
    assert found["gain"] == 0.05
    assert found["error"] < 0.01


def test_luck_is_not_taken_and_what_failed_is_the_worst() -> None:
    uneven = {"lora-0": np.zeros(4), "lora-1": np.array([0.5, -0.4, 0.5, -0.4])}
    assert advised(TRIES, {"cat": uneven})["take"] == {}
    failed = advised(TRIES, {"cat": {"lora-0": np.zeros(4)}})
    assert failed["take"] == {}
    assert failed["tries"][1]["mean"] is None


def test_a_setting_that_copies_is_not_taken() -> None:
    """Red where a search takes what a comparison then refuses to recommend."""
    better = {"lora-0": np.zeros(4), "lora-1": np.array([0.2, 0.3, 0.2, 0.3])}
    found = advised(TRIES, {"cat": better, "duck": better}, {"cat": {"lora-1"}, "duck": set()})
    assert found["take"] == {}
    assert [one["kept out on"] for one in found["tries"]] == [0, 1]
    both = advised(TRIES, {"cat": better, "duck": better}, {"cat": {"lora-0", "lora-1"}, "duck": set()})
    assert both["take"] == {"steps": 600}
