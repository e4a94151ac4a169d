"""Fetching: which pages to ask for, in three modes, and how what they hold becomes a snapshot of the store.

A fetch is one deterministic program over pages. Run against the site, each page is kept before it is used; run
again, kept pages are not asked for. So going on after a crash and reading offline are the same thing as fetching.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any, Literal

from likewise.errors import SurveyError
from likewise.survey.archive import Archive, find
from likewise.survey.civitai import Asked, Client, Unavailable, asked
from likewise.survey.shapes import SMALL, Model, Page
from likewise.survey.store import Snapshot, Store

LIMIT = 100
"""Models of one page, and ids of one request; the site gives no more."""
CHECKPOINT = "Checkpoint"
CHECKPOINT_TYPES = ("Trained", "Merge")
PROBES, PROBE_PAGES, PROBE_HITS = 20, 5, 500
"""Requests of random ids, pages of another order, and models that are enough, to see whether a census is complete."""
RARE = 5
"""Where a request of random ids finds fewer of the type, the other order is the better use of requests."""
MOST_BROKEN = 5
"""Cursors of one list that may fail before it is given up."""
CLIMBS = 5
"""Requests for ids above the largest that was seen."""
PANEL_DAYS = 14
_NONE = "types are spelled as on the site, such as LORA or TextualInversion; a sample needs ids enough to find some"
FRESH = timedelta(minutes=5)
"""The site answers from its memory for so long."""

Progress = Callable[[int, int], object]
"""Told the requests sent and the models found so far."""


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


@dataclass
class Outcome:
    """What the program learned besides the models themselves."""

    asked: dict[int, bool] = field(default_factory=dict)
    """Each id that was asked for, and whether it was found."""
    checkpoint_types: dict[int, str | None] = field(default_factory=dict)
    largest_id: int | None = None
    seen: set[int] = field(default_factory=set)
    complete: bool = True
    unanswered: int = 0
    """Requests that failed and can be made up for."""
    notes: list[str] = field(default_factory=list)

    def typed(self, models: Iterable[Model], kind: str) -> None:
        """Note what kind of checkpoint the site listed these as; one listed as both is neither."""
        for model in models:
            before = self.checkpoint_types.get(model.id, kind)
            self.checkpoint_types[model.id] = kind if before == kind else None


class Source:
    """Pages from the archive as long as it has them, then from the site. Without a client, from the archive alone."""

    def __init__(self, archive: Archive, client: Client | None = None) -> None:
        archive.index()
        self.archive, self.client = archive, client

    def ask(self, parameters: Asked, refuse: Container[str] = ()) -> Page:
        """One page; one from the site is kept first, unless its next cursor is one of `refuse`."""
        if page := self.archive.take(parameters):
            return page
        if self.client is None:
            raise Unavailable(f"{self.archive.folder} has no page for this request")
        page = self.client.models(parameters)
        if page.cursor is not None and page.cursor in refuse:
            raise SurveyError(
                f"{self.client.url} goes in circles: a page leads back to cursor {page.cursor!r}",
                f"the pages so far are in {self.archive.folder}; later, the same command goes on",
            )
        self.archive.append(page)
        return page


def pages(source: Source, outcome: Outcome, **parameters: Any) -> Iterator[Page]:
    """All pages of a list, by cursor. Only a missing cursor is its end: pages may be short, empty or repeat models.

    A cursor that the site calls invalid is got again from the page before. If it is the same and fails again, the
    list ends there; if that page fails too, the site has changed all its cursors, and the list begins again, once.
    """
    cursor: str | None = None
    before: str | None = None
    seen: set[str] = set()
    broken: list[str | None] = []
    begun_again = False
    while True:
        page = source.ask(asked(**parameters, limit=LIMIT, cursor=cursor), seen)
        if page.status != 200:
            again = None
            if cursor not in broken and len(broken) < MOST_BROKEN:
                broken.append(cursor)
                seen.discard(cursor or "")
                again = source.ask(asked(**parameters, limit=LIMIT, cursor=before))
            if again is None or (again.status != 200 and begun_again):
                outcome.notes.append(
                    "the list ends in a cursor that the site cannot read; what follows is hidden"
                )
                return
            if again.status != 200:
                outcome.notes.append("the site changed its cursors on the way, so the list was begun again")
                begun_again, cursor, before = True, None, None
                seen.clear()
                continue
            page, cursor = again, before
        yield page
        if page.cursor is None:
            return
        seen.add(page.cursor)
        before, cursor = cursor, page.cursor


def program(plan: Plan, source: Source, outcome: Outcome) -> Iterator[list[Model]]:
    """The models of a plan as they are found, each id once; all else goes into `outcome`."""
    if plan.mode == "census":
        found = _census(plan, source, outcome)
    else:
        found = _by_id(plan, source, outcome)
    for models in found:
        new = {model.id: model for model in models if model.id not in outcome.seen}
        outcome.seen.update(new)  # in place; |= would copy the whole set for each page
        yield list(new.values())
    if plan.mode == "census" and outcome.complete:
        _probe(plan, source, outcome)
    if outcome.unanswered:
        outcome.complete = False
        outcome.notes.append(f"{outcome.unanswered} requests failed; the same command asks for these again")


def _by_id(plan: Plan, source: Source, outcome: Outcome) -> Iterator[list[Model]]:
    """Ids a hundred at a time; those that vanished are left out by the site, and that is a measurement."""
    ids: Sequence[int] = plan.ids
    common = {"nsfw": plan.nsfw, "archived": True}
    if plan.mode == "sample":
        outcome.largest_id = _largest(plan, source)
        size = min(int(plan.size or 0), outcome.largest_id)
        ids = random.Random(plan.seed).sample(range(1, outcome.largest_id + 1), size)
    checkpoints: list[int] = []
    for some in _hundreds(ids):
        models = _all(source, outcome, ids=some, **common)
        if models is None:
            continue
        wanted, there = set(some), {model.id for model in models}
        outcome.asked.update((number, number in there) for number in some)
        checkpoints += [model.id for model in models if model.type == CHECKPOINT]
        yield [model for model in models if model.id in wanted]
    # Asked when all are known, so that they are asked for in the same hundreds; a panel knows from before.
    if outcome.unanswered or plan.mode == "panel":
        return
    for some in _hundreds(list(dict.fromkeys(checkpoints))):
        for kind in CHECKPOINT_TYPES:
            models = _all(source, outcome, ids=some, types=CHECKPOINT, checkpointType=kind, **common)
            outcome.typed(models or (), kind)


def _hundreds(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + LIMIT] for start in range(0, len(ids), LIMIT))


def _all(source: Source, outcome: Outcome, **parameters: Any) -> list[Model] | None:
    """The models of a short list; None where the site failed, which need not end a sample: others are left."""
    try:
        return [model for page in pages(source, outcome, **parameters) for model in page.models]
    except Unavailable:
        outcome.unanswered += 1
        return None


def _largest(plan: Plan, source: Source) -> int:
    """The largest id: of those that changed last, and then as far up as ids are found."""
    page = source.ask(asked(sort="Newest", limit=LIMIT, nsfw=plan.nsfw))
    largest = max((model.id for model in page.models), default=0)
    for _ in range(CLIMBS):
        above = range(largest + 1, min(largest + LIMIT, SMALL) + 1)
        if not above:
            break
        page = source.ask(asked(ids=above, limit=LIMIT, nsfw=plan.nsfw, archived=True))
        if not page.models:
            break
        largest = max(model.id for model in page.models)
    if not largest:
        raise SurveyError(f"{plan.url} lists no model at all", "is --url right?")
    return largest


def _census(plan: Plan, source: Source, outcome: Outcome) -> Iterator[list[Model]]:
    """Every model of a type, by the date of its last version. Checkpoints are listed again, trained and merged apart:
    answers do not tell, only the question does, and some are neither."""
    for kind in (None, *CHECKPOINT_TYPES) if plan.type == CHECKPOINT else (None,):
        listed = {"types": plan.type, "checkpointType": kind, "sort": plan.sort, "nsfw": plan.nsfw}
        for page in pages(source, outcome, **listed, archived=True):
            models = page.models
            if kind:
                outcome.typed(models, kind)
            outcome.largest_id = max([outcome.largest_id or 0, *(model.id for model in models)])
            yield models


def _probe(plan: Plan, source: Source, outcome: Outcome) -> None:
    """Is the census complete? Look for models of its type by random ids, and by another order where the type is rare."""
    lost, hits = set[int](), set[int]()
    draw = random.Random(plan.seed)
    common = {"types": plan.type, "nsfw": plan.nsfw, "archived": True}

    def check(models: Iterable[Model]) -> None:
        for model in models:
            published = model.row()["first_published"]
            if published is None or published < datetime.fromisoformat(plan.begun):
                hits.add(model.id)
                if model.id not in outcome.seen:
                    lost.add(model.id)

    top = outcome.largest_id or 0
    for number in range(min(PROBES, ceil(top / LIMIT))):
        if len(hits) >= PROBE_HITS or len(hits) < RARE * (number - 2):
            break
        some = sorted(draw.sample(range(1, top + 1), min(LIMIT, top)))
        check(_all(source, outcome, ids=some, **common) or ())
    listed = pages(source, outcome, **common, sort="Most Downloaded")
    for _ in range(PROBE_PAGES):
        if len(hits) >= PROBE_HITS or not (page := next(listed, None)):
            break
        check(page.models)
    if not hits:
        outcome.notes.append(
            f"no {plan.type} was found by any other way, so nothing says how complete this is"
        )
    if lost:
        outcome.complete = False
        share = 100 * len(lost) / len(hits)
        outcome.notes.append(
            f"{len(lost)} of {len(hits)} models looked for are not in the census: about {share:.2g} % were lost"
        )


def panel(url: str, store: Store, seed: int) -> tuple[Plan, list[str]]:
    """The plan that asks again for what the newest sample found, or without one the newest census, and what to say of it.

    Raises `SurveyError` where the store has neither.
    """
    there = [one for one in store.snapshots() if one.mode in ("sample", "census")]
    before = sorted(
        there, key=lambda one: one.mode == "sample"
    )  # which stands for all, and a census for its type
    if not before:
        raise SurveyError(
            f"{store.path} has no sample and no census", "likewise survey fetch --sample 20000 first"
        )
    plan = Plan("panel", url, ids=tuple(store.ids(before[-1].number)), nsfw=bool(before[-1].nsfw), seed=seed)
    days = (datetime.fromisoformat(plan.begun) - before[-1].taken).days
    if days >= PANEL_DAYS:
        return plan, []
    return plan, [
        f"only {days} days since snapshot {before[-1].number}; {PANEL_DAYS} or more tell demand from chance"
    ]


def fetch(plan: Plan, root: Path, client: Client, progress: Progress | None = None) -> Archive:
    """Fetch what is left of a plan into its archive below `root`, which is returned; `load` brings it to a store."""
    archive = resume(plan, root) or Archive.create(root, plan.mode, asdict(plan))
    plan, outcome = plan_of(archive), Outcome()
    with archive:
        for _ in program(plan, Source(archive, client), outcome):
            if progress:
                progress(client.sent, len(outcome.seen))
        if not outcome.unanswered:
            archive.finish({"complete": outcome.complete, "notes": outcome.notes})
    return archive


def resume(plan: Plan, root: Path) -> Archive | None:
    """The unfinished archive of the same wish, if there is one. Raises `SurveyError` where a finished one is so fresh
    that the site would only answer the same again."""
    same = [archive for archive in find(root) if plan_of(archive).request == plan.request]
    for archive in same:
        age = datetime.fromisoformat(plan.begun) - datetime.fromisoformat(plan_of(archive).begun)
        if archive.done is not None and plan.mode != "sample" and age < FRESH:
            raise SurveyError(
                "the same was fetched less than five minutes ago", "the site would give the same answers"
            )
    return next((archive for archive in reversed(same) if archive.done is None), None)


def plan_of(archive: Archive) -> Plan:
    """The plan that an archive was made for."""
    try:
        facts = dict(archive.plan)
        return Plan(**facts | {"ids": tuple(facts["ids"])})
    except (TypeError, KeyError, ValueError):
        raise SurveyError(f"{archive.folder} was made by another version of likewise") from None


def load(archive: Archive, store: Store) -> tuple[int, Outcome]:
    """Read an archive into a store, all or nothing, in place of an earlier reading of it. Needs no network.

    Returns the snapshot's number and what else was learned.
    """
    plan, outcome = plan_of(archive), Outcome()
    snapshot = Snapshot(
        taken=datetime.fromisoformat(plan.begun),
        source=f"{archive.folder.name}, begun {plan.begun}",
        mode=plan.mode,
        parameters={key: value for key, value in archive.plan.items() if key not in ("ids", "begun")},
        nsfw=plan.nsfw,
    )

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for models in program(plan, Source(archive), outcome):
                yield from (model.row() for model in models)
        except Unavailable:
            outcome.complete = False
            outcome.notes.append("the fetch was not finished; the same command goes on with it")

    with store.transaction():
        number = store.begin(snapshot)
        if not store.add(number, rows()):
            of = f" of type {plan.type!r}" if plan.mode == "census" else ""
            raise SurveyError(f"{archive.folder} has no model{of}", _NONE)
        store.ask(number, outcome.asked.items())
        known = store.checkpoint_types() if plan.mode == "panel" else outcome.checkpoint_types
        store.set_checkpoint_types(number, known.items())
        store.mark(number, complete=outcome.complete, largest_id=outcome.largest_id)
    return number, outcome
