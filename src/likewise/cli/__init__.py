"""The command line: parsing and printing only. Functions of the same names do all of it from Python.

`likewise --help` must stay quick, so nothing here imports torch, pydantic or rich until a command needs it.
"""

from __future__ import annotations

import sys

from likewise.cli import (  # noqa: F401 - each registers its commands
    checking,
    choosing,
    comparing,
    converting,
    doctor,
    drawing,
    estimating,
    examples,
    explaining,
    files,
    folders,
    scoring,
    selfchecking,
    serving,
    survey,
    survey_reading,
    teaching,
    voting,
)
from likewise.cli.app import app
from likewise.narrow import own_process

__all__ = ["app", "main"]


def main() -> int:
    """Run the command that `sys.argv` names; returns the exit code."""
    own_process()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without Unicode shows ? instead of failing
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="likewise")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0 if done.code is None else 1
    return 0
