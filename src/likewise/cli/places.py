"""Places: `~` means the home folder in every option and argument that names a file, a folder, a run or a base.

A shell expands it only where a word begins with it, so `--out=~/x` arrives as it was typed. What a parameter means is told
by its metavar, and nothing else has to be done for a new one. Tests ask every parameter of every command.
"""

from __future__ import annotations

import re
from typing import Any

from likewise.files import expand

PLACES = {
    "BASE", "COMPARISON", "DIR", "FILE", "FOLDER", "MODEL", "OTHER", "PATH", "PICTURE", "PICTURES", "ROOT", "RUN",
}  # fmt: skip
"""First words of the metavars that name a place."""


def prepare(command: Any) -> None:
    """Make every place of a command, or of a group's commands, expand `~`. Doing it twice is harmless."""
    for parameter in command.params:
        if is_place(parameter) and not hasattr(parameter, "expands"):
            _expand_first(parameter)
    for inner in getattr(command, "commands", {}).values():
        prepare(inner)


def is_place(parameter: Any) -> bool:
    """Whether this parameter names a place."""
    found = re.match(r"\[?([A-Z]+)", parameter.metavar or "")
    return found is not None and found[1] in PLACES


def _expand_first(parameter: Any) -> None:
    process = parameter.process_value
    parameter.expands = True
    parameter.process_value = lambda context, value: process(context, expanded(value))


def expanded(value: Any) -> Any:
    """A text, or texts, as they were typed, with `~` spelled out; anything else as it is."""
    if isinstance(value, list | tuple):
        return type(value)(map(expanded, value))
    return str(expand(value)) if isinstance(value, str) and value.startswith("~") else value
