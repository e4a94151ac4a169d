"""Another judge for a finished comparison: all scores are its own, and nothing else moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from likewise.comparison import concluding
from likewise.comparison.rejudging import rejudge
from likewise.errors import RunError
from tests.bases import pictures as painted
from tests.comparison.plans import planned, rows_of
from tests.metrics.judges import panel


def scores(folder: Path) -> dict[str, str]:
    found = (folder / "trials").glob("*/scores.json")
    return {path.parent.name: path.read_text(encoding="utf-8") for path in found}


def test_another_judge_gives_what_a_comparison_by_it_gives(tmp_path: Path) -> None:
    """Red when a score of the earlier judge is kept, or the verdict is not written again."""
    source = painted(tmp_path / "owls", 5)
    comparison, other = planned(source, tmp_path / "a"), planned(source, tmp_path / "b")
    list(comparison.start(judges=panel(0)))
    later = panel(1)
    for one in (later.pictures, later.prompts):
        one.id = "untrained-2"
    list(other.start(judges=later))
    before, rows = scores(comparison.folder), rows_of(comparison.folder)
    cards = rejudge(comparison.folder, later)
    assert all("untrained-2" in card for card in cards if "untrained" in card)
    assert scores(comparison.folder) == scores(other.folder)
    assert scores(comparison.folder) != before
    assert rows_of(comparison.folder) == rows, "nothing is taught or drawn"
    ours, theirs = concluding.conclude(comparison.folder), concluding.conclude(other.folder)
    assert json.dumps(ours["scale"]) == json.dumps(theirs["scale"])
    assert concluding.differences(comparison.folder)[0] == []
    list(planned(source, comparison.folder).start(judges=panel(2)))
    assert scores(comparison.folder) == scores(other.folder), "it is finished, and stays as it is"


def test_what_is_not_finished_is_not_judged_anew(tmp_path: Path) -> None:
    comparison = planned(painted(tmp_path / "owls", 5), tmp_path / "out")
    events = comparison.start(judges=panel())
    next(events)
    events.close()
    with pytest.raises(RunError, match="not finished"):
        rejudge(comparison.folder, panel())
