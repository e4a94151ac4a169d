"""Comparisons: the same pictures, prompts and noise for every method, and what each one learned and cost.

`results` and `report` read folders and import no torch, so nothing here may import it before a comparison
starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likewise.base import Base


def compare(
    pictures: Path | Sequence[Path],
    *,
    noun: str,
    base: Base | str = "pocket",
    methods: Sequence[str] | None = None,
    token: str | None = None,
    description: str | None = None,
    out: Path | None = None,
    **options: Any,
) -> Path:
    """Teach the concept by every method, draw the same prompts with each, score them, and return the folder.

    Some pictures are kept from training and used for scoring alone. `description` adds what the untrained
    base makes of mere words. Further options: `prompts`, `seeds`, `sampler`, `hold_out`, `recipes` (settings
    per method), and any hyperparameter for all methods that have it. Starting again in the same `out`
    continues. See `comparison.prepare`.
    """
    from likewise.comparison.comparison import prepare  # not at the top: `report` must come without torch

    words: dict[str, Any] = {"noun": noun, "token": token, "description": description}
    comparison = prepare(pictures, base=base, methods=methods, out=out, **words, **options)
    for _ in comparison.start():
        pass
    return comparison.folder
