"""Fetching: which pages to ask for, in three modes, and how what they hold becomes a snapshot of the store.

A fetch is one deterministic program over pages. Run against the site, each page is kept before it is used; run
again, kept pages are not asked for. So going on after a crash and reading offline are the same thing as fetching.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from likewise.errors import SurveyError
from likewise.survey import probing
from likewise.survey.archive import Archive, find
from likewise.survey.civitai import Client, Unavailable
from likewise.survey.listing import LIMIT, Listing, Source, Unrecorded
from likewise.survey.plan import Plan
from likewise.survey.shapes import Model
from likewise.survey.store import Snapshot, Store

CHECKPOINT = "Checkpoint"
CHECKPOINT_TYPES = ("Trained", "Merge")
PANEL_DAYS = 14
STALE_DAYS = 7
"""After so long an unfinished fetch is left alone: its counts and further ones would not stand at one date."""
SPREAD_DAYS = 2
"""Pages that lie further apart than this do not stand at one date, which is said."""
FRESH = timedelta(minutes=5)
"""The site answers from its memory for so long."""

Progress = Callable[[int, int], object]
"""Told the requests sent and the models found so far."""


@dataclass
class Outcome:
    """What the program learned besides the models themselves."""

    asked: dict[int, bool] = field(default_factory=dict)
    """Each id that was asked for, and whether it was found."""
    checkpoint_types: dict[int, str | None] = field(default_factory=dict)
    largest_id: int | None = None
    seen: set[int] = field(default_factory=set)
    complete: bool = True
    failures: Counter[str] = field(default_factory=Counter)
    """Requests that failed and can be made up for, by reason."""
    probe: probing.Probe | None = None
    open_ended: bool = False
    """Whether a list ended where the site could not read its cursor, at what may be the end."""
    notes: list[str] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Requests that the same command makes again."""
        return self.failures.total()

    def fail(self, error: Unavailable) -> None:
        """Note a request that was not answered."""
        self.failures[error.reason] += 1

    def cut(self, text: str) -> None:
        """Note that something is missing for good."""
        self.complete = False
        self.note(text)

    def note(self, text: str) -> None:
        """Say something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def typed(self, models: Iterable[Model], kind: str) -> None:
        """Note what kind of checkpoint the site listed these as; one listed as both is neither."""
        for model in models:
            before = self.checkpoint_types.get(model.id, kind)
            self.checkpoint_types[model.id] = kind if before == kind else None


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
    if plan.mode == "census" and outcome.seen:
        _probe(plan, source, outcome)
    if outcome.unanswered:
        outcome.complete = False


def _by_id(plan: Plan, source: Source, outcome: Outcome) -> Iterator[list[Model]]:
    """Ids a hundred at a time; those that vanished are left out by the site, and that is a measurement."""
    ids: Sequence[int] = plan.ids
    common = {"nsfw": plan.nsfw, "archived": True}
    if plan.mode == "sample":
        outcome.largest_id = probing.largest(plan, source)
        size = min(int(plan.size or 0), outcome.largest_id)
        ids = random.Random(plan.seed).sample(range(1, outcome.largest_id + 1), size)
    checkpoints: list[int] = []
    for some in _hundreds(ids):
        models = _all(source, outcome, ids=some, **common)
        if models is None:
            continue
        there = {model.id for model in models}
        outcome.asked.update((number, number in there) for number in some)
        checkpoints += [model.id for model in models if model.type == CHECKPOINT]
        yield models
    # Asked when all are known, so that they are asked for in the same hundreds; a panel knows from before.
    if outcome.unanswered or plan.mode == "panel":
        return
    for some in _hundreds(list(dict.fromkeys(checkpoints))):
        for kind in CHECKPOINT_TYPES:
            models = _all(source, outcome, ids=some, types=CHECKPOINT, checkpointType=kind, **common)
            outcome.typed(models or (), kind)


def _hundreds(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + LIMIT] for start in range(0, len(ids), LIMIT))


def _all(source: Source, outcome: Outcome, *, ids: Sequence[int], **parameters: Any) -> list[Model] | None:
    """Those of some ids that are there; None where the site does not tell, which need not end a sample: others are left."""
    listing = Listing(source, ids=ids, **parameters)
    try:
        models = [model for page in listing for model in page.models]
    except Unavailable as error:
        outcome.fail(error)
        return None
    wanted = set(ids)
    found = [model for model in models if model.id in wanted]
    if models and not found:
        outcome.cut("answers to a request for ids hold none of these; the ids are not counted")
        return None
    if listing.broken and len(found) < len(ids):
        outcome.cut(f"a list of ids breaks off, as {listing.broken}; its ids are not counted")
        return None
    return found


def _census(plan: Plan, source: Source, outcome: Outcome) -> Iterator[list[Model]]:
    """Every model of a type, by the date of its last version. Checkpoints are listed again, trained and merged apart:
    answers do not tell, only the question does, and some are neither."""
    for kind in (None, *CHECKPOINT_TYPES) if plan.type == CHECKPOINT else (None,):
        listed = {"types": plan.type, "checkpointType": kind, "sort": plan.sort, "nsfw": plan.nsfw}
        listing = Listing(source, **listed, archived=True)
        for page in listing:
            if kind:
                outcome.typed(page.models, kind)
            yield page.models
        if listing.begun_again:
            outcome.note("the site changed its cursors on the way, so the list was begun again")
        if listing.hides:
            outcome.cut(
                f"the list breaks off after {listing.found:,} models, as {listing.broken}; more must follow"
            )
        elif listing.broken:
            outcome.open_ended = True
            outcome.note("the list ends in a cursor that the site cannot read; if more follows, it is hidden")


def _probe(plan: Plan, source: Source, outcome: Outcome) -> None:
    """Hold a census against what other ways find of its type, and say what it lost."""
    found, outcome.largest_id, failed = probing.probe(plan, source, outcome.seen)
    for error in failed:
        # Recordings of earlier versions are finished, and lack requests that this one makes.
        if not (isinstance(error, Unrecorded) and source.archive.done is not None):
            outcome.fail(error)
    outcome.probe = found
    if not found.drawn and not found.others:
        outcome.note(f"no {plan.type} was found by any other way, so nothing says how complete this is")
    if outcome.open_ended and not found.end_seen:
        outcome.cut("nothing confirms that the list ended there")
    if found.lost:
        low, high = (100 * end for end in found.interval)
        outcome.cut(
            f"{found.lost:,} of {found.drawn + found.others:,} models looked for are not in the census: "
            f"{low:.2g} to {high:.2g} % of the type were lost (95 % interval)"
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
    if before[-1].rehearsal:
        return plan, ["all counts of an invented site stand at one date, so that this panel shows no demand"]
    days = max(0, (datetime.fromisoformat(plan.begun) - before[-1].taken).days)
    if days >= PANEL_DAYS:
        return plan, []
    return plan, [
        f"only {days} days since snapshot {before[-1].number}; {PANEL_DAYS} or more tell demand from chance"
    ]


def fetch(plan: Plan, root: Path, client: Client, progress: Progress | None = None) -> Archive:
    """Fetch what is left of a plan into its archive below `root`, which is returned; `load` brings it to a store.

    Raises `SurveyError` where requests failed and no model was found at all.
    """
    archive = resume(plan, root) or Archive.create(root, plan.mode, asdict(plan))
    plan, outcome = plan_of(archive), Outcome()
    with archive:
        try:
            for _ in program(plan, Source(archive, client), outcome):
                if progress:
                    progress(client.sent, len(outcome.seen))
        finally:
            archive.fail(outcome.failures)
        if not outcome.unanswered:
            archive.finish({"complete": outcome.complete, "notes": outcome.notes})
    if outcome.unanswered and not outcome.seen:
        raise _unanswered(archive)
    return archive


def resume(plan: Plan, root: Path) -> Archive | None:
    """The unfinished archive of the same wish, if there is one that is not stale. Raises `SurveyError` where a finished
    one is so fresh that the site would only answer the same again."""
    same = _same(plan, root)
    for archive in same:
        if archive.done is not None and plan.mode != "sample" and _age(plan, archive) < FRESH:
            raise SurveyError(
                "the same was fetched less than five minutes ago", "the site would give the same answers"
            )
    open_ones = (one for one in reversed(same) if one.done is None and not _stale(plan, one))
    return next(open_ones, None)


def stale(plan: Plan, root: Path) -> list[Archive]:
    """Unfinished archives of the same wish that are too old to go on with."""
    return [archive for archive in _same(plan, root) if archive.done is None and _stale(plan, archive)]


def _same(plan: Plan, root: Path) -> list[Archive]:
    return [archive for archive in find(root) if plan_of(archive).request == plan.request]


def _age(plan: Plan, archive: Archive) -> timedelta:
    return datetime.fromisoformat(plan.begun) - datetime.fromisoformat(plan_of(archive).begun)


def _stale(plan: Plan, archive: Archive) -> bool:
    return _age(plan, archive) > timedelta(days=STALE_DAYS)


def _unanswered(archive: Archive) -> SurveyError:
    reasons = failures_text(archive.failures)
    return SurveyError(
        f"no model was found, since every request for models failed: {reasons}",
        "wait a while and give the same command again, or check --url",
    )


def failures_text(failures: Mapping[str, int]) -> str:
    """Reasons with their counts, the commonest first: `answered 500 (4 times)`."""
    ordered = sorted(failures.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{reason} ({count} times)" if count > 1 else reason for reason, count in ordered)


def plan_of(archive: Archive) -> Plan:
    """The plan that an archive was made for."""
    try:
        facts = dict(archive.plan)
        return Plan(**facts | {"ids": tuple(facts["ids"])})
    except (TypeError, KeyError, ValueError):
        raise SurveyError(f"{archive.folder} was made by another version of likewise") from None


def load(archive: Archive, store: Store) -> tuple[int, Outcome]:
    """Read an archive into a store, all or nothing, in place of an earlier reading of it. Needs no network.

    The snapshot stands at the middle of its pages' dates, by the site's clock. Returns its number and what else was
    learned. Raises `SurveyError` where the archive has no model, with the reason.
    """
    plan, outcome, source = plan_of(archive), Outcome(), Source(archive)
    first, last = archive.span or (datetime.fromisoformat(plan.begun),) * 2
    snapshot = Snapshot(
        taken=first + (last - first) / 2,
        source=f"{plan.mode} of {plan.url}, begun {plan.begun}",
        mode=plan.mode,
        parameters={key: value for key, value in archive.plan.items() if key not in ("ids", "begun")},
        nsfw=plan.nsfw,
    )

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for models in program(plan, source, outcome):
                yield from (model.row() for model in models)
        except Unavailable:
            outcome.cut("the fetch was not finished; the same command goes on with it")

    with store.transaction():
        number = store.begin(snapshot)
        if not store.add(number, rows()):
            raise _empty(archive, plan, outcome)
        store.ask(number, outcome.asked.items())
        known = store.checkpoint_types() if plan.mode == "panel" else outcome.checkpoint_types
        store.set_checkpoint_types(number, known.items())
        facts: dict[str, Any] = {"probe": outcome.probe.facts()} if outcome.probe else {}
        facts |= {"rehearsal": True} if source.rehearsal else {}
        store.mark(number, complete=outcome.complete, largest_id=outcome.largest_id, facts=facts)
    if outcome.unanswered:
        outcome.note(f"{_left(archive, outcome)}; the same command asks for these again")
    if last - first > timedelta(days=SPREAD_DAYS):
        outcome.note(
            f"the pages were fetched over {(last - first).days} days; ages are those of the middle of them"
        )
    return number, outcome


def _left(archive: Archive, outcome: Outcome) -> str:
    """The requests that are left to make, with the reasons of those that failed."""
    why = failures_text(archive.failures)
    return f"{outcome.unanswered} requests " + (f"failed: {why}" if why else "are not recorded yet")


def _empty(archive: Archive, plan: Plan, outcome: Outcome) -> SurveyError:
    """Why an archive has no model: what failed, or else what was asked for."""
    if archive.failures:
        return _unanswered(archive)
    if outcome.notes or outcome.unanswered:
        why = "; ".join(outcome.notes or [_left(archive, outcome)])
        return SurveyError(f"{archive.folder} has no model: {why}", "give the same command again later")
    if plan.mode == "census":
        return SurveyError(
            f"{plan.url} lists no model of type {plan.type!r}",
            "types are spelled as on the site, such as LORA or TextualInversion",
        )
    return SurveyError(
        f"{plan.url} has none of the {len(outcome.asked):,} ids that were asked for",
        "ask for more with --sample" if plan.mode == "sample" else "is --url right?",
    )
