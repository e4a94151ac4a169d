"""The whole site from random ids, what is gone from it, and demand between two snapshots."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likewise.errors import SurveyError
from likewise.survey import store as stores
from likewise.survey.statistics import analyse, coverage, members
from rehearsal import catalogue
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


def test_checkpoints_of_unknown_origin_are_not_none_of_the_trained() -> None:
    rows = [model(n, "Checkpoint", downloads=10) for n in range(1, 41)]
    asked = {n: n <= 40 for n in range(1, 101)}
    origins = {"checkpoint_trained", "checkpoint_merge"}
    store = written(rows, mode="sample", asked=asked, largest=1000)
    found = analyse(store)["totals"]
    assert found["checkpoint_unknown"]["models"] == 400
    assert not origins & found.keys()
    store.set_checkpoint_types(1, [(1, "Merge")])
    assert origins < analyse(store)["totals"].keys()


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
    ids = range(1, 201)
    store = written([model(n, downloads=100 * n) for n in ids], taken=TAKEN - timedelta(days=20))
    later = [model(n, downloads=None if n == 200 else 100 * n + (n % 2) * 40) for n in ids if n != 199]
    written(later, into=store, mode="panel", asked={n: n != 199 for n in ids})
    found = analyse(store)["growth"]
    row = found["methods"]["low_rank"]
    assert (found["before"], found["days"], found["short"]) == (1, 20, False)
    assert (row["models"], row["idle"], row["shrunk"], row["gone"]) == (198, 99, 0, 1)
    assert row["per_day"] == pytest.approx(1.0)
    assert row["interval"][0] < 1 < row["interval"][1]
    with pytest.raises(SurveyError, match="not earlier"):
        analyse(store, 1, against=2)


def test_counters_that_go_down_are_growth_too() -> None:
    ids = range(1, 201)
    store = written([model(n, downloads=1000) for n in ids], taken=TAKEN - timedelta(days=10))
    written([model(n, downloads=1000 + (10 if n % 4 else -90)) for n in ids], into=store, mode="panel")
    row = analyse(store)["growth"]["methods"]["low_rank"]
    assert (row["shrunk"], row["per_day"]) == (50, pytest.approx(-1.5))
    assert row["interval"][0] < -1.5 < row["interval"][1] < 0


@pytest.mark.parametrize(
    ("before", "after"),
    [({"url": "https://one"}, {"url": "https://two"}), ({"url": "https://one"}, {"rehearsal": True})],
)
def test_ids_of_another_site_are_not_the_same_models(before: dict[str, Any], after: dict[str, Any]) -> None:
    rows = [model(n, downloads=n) for n in range(1, 31)]
    store = written(rows, mode="sample", taken=TAKEN - timedelta(days=20), parameters=before)
    written(rows, into=store, mode="sample", parameters=after)
    assert analyse(store)["growth"] is None
    with pytest.raises(SurveyError, match="different sites"):
        analyse(store, against=1)


def test_a_panel_is_compared_with_its_sample_and_not_with_a_census_between() -> None:
    rows = [model(n, "Hypernetwork" if n < 5 else "LORA", downloads=n) for n in range(1, 31)]
    store = written(rows, mode="sample", taken=TAKEN - timedelta(days=40))
    written(rows, into=store, mode="panel", taken=TAKEN - timedelta(days=20))
    written(rows[:4], into=store, taken=TAKEN - timedelta(days=19))
    found = analyse(written(rows, into=store, mode="panel"))["growth"]
    assert (found["before"], found["methods"]["low_rank"]["models"]) == (2, 26)


def test_a_census_right_after_a_sample_is_no_panel() -> None:
    rows = [model(n, downloads=n) for n in range(20)]
    store = written(rows, taken=TAKEN - timedelta(hours=2))
    assert analyse(written(rows, into=store))["growth"] is None


def test_a_rare_type_comes_from_its_census_and_the_site_from_the_sample() -> None:
    """A sample that found two hypernetworks, and the list of all forty; the newest of two lists counts."""
    rare = [model(n, "Hypernetwork", downloads=n) for n in range(1, 41)]
    sampled = [*rare[:2], *(model(n, "LORA", downloads=10) for n in range(41, 91))]
    asked = {n: n <= 2 or 41 <= n <= 90 for n in (1, 2, *range(41, 141))}
    store = written(sampled, mode="sample", asked=asked, largest=1000)
    for days, rows in ((1, rare[:30]), (2, rare)):
        written(rows, into=store, taken=TAKEN + timedelta(days=days), parameters={"type": "Hypernetwork"})
    found, alone = analyse(store), analyse(store, 1)
    rows, before = by_method(found), by_method(alone)
    assert (found["snapshot"]["number"], [one["number"] for one in found["completed_by"]]) == (1, [3])
    assert (rows["hypernetwork"]["models"], rows["hypernetwork"]["full"]) == (40, True)
    assert (before["hypernetwork"]["models"], before["hypernetwork"]["full"]) == (2, False)
    assert rows["hypernetwork"]["age_days"]["median"] == 102  # at the time of its own list
    assert rows["low_rank"] == before["low_rank"]
    assert found["totals"] == alone["totals"]
    assert alone["completed_by"] == []


@pytest.mark.parametrize(
    "census",
    [
        {"parameters": {"type": "DoRA"}},  # one of a family of which the others are sampled
        {"parameters": {"type": "VAE"}},  # of no method
        {"parameters": {"type": "Hypernetwork", "url": "elsewhere"}},
        {"parameters": {"type": "Hypernetwork"}, "nsfw": False},
        {"parameters": {"type": "Hypernetwork"}, "taken": TAKEN - timedelta(days=15)},
        {"parameters": {"type": "Hypernetwork"}, "complete": False},
    ],
    ids=["family", "no method", "site", "adult content", "time", "incomplete"],
)
def test_a_census_that_does_not_fit_completes_nothing(census: dict[str, Any]) -> None:
    store = written([model(1, downloads=1)], mode="sample", asked={1: True}, largest=9)
    written([model(2, str(census["parameters"]["type"]))], into=store, **census)
    assert coverage.completing(store, store.snapshot(1)) == {}


def test_a_family_is_completed_by_all_its_lists() -> None:
    assert members.replaceable(["LORA", "LoCon", "Hypernetwork"]) == ["Hypernetwork"]
    assert members.replaceable(["lora", "LoCon", "DoRA", "Other"]) == ["lora", "LoCon", "DoRA"]
    assert members.listed(["Checkpoint"]) >= {"checkpoint_trained", "checkpoint_merge"}


def test_what_speaks_for_today() -> None:
    store = written([model(1)], mode="sample", asked={1: True}, largest=9)
    written([model(2)], into=store, taken=TAKEN + timedelta(days=1), parameters={"type": "LORA"})
    assert coverage.today(store).number == 1
    written([model(3)], into=store, taken=TAKEN + timedelta(days=40), parameters={"type": "LORA"})
    assert coverage.today(store).number == 3  # too late for the sample
    written([model(4)], into=store, mode="import")
    assert coverage.today(store).number == 4
