"""Examples and benchmarks run as they are, on a random miniature and with two steps."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from likewise.comparison import comparison
from tests.metrics.judges import panel

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
if not EXAMPLES:
    pytest.skip("the examples are not part of this copy", allow_module_level=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_explained(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 40, "an example is read at one glance"
    assert len(text.split('"""')[1].strip().splitlines()) == 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python examples/NAME.py` without arguments, but in this process: imports take longer than the rest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIKEWISE_EXAMPLE_BASE", "tiny:sd")
    monkeypatch.setenv("LIKEWISE_EXAMPLE_STEPS", "2")
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.setattr(comparison, "panel", lambda judges: panel())  # a judge, though one that knows nothing
    runpy.run_path(str(path), run_name="__main__")
    with Image.open(tmp_path / f"example-{path.stem}" / f"{path.stem}.png") as sheet:
        assert sheet.mode == "RGB"
        assert min(sheet.size) >= 128
        assert len(sheet.getcolors(sheet.width * sheet.height) or ()) > 100, "something must be drawn on it"


def test_an_example_takes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEWISE_EXAMPLE_BASE", "tiny:sd")
    path = ROOT / "examples" / "aesthetic.py"
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path / "here")])
    runpy.run_path(str(path), run_name="__main__")
    assert (tmp_path / "here" / "aesthetic.png").is_file()


@pytest.mark.parametrize("name", ["stacking", "sampling", "drawing"])
def test_benchmarks_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--smoke"])
    importlib.import_module(f"benchmarks.{name}").main()
    shown = capsys.readouterr().out
    assert shown.count("\n| ") >= 3, "a head, a rule and a line for each case"
    assert "torch" in shown, "the machine is described"


def test_results_are_kept_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import common

    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    rows = [{"slots": 1, "ratio": 1.0}, {"slots": 8, "ratio": 3.25}]
    common.finish("stacking", rows, {"base": "pocket"}, write=False)
    assert not common.RESULTS.exists()
    for _ in range(2):
        common.finish("stacking", rows, {"base": "pocket"}, write=True)
    first, second = (common.RESULTS / "stacking.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(first).keys() == {"date", "machine", "settings", "rows"}
    assert json.loads(second)["rows"] == rows
    assert {"cpus", "threads", "python", "torch"} <= json.loads(first)["machine"].keys()
    assert "|     8 |  3.25 |" in capsys.readouterr().out


def test_cases_are_measured_there_and_back() -> None:
    """A machine that gets slower meanwhile is then unfair to none."""
    from benchmarks.common import there_and_back

    assert list(there_and_back("AB", 2)) == ["A", "B", "B", "A"]
    assert list(there_and_back("ABC", 3)) == list("ABCCBAABC")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_find_all_that_they_name(path: Path) -> None:
    """Some take too long to be run here; a name that has moved shows all the same."""
    importlib.import_module(f"benchmarks.{path.stem}" if path.stem != "__init__" else "benchmarks")
