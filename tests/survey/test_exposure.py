"""Age: what the regression, the decay check and the cohorts find in catalogues of known effects and elasticity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from likewise.survey import fetching
from likewise.survey import store as stores
from likewise.survey.civitai import Client
from likewise.survey.plan import Plan
from likewise.survey.statistics import analyse, exposure, members
from likewise.survey.store import Store
from rehearsal import catalogue
from rehearsal.server import Rehearsal
from tests.survey.known import model, pairs, written


@pytest.fixture(scope="module")
def census() -> Iterator[Store]:
    """Twelve thousand models without traps, of the catalogue's own effects and elasticity."""
    with stores.open(Path(":memory:")) as store:
        catalogue.generate(12_000, seed=3, traps=()).write(store)
        yield store


def one(store: Store, query: str) -> object:
    row = store.connection.execute(query).fetchone()
    return row[0] if row else None


def test_the_regression_finds_the_effects_of_the_catalogue(census: Store) -> None:
    members.prepare(census.connection, 1)
    exposure.prepare(census.connection)
    fitted = exposure.regress(census.connection)
    assert fitted is not None
    truth = {"textual_inversion": "TextualInversion", "hypernetwork": "Hypernetwork", "low_rank": "LORA",
             "aesthetic": "AestheticGradient", "checkpoint_trained": "Checkpoint"}  # fmt: skip
    for pair in fitted.differences(list(truth)):
        expected = catalogue.EFFECTS[truth[pair.first]] - catalogue.EFFECTS[truth[pair.second]]
        assert abs(pair.value - expected) < 3.5 * pair.error, f"{pair.first} against {pair.second}"
    assert fitted.age_effect is not None
    elasticity, error = fitted.age_effect
    assert abs(elasticity - catalogue.ELASTICITY) < 3.5 * error


def test_the_decay_check_finds_the_elasticity(census: Store) -> None:
    members.prepare(census.connection, 1)
    exposure.prepare(census.connection)
    found = exposure.decay(census.connection)
    assert found is not None
    assert found["elasticity"] == pytest.approx(catalogue.ELASTICITY, abs=0.05)
    assert found["high"] < 1  # so downloads per day would flatter what is new


@pytest.mark.parametrize("date", [datetime(2024, 5, 6, tzinfo=UTC), datetime(2027, 3, 4, tzinfo=UTC)])
def test_the_elasticity_is_found_whatever_day_it_is(tmp_path: Path, date: datetime) -> None:
    """From a site over HTTP, which says its own date; this machine's is another."""
    site = catalogue.generate(5000, seed=4, traps=(), date=date)
    with Rehearsal(site) as served, Client(served.url, budget=200, pause=0.0) as client:
        archive = fetching.fetch(Plan("sample", served.url, size=site.largest_id), tmp_path, client)
    with stores.open(Path(":memory:")) as store:
        fetching.load(archive, store)
        found = analyse(store)
    assert found["snapshot"]["taken"] == date.replace(tzinfo=None).isoformat()
    assert found["decay"]["low"] < catalogue.ELASTICITY < found["decay"]["high"]
    assert found["decay"]["high"] - found["decay"]["low"] < 0.2


def test_doubling_every_age_leaves_what_is_adjusted_as_it_was() -> None:
    ages = {}
    for times in (1, 2):
        with stores.open(Path(":memory:")) as store:
            catalogue.generate(3000, seed=5, traps=()).write(store)
            store.connection.execute(
                "UPDATE models SET first_published = s.taken - ? * (s.taken - first_published) FROM snapshots s",
                [times],
            )
            ages[times] = analyse(store)["age"]
    assert ages[1]["orders"] == ages[2]["orders"]
    assert len(ages[1]["orders"]["adjusted"]) >= 4
    for name, row in ages[1]["ratios"].items():
        for way in row:
            assert row[way]["value"] == pytest.approx(ages[2]["ratios"][name][way]["value"], rel=1e-3)


def test_a_method_whose_models_are_all_a_month_old_is_not_penalised() -> None:
    draw = np.random.default_rng(2)
    rows = []
    for n in range(1500):
        young = n % 3 == 0
        age = draw.uniform(25, 35) if young else draw.uniform(20, 900)
        count = draw.poisson(age * math.exp(draw.normal(0, 0.8)))  # one daily rate for all
        rows.append(model(n, "TextualInversion" if young else "LORA", age=age, downloads=int(count)))
    found = analyse(written(rows))
    low_rank = found["age"]["ratios"]["low_rank"]
    assert low_rank["raw"]["low"] > 5  # the trap
    assert low_rank["per_day"]["low"] < 1 < low_rank["per_day"]["high"]
    assert low_rank["adjusted"]["low"] < 1 < low_rank["adjusted"]["high"]
    assert pairs(found, "adjusted")["textual_inversion", "low_rank"]["verdict"] in ("same", "undecided")
    assert pairs(found, "log")["textual_inversion", "low_rank"]["verdict"] == "less"


def test_a_method_on_a_base_of_its_own_cannot_be_told_from_that_base() -> None:
    draw = np.random.default_rng(4)
    kinds = {"TextualInversion": "SD 1.5", "LORA": "SD 1.5", "Hypernetwork": "SD 1.4"}
    rows = [
        model(n, kind, base_model=kinds[kind], age=draw.uniform(9, 900), downloads=int(draw.lognormal(4, 1)))
        for n in range(300)
        for kind in [list(kinds)[n % 3]]
    ]
    found = analyse(written(rows))
    assert found["age"]["model"]["not_estimable"] == ["hypernetwork"]
    assert "adjusted" not in found["age"]["ratios"]["hypernetwork"]
    assert list(pairs(found, "adjusted")) == [("textual_inversion", "low_rank")]


def test_models_of_one_age_say_nothing_of_how_counts_grow() -> None:
    draw = np.random.default_rng(10)
    kinds = ("LORA", "TextualInversion")
    found = analyse(written(model(n, kinds[n % 2], downloads=int(draw.lognormal(4, 1))) for n in range(200)))
    assert found["decay"] is found["age"]["model"]["elasticity"] is None
    assert 0.5 < found["age"]["ratios"]["low_rank"]["adjusted"]["value"] < 2


def test_cohorts_hold_every_dated_model_once(census: Store) -> None:
    members.prepare(census.connection, 1)
    exposure.prepare(census.connection)
    cohorts = exposure.cohorts(census.connection)
    assert sum(row["models"] for row in cohorts) == one(census, "SELECT count(*) FROM comparable")
    assert all(row["quarter"][5:] in ("01-01", "04-01", "07-01", "10-01") for row in cohorts)
