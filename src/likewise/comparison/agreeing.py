"""Agreeing: whether what is asked for now would replace what a comparison's folder holds. No torch.

A folder is gone on with, and more may be compared in it. What was taught or drawn there is never replaced: that would make
another comparison of it without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import likewise
from likewise.comparison.design import Trial
from likewise.comparison.protocol_file import compare_protocols
from likewise.comparison.results import Row
from likewise.errors import RunError


def refuse_to_replace(
    folder: Path,
    book: Mapping[str, Any],
    rows: Sequence[Row],
    trials: Sequence[Trial],
    digest: Callable[[Trial], str],
) -> None:
    """Raise `RunError` where a trial that is done in `folder` would be done again, and say what differs.

    `book` is the folder's comparison.json, `digest` that of all that a trial depends on now.
    """
    done = {row.trial: row for row in rows if row.status == "done"}
    for trial in trials:
        row = done.get(trial.name)
        if row is None or row.digest == digest(trial):
            continue
        why, beside = _difference(book, row, trial), ""
        if trial.condition.kind == "method" and row.method == trial.condition.method:
            beside = f", or compare it beside the first: --condition NAME={row.method},KEY=VALUE"
        raise RunError(
            f"{folder} holds {row.title} as it was asked for before: {why}",
            f"ask for the same to go on with it; name another folder with --out to begin anew{beside}",
        )


def dropped(rows: Sequence[Row], trials: Sequence[Trial]) -> list[str]:
    """The conditions that have results and are not asked for now."""
    names = {trial.condition.name for trial in trials}
    left = [row.condition for row in rows if row.condition not in names and row.status == "done"]
    return list(dict.fromkeys(left))


def _difference(book: Mapping[str, Any], row: Row, trial: Trial) -> str:
    """Why a trial is another one, as a clause. What is recorded is compared, and what is not is told by what is left."""
    condition, recipe = trial.condition, trial.recipe
    if row.method != condition.method:
        return f"its method was {row.method} and is now {condition.method}"
    asked = recipe.model_dump(mode="json") if recipe else {}
    if changed := compare_protocols(row.recipe, asked):
        return changed
    described = {one["name"]: one for one in book.get("conditions", ())}
    words = described.get(condition.name, {}).get("words")
    if words != condition.words:
        return f"its words were {words!r} and are now {condition.words!r}"
    if book.get("version") != likewise.__version__:
        return f"it was made by likewise {book.get('version')}, and this is {likewise.__version__}"
    if condition.kind == "file":
        return "the file is another"
    return "its pictures have other captions or repeats, or its class pictures are others"
