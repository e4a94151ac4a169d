"""Plan: what a fetch is asked for. What it asks the site, and what becomes of the answers, is the fetch's own business."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, Literal

from likewise.survey.listing import LIMIT


@dataclass(frozen=True)
class Plan:
    """What is wanted. `seed` decides which ids are drawn; `begun` is UTC."""

    mode: Literal["sample", "census", "panel"]
    url: str
    size: int | None = None
    """Ids of a sample."""
    type: str | None = None
    """The type of a census."""
    ids: tuple[int, ...] = ()
    """Ids of a panel."""
    nsfw: bool = True
    sort: str = "Oldest"
    """`Newest` would skip a model at each page boundary."""
    seed: int = 0
    begun: str = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None).isoformat())

    @property
    def request(self) -> dict[str, Any]:
        """What makes two plans the same wish."""
        return {key: value for key, value in asdict(self).items() if key not in ("seed", "begun")}

    @property
    def requests(self) -> int | None:
        """About how many requests it takes; None where nobody can know."""
        if self.mode == "census":
            return None
        ids = len(self.ids) if self.mode == "panel" else int(self.size or 0)
        extra = (
            3 + ceil(ids / 1000) if self.mode == "sample" else 0
        )  # the largest id; a tenth are checkpoints
        return ceil(ids / LIMIT) + extra
