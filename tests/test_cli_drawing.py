"""`likewise sample` into a folder that has pictures already."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from likewise.cli import app

WORDS = ["sample", "a dog", "--base", "tiny:sd", "-n", "1", "--out", "drawn"]


def test_pictures_of_other_settings_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery knows prompts and seeds: with another guidance or concept it would give back the old pictures."""
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, [*WORDS, "--steps", "1"], prog_name="likewise")
    assert first.exit_code == 0, first.output
    assert "drawing 1 picture\n" in first.stderr
    before = Path("drawn/0000.png").read_bytes()
    other = CliRunner().invoke(app, [*WORDS, "--steps", "2"], prog_name="likewise")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "drawn otherwise" in other.stderr
    assert Path("drawn/0000.png").read_bytes() == before
    same = CliRunner().invoke(app, [*WORDS, "a cat", "--steps", "1"], prog_name="likewise")
    assert same.stdout.splitlines() == ["drawn/0000.png", "drawn/0001.png", "drawn/sheet.png"]
