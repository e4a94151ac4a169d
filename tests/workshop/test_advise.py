"""What a search of settings advises."""

from __future__ import annotations

import numpy as np

from likewise import methods
from likewise.comparison.design import Condition
from likewise.comparison.tuning import Scored, Try
from workshop.advise import advised, given

TRIES = [Try("lora-0", {}), Try("lora-1", {"steps": 600})]


def test_a_row_says_what_every_setting_scored_and_what_is_taken() -> None:
    better = {"lora-0": np.zeros(4), "lora-1": np.array([0.2, 0.3, 0.2, 0.3])}
    found = advised(TRIES, {"cat": Scored(better, {}), "duck": Scored(better, {"lora-0": "It copies."})})
    assert (found["take"], found["best"], found["gain"]) == ({"steps": 600}, {"steps": 600}, 0.25)
    assert found["error"] == 0.02
    assert [one["kept out on"] for one in found["tries"]] == [1, 0]
    assert found["tries"][1] == {
        "settings": {"steps": 600}, "mean": 0.25, "concepts": [0.25, 0.25], "kept out on": 0,
    }  # fmt: skip


def test_what_failed_has_no_score() -> None:
    failed = advised(TRIES, {"cat": Scored({"lora-0": np.zeros(4)}, {})})
    assert (failed["take"], failed["gain"]) == ({}, 0.0)
    assert failed["tries"][1]["mean"] is None


def test_settings_that_are_given_are_tried_beside_todays() -> None:
    recipe = methods.get("lora").recipe()
    plain = Condition("lora", "LoRA", "method", "sks owl", "lora", recipe, {})
    assert given([{"steps": 600}])(plain) == TRIES
