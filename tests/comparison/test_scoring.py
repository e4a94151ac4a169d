"""Scoring finished folders whose right answer is known: real pictures, copies, blanks, look-alikes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likewise import metrics
from likewise.comparison import scoring
from likewise.comparison.results import Kind, Row
from likewise.comparison.scoring import Scene, is_scored, score
from likewise.errors import RunError
from likewise.gallery import Gallery
from likewise.metrics.features import BATCH, Features, Panel
from likewise.metrics.score import Evidence, Score

TEMPLATES = {"one": "a {} here", "two": "two {}s there"}
FOLDS = (
    {"number": 0, "train": [0, 1, 2, 3], "held_out": [4, 5, 6]},
    {"number": 1, "train": [3, 4, 5, 6], "held_out": [0, 1, 2]},
)


class Colours(Features):
    """The mean colour of each quarter, less grey: crude, but what it sees is known."""

    id = "quarter-colours-v1"
    card: ClassVar = {"layer": "mean colour of each quarter less the picture's grey"}

    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        rows = [
            np.asarray(p.resize((2, 2), Image.Resampling.BOX), np.float32).ravel() - 127 for p in pictures
        ]
        return normalize(torch.from_numpy(np.stack(rows)), dim=1)


class Reader(Colours):
    """Reads texts as well, and remembers which."""

    id = "reader-v1"
    reads_text = True
    asked: ClassVar[list[str]] = []

    def texts(self, texts: Sequence[str]) -> Tensor:
        self.asked[:] = texts
        return normalize(torch.ones(len(texts), 12), dim=1)


def subject(seed: int, colour: tuple[int, int, int] = (220, 60, 40)) -> Image.Image:
    """One of many pictures of the same thing: a colour with some noise."""
    noise = np.random.default_rng(seed).normal(0, 30, (4, 4, 3))
    array = (np.asarray(colour) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(array).resize((32, 32), Image.Resampling.NEAREST)


def other(seed: int) -> Image.Image:
    """Another of its kind."""
    return subject(seed, (60, 90, 200))


GALLERIES: dict[str, list[Image.Image]] = {
    "base": [other(seed) for seed in range(20, 24)],
    "real": [subject(seed) for seed in range(30, 34)],
    "copies": [subject(seed) for seed in range(4)],
    "blanks": [subject(30), Image.new("RGB", (32, 32)), subject(32), Image.new("RGB", (32, 32))],
    "half": [subject(30), other(20), subject(32), other(21)],
    "stuck": [subject(30)] * 4,
}


def made(folder: Path, galleries: dict[str, list[Image.Image]] = GALLERIES) -> tuple[Scene, list[Row]]:
    """A folder of seven real pictures in two folds; galleries have two pictures a prompt."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(7):
        subject(number).save(folder / "pictures" / f"{number}.png")
    rows = []
    for name, images in galleries.items():
        gallery = Gallery(folder / "trials" / name / "gallery")
        for number, image in enumerate(images):
            gallery.add(image, "text", number, ("one", "two")[number // 2])
        gallery.save()
        kind: Kind = "floor" if name == "base" else "method"
        fold = None if name == "base" else 0
        rows.append(
            Row(name, name.title(), kind, "done", gallery=f"trials/{name}/gallery", digest=name, fold=fold)
        )
    rows.append(Row("broken", "Broken", "method", "failed", "it broke"))
    files = [f"pictures/{number}.png" for number in range(7)]
    return Scene(folder, files, FOLDS, {"use": TEMPLATES}, "mouse"), rows


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored") / "out"
    score(*made(folder), Panel(Colours(), Colours(), "judged by colour alone"))
    return folder


def book(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "trials" / name / "scores.json").read_text(encoding="utf-8"))
    return found


def mean(folder: Path, name: str, metric: str = "fidelity", fold: int = 0) -> float:
    pictures = book(folder, name)["folds"][str(fold)][metric]["pictures"]
    return fmean(fmean(values) for values in pictures.values())


def anchors(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "anchors.json").read_text(encoding="utf-8"))
    return found


def test_what_is_not_taught_is_scored_against_every_fold(found: Path) -> None:
    assert set(book(found, "base")["folds"]) == {"0", "1"}
    assert set(book(found, "real")["folds"]) == {"0"}
    assert mean(found, "base", fold=0) != mean(found, "base", fold=1)


def test_real_pictures_reach_the_ceiling(found: Path) -> None:
    ceilings = anchors(found)["fidelity"]["ceiling"]
    assert set(ceilings) == {"0", "1"}
    assert len(ceilings["0"]) == 3, "a value for each held-out picture"
    assert mean(found, "real") == pytest.approx(fmean(ceilings["0"]), abs=0.03)
    assert mean(found, "half") == pytest.approx((mean(found, "real") + mean(found, "base")) / 2, abs=0.1)


def test_a_blank_picture_is_worse_than_one_of_another_subject(found: Path) -> None:
    assert mean(found, "blanks") < mean(found, "real") / 1.9
    assert mean(found, "base") < 0, "of the opposite colour"


def test_every_scored_picture_knows_its_nearest_training_picture(found: Path) -> None:
    """Red when the index is that among the training pictures of the fold, and not of all."""
    assert book(found, "copies")["nearest"] == [0, 1, 2, 3]
    assert set(book(found, "real")["nearest"]) <= {0, 1, 2, 3}


def test_a_prompt_that_asks_for_what_a_training_picture_shows_is_not_looked_at_for_copies(
    tmp_path: Path,
) -> None:
    scene, rows = made(tmp_path)
    said = [TEMPLATES["one"].replace("{}", "Mouse").upper(), *[""] * 6]

    def looked_at(captions: Sequence[str]) -> set[str]:
        for kept in tmp_path.rglob("scores.json"):
            kept.unlink()
        score(replace(scene, captions=captions), rows, Panel(Colours(), Colours()))
        return set(book(tmp_path, "copies")["folds"]["0"].get("copying", {}).get("pictures", {}))

    assert looked_at(()) == {"one", "two"}
    assert looked_at(said) == {"two"}
    assert looked_at([""] * 4 + said[:1] + [""] * 2) == {"one", "two"}, "that picture was held out"
    assert looked_at([said[0], "two mice there", *[""] * 5]) == set()


def test_copies_are_flagged_and_new_pictures_are_not(found: Path) -> None:
    assert mean(found, "copies", "copying") == 1.0
    assert mean(found, "base", "copying") == mean(found, "blanks", "copying") == 0.0
    assert mean(found, "real", "copying") <= 0.5


def test_the_same_picture_again_and_again_is_no_diversity(found: Path) -> None:
    assert mean(found, "stuck", "diversity") == pytest.approx(1.0, abs=1e-6)
    assert mean(found, "half", "diversity") > mean(found, "real", "diversity") > 1.0


def test_every_pictures_value_is_kept_with_the_card_of_its_metric(found: Path) -> None:
    half = book(found, "half")
    assert half["cards"]["fidelity"] == "fidelity-heldout-allpairs-v1/quarter-colours-v1"
    assert half["digest"] == "half"
    scores = half["folds"]["0"]
    assert {"fidelity", "diversity", "copying", "gap"} <= set(scores)
    assert not {"prompt", "style"} & set(scores), "no head, no text, no style: nothing checks those"
    assert [len(scores["fidelity"]["pictures"][prompt]) for prompt in ("one", "two")] == [2, 2]
    assert [len(scores["diversity"]["pictures"][prompt]) for prompt in ("one", "two")] == [1, 1]


def test_what_shows_without_its_word_is_measured_against_the_base_from_the_same_noise(tmp_path: Path) -> None:
    """Red when pictures without the word are scored as the others are, or are paired with other noise."""
    scene, rows = made(tmp_path / "out", {name: GALLERIES[name] for name in ("base", "real", "half")})
    for name, images in (("real", GALLERIES["base"][:2][::-1]), ("half", [subject(40), subject(41)])):
        gallery = Gallery(scene.folder / "trials" / name / "gallery")
        for image, seed in zip(images, (1, 0), strict=True):
            gallery.add(image, "text", seed, "one:unnamed")
        gallery.save()
    score(scene, rows, Panel(Colours(), Colours(), None))
    assert book(scene.folder, "real")["folds"]["0"]["binding"]["pictures"] == {"one": [0.0, 0.0]}
    assert mean(scene.folder, "half", "binding") > 0.5
    assert "binding" not in book(scene.folder, "base")["folds"]["0"]
    assert mean(scene.folder, "real") > 0.9, "they are not among the pictures that decide"
    assert book(scene.folder, "half")["nearest"][4:] == [None, None]


def test_rows_that_are_not_done_are_not_scored(found: Path) -> None:
    assert not (found / "trials" / "broken").exists()


def test_the_anchors_say_who_judged(found: Path) -> None:
    assert anchors(found)["note"] == "judged by colour alone"
    assert anchors(found)["judges"] == {"pictures": "quarter-colours-v1", "prompts": "quarter-colours-v1"}
    assert anchors(found)["prompt"]["chance"] is None


def test_what_was_scored_is_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, rows = made(tmp_path / "out", {name: GALLERIES[name] for name in ("base", "real", "half")})
    table = score(scene, rows, Panel(Colours(), Colours()))
    assert is_scored(scene.folder, rows, table)
    before = {
        name: (scene.folder / "trials" / name / "scores.json").read_bytes() for name in ("real", "half")
    }
    rows[2] = Row("half", "Half", "method", "done", gallery=rows[2].gallery, digest="drawn anew", fold=0)
    assert not is_scored(scene.folder, rows, table)
    looked: list[str] = []
    opened = Gallery.open
    monkeypatch.setattr(Gallery, "open", lambda g, p: looked.append(g.folder.parent.name) or opened(g, p))  # type: ignore[func-returns-value]
    score(scene, rows, Panel(Colours(), Colours()))
    assert set(looked) == {"base", "half"}
    assert (scene.folder / "trials" / "real" / "scores.json").read_bytes() == before["real"]
    half = json.loads(before["half"])
    assert book(scene.folder, "half") == half | {"digest": "drawn anew"}


def test_other_judges_score_everything_again(tmp_path: Path) -> None:
    scene, rows = made(tmp_path / "out", {name: GALLERIES[name] for name in ("base", "real")})
    table = score(scene, rows, Panel(Colours(), Colours()))
    again = score(scene, rows, Panel(Reader(), Reader()))
    assert not is_scored(scene.folder, rows, table)
    assert is_scored(scene.folder, rows, again)
    assert book(scene.folder, "real")["cards"]["fidelity"].endswith("reader-v1")


def test_texts_are_asked_with_the_noun_in_its_right_form(tmp_path: Path) -> None:
    scene, rows = made(tmp_path / "out", {name: GALLERIES[name] for name in ("base", "real")})
    score(scene, rows, Panel(Reader(), Reader()))
    assert Reader.asked == ["a mouse here", "two mice there"]
    assert "prompt" in book(scene.folder, "real")["folds"]["0"]
    assert anchors(scene.folder)["prompt"]["chance"] is not None


def test_few_pictures_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: the pictures of a thorough comparison would fill a machine."""
    many = [subject(seed) for seed in range(4 * BATCH)]
    scene, rows = made(tmp_path / "out", {})
    for name, kind in (("base", "floor"), ("many", "method")):
        gallery = Gallery(tmp_path / "out" / "trials" / name / "gallery")
        for number, image in enumerate(many):
            gallery.add(image, "text", number, "one")
        gallery.save()
        rows.append(Row(name, name, kind, "done", gallery=f"trials/{name}/gallery", digest=name, fold=0))  # type: ignore[arg-type]
    open_now, most = [0], [0]

    class Counted:
        """Counts the pictures that are alive."""

        def __init__(self) -> None:
            open_now[0] += 1
            most[0] = max(most[0], open_now[0])

        def __del__(self) -> None:
            open_now[0] -= 1

    opened = Gallery.open

    def counting(gallery: Gallery, picture: Any) -> Image.Image:
        image = opened(gallery, picture)
        image.info["counted"] = Counted()
        return image

    monkeypatch.setattr(Gallery, "open", counting)
    score(scene, rows, Panel(Colours(), Colours()))
    assert BATCH <= most[0] <= 2 * BATCH + 1
    assert len(book(scene.folder, "many")["folds"]["0"]["fidelity"]["pictures"]["one"]) == 4 * BATCH


class Odd:
    """A metric that goes wrong."""

    name, title, better, meaning, place, reads = "odd", "Odd", "higher", "Nothing.", 99, "pictures"

    def card(self, features: str) -> str:
        return f"odd-v1/{features}"

    def score(self, evidence: Evidence) -> Score:
        return Score(float("nan"), None, None, 1, pictures={"one": (float("nan"),)})


def test_a_value_that_is_no_number_is_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "names", lambda: ["odd"])
    monkeypatch.setattr(metrics, "get", lambda name: Odd())
    scene, rows = made(tmp_path / "out", {"base": GALLERIES["base"]})
    with pytest.raises(RunError, match="odd of base is not a finite number"):
        score(scene, rows, Panel(Colours(), Colours()))
    assert not (scoring._path(scene.folder, rows[0])).exists()
