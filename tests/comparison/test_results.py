"""Rows on disk: they come back, a crash costs one line at most, and no torch is needed to read them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from likewise.comparison.results import Results, Row, digest
from likewise.errors import RunError

ROW = Row(
    trial="lora",
    title="LoRA",
    kind="method",
    status="done",
    scores={"fidelity": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 8, "normalised": None}},
    cost={"bytes": 12345, "seconds": 1.5},
    steps=400,
    recipe={"rank": 4},
    gallery="trials/lora/gallery",
    strip=[{"step": 0, "file": "trials/lora/run/samples/step000000/0000.png"}],
    digest="d1",
)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    results = Results(tmp_path / "new")
    results.put(ROW)
    assert results.rows() == [ROW]
    assert Row.from_json(ROW.to_json() | {"from a later version": 1}) == ROW


def test_a_trial_has_one_row_in_its_planned_place(tmp_path: Path) -> None:
    results, order = Results(tmp_path), ["base", "lora", "dreambooth"]
    for trial in ("dreambooth", "lora", "base"):
        results.put(replace(ROW, trial=trial), order)
    results.put(replace(ROW, status="failed", reason="out of memory"), order)
    assert [row.trial for row in results.rows()] == order
    assert [row.status for row in results.rows()] == ["done", "failed", "done"]
    results.keep(["base", "lora"])
    assert [row.trial for row in results.rows()] == ["base", "lora"]


def test_a_row_holds_only_under_its_digest(tmp_path: Path) -> None:
    results = Results(tmp_path)
    assert results.get("lora", "d1") is None
    results.put(ROW)
    assert results.get("lora", "d1") == ROW
    assert results.get("lora", "d2") is None


def test_a_torn_last_line_is_a_row_not_yet_written(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(replace(ROW, trial="base"))
    results.put(ROW)
    whole = results.path.read_text(encoding="utf-8")
    results.path.write_text(whole[: len(whole) - 40], encoding="utf-8")
    assert [row.trial for row in results.rows()] == ["base"]
    results.put(ROW)
    assert len(results.rows()) == 2


def test_a_damaged_line_elsewhere_is_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(ROW)
    results.path.write_text("{]\n" + results.path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(RunError, match="line 1"):
        results.rows()


def test_what_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(replace(ROW, cost={"seconds": float("nan"), "peak_bytes": float("inf")}))
    assert "NaN" not in results.path.read_text(encoding="utf-8")
    assert results.rows()[0].cost == {"seconds": None, "peak_bytes": None}


def test_digests_follow_content_and_not_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}, "x") == digest({"b": 2, "a": 1}, "x")
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest(["ab", "c"])}) == 4


def test_results_and_report_import_no_torch() -> None:
    code = "import sys, likewise.comparison.results, likewise.comparison.report; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
