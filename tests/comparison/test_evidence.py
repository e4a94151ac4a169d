"""The shipped evidence is complete, consistent with itself, and never mixes what must stand apart."""

from __future__ import annotations

import json

import pytest

from likewise import methods
from likewise.comparison import evidence
from likewise.comparison.answering import COLUMNS, SUBJECTS
from likewise.metrics.judge import FOLDER


@pytest.mark.parametrize("source", evidence.sources(), ids=lambda source: source.name)
def test_each_table_says_whose_it_is_and_by_what_it_judges(source: evidence.Source) -> None:
    assert source.where
    assert source.judge
    assert source.trainings >= 1
    assert source.kinds
    assert set(source.kinds) <= set(SUBJECTS)
    columns = [*source.likeness, *([source.prompt] if source.prompt else [])]
    assert columns
    for column in columns:
        assert any(column in row.values for row in source.rows), column
        assert column in COLUMNS or not source.decides, column


@pytest.mark.parametrize("source", evidence.sources(), ids=lambda source: source.name)
def test_each_row_of_a_method_names_its_base(source: evidence.Source) -> None:
    for row in source.rows:
        assert row.base or not row.method, row.name
        assert row.method in {"", "dora", *methods.names()}
        assert row.values


def test_claims_and_times_are_about_methods_of_this_package() -> None:
    for one in (*evidence.claims(), *evidence.times()):
        assert one.method in methods.names()
        assert one.source
    assert all(one.strength for one in evidence.claims())


def test_the_numbers_in_the_claim_on_clip_features_are_those_of_the_table() -> None:
    text = next(one.text for one in evidence.claims() if "CLIP-I gives" in one.text)
    rows = next(one.rows for one in evidence.sources() if one.name == "CustomConcept101")
    values = {row.method: row.values for row in rows}
    for method in ("textual_inversion", "dreambooth"):
        assert f"{values[method]['clip_i']:.3f}" in text
        assert f"{values[method]['dino']:.3f}" in text


def test_what_is_recorded_in_the_package_is_by_the_present_judge() -> None:
    """Numbers of another judge have another meaning; record them anew."""
    judge = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))["id"]
    for one in evidence.recorded():
        assert one.kind in SUBJECTS
        assert one.judge == judge, one.label
        assert one.size != "quick"
