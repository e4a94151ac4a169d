"""The library's page: what it lists, and how little it reads for that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from likewise import records
from tests.local.served import Site

DONE = "2026-01-02-dog-lora-1"


def test_what_is_not_finished_is_told_and_what_is_done_is_not_read(
    site: Site, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red where the plan of every finished run is read for a page that lists files, and where a run of which more steps were
    asked counts as finished."""
    for name in ("broken", "longer", *(f"done-{n}" for n in range(5))):
        shutil.copytree(root / "runs" / DONE, root / "runs" / name)
    (root / "runs" / "broken" / "result.json").unlink()
    plan = root / "runs" / "longer" / "run.toml"
    plan.write_text("more_steps = 6\n" + plan.read_text(encoding="utf-8"), encoding="utf-8")
    os.utime(plan)
    read: list[str] = []
    own = records.read_plan
    monkeypatch.setattr(records, "read_plan", lambda folder: read.append(Path(folder).name) or own(folder))
    page = site.ask("/library").body.decode()
    rest = page.partition("Not finished")[2]
    assert "/runs/broken" in rest
    assert "/runs/longer" in rest
    assert "/runs/done-0" not in rest
    assert set(read) == {"broken", "longer"}
    assert "7 files" in page, "one of every run with a result"
