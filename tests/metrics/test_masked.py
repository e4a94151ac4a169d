"""Masks: by the features or by the owner of a picture, and what is measured of the subject and of the rest by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from likewise import intake, metrics
from likewise.metrics.features import Panel, read
from likewise.metrics.judge import Judge, load
from likewise.metrics.masked import cut_out, parts, rest
from likewise.metrics.score import Evidence
from tests.bases import pictures as painted
from tests.comparison.plans import planned
from tests.metrics.judges import judge as untrained

BLUE, GREEN, SAND, RED = (40, 60, 200), (30, 150, 60), (220, 200, 150), (220, 30, 30)


class Contrast(Judge):
    """Finds what differs in colour from the first pixel: crude, but right on these pictures."""

    def masks(self, pictures: Sequence[Image.Image]) -> Tensor:
        x = self._pixels(pictures)
        return ((x - x[:, :, :1, :1]).abs().amax(1) > 0.4).float()


class Blind(Judge):
    """Finds no subjects at all, as features without a segmenter."""

    def masks(self, pictures: Sequence[Image.Image]) -> None:
        return None


def judge(kind: type[Judge] = Contrast) -> Judge:
    """The bundled judge with another way of finding the subject."""
    made = load()
    made.__class__ = kind
    return made


def thing(
    ground: tuple[int, int, int],
    place: int = 0,
    size: tuple[int, int] = (64, 64),
    half: tuple[int, int] = (12, 12),
) -> Image.Image:
    """A red ellipse on a ground, in the middle but for `place`."""
    page, centre = Image.new("RGB", size, ground), (size[0] // 2 + place, size[1] // 2)
    box = (centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1])
    ImageDraw.Draw(page).ellipse(box, fill=RED)
    return page


def test_features_without_masks_give_no_score_of_subject_or_rest() -> None:
    plain = judge(Blind)
    assert plain.masks([thing(BLUE)]) is None
    assert parts(plain, [thing(BLUE)], [Image.new("L", (64, 64), 255)]) is None
    seen = read(plain, [thing(BLUE)])
    for name in ("masked", "background"):
        assert metrics.get(name).score(Evidence(seen, ("a",), {"a": "a {}"}, seen, seen)) is None


def test_a_mask_is_of_the_middle_square_and_the_owners_own_comes_first() -> None:
    """Red when a mask is stretched over a wide picture, or the features overrule the owner."""
    finding, wide = judge(), thing(BLUE, size=(128, 64))
    found = parts(finding, [wide])
    assert found is not None
    assert found.subject.failed == (False,)
    exact = Image.new("L", wide.size, 0)
    ImageDraw.Draw(exact).ellipse((52, 20, 76, 44), fill=255)
    wanted = read(finding, [cut_out(wide, exact) or wide])
    assert float((found.subject.vectors @ wanted.vectors.T).item()) > 0.97
    elsewhere = Image.new("L", wide.size, 0)
    elsewhere.paste(255, (100, 10, 120, 40))
    mine = parts(finding, [wide], [elsewhere])
    assert mine is not None
    assert torch.equal(mine.rest.vectors, read(finding, [rest(wide, elsewhere)]).vectors)
    nothing = parts(finding, [Image.new("RGB", (64, 64), BLUE)])
    assert nothing is not None
    assert nothing.subject.failed == (True,), "nobody is found"


def told(
    finding: Judge,
    drawn: Sequence[Image.Image],
    train: Sequence[Image.Image],
    base: Sequence[Image.Image] = (),
) -> Evidence:
    """The untaught base draws `base`, or else the thing on green ground."""
    own = parts(finding, drawn, beside=base or [thing(GREEN, n) for n in range(len(drawn))])
    kept = parts(finding, train)
    assert own is not None
    assert kept is not None
    seen, real = read(finding, drawn), read(finding, train)
    prompts = tuple(f"p{n}" for n in range(len(drawn)))
    plain = Evidence(seen, prompts, {}, real, real)
    return replace(
        plain, drawn_subject=own.subject, held_out_subject=kept.subject, drawn_rest=own.rest, floor_rest=own.beside,
        train_rest=kept.rest,
    )  # fmt: skip


def test_surroundings_that_were_learned_by_heart_are_told_from_those_of_the_prompt() -> None:
    """Red when the subject is left in, or the base is not taken off: the disc is the same everywhere."""
    finding, train = judge(), [thing(BLUE, n) for n in (-6, 0, 6)]
    by_heart = metrics.get("background").score(told(finding, [thing(BLUE, n) for n in (2, -3)], train))
    as_asked = metrics.get("background").score(told(finding, [thing(GREEN, n) for n in (0, 1)], train))
    assert by_heart is not None
    assert as_asked is not None
    assert by_heart.mean == pytest.approx(1, abs=0.2)
    assert as_asked.mean == pytest.approx(0, abs=1e-5)
    alike = metrics.get("masked").score(told(finding, [thing(GREEN, n) for n in (0, 1)], train))
    assert alike is not None
    assert alike.mean > 0.95, "the thing itself is the same"


def test_a_subject_of_the_right_form_does_not_bring_its_surroundings() -> None:
    """Red when each picture is greyed by its own mask alone, and the grey is then of the training pictures' form."""
    finding, train = judge(), [thing(BLUE, n, half=(24, 8)) for n in (-3, 0, 3)]
    drawn = [thing(GREEN, n, half=(24, 8)) for n in (0, 1)]
    score = metrics.get("background").score(told(finding, drawn, train, [thing(GREEN, half=(6, 22))] * 2))
    assert score is not None
    assert score.mean == pytest.approx(0, abs=0.01)


def test_surroundings_that_differ_leave_nothing_to_learn() -> None:
    mixed = [thing(ground) for ground in (BLUE, SAND, GREEN)]
    assert metrics.get("background").score(told(judge(), [thing(BLUE), thing(SAND)], mixed)) is None


def test_masks_of_their_owner_are_read_from_files_and_from_transparency(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        thing(BLUE).save(tmp_path / f"{name}.png")
    outline = Image.new("L", (64, 64), 0)
    outline.paste(255, (0, 0, 32, 64))
    outline.save(tmp_path / "a_mask.png")
    (tmp_path / "masks").mkdir()
    outline.save(tmp_path / "masks" / "b.png")
    clear = thing(BLUE).convert("RGBA")
    clear.putalpha(outline)
    clear.save(tmp_path / "d.png")
    found = {one.name: one.outline() for one in intake.read(tmp_path).examples}
    assert sorted(found) == ["a.png", "b.png", "c.png", "d.png"]
    assert found["c.png"] is None
    for name in "abd":
        made = found[f"{name}.png"]
        assert made is not None
        assert made.tobytes() == outline.tobytes(), name


def test_a_comparison_measures_both_where_its_judge_finds_the_subject(tmp_path: Path) -> None:
    source = painted(tmp_path / "owls", 5)
    first = sorted(source.glob("*.png"))[0]
    with Image.open(first) as picture:
        Image.new("L", picture.size, 255).save(first.with_name(f"{first.stem}_mask.png"))
    finding = untrained()
    finding.__class__ = Contrast
    comparison = planned(source, tmp_path / "out", steps=1)
    list(comparison.start(judges=Panel(finding, finding)))
    made = [path.name for path in (comparison.folder / "pictures").glob("*-mask.png")]
    assert len(made) == 1
    scores = json.loads((comparison.folder / "trials" / "lora-0" / "scores.json").read_text(encoding="utf-8"))
    assert "masked" in scores["folds"]["0"]
    assert len(scores["folds"]["0"]["masked"]["pictures"]) == 2
