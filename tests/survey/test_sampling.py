"""Samples and panels are the truth about their ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from likewise.errors import SurveyError
from likewise.survey import fetching
from likewise.survey.archive import Archive
from likewise.survey.civitai import Client
from likewise.survey.fetching import Outcome
from likewise.survey.plan import Plan
from likewise.survey.store import Store
from rehearsal.catalogue import Catalogue, generate
from rehearsal.server import Rehearsal
from rehearsal.site import QUIRKS
from tests.survey.fetched import fetch, missing_and_wrong, repeated, taken


@pytest.mark.parametrize("quirks", [[], list(QUIRKS)], ids=["plain", "all quirks"])
def test_a_sample_is_the_truth_about_its_ids(
    catalogue: Catalogue, store: Store, tmp_path: Path, quirks: list[str]
) -> None:
    with Rehearsal(catalogue, quirks=quirks) as site:
        plan = Plan("sample", site.url, size=700, seed=5)
        number, outcome = taken(plan, tmp_path, store)
        assert len(site.requests) <= (plan.requests or 0)
        assert not repeated(site)
    assert outcome.complete
    assert catalogue.largest_id - 100 <= (outcome.largest_id or 0) <= catalogue.largest_id
    asked = dict(store.connection.execute("SELECT id, found FROM asked").fetchall())
    listed = set(catalogue["id"][catalogue.listed].tolist())
    assert len(asked) == 700
    assert asked == {id: id in listed for id in asked}
    assert store.ids(number) == sorted(id for id in asked if id in listed)
    kinds = "id IN (SELECT id FROM asked)"
    if not quirks:
        assert missing_and_wrong(store, catalogue, number, kinds) == (0, 0)


def test_the_largest_id_is_sought_above_the_newest(store: Store, tmp_path: Path) -> None:
    """The last that changed are not the last that were made: the ids above are asked for until none is there."""
    catalogue = generate(1000)
    last = catalogue["last"].copy()
    last[-150:] = last.min()  # the newest models look the oldest
    with Rehearsal(replace(catalogue, columns={**catalogue.columns, "last": last})) as site:
        _, outcome = taken(Plan("sample", site.url, size=50), tmp_path, store)
    listed = catalogue["id"][catalogue.listed]
    assert outcome.largest_id == listed.max()


def test_a_request_that_fails_does_not_end_a_sample_and_is_made_up_for(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    script = {number: "500-html" for number in range(4, 10)}
    with Rehearsal(catalogue, script=script.get) as site:
        plan = Plan("sample", site.url, size=500)
        number, outcome = taken(plan, tmp_path, store)
        assert not outcome.complete
        assert outcome.notes == ["1 requests failed: answered 500; the same command asks for these again"]
        assert len(outcome.asked) == 400
        again, outcome = taken(replace(plan, seed=99), tmp_path, store)
    assert again == number
    assert outcome.complete
    assert outcome.notes == []
    assert len(outcome.asked) == 500
    assert [len(store.snapshots()), store.snapshot().complete] == [1, True]
    times = Counter(request.pairs for request in site.requests)
    assert sorted(times.values())[-2:] == [1, 7]  # six tries that failed, and one that did not
    assert sum("checkpointType" in dict(pairs) for pairs in times) == 2


@pytest.mark.parametrize(("size", "fault", "said"), [
    (150, "500-html", r"answered 500 \(2 times\)"), (150, "cut-json", r"not a page of models \(2 times\)"),
    (50, "503", "answered 503"),
])  # fmt: skip
def test_where_every_request_for_ids_fails_the_failures_are_named(
    catalogue: Catalogue, store: Store, tmp_path: Path, size: int, fault: str, said: str
) -> None:
    with Rehearsal(catalogue) as site:
        site.script = lambda number: fault if number > 2 else None
        plan = Plan("sample", site.url, size=size)
        with pytest.raises(SurveyError, match=f"every request for models failed: .*{said}") as caught:
            fetch(plan, tmp_path)
        assert "same command" in (caught.value.hint or "")
        with pytest.raises(SurveyError, match=said):  # the recording knows it too
            fetching.load(fetching.find(tmp_path)[0], store)
        site.script = lambda number: None
        number, outcome = taken(plan, tmp_path, store)
    assert (outcome.complete, len(outcome.asked)) == (True, size)
    assert store.ids(number)


def test_ids_of_which_none_is_there_are_said_to_be_none(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    listed = set(catalogue["id"][catalogue.listed].tolist())
    gone = tuple(id for id in range(1, catalogue.largest_id) if id not in listed)[:120]
    with Rehearsal(catalogue) as site, pytest.raises(SurveyError, match="has none of the 120 ids"):
        taken(Plan("panel", site.url, ids=gone), tmp_path, store)


def test_a_site_that_answers_other_ids_is_not_counted(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    """Its site ignores the question, and lists what it likes."""
    with Rehearsal(catalogue) as site:
        answer = site.site.answer
        site.site.answer = lambda pairs, key=False: answer([p for p in pairs if p[0] != "ids"], key)  # type: ignore[method-assign]
        with pytest.raises(SurveyError, match="hold none of these"):
            taken(Plan("panel", site.url, ids=(catalogue.largest_id + 1,)), tmp_path, store)


def test_a_site_that_is_down_ends_a_sample(catalogue: Catalogue, tmp_path: Path) -> None:
    with (
        Rehearsal(catalogue, script=lambda number: "500-html" if number > 3 else None) as site,
        pytest.raises(SurveyError, match="5 requests in a row"),
    ):
        fetch(Plan("sample", site.url, size=1000), tmp_path)


def test_a_panel_asks_for_the_same_models_again(catalogue: Catalogue, store: Store, tmp_path: Path) -> None:
    with Rehearsal(catalogue) as site:
        before, _ = taken(Plan("sample", site.url, size=600), tmp_path, store)
    gone = store.ids(before)[::10]
    later = {
        **catalogue.columns,
        "downloads": catalogue["downloads"] + 3,
        "persons": catalogue["persons"] | np.isin(catalogue["id"], gone),
    }
    with Rehearsal(replace(catalogue, columns=later)) as site:
        plan, notes = fetching.panel(site.url, store, 0)
        assert "stand at one date" in notes[0]
        number, outcome = taken(plan, tmp_path, store)
        assert len(site.requests) == plan.requests  # checkpoints are known from before
    assert outcome.complete
    assert store.snapshot(number).mode == "panel"
    rows = store.connection.execute(
        "SELECT new.downloads - old.downloads, new.checkpoint_type IS NOT DISTINCT FROM old.checkpoint_type, count(*) "
        "FROM models old JOIN models new USING (id) WHERE old.snapshot = ? AND new.snapshot = ? "
        "AND old.downloads IS NOT NULL GROUP BY ALL",
        [before, number],
    ).fetchall()
    assert [(more, same) for more, same, _ in rows] == [(3, True)]
    not_found = store.asked(number).filter("NOT found").project("id").order("id").fetchall()
    assert [id for (id,) in not_found] == gone


def test_a_panel_repeats_the_sample_and_not_the_census_after_it(
    catalogue: Catalogue, store: Store, tmp_path: Path
) -> None:
    with Rehearsal(catalogue) as site:
        sample, _ = taken(Plan("sample", site.url, size=100), tmp_path, store)
        census, _ = taken(Plan("census", site.url, type="Hypernetwork"), tmp_path, store)
        assert fetching.panel(site.url, store, 0)[0].ids == tuple(store.ids(sample))
    store.connection.execute("DELETE FROM snapshots WHERE snapshot = ?", [sample])
    assert fetching.panel(site.url, store, 0)[0].ids == tuple(store.ids(census))


def test_a_panel_needs_something_to_repeat(store: Store) -> None:
    with pytest.raises(SurveyError, match="no sample and no census"):
        fetching.panel("http://127.0.0.1:1", store, 0)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_samples_of_200_catalogues_cover_their_totals(tmp_path: Path) -> None:
    """N = M k / n with its standard error, from 1500 ids each, over HTTP, against what is there."""
    covered = Counter[str]()
    for seed in range(200):
        catalogue = generate(100_000, seed=1000 + seed)
        with Rehearsal(catalogue) as site, Client(site.url, budget=100, pause=0.0) as client:
            plan, outcome = Plan("sample", site.url, size=1500, seed=seed), Outcome()
            with Archive.create(tmp_path, "sample", {}) as archive:
                source = fetching.Source(archive, client)
                found = [model for models in fetching.program(plan, source, outcome) for model in models]
        n, largest = len(outcome.asked), outcome.largest_id or 0
        counted = Counter(model.type for model in found)
        for kind, total in catalogue.totals().items():
            share = counted[kind] / n
            error = largest * (share * (1 - share) / n) ** 0.5
            covered[kind] += abs(largest * share - total) <= 1.96 * error
    # Rare types need another interval than the textbook's: the statistics have it, and are tested for it.
    common = ("LORA", "Checkpoint", "TextualInversion", "LoCon", "Workflows")
    assert {kind: covered[kind] for kind in common if covered[kind] < 186} == {}
