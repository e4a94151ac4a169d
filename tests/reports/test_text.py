"""A comparison in Markdown and as CSV: the same numbers as on the page, and nothing that acts."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from likewise.reports import comparison, folder, text
from tests.reports.folders import LEVELS, made, old, verdict, write


@pytest.fixture
def mugs(tmp_path: Path) -> Path:
    return made(tmp_path / "mugs")


def lines_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.table(folder.read(path)))))


def test_csv_has_every_axis_and_cost_as_verdict_json_has_it(mugs: Path) -> None:
    comparison.build(mugs)
    assert (mugs / "report.csv").read_text() == text.table(folder.read(mugs))
    rows = lines_of(mugs)
    for one in verdict(3)["standings"]:
        for axis, found in one["axes"].items():
            row = next(row for row in rows if (row["condition"], row["axis"]) == (one["name"], axis))
            assert float(row["value"]) == pytest.approx(found["value"], abs=1e-9)
            assert row["card"] == found["card"]
            assert (row["low"] == "") == (found["low"] is None)
            assert (row["prompts"], row["replicates"]) == ("8", "3")
    shared = {row["condition"]: row["unit"] for row in rows if row["axis"] == "seconds"}
    assert shared == {"lora": "seconds", "big": "seconds (share)", "dreambooth": "seconds"}


def test_csv_holds_no_formula(mugs: Path) -> None:
    book = json.loads((mugs / "comparison.json").read_text())
    book["conditions"][2]["title"] = "=1+1"
    write(mugs / "comparison.json", book)
    assert {row["title"] for row in lines_of(mugs) if row["condition"] == "lora"} == {"'=1+1"}


def test_markdown_has_the_verdict_first_and_every_block(mugs: Path) -> None:
    told = text.markdown(
        folder.read(mugs), {"people": 2, "votes": 9, "order": [{"name": "big", "value": 0.5}]}
    )
    assert told.startswith("# LoRA is the one to take\n")
    order = [told.index(f"\n## {title}\n") for title in (
        "Likeness and prompt following", "Each against each", "What each one costs", "Warnings", "All numbers",
        "What people say", "How to read this", "How to repeat it",
    )]  # fmt: skip
    assert order == sorted(order)
    assert "From 489 pictures on" in told
    assert "9 of 16 pictures are copies" in told
    assert "likewise recompute mugs" in told
    assert r"A note on the \<scale\>." in told


@pytest.mark.parametrize("replicates", [1, 2])
def test_few_trainings_have_a_text(tmp_path: Path, replicates: int) -> None:
    found = folder.read(made(tmp_path / "mugs", replicates))
    first = "# A screen, not a verdict" if replicates == 1 else "# "
    assert text.markdown(found).startswith(first)
    assert len(lines_of(tmp_path / "mugs")) == len(LEVELS) * 4 + 3 * 4 + 2


def test_old_folders_have_a_text(tmp_path: Path) -> None:
    found = folder.read(old(tmp_path / "mugs"))
    assert "made by an earlier version" in text.markdown(found)
