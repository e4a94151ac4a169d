"""`likewise selfcheck`: what it prints, and that a broken promise is an exit status."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from likewise.cli import app
from likewise.statistics import simulation
from likewise.statistics.simulation import Share


def test_tables_for_people_and_shares_for_programs() -> None:
    told = CliRunner().invoke(app, ["selfcheck", "--repeats", "400"])
    assert told.exit_code == 0, told.output
    for words in (
        "declared better or worse",
        "hold the true difference",
        "permuted",
        "undecided",
        "5 % or less",
    ):
        assert words in told.stdout
    data = json.loads(CliRunner().invoke(app, ["selfcheck", "--repeats", "400", "--json"]).stdout)
    assert data["kept"] is True
    assert (data["repeats"], data["seed"], data["margin"]) == (400, 0, 0.08)
    winners = [row for row in data["shares"] if row["check"] == "false_winner" and row["methods"] == 2]
    assert {(row["seeds"], row["replicates"]) for row in winners} == {
        (seed, replicates) for seed in simulation.SEEDS for replicates in (3, 5)
    }
    power = [row for row in data["shares"] if row["check"] == "power"]
    assert {row["margins"] for row in power} == {0.0, 0.5, 1.0, 2.0}


def test_how_far_a_promise_may_be_missed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = simulation.passing(0.05, 100)
    assert Share("", allowed, 100, most=0.05).kept
    assert not Share("", allowed + 0.01, 100, most=0.05).kept
    assert 0.05 < simulation.passing(0.05, 10_000) < 0.06 < allowed
    monkeypatch.setattr(simulation, "run", lambda **_: iter([]))
    told = " ".join(CliRunner().invoke(app, ["selfcheck", "--repeats", "100"]).stdout.split())
    assert "more than 3 of them beyond it" in told
    assert f"with 100 comparisons, {100 * allowed:.1f} % still passes for a promise of 5.0 % or less" in told


def test_a_broken_promise_ends_with_one_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = {"methods": 2, "replicates": 3, "seeds": 0.015}
    broken = Share("false_winner", 0.21, 1000, setting, most=0.05)
    monkeypatch.setattr(simulation, "run", lambda **_: iter([broken]))
    for words in (["selfcheck"], ["selfcheck", "--json"]):
        assert CliRunner().invoke(app, words).exit_code == 1
    assert "broken" in CliRunner().invoke(app, ["selfcheck"]).stdout
