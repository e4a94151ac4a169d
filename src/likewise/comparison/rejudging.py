"""Rejudging: another judge looks at the pictures of a finished comparison. Nothing is taught and nothing is drawn.

Scores carry the card of their judge, and scores of two judges are never compared. So when a base has a newer judge, all
pictures of a comparison are scored again, and every number and sentence follows anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from likewise import records
from likewise.comparison import concluding
from likewise.comparison.concluded import comparison_file
from likewise.comparison.results import Results
from likewise.comparison.scoring import Scene, score
from likewise.errors import RunError
from likewise.files import expand, read_text, write_text
from likewise.metrics.features import Panel

ROLES = ("use", "class")


def rejudge(folder: Path, judges: Panel) -> tuple[str, ...]:
    """Score the pictures of `folder` by `judges`, write its verdict again, and return the new cards.

    Raises `RunError` where the comparison is not finished.
    """
    folder = expand(folder)
    path = comparison_file(folder)
    book: dict[str, Any] = json.loads(read_text(path))
    if not book.get("finished"):
        raise RunError(f"the comparison in {folder} is not finished", "go on with the command that began it")
    records.check_writable(folder)
    with records.locked(folder):
        prompts = {role: _of_role(book, role) for role in ROLES}
        scene = Scene(
            folder, book["pictures"], book["folds"], prompts, book["noun"], book.get("captions", ())
        )
        table = score(scene, Results(folder).rows(), judges)
        write_text(path, json.dumps(book | {"metrics": list(table)}, indent=1, ensure_ascii=False))
        concluding.write(folder)
    return tuple(metric["card"] for metric in table)


def _of_role(book: dict[str, Any], role: str) -> dict[str, str]:
    """Prompts of one role that are scored, by id: those of the test part."""
    return {p["id"]: p["text"] for p in book["prompts"] if p["role"] == role and p["part"] == "test"}
