"""The whole site from random ids, what is gone from it, and demand between two snapshots."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from likewise.errors import SurveyError
from likewise.survey import store as stores
from likewise.survey.rehearsal import catalogue
from likewise.survey.statistics import analyse, coverage, members
from tests.survey.known import TAKEN, by_method, model, written


@pytest.mark.slow
def test_the_estimate_from_random_ids_covers_the_truth() -> None:
    inside = {"low_rank": 0, "textual_inversion": 0, "hypernetwork": 0, "aesthetic": 0}
    types = dict(zip(inside, (("LORA", "LoCon", "DoRA"), ("TextualInversion",), ("Hypernetwork",),
                              ("AestheticGradient",)), strict=True))  # fmt: skip
    for seed in range(200):
        site = catalogue.generate(4000, seed=seed)
        asked = np.random.default_rng(seed).choice(site.largest_id, 1500, replace=False) + 1
        with stores.open(Path(":memory:")) as store:
            site.write(store, asked)
            members.prepare(store.connection, 1)
            found = coverage.totals(store, store.snapshot())
        assert found is not None
        for name, kinds in types.items():
            truth = sum(site.totals()[kind] for kind in kinds)
            inside[name] += found[name]["low"] <= truth <= found[name]["high"]
    assert min(inside.values()) >= 186, inside  # 93 % of 200, for the rarest method too


def test_totals_are_the_formula_and_need_random_ids() -> None:
    rows = [model(n, "LORA" if n % 4 else "Hypernetwork", downloads=10) for n in range(1, 41)]
    asked = {n: n <= 40 for n in range(1, 101)}
    found = analyse(written(rows, mode="sample", asked=asked, largest=10_000))["totals"]
    p, rest = 0.3, (10_000 - 100) / 9_999
    assert found["low_rank"]["models"] == pytest.approx(10_000 * p)
    assert found["low_rank"]["error"] == pytest.approx(10_000 * math.sqrt(p * (1 - p) * rest / 100))
    assert found["low_rank"]["downloads"] == pytest.approx(10_000 * p * 10)
    assert found["aesthetic"]["models"] == found["aesthetic"]["low"] == 0
    assert found["aesthetic"]["high"] > 300  # none among a hundred does not mean none
    assert analyse(written(rows, mode="census", largest=10_000))["totals"] is None


def test_a_sample_of_everything_has_no_error() -> None:
    rows = [model(n, downloads=10) for n in range(1, 41)]
    asked = {n: n <= 40 for n in range(1, 101)}
    found = analyse(written(rows, mode="sample", asked=asked, largest=100))["totals"]["low_rank"]
    assert (found["models"], found["low"], found["high"]) == (40, 40, 40)
    assert found["error"] == found["downloads_error"] == 0


def test_models_crawled_beside_the_sample_do_not_enter_the_totals() -> None:
    rows = [model(n, "Hypernetwork", downloads=10) for n in range(1, 41)]
    asked = {n: n <= 20 for n in (*range(1, 21), *range(101, 181))}
    found = analyse(written(rows, mode="sample", asked=asked, largest=1000))
    assert found["totals"]["hypernetwork"]["hits"] == 20
    assert by_method(found)["hypernetwork"]["models"] == 40


def test_vanished_ids_by_range() -> None:
    asked = {n: n > 500 or n % 2 == 0 for n in range(1, 1001)}
    rows = [model(n, downloads=1) for n, there in asked.items() if there]
    found = analyse(written(rows, mode="sample", asked=asked, largest=1000))["vanished"]
    assert [row["share"] for row in found] == [0.5] * 10 + [0.0] * 10
    assert [row["first_id"] for row in found[:2]] == [1, 51]
    assert found[0]["low"] < 0.5 < found[0]["high"]
    assert found[-1]["low"] == 0 < found[-1]["high"]


def test_growth_between_two_snapshots() -> None:
    ids = range(1, 41)
    store = written([model(n, downloads=100 * n) for n in ids], taken=TAKEN - timedelta(days=20))
    later = [model(n, downloads=None if n == 40 else 100 * n + (n % 2) * 40) for n in ids if n != 39]
    written(later, into=store, mode="panel", asked={n: n != 39 for n in ids})
    found = analyse(store)["growth"]
    row = found["methods"]["low_rank"]
    assert (found["before"], found["days"], found["short"]) == (1, 20, False)
    assert (row["models"], row["idle"], row["shrunk"], row["gone"]) == (38, 19, 0, 1)
    assert row["per_day"] == pytest.approx(1.0)
    assert row["interval"][0] < 1 < row["interval"][1]
    with pytest.raises(SurveyError, match="not earlier"):
        analyse(store, 1, against=2)


def test_a_census_right_after_a_sample_is_no_panel() -> None:
    rows = [model(n, downloads=n) for n in range(20)]
    store = written(rows, taken=TAKEN - timedelta(hours=2))
    assert analyse(written(rows, into=store))["growth"] is None
