"""A fetch goes on where it was interrupted, loses nothing to faults that pass, and stands at one date."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from likewise.errors import SurveyError
from likewise.survey import fetching
from likewise.survey.archive import Archive
from likewise.survey.plan import Plan
from likewise.survey.store import Store
from rehearsal.catalogue import Catalogue, generate
from rehearsal.server import Rehearsal
from rehearsal.site import QUIRKS
from tests.survey.fetched import fetch, missing_and_wrong, repeated, taken


@pytest.mark.parametrize("fault", ["400-cursor", "deploy"])
def test_cursors_that_stop_working_lose_nothing(
    catalogue: Catalogue, store: Store, tmp_path: Path, fault: str
) -> None:
    with Rehearsal(catalogue, script={4: fault}.get) as site:
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)
    assert outcome.complete
    begun = sum("cursor" not in dict(r.pairs) and "Oldest" in dict(r.pairs).values() for r in site.requests)
    assert begun == (2 if fault == "deploy" else 1)


def test_a_broken_cursor_is_got_again_from_the_page_before_it_and_from_no_other(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """Twice, the second time right after the first was mended: one page is asked for again, nothing before it."""
    with Rehearsal(catalogue, script=dict.fromkeys((4, 7), "400-cursor").get) as site:
        fetch(Plan("census", site.url, type="LORA"), tmp_path)
    listed = [dict(request.pairs) for request in site.requests if ("sort", "Oldest") in request.pairs]
    places = list(dict.fromkeys(pairs.get("cursor") for pairs in listed))
    assert [places.index(pairs.get("cursor")) for pairs in listed] == [0, 1, 2, 3, 2, 3, 4, 3, 4, 5]


def test_a_loop_that_passes_loses_nothing(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue, script={4: "loop"}.get) as site:
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)
    assert (outcome.complete, outcome.notes) == (True, [])
    assert len(repeated(site)) == 1  # the page that led back


@pytest.mark.parametrize("fault", ["429", "500-html", "cut-json", "hang-up", "redirect"])
def test_faults_that_pass_leave_no_trace(
    catalogue: Catalogue, store: Store, tmp_path: Path, fault: str
) -> None:
    with Rehearsal(catalogue, script={2: fault, 5: fault}.get) as site:
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)
    assert (outcome.complete, outcome.notes) == (True, [])


@pytest.mark.parametrize("plan", [Plan("census", "", type="LORA"), Plan("sample", "", size=600, seed=1)])
def test_at_the_limit_of_requests_it_goes_on_where_it_was(
    catalogue: Catalogue, store: Store, tmp_path: Path, plan: Plan
) -> None:
    with Rehearsal(catalogue) as site:
        plan = replace(plan, url=site.url)
        for _ in range(2):
            with pytest.raises(SurveyError, match="limit of 3 requests"):
                fetch(replace(plan, seed=len(site.requests)), tmp_path, budget=3)
        archive = fetch(plan, tmp_path)
        assert not repeated(site)
    number, outcome = fetching.load(archive, store)
    assert outcome.complete
    chosen = "type = 'LORA'" if plan.mode == "census" else "id IN (SELECT id FROM asked)"
    assert missing_and_wrong(store, catalogue, number, chosen) == (0, 0)


def test_killed_and_begun_again_nothing_is_lost_and_nothing_asked_twice(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    """The process is killed while the sixth answer is on its way: five are kept, and that one is asked for again."""
    reached, go_on = threading.Event(), threading.Event()

    def script(number: int) -> None:
        if number == 6:
            reached.set()
            go_on.wait(60)

    with Rehearsal(catalogue, script=script) as site:
        words = [
            "survey",
            "fetch",
            "--census",
            "LORA",
            "--url",
            site.url,
            "--pause",
            "0",
            "--store",
            "killed.duckdb",
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen([sys.executable, "-m", "likewise", *words], cwd=tmp_path, env=environment)
        assert reached.wait(120)
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        assert process.wait() != 0
        go_on.set()
        sixth = site.requests[5].pairs
        archive = fetch(Plan("census", site.url, type="LORA"), tmp_path / "killed.pages")
        assert repeated(site) == [sixth]
    number, outcome = fetching.load(archive, store)
    assert outcome.complete
    assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)


def test_reading_pages_again_needs_no_site_and_replaces_the_snapshot(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue) as site:
        archive = fetch(Plan("sample", site.url, size=300), tmp_path)
    first, second = (fetching.load(Archive(archive.folder), store)[0] for _ in range(2))
    assert first == second == 1
    assert missing_and_wrong(store, catalogue, first, "id IN (SELECT id FROM asked)") == (0, 0)
    assert len(store.snapshots()) == 2  # and the truth


def test_pages_of_an_unfinished_fetch_can_be_read(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site, pytest.raises(SurveyError, match="limit of 3"):
        fetch(Plan("census", site.url, type="LORA"), tmp_path, budget=3)
    number, outcome = fetching.load(fetching.find(tmp_path)[0], store)
    assert len(store.ids(number)) == 300
    assert "not finished" in outcome.notes[0]
    assert not store.snapshot(number).complete


def test_the_same_is_not_fetched_again_at_once(catalogue: Catalogue, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        plan = Plan("census", site.url, type="Hypernetwork")
        fetch(plan, tmp_path)
        with pytest.raises(SurveyError, match="less than five minutes"):
            fetch(plan, tmp_path)
        fetch(replace(plan, begun="2099-01-01T00:00:00"), tmp_path)


@pytest.mark.parametrize("weeks", [-30, 0, 9])
def test_ages_stand_at_the_date_of_the_counts_whatever_day_it_is(
    catalogue: Catalogue, store: Store, tmp_path: Path, weeks: int
) -> None:
    """This machine's clock is moved by weeks; the site's own stands still."""
    begun = datetime.now(UTC).replace(tzinfo=None) + timedelta(weeks=weeks)
    with Rehearsal(catalogue) as site:
        number, _ = taken(Plan("sample", site.url, size=300, begun=begun.isoformat()), tmp_path, store)
    assert store.snapshot(number).taken == datetime(2026, 10, 1)


def test_a_fetch_that_is_weeks_old_is_not_gone_on_with(catalogue: Catalogue, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        plan = Plan("sample", site.url, size=500, begun="2026-01-01T00:00:00")
        with pytest.raises(SurveyError, match="limit of 3"):
            fetch(plan, tmp_path, budget=3)
        soon, later = (replace(plan, begun=f"2026-01-{day}T00:00:00") for day in ("06", "20"))
        assert fetching.resume(soon, tmp_path) is not None
        assert fetching.stale(soon, tmp_path) == []
        assert fetching.resume(later, tmp_path) is None
        assert len(fetching.stale(later, tmp_path)) == 1
        assert fetch(later, tmp_path).folder != fetching.stale(later, tmp_path)[0].folder


def test_pages_of_two_dates_are_said_to_be(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        archive = fetch(Plan("census", site.url, type="LORA"), tmp_path)
    pages = list(archive.pages())
    with Archive.create(tmp_path, "slow", archive.plan) as slow:
        for page in [*pages[:2], *(replace(page, at=page.at + timedelta(days=10)) for page in pages[2:])]:
            slow.append(page)
        slow.finish({})
    number, outcome = fetching.load(slow, store)
    assert "fetched over 10 days" in outcome.notes[-1]
    assert store.snapshot(number).taken == pages[0].at + timedelta(days=5)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_census_of_a_hundred_thousand_loses_and_doubles_nothing(store: Store, tmp_path: Path) -> None:
    catalogue = generate(100_000, seed=7)
    everything = [name for name in QUIRKS if name not in ("text-numbers", "checkpoint-type-ignored")]
    with Rehearsal(catalogue, quirks=everything) as site:
        number, outcome = fetching.load(
            fetch(Plan("census", site.url, type="LORA"), tmp_path, budget=2000), store
        )
        assert outcome.complete
        assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)
        newest = Plan("census", site.url, type="LORA", sort="Newest")
        _, outcome = fetching.load(fetch(newest, tmp_path, budget=2000), store)
    assert not outcome.complete
    assert "were lost" in outcome.notes[-1]
