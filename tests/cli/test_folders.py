"""`runs` and `report`, and how a run is found by its name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from likewise.cli.app import find_run
from likewise.errors import RunError
from tests.cli.commands import Call, finished_run


def test_runs_without_any_says_how_to_start(call: Call) -> None:
    result = call("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "likewise teach" in result.stderr
    assert json.loads(call("runs", "--json").stdout) == []


def test_report_of_what_is_no_comparison(call: Call) -> None:
    result = call("report", "nowhere")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")


def test_runs_are_found_by_path_name_and_as_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
    with pytest.raises(RunError, match="is finished") as none:
        find_run("latest", finished=True)
    assert "--resume runs/2026-01-02-cat-lora-1" in str(none.value.hint)
    Path("runs/2026-01-01-dog-lora-1/result.json").touch()
    assert find_run("latest", finished=True) == Path("runs/2026-01-01-dog-lora-1")
    assert "runs/2026-01-02-cat-lora-1 is not finished; latest is runs/2026-01-01" in capsys.readouterr().err
    with pytest.raises(RunError) as caught:
        find_run("2026-01-02-cat-lora-2")
    assert "2026-01-02-cat-lora-1" in str(caught.value.hint)


def test_a_run_that_left_nothing_has_no_files_and_is_not_drawn_with(
    call: Call,
) -> None:
    done = finished_run(call)
    failed = Path(shutil.copytree(done, "runs/failed"))
    (failed / "result.json").unlink()
    os.utime(failed / "run.toml")
    files = {Path(row["folder"]).name: row["files"] for row in json.loads(call("runs", "--json").stdout)}
    assert files == {"failed": None, done.name: 1}
    refused = call("sample", "a sks dog", "--with", "failed", "--out", "drawn")
    assert refused.exit_code == 1
    assert "runs/failed is not finished: it is " in refused.stderr
    assert "hint: go on with it: likewise teach --resume runs/failed" in refused.stderr
    assert "drawing" not in refused.stderr
    drawn = call("sample", "a sks dog", "--with", "latest", "-n", "1", "--steps", "1", "--out", "drawn")
    assert drawn.exit_code == 0
    assert f"note: runs/failed is not finished; latest is runs/{done.name}" in drawn.stderr
