"""How things look: tables, colours, sizes, times and paths."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from likewise.cli import terminal


def test_a_table_on_a_narrow_terminal_becomes_blocks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("cat.png", "small [bold]words[/bold] here", True), ("dog.png", "", None)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for width in (80, 40, 12):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal.table(("file", "note", "usable"), rows)
        out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
        if width == 12:
            assert out == "file: cat.png\nnote: small [bold]words[/bold] here\nusable: yes\n\nfile: dog.png\n"
        else:
            assert out.splitlines()[0].split() == ["file", "note", "usable"]
            assert max(map(len, out.splitlines())) <= width
            assert "[bold]words[/bold]" in out


def test_plain_where_there_is_no_terminal_or_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not terminal.fancy()  # pytest's own stderr
    monkeypatch.setattr(sys, "stderr", Screen())
    assert terminal.fancy()
    for name in ("NO_COLOR", "CI"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not terminal.fancy()
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.fancy()


def test_paths_are_short_and_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert terminal.short(tmp_path / "runs" / "a") == os.path.join("runs", "a")
    assert terminal.short(tmp_path) == "."
    assert terminal.quoted("my runs/a") == "'my runs/a'"
