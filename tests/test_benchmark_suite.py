"""The suite's benchmark puts the untaught base at 0 and true pictures at 1, and asks what the card says."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

suite = pytest.importorskip("benchmarks.suite", reason="the benchmarks are not part of this copy")

from likewise.gallery import Gallery  # noqa: E402
from likewise.metrics.features import load  # noqa: E402


@pytest.fixture(scope="module")
def subject() -> suite.Subject:
    (found,) = suite.subjects(suite.SHIPPED, suite.read_card(suite.SHIPPED), ["mosaic-style"])
    return found


def drawn(folder: Path, pictures: list[Image.Image]) -> Gallery:
    gallery = Gallery(folder)
    for role in ("asked", "class"):
        for number, picture in enumerate(pictures):
            gallery.add(picture, "", number, role)
    return gallery


def test_scores_lie_between_the_untaught_base_and_the_truth(subject: suite.Subject, tmp_path: Path) -> None:
    _, true = subject.pictures()
    other = [true[(3 * n + 18) % len(true)] for n in range(len(subject.asks))]  # other things, other places
    floor = drawn(tmp_path / "floor", other)
    scorer = suite.Scorer(load("judge"), subject, floor)
    low = scorer.scores(floor)
    assert low["subject"] == low["picture"] == low["class"] == 0
    high = scorer.scores(drawn(tmp_path / "true", true[::3]))
    assert high["subject"] > 0.9
    assert high["picture"] > 0.9
    assert high["prompt"] > low["prompt"]


def test_prompts_carry_the_token_or_the_description_or_neither(subject: suite.Subject) -> None:
    asked, plain, described = (subject.texts(kind, "sks") for kind in ("asked", "class", "described"))
    assert all("sks style" in text for text in asked)
    assert all("sks" not in text and "style" not in text for text in plain)
    assert all(subject.card["description"] in text for text in described)
    assert len(asked) == len(plain) == len(described) == len(set(subject.seeds)) == 12
