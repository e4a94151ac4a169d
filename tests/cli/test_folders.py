"""`runs` and `report`, and how a run is found by its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from likewise.cli.app import find_run
from likewise.errors import RunError
from tests.cli.commands import Call


def test_runs_without_any_says_how_to_start(call: Call) -> None:
    result = call("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "likewise teach" in result.stderr
    assert json.loads(call("runs", "--json").stdout) == []


def test_report_of_what_is_no_comparison(call: Call) -> None:
    result = call("report", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


def test_runs_are_found_by_path_name_and_as_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run in"):
        find_run("latest")
    for age, name in ((100, "2026-01-02-cat-lora-1"), (200, "2026-01-01-dog-lora-1")):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "run.toml").touch()
        os.utime(Path("runs") / name / "run.toml", (1e9 - age, 1e9 - age))
    assert find_run("latest") == Path("runs/2026-01-02-cat-lora-1")
    assert find_run("2026-01-01-dog-lora-1") == Path("runs/2026-01-01-dog-lora-1")
    assert find_run(tmp_path) == tmp_path
    with pytest.raises(RunError) as caught:
        find_run("2026-01-02-cat-lora-2")
    assert "2026-01-02-cat-lora-1" in str(caught.value.hint)
