"""Concluded: `verdict.json` of a comparison folder, which holds everything that was concluded from its measurements.

What recommends and what draws pages reads this file alone. It is made again from the folder's other files, so it may be
deleted. No torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.comparison.standing import Standing
from likewise.errors import RunError
from likewise.files import expand, read_text

if TYPE_CHECKING:
    from likewise.comparison.verdicts import Decision

FILE = "verdict.json"
SCHEMA = 1


def read_verdict(folder: Path) -> tuple[list[Standing], dict[str, Decision]]:
    """The standings and the decision of each axis of a comparison folder.

    Raises `RunError` where the folder has no verdict, or one that this version does not read.
    """
    path = verdict_file(folder)
    return parse_verdict(read_text(path), path)


def comparison_file(folder: Path) -> Path:
    """Where comparison.json of a folder is; raises `RunError` that says what is missing where there is none."""
    place = expand(folder)
    if not place.is_dir():
        raise RunError.missing(f"there is no folder {folder}", "name one that `likewise compare` wrote")
    if not (place / "comparison.json").is_file():
        raise RunError(f"{folder} holds no comparison.json", "name one that `likewise compare` wrote")
    return place / "comparison.json"


def verdict_file(folder: Path) -> Path:
    """Where the verdict of a comparison folder is; raises `RunError` that says what is missing where there is none."""
    place = expand(folder)
    if (place / FILE).is_file():
        return place / FILE
    comparison_file(folder)
    raise RunError(
        f"the comparison in {folder} is not finished: {FILE} is missing",
        f"the same likewise compare command with --out {folder} goes on with it",
    )


def parse_verdict(text: str, source: object) -> tuple[list[Standing], dict[str, Decision]]:
    """What `verdict.json` says; `source` names it in errors."""
    from likewise.comparison.verdicts import Decision

    hint = "likewise recompute FOLDER makes it anew"
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise RunError(f"{source} is of schema {data['schema']!r}, and {SCHEMA} is read here", hint)
        standings = [Standing.from_json(one) for one in data["standings"]]
        decisions = {axis: Decision.from_json(one) for axis, one in data["decisions"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{source} is no verdict that is read here: {type(error).__name__} {error}", hint
        ) from None
    return standings, decisions
