"""What version 0.1 wrote is still read: runs, files of every layout, events and a comparison (see tests/material/0.1)."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likewise import formats, journal, records, sampling
from likewise.artifact import Artifact
from likewise.base import Sampler
from likewise.events import Attached, Compared, Finished, Stepped, TrialEnded, Unknown
from likewise.operations.difference import diff
from likewise.reports import comparison as report
from likewise.run import Run

MATERIAL = Path(__file__).parent / "material" / "0.1"
METHODS = ["aesthetic", "dreambooth", "hypernetwork", "lora", "textual_inversion"]
FILES = sorted(path.name for path in (MATERIAL / "files").iterdir())
KIND = {"embedding": "textual_inversion", "hypernetwork": "hypernetwork", "aesthetic": "aesthetic"}


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in. The wish to stop is older than the last event, as it was on the disk where it was left."""
    shutil.copytree(MATERIAL, tmp_path / "earlier")
    monkeypatch.chdir(tmp_path / "earlier")
    os.utime("runs/stopped/stop-asked", (1e9, 1e9))
    return tmp_path / "earlier"


def taught(method: str) -> Artifact:
    return formats.read(MATERIAL / "runs" / method / f"pictures-{method}.safetensors")


def test_runs_are_listed(earlier: Path) -> None:
    rows = {row["method"]: row for row in records.runs(earlier / "runs") if row["status"] == "done"}
    assert sorted(rows) == METHODS
    assert {(row["concept"], row["token"], row["noun"], row["base"]) for row in rows.values()} == {
        ("pictures", "sks", "dog", "tiny:sd")
    }
    assert rows["lora"]["steps"] == 2
    assert rows["lora"]["seconds"] > 0
    assert rows["lora"]["machine"] is None
    assert records.status(earlier / "runs" / "stopped") == "stopped"


@pytest.mark.parametrize("method", METHODS)
def test_a_finished_run_is_finished(method: str, earlier: Path) -> None:
    """Aesthetic embeddings among them, which had the settings of a training that they do not do."""
    (only,) = Run.open(Path("runs") / method).start()
    assert only == Finished(json.loads((earlier / "runs" / method / "result.json").read_text()))


def test_a_stopped_run_goes_on_and_a_wish_that_was_heeded_stops_it_no_more(earlier: Path) -> None:
    *events, last = Run.open(Path("runs/stopped")).start()
    assert [event.resumed for event in events if isinstance(event, Attached)] == [2]
    assert [event.step for event in events if isinstance(event, Stepped)] == [3, 4]
    assert isinstance(last, Finished)
    assert records.status(Path("runs/stopped")) == "done"


@pytest.mark.parametrize("method", METHODS)
def test_what_was_taught_is_read_and_drawn_with(method: str, earlier: Path) -> None:
    artifact = taught(method)
    kept = load_file(MATERIAL / "runs" / method / f"pictures-{method}.safetensors")
    assert artifact.tensors.keys() == kept.keys()
    assert all(torch.equal(artifact.tensors[name].float(), kept[name].float()) for name in kept)
    assert (artifact.method, artifact.token, artifact.noun, artifact.base) == (
        method,
        "sks",
        "dog",
        "tiny:sd",
    )
    small, run = Sampler(steps=1, size=64), Path("runs") / method
    assert len(sampling.sample("a sks dog", concepts=run, seeds=1, sampler=small, out="drawn")) == 1


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_layout_hold_what_was_taught(name: str) -> None:
    found = formats.read(MATERIAL / "files" / name)
    method = next((method for kind, method in KIND.items() if kind in name), "lora")
    assert found.method == method
    own = taught(method)
    assert found.tensors.keys() == own.tensors.keys()
    if (
        method == "lora"
    ):  # its factors are balanced before they are rounded to half precision; their product counts
        assert diff(found, own).total < 1e-6
    else:
        assert all(torch.equal(found.tensors[key].float(), own.tensors[key].float()) for key in own.tensors)


@pytest.mark.parametrize("folder", [*(f"runs/{method}" for method in METHODS), "runs/stopped", "comparison"])
def test_events_are_read_and_none_is_unknown(folder: str) -> None:
    events = journal.events(MATERIAL / folder)
    lines = (MATERIAL / folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert not [event for event in events if isinstance(event, Unknown)]
    assert [json.loads(json.dumps(event.to_json())) for event in events] == [
        json.loads(line) for line in lines
    ]


def test_the_events_of_a_comparison_say_what_was_done() -> None:
    events = journal.events(MATERIAL / "comparison")
    counted = Counter(event.row["status"] for event in events if isinstance(event, TrialEnded))
    assert counted == {"done": 2, "skipped": 1}
    assert isinstance(events[-1], Compared)


def test_the_report_of_a_comparison_is_built_again(earlier: Path) -> None:
    page = report.build(earlier / "comparison").read_text(encoding="utf-8")
    assert "Textual Inversion" in page
    summary = report.summary(earlier / "comparison")
    assert {row["trial"]: row["status"] for row in summary["trials"]}["textual_inversion"] == "done"
