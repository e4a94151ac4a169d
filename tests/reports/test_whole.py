"""A real comparison on a random miniature, from pictures to the page, its text and its table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from likewise import wording
from likewise.base import Sampler
from likewise.comparison.preparing import prepare
from likewise.reports import comparison as report
from likewise.reports.folder import AXES
from tests.bases import pictures
from tests.metrics.judges import panel
from tests.reports.pages import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    pictures(root / "owl", 6)
    comparison = prepare(
        root / "owl", noun="owl", token="sks", base="tiny:sd", methods=("lora", "aesthetic"), out=root / "owls",
        prompts=("a {} on a beach", "a {} somewhere"), seeds=(0,), sampler=Sampler(steps=1, guidance=1.0),
        replicates=2, conditions=("big=lora,rank=4",), steps=3, rank=2,
    )  # fmt: skip
    list(comparison.start(judges=panel()))
    return comparison.folder


def test_a_real_folder_gives_a_page_with_the_numbers_of_verdict_json(folder: Path) -> None:
    page = Page(report.build(folder))
    assert page.open == []
    book = json.loads((folder / "verdict.json").read_text())
    assert len(book["standings"]) == 4
    for one in book["standings"]:
        assert one["title"] in page.words
        for axis, found in one["axes"].items():
            digits = 2 if axis in AXES else 3
            assert wording.measured_text(found["value"], digits=digits) in page.words
    for reason in book["recommendation"]["reasons"]:
        assert wording.minus(reason.partition(" (card")[0]) in page.words
    data = json.loads(page.text.partition('id="data">')[2].partition("</script>")[0])
    assert all(number is not None for column in data["drawn"] for numbers in column for number in numbers)
    prompts = [prompt["id"] for prompt in json.loads((folder / "comparison.json").read_text())["prompts"]]
    for numbers in data["drawn"][0]:
        assert len(numbers) > len(prompts)
        assert set(numbers[len(prompts) :]) <= set(numbers), (
            "without a word the untaught base draws what it drew"
        )
    assert [step for step, _ in data["films"][1][1]][-1] == 3


def test_a_real_folder_gives_a_text_and_a_table(folder: Path) -> None:
    report.build(folder)
    assert "## Each against each" in (folder / "report.md").read_text()
    with (folder / "report.csv").open(newline="") as file:
        rows = {(row["condition"], row["axis"]): row for row in csv.DictReader(file)}
    for one in json.loads((folder / "verdict.json").read_text())["standings"]:
        for axis, found in one["axes"].items():
            assert float(rows[one["name"], axis]["value"]) == pytest.approx(found["value"], abs=1e-9)


def test_the_table_of_a_real_folder_has_what_the_terminal_shows(folder: Path) -> None:
    rows = report.table(folder)
    done = [row["condition"] for row in rows if row["status"] == "done"]
    assert done == ["Untrained base", "LoRA", "Aesthetic embedding", "big"]
    assert all(row["Time per picture"] != "not measured" for row in rows if row["status"] == "done")
