"""A site is fetched without pauses, and held against the truth."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from likewise.survey import fetching
from likewise.survey.archive import Archive
from likewise.survey.civitai import Client
from likewise.survey.fetching import Outcome
from likewise.survey.plan import Plan
from likewise.survey.store import Store
from rehearsal.catalogue import Catalogue
from rehearsal.server import Rehearsal


def fetch(plan: Plan, root: Path, budget: int = 400) -> Archive:
    with Client(plan.url, budget=budget, pause=0.0) as client:
        return fetching.fetch(plan, root, client)


def taken(plan: Plan, root: Path, store: Store) -> tuple[int, Outcome]:
    return fetching.load(fetch(plan, root), store)


def missing_and_wrong(store: Store, catalogue: Catalogue, number: int, chosen: str) -> tuple[int, int]:
    """Rows of the truth that the snapshot lacks, and rows of the snapshot that are not of the truth."""
    truth = catalogue.write(store)
    same = "SELECT * EXCLUDE (snapshot) FROM models WHERE snapshot = {} AND " + chosen
    lacking, wrong = (
        store.connection.execute(f"({same.format(a)}) EXCEPT ALL ({same.format(b)})").fetchall()
        for a, b in ((truth, number), (number, truth))
    )
    return len(lacking), len(wrong)


def repeated(site: Rehearsal) -> list[Any]:
    return [
        pairs for pairs, times in Counter(request.pairs for request in site.requests).items() if times > 1
    ]
