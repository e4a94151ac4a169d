"""A command in this process, for every file that needs no stricter one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise import placing
from likewise.cli import app
from tests.cli.commands import Call


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder, in this process; nothing that is raised may get out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIKEWISE_TRACEBACK", raising=False)
    # One core: what a test puts into this process is to be found where the work is done.
    monkeypatch.setattr(placing, "here", lambda: placing.Facts(1, 0.0, 1))

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run
