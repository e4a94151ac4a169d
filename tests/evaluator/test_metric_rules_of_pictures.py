"""Cases whose right answer is known before anything is measured: the subject, variety, damage, style, recipes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from likewise import metrics
from likewise.metrics import descriptor, masked
from likewise.metrics.features import Features, read
from likewise.metrics.score import Reading
from tests.evaluator.seen import PLAIN, evidence, rows, score
from tests.metrics.drawings import PAPER, THINGS, cat, compressed, disguises, drawing, suite

# --- rows 24 and 25: the subject and what is around it ---------------------------------------------


def _mask(picture: Image.Image) -> Image.Image | None:
    """The subject of a picture on one plain colour, exactly."""
    pixels = np.asarray(picture, np.float32)
    inside = np.abs(pixels - pixels[2, 2]).max(2) > 30
    return Image.fromarray((inside * 255).astype(np.uint8)) if inside.any() else None


def test_row_25_the_true_subject_on_the_prompted_background(judge: Features, men: Reading) -> None:
    """Red when what is outside the mask is kept."""
    plain = [cat()[number] for number in (1, 3, 5, 7)]
    cut = [_mask(picture) for picture in plain]
    real = masked.subjects(judge, plain, cut)
    shown, names = [], []
    for name, colour in PLAIN.items():
        for picture, mask in zip(plain, cut, strict=True):
            page = Image.new("RGB", picture.size, colour)
            page.paste(picture, mask=mask)
            shown.append(page)
            names.append(name)
    templates = {name: f"a {{}} on a {name} background" for name in PLAIN}
    drawn, around = read(judge, shown), read(judge, plain)
    whole = evidence(judge, drawn, around, around, names, templates)
    alone = masked.subjects(judge, shown, [mask for _ in PLAIN for mask in cut])
    whole = replace(whole, drawn_subject=alone, held_out_subject=real)
    found, top = score("masked", whole), float((real.vectors @ real.vectors.T).mean())
    assert found.mean == pytest.approx(top, abs=0.005)
    assert found.missed == 0
    assert score("prompt", whole).mean == 1
    unchanged = replace(whole, plain=men, plain_prompts=("0",) * len(men), before=men)
    assert score("leak", unchanged).mean == 0
    assert score("copying", whole).mean < 1, "other backgrounds are other pictures"


def test_row_25_a_subject_is_cut_out_with_a_tenth_around_it() -> None:
    """Red when the box keeps a corner of the picture."""
    page, mask = Image.new("RGB", (128, 96), (0, 200, 0)), Image.new("L", (128, 96), 0)
    mask.paste(255, (80, 30, 100, 70))
    page.paste((200, 0, 0), (80, 30, 100, 70))
    cut = masked.cut_out(page, mask)
    assert cut is not None
    assert cut.size == (48, 48), "40 high, and a tenth on either side"
    red = np.asarray(cut)[..., 0] == 200
    assert (red.any(1).nonzero()[0][[0, -1]].tolist(), red.any(0).nonzero()[0][[0, -1]].tolist()) == (
        [4, 43],
        [14, 33],
    )
    assert set(map(tuple, np.asarray(cut)[~red].tolist())) == {masked.GREY}
    assert masked.cut_out(page, None) is None
    assert masked.cut_out(page, Image.new("L", (128, 96), 0)) is None


def test_row_24_the_background_without_the_subject_is_a_miss(judge: Features) -> None:
    """Red when a picture without a mask counts as seen."""
    plain = [cat()[number] for number in (1, 3, 5, 7)]
    empty = [Image.new("RGB", picture.size, picture.getpixel((2, 2))) for picture in plain]
    real = masked.subjects(judge, plain, [_mask(picture) for picture in plain])
    seen = read(judge, plain)
    whole = evidence(judge, read(judge, empty), seen, seen)
    alone = masked.subjects(judge, empty, [_mask(picture) for picture in empty])
    found = score("masked", replace(whole, drawn_subject=alone, held_out_subject=real))
    assert found.mean <= 0
    assert found.missed == len(empty)
    assert metrics.get("masked").score(replace(whole, held_out_subject=real)) is None, (
        "no segmenter, no score"
    )


# --- rows 26 to 29: variety and damage -------------------------------------------------------------


def test_row_26_one_picture_for_every_seed_is_locked(judge: Features, men: Reading) -> None:
    """Red when 1 is not taken off the Vendi score, or a base without variety is divided by."""
    prompts = ["a"] * 4 + ["b"] * 4
    free, stuck = rows(men, [0, 3, 6, 9, 12, 15, 18, 21]), rows(men, [0] * 4 + [9] * 4)
    train, real = rows(men, [24, 27]), rows(men, [30, 33])
    own = replace(evidence(judge, stuck, train, real, prompts), floor=free)
    assert score("diversity", own).mean == pytest.approx(1, abs=1e-5)
    assert score("layout", own).mean == pytest.approx(0, abs=1e-4)
    same = replace(own, drawn=free)
    assert score("layout", same).mean == pytest.approx(1, abs=1e-5)
    assert metrics.get("layout").score(replace(same, floor=stuck)) is None, "no variety to keep"


@pytest.mark.parametrize("count", [2, 5])
def test_row_27_orthogonal_pictures_count_one_by_one(judge: Features, count: int, men: Reading) -> None:
    """Red when the entropy is raised to another base."""
    apart = replace(rows(men, range(count)), appearance=torch.eye(8)[:count])
    found = evidence(judge, apart, apart, apart, ["a"] * count)
    assert score("diversity", found).mean == pytest.approx(count, abs=1e-5)


@pytest.mark.parametrize("kind", ["blur", "noise", "compression"])
def test_row_28_damage_lowers_fidelity_and_its_variety_is_not_bought(judge: Features, kind: str) -> None:
    """Red when fidelity is a distance."""
    pictures = cat()
    train, real = read(judge, pictures[:3]), read(judge, pictures[6:])
    likenesses, varieties = [], []
    for grade in range(5):
        shown = [_damaged(picture, kind, grade, seed) for picture in pictures[:4] for seed in range(3)]
        found = evidence(judge, read(judge, shown), train, real, [str(i // 3) for i in range(12)])
        likenesses.append(score("fidelity", found).mean)
        varieties.append(score("diversity", found).mean)
    assert max(b - a for a, b in pairwise(likenesses)) < 0.01, "never better by more than rounding"
    assert likenesses[-1] < likenesses[0] - 0.02
    if kind == "noise":
        assert varieties == sorted(varieties), "noise looks like variety"


def _damaged(picture: Image.Image, kind: str, grade: int, seed: int) -> Image.Image:
    if kind == "blur":
        return picture.filter(ImageFilter.GaussianBlur(3 * grade))
    if kind == "compression":
        return compressed(picture, (95, 40, 20, 8, 3)[grade])
    noise = np.random.default_rng(seed).normal(0, 20 * grade, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture, np.float32) + noise).clip(0, 255).astype(np.uint8))


def test_row_29_what_shows_nothing_is_the_worst_and_not_left_out(judge: Features, men: Reading) -> None:
    """Red when a blank picture is ranked or likened as it is, or drift takes its distance as it is."""
    train, real = rows(men, [0, 3, 6]), rows(men, [24, 27, 30])
    good, black = rows(men, [9, 12]), read(judge, [Image.new("RGB", (128, 128))] * 2)
    others = read(judge, cat())
    templates = {"0": "a {} on a beach", "1": "a {} in the snow"}
    for drawn, plain in ((good, good), (black, black)):
        found = evidence(judge, drawn, train, real, ["0", "1"], templates)
        found = replace(found, plain=plain, plain_prompts=("0", "1"), before=good, others=others)
        values = {
            name: score(name, found) for name in ("fidelity", "prompt", "style", "rank", "copying", "drift")
        }
        assert {value.n for value in values.values()} == {2}
        if drawn is black:
            assert max(values[name].mean for name in ("fidelity", "prompt", "style")) <= 0
            assert values["rank"].mean < 0.3
            assert values["copying"].mean == 0
            assert values["drift"].mean >= 1


# --- row 30: what metrics can tell of a leaked split -----------------------------------------------


def test_row_30_a_held_out_picture_among_the_training_pictures_is_found() -> None:
    """Red when only whole pictures are compared: the second leaked one is mirrored and cropped."""
    pictures = cat()
    train, held_out = pictures[:6], pictures[6:]
    assert descriptor.shared(train, held_out) == []
    chance = np.random.default_rng(3)
    worst = dict(disguises(train[4], chance))["all"]
    assert descriptor.shared(train, [*held_out, train[2], worst]) == [(2, 3), (4, 4)]
    assert descriptor.shared(train[:1], [train[0], pictures[1]]) == [(0, 0)]
    assert descriptor.shared([], held_out) == descriptor.shared(train, []) == []


# --- row 40: style and content ---------------------------------------------------------------------


def test_row_40_style_is_told_from_content(judge: Features) -> None:
    """Red when `Judge.style` gives `appearance`."""
    takes = [(style, thing, take) for style in PAPER for thing in THINGS for take in range(3)]
    seen = read(judge, [drawing(thing, style, take) for style, thing, take in takes])
    assert seen.style is not None
    shares = {}
    for name, vectors in {"style": seen.style, "subject": seen.vectors}.items():
        near, right, total = vectors @ vectors.T, 0, 0
        for i, (style, thing, _) in enumerate(takes):
            like = [j for j, (s, t, _) in enumerate(takes) if s == style and t != thing]
            unlike = [j for j, (s, t, _) in enumerate(takes) if s != style and t == thing]
            right += int((near[i, like][:, None] > near[i, unlike][None]).sum())
            total += len(like) * len(unlike)
        shares[name] = right / total
    assert shares["style"] > 0.98
    assert shares["subject"] < 0.95, "likeness of subjects is no measure of style"


@pytest.mark.parametrize("style", list(PAPER))
def test_row_40_a_method_that_took_the_style_beats_one_that_took_the_things(
    judge: Features, style: str
) -> None:
    """Red when the style score is computed from `vectors`."""
    things = list(THINGS)
    train = read(judge, [drawing(thing, style) for thing in things[:2]])
    real = read(judge, [drawing(thing, style, 1) for thing in things[:2]])
    took_style = read(judge, [drawing(thing, style, take) for thing in things[2:] for take in range(2)])
    for other in (kind for kind in PAPER if kind != style):
        took_things = read(judge, [drawing(thing, other, take) for thing in things[:2] for take in range(2)])
        right = score("style", evidence(judge, took_style, train, real)).prompts.values()
        assert min(right) > max(score("style", evidence(judge, took_things, train, real)).prompts.values())


# --- row 44: recipes -------------------------------------------------------------------------------


def test_row_44_another_recipe_is_another_card(judge: Features) -> None:
    """Red when a card leaves out the features."""
    names = metrics.names()
    here = [metrics.get(name).card(judge.id) for name in names]
    there = [metrics.get(name).card("dinov2-small-cls-r256c224-v1") for name in names]
    assert len({*here, *there}) == 2 * len(names)
    assert all(card.split("/")[0][-1].isdigit() for card in here), "a version"


# --- row 7, as far as vectors go -------------------------------------------------------------------


def test_row_7_rank_tells_individuals_apart(judge: Features, men: Reading) -> None:
    """Red when look-alikes are left out of the gallery."""
    women = read(judge, suite("ink-woman", "true"))
    drawn, others = rows(men, [9, 12, 15]), rows(women, range(0, 36, 3))
    found = replace(evidence(judge, drawn, rows(men, [0, 3, 6]), rows(men, [24, 27, 30])), others=others)
    assert score("rank", found).mean > 0.7
    stranger = replace(found, drawn=rows(women, [1, 4, 7]))
    assert score("rank", stranger).mean < 0.4
    assert metrics.get("rank").score(replace(found, others=None)) is None
