"""The rehearsal site: its truth is known, its answers are in the API's shape, and each quirk is really there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from likewise.cli import app
from likewise.survey import shapes
from likewise.survey import store as stores
from likewise.survey.store import Snapshot, Store
from rehearsal.__main__ import main
from rehearsal.catalogue import EFFECTS, TRAPS, Catalogue, generate
from rehearsal.server import FAULTS
from rehearsal.site import QUIRKS, Site


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate(1200, seed=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stores.open(tmp_path / "survey.duckdb") as opened:
        yield opened


def test_what_is_read_from_the_answers_is_what_is_written_without_them(
    catalogue: Catalogue, store: Store
) -> None:
    """Two ways to the same rows: the API's shape through the reader, and the arrays through SQL."""
    direct = catalogue.write(store)
    found = [shapes.read(catalogue.item(index)) for index in np.flatnonzero(catalogue.listed)]
    read = store.begin(Snapshot(store.snapshot().taken, "read", "census"))
    store.add(read, (model.row() for model in found if model))
    both = "SELECT * EXCLUDE (snapshot, checkpoint_type) FROM models WHERE snapshot = {}"
    for one, other in ((direct, read), (read, direct)):
        assert (
            store.connection.execute(f"({both.format(one)}) EXCEPT ALL ({both.format(other)})").fetchall()
            == []
        )
    assert len(store.ids(read)) == sum(catalogue.totals().values()) > 1100


def test_the_same_seed_is_the_same_catalogue() -> None:
    one, same, other = generate(200, 5), generate(200, 5), generate(200, 6)
    assert all(np.array_equal(one[name], same[name]) for name in one.columns)
    assert not np.array_equal(one["downloads"], other["downloads"])


def test_every_trap_is_there_and_can_be_left_out(catalogue: Catalogue) -> None:
    assert all(catalogue[name].any() for name in TRAPS)
    assert not any(generate(300, traps=())[name].any() for name in TRAPS)
    assert generate(300, traps=["adult"])["adult"].any()


def test_downloads_have_a_heavy_tail_and_a_few_make_many(catalogue: Catalogue) -> None:
    downloads = np.sort(catalogue["downloads"])[::-1]
    assert downloads[:12].sum() > 0.1 * downloads.sum()
    assert downloads.mean() > 2 * np.median(downloads)
    _, made = np.unique(catalogue["creator"], return_counts=True)
    assert made.max() > 10


def test_equal_effects_make_types_alike() -> None:
    alike = generate(20_000, effects=dict.fromkeys(EFFECTS, 2.5))
    lora, inversion = (
        np.log1p(alike["downloads"][alike.of_type(name)]) for name in ("LORA", "TextualInversion")
    )
    unlike = generate(20_000)
    shift = [np.log1p(unlike["downloads"][unlike.of_type(name)]).mean() for name in ("LORA", "Workflows")]
    assert abs(lora.mean() - inversion.mean()) < 0.5 * abs(shift[0] - shift[1])


def test_a_sample_is_written_with_its_ids(catalogue: Catalogue, store: Store) -> None:
    asked = np.arange(1, 200)
    number = catalogue.write(store, asked)
    listed = set(catalogue["id"][catalogue.listed].tolist())
    assert store.snapshot(number).mode == "sample"
    assert dict(store.asked(number).project("id, found").fetchall()) == {
        id: id in listed for id in range(1, 200)
    }
    assert store.ids(number) == sorted(listed & set(range(1, 200)))


def answered(site: Site, *pairs: tuple[str, str], key: bool = False) -> tuple[int, Any]:
    status, body = site.answer(pairs, key)
    return status, json.loads(body)


def listed(site: Site, *pairs: tuple[str, str]) -> list[list[Any]]:
    """The ids of every page of a list."""
    pages, cursor = [], None
    while True:
        status, answer = answered(site, *pairs, *([("cursor", cursor)] if cursor else []))
        if status != 200:
            return [*pages, [status]]
        pages.append([item.get("id") for item in answer["items"]])
        cursor = answer["metadata"].get("nextCursor")
        if not cursor:
            return pages


def flat(pages: list[list[Any]]) -> list[Any]:
    return [id for page in pages for id in page]


LORA = (("types", "LORA"), ("limit", "20"), ("nsfw", "true"), ("archived", "true"))


def test_a_plain_site_lists_each_model_once(catalogue: Catalogue) -> None:
    for sort in ("Oldest", "Newest", "Most Downloaded"):
        ids = flat(listed(Site(catalogue), *LORA, ("sort", sort)))
        assert len(ids) == len(set(ids)) == catalogue.totals()["LORA"]


def test_newest_skips_one_per_boundary_and_oldest_none(catalogue: Catalogue) -> None:
    site, total = Site(catalogue, ["boundary-loss"]), catalogue.totals()["LORA"]
    pages = listed(site, *LORA, ("sort", "Newest"))
    assert len(set(flat(pages))) == total - (len(pages) - 1)
    assert len(flat(listed(site, *LORA, ("sort", "Oldest")))) == total


def test_oldest_repeats_models_of_equal_time(catalogue: Catalogue) -> None:
    ids = flat(listed(Site(catalogue, ["repeats"]), *LORA, ("sort", "Oldest"), ("limit", "3")))
    assert len(ids) > len(set(ids)) == catalogue.totals()["LORA"]


def test_pages_come_short_or_empty_before_the_end(catalogue: Catalogue) -> None:
    pages = listed(Site(catalogue, ["short-pages", "empty-pages"]), *LORA, ("sort", "Oldest"))
    assert len(flat(pages)) == catalogue.totals()["LORA"]
    assert [] in pages[:-1]
    assert any(0 < len(page) < 20 for page in pages[:-1])


def test_the_last_cursor_cannot_be_read(catalogue: Catalogue) -> None:
    assert listed(Site(catalogue, ["null-cursor"]), *LORA, ("sort", "Oldest"))[-1] == [400]


def test_vanished_ids_are_left_out(catalogue: Catalogue) -> None:
    everything = (("nsfw", "true"), ("archived", "true"), ("ids", ",".join(map(str, range(1, 101)))))
    there = set(catalogue["id"][catalogue.listed].tolist()) & set(range(1, 101))
    assert flat(listed(Site(catalogue), *everything)) == sorted(there)
    assert 20 < len(there) < 90


@pytest.mark.parametrize(
    ("quirk", "pairs", "plain", "odd"),
    [
        ("page-limit", [("page", "11"), ("limit", "100")], 200, 429),
        ("strict-names", [("favorites", "false")], 200, 401),
        ("strict-names", [("query", "cat"), ("page", "1")], 200, 400),
        ("strict-names", [("browsingLevel", "1")], 200, 400),
    ],
)
def test_what_is_refused(
    catalogue: Catalogue, quirk: str, pairs: list[tuple[str, str]], plain: int, odd: int
) -> None:
    assert answered(Site(catalogue), *pairs)[0] == plain
    assert answered(Site(catalogue, [quirk]), *pairs)[0] == odd


def test_false_is_true_where_booleans_are_loose(catalogue: Catalogue) -> None:
    ids = (
        ("ids", ",".join(map(str, catalogue["id"][catalogue["archived"]][:100].tolist()))),
        ("nsfw", "true"),
    )
    plain, loose = (
        flat(listed(Site(catalogue, quirks), *ids, ("archived", "false")))
        for quirks in ((), ("loose-booleans",))
    )
    assert not plain
    assert loose


def test_levels_are_hidden_unless_asked_for(catalogue: Catalogue) -> None:
    shown = flat(listed(Site(catalogue), ("types", "LORA"), ("limit", "100"), ("sort", "Oldest")))
    adult = set(catalogue["id"][catalogue["adult"]].tolist())
    assert shown
    assert not adult & set(shown)


def test_numbers_in_quotes_and_fields_that_nobody_knows(catalogue: Catalogue) -> None:
    _, answer = answered(Site(catalogue, ["text-numbers", "unknown-fields"]), *LORA, ("sort", "Oldest"))
    first, last = answer["items"][0], answer["items"][-1]
    assert isinstance(first["id"], str)
    assert isinstance(first["stats"]["commentCount"], str)
    assert "aura" in first
    assert "id" not in last


def test_quirks_and_faults_have_names_of_their_own() -> None:
    assert not QUIRKS.keys() & FAULTS.keys()


def test_quirks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quirk", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*QUIRKS, *FAULTS))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quirk", "nonsense"], "invalid choice: 'nonsense'"),
        (["--models", "0"], "0 is no number from 1 on"),
        (["--date", "2020-01-01"], "name a day after 2022-11-01"),
        (["--date", "yesterday"], "yesterday is no day"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert said in capsys.readouterr().err


def test_it_serves_until_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-m", "rehearsal", "--models", "300", "--quirk", "all", "--quirk", "500-html"]
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        url = process.stdout.readline().strip()
        fetched = ["survey", "fetch", "--sample", "2000", "--url", url, "--pause", "0"]
        result = CliRunner().invoke(app, fetched, prog_name="likewise")
    finally:
        process.terminate()
        process.communicate()
    assert result.exit_code == 0, result.output
