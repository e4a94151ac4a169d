"""Comparisons: the same pictures, prompts and noise for every method, and what each one learned and cost.

`results` and `report` read folders and import no torch, so nothing here may import it before a comparison
starts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likewise.base import Base
    from likewise.intake import Source

logger = logging.getLogger(__name__)


def compare(
    pictures: Source,
    *,
    noun: str | None = None,
    base: Base | str = "pocket",
    methods: str | Sequence[str] | None = None,
    token: str | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Path:
    """Teach the concept by every method, draw the same prompts with each, score them, and return the folder.

    Some pictures are kept from training and used for scoring alone. Further options: `size` (quick, standard or
    thorough), `description` (what the untrained base makes of mere words), `conditions`, `files`, `prompts`, `seeds`,
    `recipes` (settings per method), and any hyperparameter for all methods that have it. Starting again in the same
    `out` continues. See `comparison.preparing.prepare`.

    The name of a kohya folder stands in for a missing noun and token. Warnings and failed methods are logged.
    """
    from likewise.comparison.preparing import prepare  # not at the top: `report` must come without torch
    from likewise.events import Progress, TrialEnded, Warned
    from likewise.planning import Subject, look

    seen = look(Subject(pictures, noun, token))
    comparison = prepare(
        pictures, noun=str(seen.noun), token=seen.token, base=base, methods=methods, out=out, **options
    )
    said = set[str]()
    for event in comparison.start():
        if isinstance(event, Progress) and isinstance(event.inner, Warned) and event.inner.text not in said:
            said.add(event.inner.text)
            logger.warning(event.inner.text)
        elif isinstance(event, TrialEnded) and event.row["status"] == "failed":
            logger.warning("%s failed: %s", event.row["title"], event.row["reason"])
    return comparison.folder
