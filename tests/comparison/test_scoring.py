"""Scoring finished folders whose right answer is known: real pictures, copies, blanks, look-alikes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likewise.comparison.results import Kind, Row
from likewise.comparison.scoring import Scored, score
from likewise.gallery import Gallery
from likewise.metrics.features import Features, Panel

TEMPLATES = {"one": "a {} here", "two": "a {} there"}


class Colours(Features):
    """The mean colour of each quarter, less grey: crude, but what it sees is known."""

    id = "quarter-colours-v1"
    card = {"layer": "mean colour of each quarter less the picture's grey"}

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        rows = [
            np.asarray(p.resize((2, 2), Image.Resampling.BOX), np.float32).ravel() - 127 for p in pictures
        ]
        return normalize(torch.from_numpy(np.stack(rows)), dim=1)


def subject(seed: int, colour: tuple[int, int, int] = (220, 60, 40)) -> Image.Image:
    """One of many pictures of the same thing: a colour with some noise."""
    noise = np.random.default_rng(seed).normal(0, 30, (4, 4, 3))
    array = (np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(array).resize((32, 32), Image.Resampling.NEAREST)


def other(seed: int) -> Image.Image:
    """Another of its kind."""
    return subject(seed, (60, 90, 200))


def scored(folder: Path, galleries: dict[str, list[Image.Image]]) -> Scored:
    """A folder with four training and three held-out pictures, scored; galleries have two a prompt."""
    for part, seeds in (("train", range(4)), ("held_out", range(4, 7))):
        (folder / "pictures" / part).mkdir(parents=True)
        for number, seed in enumerate(seeds):
            subject(seed).save(folder / "pictures" / part / f"{number}.png")
    rows = []
    for name, images in galleries.items():
        gallery = Gallery(folder / "trials" / name / "gallery")
        for number, image in enumerate(images):
            gallery.add(image, "text", number, ("one", "two")[number // 2])
        gallery.save()
        kind: Kind = "floor" if name == "base" else "method"
        rows.append(Row(name, name.title(), kind, "done", gallery=f"trials/{name}/gallery"))
    rows.append(Row("broken", "Broken", "method", "failed", "it broke"))
    return score(folder, rows, TEMPLATES, "thing", Panel(Colours(), Colours()))


def fidelity(found: Scored) -> dict[str, dict[str, float]]:
    return {row.trial: dict(row.scores["fidelity"]) for row in found.rows if row.scores}  # type: ignore[arg-type]


@pytest.fixture
def found(tmp_path: Path) -> Scored:
    return scored(
        tmp_path,
        {
            "base": [other(seed) for seed in range(20, 24)],
            "real": [subject(seed) for seed in range(30, 34)],
            "copies": [subject(seed) for seed in range(4)],
            "blanks": [subject(30), Image.new("RGB", (32, 32)), subject(32), Image.new("RGB", (32, 32))],
            "half": [subject(30), other(20), subject(32), other(21)],
            "stuck": [subject(30)] * 4,
        },
    )


def test_the_floor_reads_zero_and_real_pictures_one(found: Scored) -> None:
    values = fidelity(found)
    assert values["base"]["normalised"] == 0.0
    assert values["real"]["normalised"] == pytest.approx(1.0, abs=0.06)
    assert values["half"]["normalised"] == pytest.approx(0.5, abs=0.1)
    ceiling = found.ceiling["fidelity"]
    assert set(ceiling) == {"mean", "low", "high"}
    assert values["real"]["mean"] == pytest.approx(ceiling["mean"], abs=0.03)


def test_a_blank_picture_is_worse_than_one_of_another_subject(found: Scored) -> None:
    values = fidelity(found)
    assert values["blanks"]["mean"] < values["real"]["mean"] / 1.9
    assert values["base"]["mean"] < 0, "of the opposite colour"


def test_copies_are_flagged_and_new_pictures_are_not(found: Scored) -> None:
    shares = {row.trial: row.scores["copying"]["mean"] for row in found.rows if row.scores}
    assert shares["copies"] == 1.0
    assert shares["base"] == shares["blanks"] == 0.0
    assert float(shares["real"] or 0) <= 0.5


def test_the_same_picture_again_and_again_is_no_diversity(found: Scored) -> None:
    values = {row.trial: float(row.scores["diversity"]["mean"] or 0) for row in found.rows if row.scores}
    assert values["stuck"] == pytest.approx(1.0, abs=1e-6)
    assert values["half"] > values["real"] > values["stuck"]


def test_rows_that_are_not_done_stay_as_they_were(found: Scored) -> None:
    assert found.rows[-1] == Row("broken", "Broken", "method", "failed", "it broke")


def test_scores_are_kept_by_prompt_with_their_card(found: Scored, tmp_path: Path) -> None:
    book = json.loads((tmp_path / "trials" / "half" / "scores.json").read_text(encoding="utf-8"))
    assert set(book) == {"fidelity", "diversity", "copying", "gap"}, (
        "no head, no text, no style: nothing checks those"
    )
    assert book["fidelity"]["card"] == "fidelity-heldout-allpairs-v1/quarter-colours-v1"
    assert set(book["fidelity"]["prompts"]) == {"one", "two"}
    pictures = book["fidelity"]["pictures"]
    assert [len(pictures[prompt]) for prompt in ("one", "two")] == [2, 2]
    assert sum(pictures["one"]) / 2 == pytest.approx(book["fidelity"]["prompts"]["one"])
    assert [len(book["diversity"]["pictures"][prompt]) for prompt in ("one", "two")] == [1, 1]


def test_scoring_again_gives_the_same(found: Scored, tmp_path: Path) -> None:
    rows = [row for row in found.rows if row.trial != "broken"]
    again = score(tmp_path, rows, TEMPLATES, "thing", Panel(Colours(), Colours()))
    assert fidelity(again) == fidelity(found)


def test_better_than_real_is_a_warning(tmp_path: Path) -> None:
    average = Image.fromarray(np.full((32, 32, 3), (220, 60, 40), np.uint8))
    found = scored(tmp_path, {"base": [other(1), other(2)] * 2, "smooth": [average] * 4})
    assert any("Smooth scores above real pictures" in note for note in found.notes)


def test_a_subject_like_any_other_is_not_ranked(tmp_path: Path) -> None:
    found = scored(
        tmp_path, {"base": [subject(s) for s in range(40, 44)], "lora": [subject(s) for s in range(50, 54)]}
    )
    assert {values["normalised"] for values in fidelity(found).values()} == {None}
    assert any("likeness ranks no method" in note for note in found.notes)
    assert not any("copying" in note for note in found.notes)


def test_the_note_of_the_panel_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    found = score(tmp_path, [], TEMPLATES, "thing", Panel(Colours(), Colours(), "judged by colour alone"))
    assert found.notes == ("judged by colour alone",)
    assert found.ceiling == {}
