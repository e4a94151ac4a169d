"""The survey's page and table: what they hold, what they say where something is missing, that nothing leaks in."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from likewise.cli import app
from likewise.reports import survey as report
from likewise.reports import survey_charts as drawings
from likewise.survey import answer, exporting, prose
from likewise.survey import store as stores
from likewise.survey.statistics import analyse
from likewise.survey.store import Mode
from rehearsal import catalogue
from tests.reports.pages import Page
from tests.survey.known import TAKEN, model, written


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a random sample of a small site, every trap in it."""
    path = tmp_path_factory.mktemp("survey") / "survey.duckdb"
    site = catalogue.generate(6000, seed=2)
    with stores.open(path) as store:
        site.write(store, np.random.default_rng(0).choice(site.largest_id, 4000, replace=False) + 1)
    return path


@pytest.fixture(scope="module")
def found(sampled: Path) -> dict[str, Any]:
    with stores.open(sampled, read_only=True) as store:
        return analyse(store)


def test_the_page_holds_everything_itself(found: dict[str, Any], tmp_path: Path) -> None:
    page = Page(report.build(found, tmp_path / "page.html"))
    assert page.open == []
    assert not re.search(r"https?:|@import|url\(|<script", page.text)
    addresses = [a[key] for _, a in page.elements for key in ("src", "href") if a.get(key)]
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    assert {str(a)[1:] for a in addresses if str(a).startswith("#")} <= {
        a.get("id") for _, a in page.elements
    }
    policy = next(str(meta["content"]) for meta in page.of("meta") if meta.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not any(name == "style" or name.startswith("on") for _, a in page.elements for name in a)
    assert max(Counter(a["id"] for _, a in page.elements if "id" in a).values()) == 1


def test_the_page_can_be_read_without_seeing_it(found: dict[str, Any], tmp_path: Path) -> None:
    page = Page(report.build(found, tmp_path / "page.html"))
    assert all(
        a.get("aria-hidden") or (a.get("role") == "img" and a.get("aria-label")) for a in page.of("svg")
    )
    assert all(a.get("scope") in ("col", "row") for a in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_says_what_the_numbers_are_not(found: dict[str, Any], tmp_path: Path) -> None:
    words = Page(report.build(found, tmp_path / "page.html")).words
    assert "Popularity is not quality." in words
    assert "weight zero" in words
    assert "1 October 2026" in words
    for part in (
        "unrated as zero",
        "left out",
        "shrunk",
        "as counted",
        "per day",
        "adjusted",
        "All checkpoints",
    ):
        assert part in words
    assert "The whole site" in words
    assert not re.search(r"\b(nan|None|inf)\b", words)


def test_what_is_on_the_page_is_what_was_found(found: dict[str, Any], tmp_path: Path) -> None:
    words = Page(report.build(found, tmp_path / "page.html")).words
    row = found["methods"][0]
    assert row["title"] == "Textual Inversion"
    first = words[words.rindex("What the sample holds") :]
    assert f"{row['models']:,}" in first
    assert report.number_text(row["downloads"]["geometric_mean"]) in first
    assert report.interval_text(row["downloads"]["median_interval"]) in first


def test_full_lists_beside_a_sample_are_named(tmp_path: Path) -> None:
    rows = [model(n, "LORA" if n > 5 else "Hypernetwork", downloads=n) for n in range(1, 31)]
    store = written(rows[2:], mode="sample", asked=dict.fromkeys(range(3, 31), True), largest=90)
    found = analyse(written(rows[:5], into=store, parameters={"type": "Hypernetwork"}))
    words = Page(report.build(found, tmp_path / "page.html")).words
    assert "exactly 5 hypernetworks" in words
    assert "all are listed" in words
    assert "5 (all)" in words
    assert "must not be compared between them" in words
    assert "is a full list of Hypernetwork" in words
    assert [row["in the sample"] for row in report.table(found)] == ["5 (all)", "25", "25"]


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = [model(n, ("LORA", "DoRA", "TextualInversion")[n % 3], base_model=evil, creator=evil, downloads=n + 1)
            for n in range(60)]  # fmt: skip
    found = analyse(written(rows))
    found["snapshot"]["parameters"] = {evil: evil}
    page = Page(report.build(found, tmp_path / "page.html"))
    assert evil not in page.text
    assert evil in page.words


@pytest.mark.parametrize("columns", [{}, {"downloads": 0}, {"age": None}, {"rating": 4.5, "rating_count": 2}])
def test_a_poor_snapshot_gives_a_page_that_says_so(tmp_path: Path, columns: dict[str, Any]) -> None:
    found = analyse(written([model(1, **columns), model(2, "TextualInversion", **columns)]))
    page = Page(report.build(found, tmp_path / "page.html"))
    assert page.open == []
    assert "No two methods have enough creators" in page.words
    assert not re.search(r"\b(nan|None|inf)\b", page.words)


def test_thumbs_stand_in_where_there_are_no_stars(tmp_path: Path) -> None:
    rows = [model(n, ("LORA", "TextualInversion")[n % 2], likes=n % 5, dislikes=0) for n in range(40)]
    words = Page(report.build(analyse(written(rows)), tmp_path / "page.html")).words
    assert "No vote is not a vote against" in words
    assert "unvoted as zero" in words


def test_demand_between_snapshots_is_shown(tmp_path: Path) -> None:
    store = written([model(n, downloads=n) for n in range(20)], taken=TAKEN - timedelta(days=3))
    words = Page(report.build(analyse(written([model(n, downloads=n + 6) for n in range(20)], into=store)),
                              tmp_path / "page.html")).words  # fmt: skip
    assert "Demand today" in words
    assert "in the 3 days since snapshot 1" in words
    assert "This list holds 20 models of the LoRA family" in words
    assert "Two weeks would be better" in words


def test_the_table_has_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    rows = [model(n, downloads=None, likes=3, dislikes=1) for n in range(3)]
    path = report.write_csv(analyse(written(rows)), tmp_path / "table.csv")
    with path.open(newline="") as file:
        low_rank, lora = csv.DictReader(file)
    assert (low_rank["method"], lora["part_of"]) == ("low_rank", "low_rank")
    assert (low_rank["models"], low_rank["hidden"], low_rank["downloads.total"]) == ("3", "3", "")
    assert low_rank["votes.share"] == "0.75"


def test_the_table_holds_no_formula(tmp_path: Path) -> None:
    found = analyse(written([model(1, downloads=5)]))
    found["methods"][0] |= {"title": "=1+1", "note": "@sum", "models": -5}
    with report.write_csv(found, tmp_path / "table.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["title"], row["note"], row["models"]) == ("'=1+1", "'@sum", "-5")


def test_the_same_analysis_gives_the_same_page(found: dict[str, Any], tmp_path: Path) -> None:
    first = report.build(found, tmp_path / "a.html").read_bytes()
    assert report.build(found, tmp_path / "deep" / "b.html").read_bytes() == first


def test_the_same_store_gives_the_same_page_and_figures(
    found: dict[str, Any], sampled: Path, tmp_path: Path
) -> None:
    """In this process and in another, which hashes otherwise, from a copy of the store."""
    store = tmp_path / "copy" / "other.duckdb"
    store.parent.mkdir()
    store.write_bytes(sampled.read_bytes())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "likewise", "survey", "report", "--store", str(store)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    here = report.build(found, tmp_path / "here.html")
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in (here, store.with_suffix(".html"))}
    assert len(digests) == 1
    with stores.open(store, read_only=True) as opened:
        assert json.dumps(analyse(opened)) == json.dumps(found)


def test_numbers_are_written_for_people() -> None:
    numbers = (0, 0.41234, 41.26, 1531.6, -0.00001, -2.5, None, float("nan"))
    assert [report.number_text(n) for n in numbers] == ["0", "0.412", "41.3", "1,532", "0", "−2.5", "—", "—"]
    assert [report.share_text(n) for n in (0, 0.5, 0.071, 0.9899, 1, None)] == [
        "0 %", "50 %", "7.1 %", "98.99 %", "100 %", "—",
    ]  # fmt: skip
    assert report.interval_text(None) == ""
    assert report.kilobytes_text(144_000) == "147 MB"


def test_names_in_drawings_stand_apart() -> None:
    drawing = drawings.slopes(
        ["a", "b"], {name: [1.0, 4.7 + k / 1000] for k, name in enumerate("vwxyz")}, False
    )
    assert drawing is not None
    heights = sorted(line["name_y"] for line in drawing["lines"])
    assert all(below - above >= 15 for above, below in pairwise(heights))
    assert heights[-1] <= 260
    assert drawings.slopes(["a"], {"only": [1.0]}, False) is None


def test_the_commands_read_a_store(sampled: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "methods.csv", tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["survey", "stats", "--store", str(sampled), "--csv", str(table)])
    assert shown.exit_code == 0, shown.output
    assert "Popularity is not quality" in shown.output
    assert "Hypernetwork" in shown.output
    assert table.stat().st_size > 1000
    assert "snapshot 1 (sample)" in shown.stderr
    printed = CliRunner().invoke(app, ["survey", "stats", "--store", str(sampled), "--json"])
    assert json.loads(printed.stdout)["snapshot"]["mode"] == "sample"
    written = CliRunner().invoke(app, ["survey", "report", "--store", str(sampled), "--out", str(page)])
    assert written.exit_code == 0, written.output
    assert Page(page).open == []


def test_a_snapshot_that_is_not_there_is_an_error_in_words(sampled: Path) -> None:
    result = CliRunner().invoke(app, ["survey", "stats", "--store", str(sampled), "--snapshot", "9"])
    assert result.exit_code == 1
    assert "has no snapshot 9" in result.output


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_opens_the_page(found: dict[str, Any], tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    address = report.build(found, tmp_path / "page.html").as_uri()
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("</section>") == report.build(found, tmp_path / "again.html").read_text().count(
        "</section>"
    )


# ------------------------------------------------------------------------------------------- the answer in words


def test_the_page_begins_with_the_answer_and_its_estimates(found: dict[str, Any], tmp_path: Path) -> None:
    """Three sentences, then a matrix of estimates with a row called DreamBooth; the sample's own counts come later."""
    words = Page(report.build(found, tmp_path / "page.html")).words
    sentences = answer.sentences(found)
    assert [words.index(sentence) for sentence in sentences] == sorted(map(words.index, sentences))
    matrix = words[
        words.index("Models on the site") : words.index("Verdicts", words.index("Models on the site"))
    ]
    total = found["totals"]["checkpoint_trained"]
    assert "DreamBooth" in matrix
    assert "an upper bound" in matrix
    for key in ("models", "low", "high"):
        assert answer.round_text(total[key]) in matrix
        assert answer.round_text(found["totals"]["low_rank"]["models"]) in sentences[0]
    assert words.index("counts of the sample, not of the site") > words.index("Verdicts")
    assert "uses" not in words.lower().replace("uses of", "")


def test_an_invented_site_is_said_to_be_one_everywhere(
    found: dict[str, Any], sampled: Path, tmp_path: Path
) -> None:
    page = Page(report.build(found, tmp_path / "page.html"))
    assert page.words.strip().startswith("Rehearsal: ")
    assert (
        page.words.count("invented by likewise") == 2
    )  # at the top, which stays in sight, and in the footer
    assert "On this invented site" in page.words
    with report.write_csv(found, tmp_path / "table.csv").open(newline="") as file:
        assert {row["rehearsal"] for row in csv.DictReader(file)} == {"True"}
    shown = CliRunner().invoke(app, ["survey", "stats", "--store", str(sampled)])
    assert "This is a rehearsal. Every model" in " ".join(shown.stdout.split())
    assert "rehearsal: the site was invented" in shown.stderr
    printed = CliRunner().invoke(app, ["survey", "stats", "--store", str(sampled), "--json"])
    assert json.loads(printed.stdout)["rehearsal"] is True
    with stores.open(sampled, read_only=True) as store:
        table = exporting.export(store, tmp_path / "models.csv", "csv")
    assert table.read_text(encoding="utf-8").count("Invented model") > 1000


def test_a_real_site_is_not_called_a_rehearsal(tmp_path: Path) -> None:
    found = analyse(written([model(n, downloads=n) for n in range(1, 20)]))
    page = Page(report.build(found, tmp_path / "page.html"))
    assert "ehearsal" not in page.words
    assert "nvented" not in page.words
    with report.write_csv(found, tmp_path / "table.csv").open(newline="") as file:
        assert "rehearsal" not in (csv.DictReader(file).fieldnames or ())


@pytest.mark.parametrize(
    ("elasticity", "said"),
    [((0.4, 0.5, 0.6), "more slowly than age"), ((1.1, 1.3, 1.5), "faster than age"), ((0.8, 1.1, 1.4), "may be fair"),
     (None, "does not tell how downloads grow")],
)  # fmt: skip
def test_prose_follows_the_fitted_elasticity(
    found: dict[str, Any], tmp_path: Path, elasticity: tuple[float, ...] | None, said: str
) -> None:
    decay = elasticity and dict(zip(("low", "elasticity", "high"), elasticity, strict=True))
    words = Page(report.build(found | {"decay": decay}, tmp_path / "page.html")).words
    claims = ("more slowly than age", "faster than age", "may be fair", "does not tell how downloads grow")
    assert [claim for claim in claims if claim in words] == [said]


def test_prose_follows_merges_votes_and_order(found: dict[str, Any]) -> None:
    said = prose.sentences(found)
    rows = {row["method"]: row for row in found["methods"]}
    trained, every = rows["checkpoint_trained"]["models"], rows["checkpoint_any"]["models"]
    assert said["merges"].startswith(f"{trained} of the {every} checkpoints here are listed as trained")
    assert f"{every / trained:.2g} times as many" in said["merges"]
    assert "SomethingNew" in said["others"]
    for same, words in ((True, "same order"), (False, "different orders"), (None, "")):
        assert words in prose.sentences(found | {"age": found["age"] | {"same_order": same}})["order"]
    rows = [
        model(n, ("LORA", "TextualInversion")[n % 2], likes=5, dislikes=5, downloads=9) for n in range(40)
    ]
    assert prose.sentences(analyse(written(rows)))["votes"].startswith("50 % of the votes")
    assert "would change nothing" in prose.sentences(analyse(written(rows)))["unrated"]


@pytest.mark.parametrize("mode", ["sample", "import"])
def test_no_trained_checkpoint_known_is_not_no_dreambooth(tmp_path: Path, mode: Mode) -> None:
    rows = [model(n, "Checkpoint", downloads=10) for n in range(1, 41)]
    found = analyse(written(rows, mode=mode, asked={n: n <= 40 for n in range(1, 101)}, largest=1000))
    words = Page(report.build(found, tmp_path / "page.html")).words
    most = answer.round_text(found["totals"]["checkpoint_unknown"]["high"]) if mode == "sample" else "40"
    assert f"DreamBooth\n    0 to {most}which were trained is not told" in words
    assert "40 checkpoints of unknown origin may be DreamBooth" in answer.sentences(found)[0]
    assert "none can be counted as DreamBooth" in prose.sentences(found)["merges"]


def test_a_method_that_no_id_met_may_still_be_there() -> None:
    rows = [model(n, "LORA", downloads=10) for n in range(1, 41)]
    found = analyse(written(rows, mode="sample", asked={n: n <= 40 for n in range(1, 101)}, largest=1000))
    text = answer.sentences(found)[0]
    assert f"perhaps up to {answer.round_text(found['totals']['hypernetwork']['high'])} hypernetworks" in text


def test_a_list_that_lost_models_says_how_many(tmp_path: Path) -> None:
    probe = {"drawn": 40, "drawn_lost": 30, "lost": 30, "low": 0.58, "high": 0.87}
    rows = [model(n, "Hypernetwork", downloads=n) for n in range(1, 20)]
    found = analyse(written(rows, complete=False, parameters={"type": "Hypernetwork", "probe": probe}))
    words = Page(report.build(found, tmp_path / "page.html")).words
    assert "58 to 87 % of the type are missing (95 % interval)" in words
    assert "58 to 87 % of the type are not in it; the snapshot is not complete." in words


def test_a_model_without_a_type_is_counted_among_everything_else(tmp_path: Path) -> None:
    found = analyse(
        written([model(1, downloads=1), model(2, None, downloads=1), model(3, "LoRa X", downloads=1)])
    )  # type: ignore[arg-type]
    assert [row["models"] for row in found["methods"] if row["method"] == "other"] == [2]
    assert prose.sentences(found)["others"] == "LoRa X (1) and no type told (1)"


@pytest.mark.parametrize("value", [0.4, 9, 12.3, 99.6, 1234, 12_345, 999_600])
def test_an_estimate_has_three_digits(value: float) -> None:
    text = answer.round_text(value)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.005, abs=0.5)
