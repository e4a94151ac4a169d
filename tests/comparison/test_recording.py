"""A finished comparison is kept with what a reader must know to weigh it, and says the same when it is read back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from likewise.comparison import answering, concluding, evidence
from likewise.comparison.concluded import read_verdict
from likewise.comparison.evidence.recording import record, recorded
from likewise.comparison.limits import Limits
from likewise.comparison.recommending import recommend
from likewise.errors import RunError
from tests.comparison.folders import comparison, condition, floor, taught, write
from tests.comparison.test_concluding import around


def finished(folder: Path, replicates: int = 3) -> Path:
    """A comparison of two methods that are far apart, with its verdict."""
    comparison(
        folder, [condition("base", "floor"), condition("good"), condition("poor")], replicates=replicates
    )
    facts = {
        "kind": "object",
        "base": "pocket",
        "size": "standard",
        "version": "0.1.0",
        "created": "2026-11-29T10:00",
    }
    machine = {"processor": "a processor", "cores": 2, "device": "cpu", "precision": "fp32"}
    path = folder / "comparison.json"
    write(path, json.loads(path.read_text(encoding="utf-8")) | facts | {"machine": machine})
    floor(folder, replicates)
    taught(folder, "good", around(0.8, 1, replicates), around(0.9, 2, replicates))
    taught(folder, "poor", around(0.3, 3, replicates), around(0.9, 4, replicates))
    concluding.write(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return finished(tmp_path / "compared")


def test_what_is_recorded_recommends_as_the_comparison_does(folder: Path, tmp_path: Path) -> None:
    record(folder, "one", "an owl", tmp_path)
    (found,) = recorded(tmp_path)
    standings, decisions = read_verdict(folder)
    for limits in (Limits(), Limits.parse(at_most="1MB"), Limits.parse(at_most="1kB")):
        said = recommend(found.standings, found.decisions, limits)
        wanted = recommend(standings, decisions, limits)
        assert (said.choice, said.tied, said.reasons) == (wanted.choice, wanted.tied, wanted.reasons)
    assert found.source() == (
        "an owl on pocket, standard, judged by f, 2026-11-29, likewise 0.1.0, a processor, 2 cores, cpu, fp32"
    )


def test_which_cites_it_under_the_same_limits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(folder, "one", "an owl", tmp_path)
    monkeypatch.setattr(evidence, "recorded", lambda: recorded(tmp_path))
    (found,) = answering.answer("object", Limits()).recorded
    assert found.source.startswith("an owl on ")
    assert found.chosen == "Good"
    assert found.recommendation.reasons == recommend(*read_verdict(folder), Limits()).reasons
    assert answering.answer("style", Limits()).recorded == ()


def test_a_verdict_that_is_not_what_the_scores_say_is_not_recorded(folder: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(folder, tmp_path / "again"))
    path = again / "verdict.json"
    verdict = json.loads(path.read_text(encoding="utf-8"))
    verdict["standings"][0]["axes"]["fidelity"]["value"] += 0.1
    path.write_text(json.dumps(verdict), encoding="utf-8")
    with pytest.raises(RunError, match="not what its scores say"):
        record(again, "one", "an owl", tmp_path)
    assert recorded(tmp_path) == []


def test_what_decides_nothing_is_not_recorded(tmp_path: Path) -> None:
    quick = finished(tmp_path / "quick", 1)
    with pytest.raises(RunError, match="decides nothing"):
        record(quick, "one", "an owl", tmp_path)


@pytest.mark.parametrize("text", ["", "schema = 2", "schema = 1", "schema ="])
def test_a_file_that_is_none_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"odd\.toml"):
        recorded(tmp_path)
