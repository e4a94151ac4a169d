"""A command as a person types it: in an empty folder, as a process of its own, and a run that it left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from tests.bases import pictures

QUICK = ["--base", "tiny:sd", "steps=2", "checkpoint_every=0"]

Call = Callable[..., Result]


def environment(**more: str) -> dict[str, str]:
    """A child's: the package from where this process has it, and none of the terminal's wishes."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI", "COLUMNS")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def finished_run(call: Call, *more: str) -> Path:
    """A run of two steps on a miniature; its folder."""
    result = call("teach", pictures(Path("photos")), "--noun", "dog", "--token", "sks", *QUICK, *more)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.strip())
