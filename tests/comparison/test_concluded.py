"""verdict.json is read back as it was concluded, and what is none is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from likewise.comparison.concluded import read_verdict
from likewise.errors import RunError
from tests.comparison.situations import decided, gate, standing, write_verdict

FIELD = [standing("base", 0.02, kind="floor"), standing("lora", 0.6, gates=(gate(remedy="fewer steps"),))]


def test_standings_and_decisions_come_back_equal(tmp_path: Path) -> None:
    write_verdict(tmp_path, FIELD, decided(FIELD))
    assert read_verdict(tmp_path) == (FIELD, decided(FIELD))


def test_a_folder_without_a_verdict_is_refused_with_what_makes_one(tmp_path: Path) -> None:
    for folder, wanted in ((tmp_path / "nowhere", "there is no folder"), (tmp_path, "holds no comparison")):
        with pytest.raises(RunError, match=wanted) as refused:
            read_verdict(folder)
        assert "likewise compare" in (refused.value.hint or "")
    (tmp_path / "comparison.json").touch()
    with pytest.raises(RunError, match="is not finished") as refused:
        read_verdict(tmp_path)
    assert f"--out {tmp_path}" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"schema": 2}, "is of schema 2"),
        ({"standings": [{"name": "lora"}]}, "KeyError 'axes'"),
        ({"decisions": []}, "AttributeError"),
        ({"standings": None}, "TypeError"),
    ],
)
def test_another_schema_and_damage_are_refused(change: dict[str, Any], wanted: str, tmp_path: Path) -> None:
    path = write_verdict(tmp_path, FIELD, decided(FIELD))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=wanted):
        read_verdict(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_what_is_no_verdict_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(text)
    with pytest.raises(RunError, match="is no verdict"):
        read_verdict(tmp_path)
