"""A census is the truth whatever the site does, and says so where it is cut off."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

HIDDEN_END = "the list ends in a cursor that the site cannot read; if more follows, it is hidden"


@pytest.mark.parametrize("quirk", [None, *QUIRKS, "all"])
def test_a_census_is_the_truth_whatever_the_site_does(
    catalogue: Catalogue, store: Store, tmp_path: Path, quirk: str | None
) -> None:
    quirks = list(QUIRKS) if quirk == "all" else [quirk] if quirk else []
    with Rehearsal(catalogue, quirks=quirks) as site:
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert missing_and_wrong(store, catalogue, number, "type = 'LORA'") == (0, 0)
    assert len(store.ids(number)) == catalogue.totals()["LORA"]
    assert outcome.complete
    assert store.snapshot(number).complete
    assert outcome.notes == ([HIDDEN_END] if quirk in ("null-cursor", "all") else [])
    if quirk != "null-cursor" and quirk != "all":
        assert not repeated(site)


def test_newest_loses_models_and_the_probe_sees_it(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue, quirks=["boundary-loss"]) as site:
        number, outcome = taken(Plan("census", site.url, type="LORA", sort="Newest"), tmp_path, store)
    lost = catalogue.totals()["LORA"] - len(store.ids(number))
    assert lost == (catalogue.totals()["LORA"] - 1) // 101
    assert not store.snapshot(number).complete
    assert "were lost" in outcome.notes[-1]


def test_checkpoints_are_told_apart_by_asking(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        census, _ = taken(Plan("census", site.url, type="Checkpoint"), tmp_path, store)
        sample, _ = taken(Plan("sample", site.url, size=10**6), tmp_path, store)  # every id there is
    for number in (census, sample):
        assert missing_and_wrong(store, catalogue, number, "type = 'Checkpoint'") == (0, 0)


def test_where_the_question_is_ignored_no_checkpoint_is_guessed_at(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue, quirks=["checkpoint-type-ignored"]) as site:
        number, _ = taken(Plan("census", site.url, type="Checkpoint"), tmp_path, store)
    kinds = store.connection.execute(
        "SELECT DISTINCT checkpoint_type FROM models WHERE snapshot = ?", [number]
    )
    assert kinds.fetchall() == [(None,)]


def test_a_rare_type_is_probed_by_another_order(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        number, outcome = taken(Plan("census", site.url, type="AestheticGradient"), tmp_path, store)
    assert outcome.complete
    assert not outcome.notes
    assert ("sort", "Most Downloaded") in site.requests[-1].pairs
    assert sum({"ids", "types"} <= dict(request.pairs).keys() for request in site.requests) <= 3
    assert store.snapshot(number).parameters["probe"]["lost"] == 0


@pytest.mark.parametrize("fault", [None, "500-html"])
def test_a_type_that_nobody_has_makes_no_snapshot(store: Store, tmp_path: Path, fault: str | None) -> None:
    with Rehearsal(generate(50), script=lambda number: fault) as site:
        said = "lists no model of type 'Lora'" if fault is None else "answered 500"
        with pytest.raises(SurveyError, match=said):
            taken(Plan("census", site.url, type="Lora"), tmp_path, store)
    assert store.snapshots() == []


def test_a_census_that_nothing_else_confirms_says_so(store: Store, tmp_path: Path) -> None:
    """Models of the future by the site's clock, which no probe counts: nothing was found by another way."""
    catalogue = generate(400)
    with Rehearsal(replace(catalogue, date=datetime(2021, 1, 1, tzinfo=UTC))) as site:
        number, outcome = taken(Plan("census", site.url, type="Hypernetwork"), tmp_path, store)
    assert len(store.ids(number)) == catalogue.totals()["Hypernetwork"]
    assert "nothing says how complete" in outcome.notes[0]


@pytest.fixture(scope="module")
def large() -> Catalogue:
    return generate(12_000, seed=11)


def held(store: Store, number: int, truth: int) -> dict[str, Any]:
    """The probe's facts of an incomplete census, whose interval must hold the share that was lost."""
    snapshot, kept = store.snapshot(number), len(store.ids(number))
    probe: dict[str, Any] = snapshot.parameters["probe"]
    assert not snapshot.complete
    assert probe["low"] - 1e-9 <= 1 - kept / truth <= probe["high"]
    return probe


@pytest.mark.parametrize("readable", [500, 2100])
def test_cursors_that_become_unreadable_on_the_way_are_an_incomplete_census(
    large: Catalogue, store: Store, tmp_path: Path, readable: int
) -> None:
    """The largest id that the census saw is a small one: what it lost lies above, where only the site knows the end."""
    truth = large.totals()["LORA"]
    with Rehearsal(large) as site:
        site.site.readable = readable
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert len(store.ids(number)) == readable < 0.5 * truth
    assert held(store, number, truth)["high"] < 1
    assert outcome.notes[0] == (
        f"the list breaks off after {readable:,} models, as the site cannot read its own cursor; more must follow"
    )
    assert "% of the type were lost (95 % interval)" in outcome.notes[1]
    assert (outcome.largest_id or 0) > 0.99 * large.largest_id


def test_a_rare_list_that_is_cut_off_is_not_complete(large: Catalogue, store: Store, tmp_path: Path) -> None:
    truth = large.totals()["Hypernetwork"]
    assert 200 < truth < 400
    with Rehearsal(large) as site:
        site.site.readable = 200
        number, _ = taken(Plan("census", site.url, type="Hypernetwork"), tmp_path, store)
    assert len(store.ids(number)) == 200
    held(store, number, truth)


def test_an_end_after_a_short_page_is_held_against_the_other_end(
    large: Catalogue, store: Store, tmp_path: Path
) -> None:
    """Pages come short all along, so nothing about the last one says that more must follow."""
    truth = large.totals()["Hypernetwork"]
    short = replace(
        large, columns={**large.columns, "no-versions": large["no-versions"] | (large["id"] % 9 == 0)}
    )
    with Rehearsal(short, quirks=["short-pages"]) as site:
        site.site.readable = 100
        number, outcome = taken(Plan("census", site.url, type="Hypernetwork"), tmp_path, store)
    assert (
        "the list ends in a cursor that the site cannot read; if more follows, it is hidden" in outcome.notes
    )
    assert len(store.ids(number)) < 100
    held(store, number, short.totals()["Hypernetwork"])
    assert truth > short.totals()["Hypernetwork"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("loop", "leads back to an earlier one"), ("treadmill", "hold nothing new"), ("hollow", "hold nothing new"),
     ("deploy", "cannot read its own cursor")],
)  # fmt: skip
def test_a_list_that_goes_nowhere_ends_incomplete(
    catalogue: Catalogue, store: Store, tmp_path: Path, fault: str, said: str
) -> None:
    """From the fourth request on, for good, as long as pages of the list are asked for."""
    truth = catalogue.totals()["LORA"]
    with Rehearsal(catalogue) as site:
        listed = lambda: ("sort", "Oldest") in site.requests[-1].pairs  # noqa: E731
        site.script = lambda number: fault if number >= 4 and listed() else None
        number, outcome = taken(Plan("census", site.url, type="LORA"), tmp_path, store)
    assert any(said in note and "breaks off" in note for note in outcome.notes), outcome.notes
    assert 0 < len(store.ids(number)) < truth
    held(store, number, truth)


def test_a_site_that_fails_for_good_in_a_census_is_named_and_its_pages_are_kept(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with (
        Rehearsal(catalogue, script=lambda number: "503" if number > 2 else None) as site,
        pytest.raises(SurveyError, match="answered 503"),
    ):
        fetch(Plan("census", site.url, type="LORA"), tmp_path)
    number, outcome = fetching.load(fetching.find(tmp_path)[0], store)
    assert (len(store.ids(number)), store.snapshot(number).complete) == (200, False)
    assert "not finished" in outcome.notes[0]


def test_a_probe_that_the_site_does_not_answer_is_made_up_for(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue) as site:
        site.script = lambda _: "500-html" if "Newest" in dict(site.requests[-1].pairs).values() else None
        plan = Plan("census", site.url, type="LORA")
        number, outcome = taken(plan, tmp_path, store)
        assert not store.snapshot(number).complete
        assert "2 requests failed: answered 500 (2 times)" in outcome.notes[-1]
        site.script = lambda _: None
        again, outcome = taken(plan, tmp_path, store)
    assert (again, outcome.complete, outcome.notes) == (number, True, [])


def test_a_recording_of_before_the_probe_asked_for_the_ends_is_still_complete(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue) as site:
        new = fetch(Plan("census", site.url, type="LORA"), tmp_path)
    pages = [page for page in new.pages() if ("sort", "Newest") not in page.asked]
    with Archive.create(tmp_path, "old", new.plan) as old:
        for page in pages:
            old.append(page)
        old.finish({})
    number, outcome = fetching.load(old, store)
    assert (len(store.ids(number)), outcome.complete) == (catalogue.totals()["LORA"], True)
