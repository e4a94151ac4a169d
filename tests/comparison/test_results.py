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
    trial="lora-1",
    title="LoRA (2)",
    kind="method",
    status="done",
    condition="lora",
    replicate=1,
    seed=1,
    fold=0,
    method="lora",
    cost={"bytes": 12345, "seconds": 1.5, "shared": 4},
    machine={"cores": 2},
    steps=400,
    recipe={"rank": 4},
    gallery="trials/lora-1/gallery",
    strip=[{"step": 0, "file": "trials/lora-1/run/samples/step000000/0000.png"}],
    digest="d1",
)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    results = Results(tmp_path / "new")
    results.put(ROW)
    assert results.rows() == [ROW]
    assert Row.from_json(ROW.to_json() | {"from a later version": 1}) == ROW


def test_a_row_of_before_conditions_is_its_own(tmp_path: Path) -> None:
    former = {
        key: value
        for key, value in ROW.to_json().items()
        if key not in ("condition", "replicate", "seed", "fold")
    }
    row = Row.from_json(former | {"trial": "lora", "scores": {"fidelity": {"mean": 0.5}}})
    assert (row.condition, row.replicate, row.seed, row.fold) == ("lora", None, None, None)
    assert row.scores["fidelity"]["mean"] == 0.5


def test_a_trial_has_one_row_in_its_planned_place(tmp_path: Path) -> None:
    results, order = Results(tmp_path), ["base", "lora-0", "lora-1"]
    for trial in ("lora-1", "lora-0", "base"):
        results.put(replace(ROW, trial=trial))
    results.put(replace(ROW, trial="lora-0", status="failed", reason="out of memory"))
    results.keep(order)
    assert [row.trial for row in results.rows()] == order
    assert [row.status for row in results.rows()] == ["done", "failed", "done"]
    results.keep(["base", "lora-0"])
    assert [row.trial for row in results.rows()] == ["base", "lora-0"]


def test_a_row_costs_a_line_however_many_there_are(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(ROW)
    first = results.path.read_bytes()
    for number in range(50):
        results.put(replace(ROW, trial=f"lora-{number}"))
    assert results.path.read_bytes().startswith(first), "what was written is not written again"


def test_a_torn_last_line_is_a_row_not_yet_written(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.put(replace(ROW, trial="base"))
    results.put(ROW)
    whole = results.path.read_text(encoding="utf-8")
    results.path.write_text(whole[: len(whole) - 40], encoding="utf-8")
    assert [row.trial for row in results.rows()] == ["base"]
    results.put(ROW)
    assert [row.trial for row in results.rows()] == ["base", ROW.trial], "the torn line is gone"


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


def test_what_reads_folders_imports_no_torch() -> None:
    modules = "likewise.comparison.results, likewise.comparison.concluding, likewise.reports.comparison"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
