"""Probing: the largest id of the site, and whether a census is complete.

A census that breaks off has seen only a part of the ids, so its own pages cannot tell what it lost. The probe looks
for models of its type by ways that do not depend on the list: random ids up to the largest of the whole site, the
list's other end, and another order.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

from likewise.errors import SurveyError
from likewise.survey.civitai import Unavailable, asked
from likewise.survey.listing import LIMIT, Listing, Source
from likewise.survey.plan import Plan
from likewise.survey.shapes import SMALL, Model

PROBES, PROBE_PAGES, PROBE_HITS = 20, 5, 500
"""Requests of random ids, pages of another order, and models that are enough, to see whether a census is complete."""
RARE = 5
"""Where a request of random ids finds fewer of the type, the other order is the better use of requests."""
CLIMBS = 5
"""Requests for ids above the largest that was seen."""
_OTHER_END = {"Oldest": "Newest", "Newest": "Oldest"}


@dataclass(frozen=True)
class Probe:
    """What a census of `kept` models was held against.

    Random ids found `drawn` models of its type, of which `drawn_lost` are not in it; the other ways found `others`, of
    which `others_lost` are not in it and not among the drawn. `end_seen` says that the list's other end was looked at.
    """

    kept: int
    drawn: int
    drawn_lost: int
    others: int
    others_lost: int
    end_seen: bool

    @property
    def lost(self) -> int:
        """Models of the type that are known to be missing."""
        return self.drawn_lost + self.others_lost

    @property
    def interval(self) -> tuple[float, float]:
        """The share of the type that was lost, 95 %: Clopper and Pearson's interval of what random ids found.

        It is never below the share that is known to be missing. Without a find it is all that is possible.
        """
        from scipy.stats import beta

        n, k = self.drawn, self.drawn_lost
        low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
        high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
        known = self.lost / (self.kept + self.lost) if self.lost else 0.0
        return max(low, known), max(high, known)

    def facts(self) -> dict[str, Any]:
        """Plain data for the snapshot."""
        low, high = self.interval
        return {
            "drawn": self.drawn,
            "drawn_lost": self.drawn_lost,
            "lost": self.lost,
            "low": low,
            "high": high,
        }


def largest(plan: Plan, source: Source) -> int:
    """The site's largest id: of the models that changed last, and then as far up as ids are found."""
    found = 0
    for page in Listing(source, sort="Newest", nsfw=plan.nsfw):
        found = max((model.id for model in page.models if model.id <= SMALL), default=0)
        if found:
            break
    for _ in range(CLIMBS):
        above = range(found + 1, min(found + LIMIT, SMALL) + 1)
        if not above or not found:
            break
        page = source.ask(asked(ids=above, limit=LIMIT, nsfw=plan.nsfw, archived=True))
        higher = max((model.id for model in page.models if model.id in above), default=0)
        if not higher:
            break
        found = higher
    if not found:
        raise SurveyError(f"{plan.url} lists no model at all", "is --url right?")
    return found


def probe(plan: Plan, source: Source, seen: Collection[int]) -> tuple[Probe, int, list[Unavailable]]:
    """What a census that found `seen` was held against, the site's largest id, and the requests that failed.

    Where the site does not say its largest id, that of the census stands in. A model that was published after the
    census began is not missing from it.
    """
    failed: list[Unavailable] = []
    drawn, drawn_lost, others, others_lost = (set[int]() for _ in range(4))
    common = {"types": plan.type, "nsfw": plan.nsfw, "archived": True}

    def check(models: Iterable[Model], found: set[int], lost: set[int]) -> None:
        for model in models:
            published = model.row()["first_published"]
            if published is None or source.began is None or published <= source.began:
                found.add(model.id)
                if model.id not in seen:
                    lost.add(model.id)

    try:
        top = largest(plan, source)
    except Unavailable as error:
        failed.append(error)
        top = max(seen, default=0)
    draw = random.Random(plan.seed)
    for number in range(min(PROBES, ceil(top / LIMIT))):
        if len(drawn) >= PROBE_HITS or len(drawn) < RARE * (number - 2):
            break
        some = sorted(draw.sample(range(1, top + 1), min(LIMIT, top)))
        check(_listed(source, failed, PROBE_PAGES, ids=some, **common), drawn, drawn_lost)
    end = _listed(source, failed, 1, **common, sort=_OTHER_END.get(plan.sort, "Newest"))
    check(end, others, others_lost)
    if len(drawn) < PROBE_HITS:
        check(_listed(source, failed, PROBE_PAGES, **common, sort="Most Downloaded"), others, others_lost)
    counts = (len(drawn), len(drawn_lost), len(others), len(others_lost - drawn_lost))
    return Probe(len(seen), *counts, end_seen=bool(end)), top, failed


def _listed(source: Source, failed: list[Unavailable], most: int, **parameters: Any) -> list[Model]:
    """The models of the first pages of a list that have any, at most `most` of them; few where the site fails."""
    models: list[Model] = []
    filled = 0
    try:
        for page in Listing(source, **parameters):
            models += page.models
            filled += bool(page.models)
            if filled >= most:
                break
    except Unavailable as error:
        failed.append(error)
    return models
