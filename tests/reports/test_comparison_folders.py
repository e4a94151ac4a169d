"""The page of a comparison that is not whole, of an earlier version, as plain data, and in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from likewise import wording
from likewise.comparison import votes as people
from likewise.errors import RunError
from likewise.reports import comparison as report
from tests.reports.folders import (
    LEVELS,
    PROMPTS,
    SEEDS,
    TITLES,
    VOTES,
    edit,
    old,
    rows_of,
    verdict,
    write,
    write_rows,
)
from tests.reports.pages import Page, browse, data_of, faults


def test_a_training_without_result_is_named_with_its_reason(folder: Path) -> None:
    rows = rows_of(folder)
    failed = next(row for row in rows if row["trial"] == "lora-1")
    failed |= {"status": "failed", "reason": "two text towers", "gallery": None, "strip": []}
    write_rows(folder, rows)
    page = Page(report.build(folder))
    assert (
        "1 of 3 trainings has no result: two text towers"
        in page.words[page.words.index("Without a result") :]
    )
    assert data_of(page)["drawn"][2][1] == [None] * len(PROMPTS) * len(SEEDS)
    row = report.table(folder)[2]
    assert (row["status"], row["reason"]) == ("done", "1 of 3 trainings has no result: two text towers")
    assert report.summary(folder)["counts"]["failed"] == 1


@pytest.mark.parametrize(
    ("status", "word"), [("failed", "failed"), ("unsupported", "not supported"), ("skipped", "skipped")]
)
def test_a_condition_without_result_is_shown_with_its_reason(folder: Path, status: str, word: str) -> None:
    rows = rows_of(folder)
    for row in rows:
        if row["condition"] == "dreambooth":
            row |= {"status": status, "reason": "two text towers", "gallery": None, "strip": []}
    write_rows(folder, rows)
    book = verdict(3)
    book["standings"] = book["standings"][:-1]
    book["decisions"] = {}
    write(folder / "verdict.json", book)
    page = Page(report.build(folder))
    assert "Two text towers." in page.words[page.words.index("Without a result") :]
    assert (f"DreamBooth ({word})" in page.words) == (status != "skipped")
    row = report.table(folder)[-1]
    assert (row["condition"], row["status"], row["Likeness"]) == ("DreamBooth", word, "not measured")


def test_an_unfinished_folder_gives_a_page_of_what_is_there(folder: Path) -> None:
    (folder / "verdict.json").unlink()
    edit(folder, finished=False)
    rows = rows_of(folder)
    write_rows(folder, rows[:5])
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(rows[5])[:40])  # the row that is being written
    (folder / "trials/lora-0/gallery/0003.png").unlink()
    page = Page(report.build(folder))
    assert page.open == []
    assert "No verdict yet" in page.words
    assert "This comparison is not finished." in page.words
    assert "not drawn yet" in page.words
    assert "28 MB" in page.words
    assert report.summary(folder)["recommendation"] is None
    assert [row["status"] for row in report.table(folder)] == ["done"] * 3 + ["not done yet"] * 2


def test_what_is_scored_but_not_concluded_says_how_to_go_on(folder: Path) -> None:
    (folder / "verdict.json").unlink()
    assert "likewise recompute does that" in Page(report.build(folder)).words


def test_a_folder_with_nothing_but_its_plan(folder: Path) -> None:
    for name in ("results.jsonl", "verdict.json", "protocol.toml"):
        (folder / name).unlink()
    edit(folder, finished=False, metrics=None, pictures=None, conditions=[], folds=None)
    page = Page(report.build(folder))
    assert page.open == []
    assert "Nothing has been drawn yet" in page.words
    assert report.table(folder) == []


def test_a_missing_or_damaged_folder_is_an_error_with_a_hint(folder: Path) -> None:
    for wrong, said in (
        ("nowhere", "there is no folder"),
        ("results.jsonl", "no folder"),
        ("pictures", "holds no c"),
    ):
        with pytest.raises(RunError, match=said) as caught:
            report.build(folder / wrong)
        assert "Errno" not in str(caught.value)
        assert caught.value.hint
    text = (folder / "results.jsonl").read_text().splitlines()
    (folder / "results.jsonl").write_text("\n".join([text[0], "{torn", text[1]]))
    with pytest.raises(RunError, match="line 2"):
        report.table(folder)
    edit(folder, schema=3)
    with pytest.raises(RunError, match="schema 1 or 2"):
        report.summary(folder)
    (folder / "comparison.json").write_text("[")
    with pytest.raises(RunError, match="cannot be read"):
        report.summary(folder)


# ------------------------------------------------------------------------------------------- plain data, old folders


def test_json_has_standings_decisions_recommendation_and_rows(folder: Path) -> None:
    told = json.loads(json.dumps(report.summary(folder)))
    book = verdict(3)
    assert told["recommendation"] == json.loads(json.dumps(book["recommendation"]))
    assert told["decisions"] == json.loads(json.dumps(book["decisions"]))
    assert [one["name"] for one in told["standings"]] == list(LEVELS)
    assert len(told["trials"]) == 11
    assert told["counts"] == {"done": 11, "failed": 0, "unsupported": 0, "skipped": 0}


def test_the_table_has_a_row_per_condition(folder: Path) -> None:
    rows = report.table(folder)
    assert list(rows[0]) == [
        "condition", "status", "Likeness", "Prompt following", "Overall", "File size", "Training time", "Peak memory",
        "Time per picture", "reason",
    ]  # fmt: skip
    assert [row["condition"] for row in rows] == list(TITLES.values())
    assert rows[0]["File size"] == "no training"
    assert re.fullmatch(r"0\.8\d \[0\.\d\d, 0\.\d\d\]", rows[2]["Likeness"])


def test_an_old_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    folder = old(tmp_path / "mugs")
    page = Page(report.build(folder))
    assert page.open == []
    assert "made by an earlier version and holds one training of each method" in page.words
    assert "A screen, not a verdict" in page.words
    assert "old1" in page.words
    lora = report.table(folder)[1]
    assert (lora["Likeness"], lora["Prompt following"]) == (
        "0.60",
        "0.75",
    )  # (0.7 - 0.4) / (0.9 - 0.4), 0.6 / 0.8
    assert report.table(folder)[0]["Likeness"] == "0.00"
    assert data_of(page)["held"] == [[1]]
    edit(folder, finished=False)
    assert "No verdict yet" in Page(report.build(folder)).words


def test_numbers_are_written_for_people() -> None:
    assert [wording.size_text(n) for n in (0, 1_310, 28_000_000, 999_700, None)] == [
        "0 B", "1.3 kB", "28 MB", "1 MB", "not measured",
    ]  # fmt: skip
    assert [wording.time_text(s) for s in (0.42, 41, 200, 7500, float("nan"), 0.0457)] == [
        "0.42 s", "41 s", "3 min 20 s", "2 h 5 min", "not measured", "0.046 s",
    ]  # fmt: skip
    assert [wording.count_text(n) for n in (256, 797_184, 1_230_000)] == ["256", "797 k", "1.2 M"]
    assert wording.measured_text(0.62, 0.55, 0.69) == "0.62 [0.55, 0.69]"
    assert [wording.measured_text(n) for n in (0.62, -0.004, -0.42, None)] == [
        "0.62",
        "0.00",
        "−0.42",
        "not measured",
    ]
    assert wording.minus("-0.1 (-0.2 to pocket-judge-v4)") == "−0.1 (−0.2 to pocket-judge-v4)"
    assert [wording.listed(words) for words in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_torch_is_not_imported() -> None:
    code = "import sys; from likewise.reports import comparison; sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join([str(Path(report.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0


def test_the_script_stays_small() -> None:
    assert len((Path(report.__file__).parent / "comparison.js").read_text().splitlines()) < 250


# ------------------------------------------------------------------------------------------- in a browser


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_opens_the_page_and_two_conditions_in_one_picture(folder: Path, tmp_path: Path) -> None:
    address = report.build(folder).as_uri() + "#open=2.0.0.1"
    document, said = browse(address, tmp_path / "profile")
    assert "CONSOLE" not in said
    assert re.search(r"<dialog[^>]* open", document)
    assert re.search(r'id="box-left-name"[^>]*>LoRA<', document)
    assert re.search(r'id="box-right-name"[^>]*>Untrained base<', document)
    assert re.search(r'id="box-seed"[^>]*>seed 4, training 1<', document)
    assert re.search(r'<img id="box-left"[^>]*src="data:image/webp', document)
    assert re.search(r'id="wipe"[^>]*aria-valuetext="50 % LoRA, 50 % Untrained base"', document)
    assert re.search(r'id="step"[^>]*max="3"', document)
    assert 'class="grid of-2 early"' not in document  # the slider begins at the end


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(
    "before", ["0", "location.hash='#open=2.0.0.1'", "document.querySelector('[value=\"2\"]').click()"]
)
def test_axe_finds_no_fault(
    folder: Path, tmp_path: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "beside", lambda folder: VOTES)
    page = report.build(folder)
    assert faults(page, tmp_path / "profile", before) == []
