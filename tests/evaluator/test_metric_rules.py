"""Cases whose right answer is known before anything is measured, for metrics, with the bundled judge and pictures.

The rows are those of the evaluator's sanity set that metrics alone can answer. Each test names what makes it red.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from likewise.metrics import copying, descriptor
from likewise.metrics.features import Features, read
from likewise.metrics.score import Reading
from tests.evaluator.seen import SHOWN, evidence, rows, score
from tests.metrics.drawings import cat, disguises, suite

# --- row 1: a picture and itself -------------------------------------------------------------------


def test_row_1_a_picture_is_like_itself(judge: Features, cats: Reading) -> None:
    """Red when vectors are not brought to length 1, or drift is not 1 - cosine."""
    one = rows(cats, [3])
    itself = evidence(judge, one, rows(cats, [0, 1]), one)
    itself = replace(itself, plain=one, plain_prompts=("0",), before=one, others=rows(cats, [5]))
    assert score("fidelity", itself).mean == pytest.approx(1, abs=1e-5)
    assert score("style", itself).mean == pytest.approx(1, abs=1e-5)
    assert score("drift", itself).mean == pytest.approx(0, abs=1e-5)
    assert score("leak", itself).mean == pytest.approx(0, abs=1e-5)
    assert score("rank", itself).mean == 1
    assert float(descriptor.nearest(one.miniatures, one.miniatures)) == pytest.approx(1, abs=1e-5)  # type: ignore[arg-type]


# --- row 3: what must not change a score -----------------------------------------------------------


def test_row_3_order_format_and_orientation_change_nothing(
    judge: Features, cats: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red when pictures are paired with prompts by place, or EXIF is not heeded."""
    pictures = cat()[:6]
    prompts = ["a", "a", "b", "a", "b", "c"]

    def values(shown: list[Image.Image], asked: Sequence[str]) -> dict[str, float]:
        drawn = read(judge, shown)
        whole = evidence(judge, drawn, rows(cats, [6, 7, 8]), rows(cats, [0, 8]), asked)
        whole = replace(whole, others=rows(cats, [1, 2]), floor=rows(cats, [0, 1, 2, 3, 4, 5]))
        names = ("fidelity", "style", "gap", "rank", "copying", "diversity")
        return {name: score(name, whole).mean for name in names}

    usual = values(pictures, prompts)
    order = [4, 0, 5, 2, 1, 3]
    shuffled = values([pictures[i] for i in order], [prompts[i] for i in order])
    stored = values([_saved(p, "WEBP", lossless=True) for p in pictures], prompts)
    turned = values([_turned(p) for p in pictures], prompts)
    monkeypatch.setattr("likewise.metrics.features.BATCH", 1)
    alone = values(pictures, prompts)
    for other in (shuffled, stored, turned, alone):
        assert other == pytest.approx(usual, abs=1e-4)


def _saved(picture: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)  # type: ignore[arg-type]
    return Image.open(buffer)


def _turned(picture: Image.Image) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return _saved(picture.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


# --- rows 10 to 13: copies -------------------------------------------------------------------------


def test_row_10_training_pictures_as_answers(judge: Features, men: Reading) -> None:
    """Red when the line is drawn above 1, or the gap is turned round."""
    train, held_out = rows(men, [0, 3, 6, 9, 12, 15, 18, 21]), rows(men, [24, 27, 30, 33])
    places = ("in space", "at night", "in the desert", "under water")
    templates = {str(i): f"a {{}} {place}" for i, place in enumerate(places)}
    drawn, prompts = rows(men, [0, 3, 6, 9] * 2), [str(i % 4) for i in range(8)]
    copies = evidence(judge, drawn, train, held_out, prompts, templates)
    assert score("copying", copies).mean == 1
    assert score("prompt", copies).mean <= 0.25
    assert score("diversity", copies).mean == pytest.approx(1, abs=1e-5)
    assert score("gap", copies).mean > 0


@pytest.mark.parametrize("concept", ["cat", *SHOWN])
def test_row_11_disguised_copies_are_flagged(judge: Features, concept: str) -> None:
    """Red when windows are left out (crops), the mirror is (mirrored), or the second look is not taken."""
    pictures = cat() if concept == "cat" else suite(concept)
    count = len(pictures) * 2 // 3
    chance = np.random.default_rng(0)
    copies = [copy for picture in pictures[:count] for _, copy in disguises(picture, chance)]
    train, held_out = read(judge, pictures[:count]), read(judge, pictures[count:])
    found = score("copying", evidence(judge, read(judge, copies), train, held_out))
    assert found.mean >= 0.95
    assert found.n == 8 * count


@pytest.mark.parametrize("concept", SHOWN)
def test_row_12_new_real_pictures_are_not_flagged_beyond_the_rate(judge: Features, concept: str) -> None:
    """Red when the line stands a tenth lower, or comes from the furthest pair."""
    seen, chance, shares = read(judge, suite(concept, "true")), np.random.default_rng(1), []
    for _ in range(5):
        order = chance.permutation(len(seen)).tolist()
        train, held_out, new = rows(seen, order[:8]), rows(seen, order[8:12]), rows(seen, order[12:])
        shares.append(score("copying", evidence(judge, new, train, held_out)).mean)
        line = copying.calibrate(train, held_out)
        assert line is not None
        assert score("copying", evidence(judge, held_out, train, held_out)).mean == 0
    assert np.mean(shares) <= line.rate / 2, "the rate is that of a line halfway lower"


def test_row_13_portraits_in_one_pose_raise_no_alarm(judge: Features) -> None:
    """Red when the line is fixed, at 0.9 for instance, in place of calibrated."""
    chance = np.random.default_rng(0)
    portraits = read(judge, [_portrait(chance) for _ in range(30)])
    train, held_out, new = (
        rows(portraits, range(6)),
        rows(portraits, range(6, 9)),
        rows(portraits, range(9, 30)),
    )
    line = copying.calibrate(train, held_out)
    assert line is not None
    assert min(line.appearance, line.descriptor) > 0.9
    assert score("copying", evidence(judge, new, train, held_out)).mean <= line.rate
    assert score("copying", evidence(judge, train, train, held_out)).mean == 1
    assert (
        descriptor.shared([_portrait(chance) for _ in range(6)], [_portrait(chance) for _ in range(3)]) == []
    )


def _portrait(chance: np.random.Generator) -> Image.Image:
    """One face in one pose before one wall, as for a passport, its mouth never quite the same."""
    picture = suite("green-haired-man")[3]
    wall = picture.getpixel((1, 1))
    moved = Image.new("RGB", picture.size, wall)
    moved.paste(picture, tuple(chance.integers(-2, 3, 2).tolist()))
    moved = moved.rotate(float(chance.normal(0, 2)), Image.Resampling.BICUBIC, fillcolor=wall)
    left, top = 50 + int(chance.integers(-4, 5)), 88 + int(chance.integers(-3, 4))
    mouth = (left, top, left + int(chance.integers(10, 26)), top + int(chance.integers(4, 12)))
    ImageDraw.Draw(moved).ellipse(mouth, fill=(int(chance.integers(90, 160)), 30, 40))
    noisy = np.asarray(moved, np.float32) * chance.normal(1, 0.05) + chance.normal(0, 6, (128, 128, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


# --- rows 22 and 23: mixtures ----------------------------------------------------------------------


def test_row_22_fidelity_falls_in_proportion_to_what_the_base_draws(
    judge: Features, men: Reading, cats: Reading
) -> None:
    """Red when the best picture of a prompt counts for it."""
    real, train = rows(men, [24, 27, 30, 33]), rows(men, [0, 3, 6])
    values = []
    for swapped in range(0, 9, 2):
        seen = _joined(rows(cats, [0] * swapped), rows(men, [12] * (8 - swapped)))
        values.append(score("fidelity", evidence(judge, seen, train, real, ["a", "b"] * 4)).mean)
    assert values[0] > values[-1] + 0.3
    assert values == pytest.approx(np.linspace(values[0], values[-1], len(values)).tolist(), abs=1e-5)


def _joined(first: Reading, second: Reading) -> Reading:
    assert first.style is not None and second.style is not None  # noqa: PT018
    return Reading(
        torch.cat([first.vectors, second.vectors]),
        first.failed + second.failed,
        torch.cat([first.appearance, second.appearance]),
        first.labels + second.labels,
    )


def test_row_23_shuffled_prompts_lose_the_prompt_and_keep_the_likeness(judge: Features, men: Reading) -> None:
    """Red when any label of the right head counts as seen."""
    places = ("on a beach", "in the snow", "in a forest", "at night", "under water", "in space")
    seen = [row for row, label in enumerate(men.labels) if label["scene"] in _scenes(judge, places)]
    drawn = rows(men, seen)
    names = [next(p for p in places if _scenes(judge, [p]) == {label["scene"]}) for label in drawn.labels]
    templates = {place: f"a {{}} {place}" for place in places}
    train, real = rows(men, [0, 3, 6]), rows(men, [24, 27, 30])
    straight = evidence(judge, drawn, train, real, names, templates)
    moved = evidence(judge, drawn, train, real, names[3:] + names[:3], templates)
    assert len(names) >= 9
    assert score("prompt", straight).mean == 1
    assert score("prompt", moved).mean <= 0.2
    own, other = (score("fidelity", some).pictures.values() for some in (straight, moved))
    assert sorted(v for group in own for v in group) == sorted(v for group in other for v in group)


def _scenes(judge: Features, places: Sequence[str]) -> set[str]:
    return {judge.phrases[place]["scene"] for place in places if place in judge.phrases}
