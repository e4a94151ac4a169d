"""Rotations of held-out pictures: sizes, near-duplicates together, disjoint while pictures last, the first as ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise.comparison.folds import Folds, plan_folds
from likewise.concept import Concept
from likewise.errors import ConceptError


def singles(count: int) -> list[tuple[int]]:
    return [(place,) for place in range(count)]


def held(folds: Folds) -> list[tuple[int, ...]]:
    return [fold.held_out for fold in folds.verdict]


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


@pytest.mark.parametrize(
    ("count", "each"), [(4, 1), (5, 2), (7, 2), (8, 3), (12, 3), (13, 4), (20, 5), (40, 10)]
)
def test_each_rotation_holds_out_what_the_table_says(count: int, each: int) -> None:
    folds = plan_folds(singles(count), 3)
    assert [len(fold.held_out) for fold in folds.verdict] == [each] * 3
    assert [fold.number for fold in folds.verdict] == [0, 1, 2]
    assert all(sorted((*fold.train, *fold.held_out)) == list(range(count)) for fold in folds.verdict)


def test_held_out_parts_are_disjoint_while_pictures_last_and_then_come_round_again() -> None:
    enough, few = plan_folds(singles(9), 3), plan_folds(singles(5), 3)
    assert held(plan_folds(singles(9), 5)) == [*held(enough), (1, 2, 3), (0, 4, 5)]
    assert held(enough) == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert enough.note == ""
    assert held(few) == [(0, 1), (2, 3), (0, 4)]
    assert few.note == (
        "5 pictures are too few for 3 held-out parts that share none, so some pictures are held out more than once."
    )


def test_four_pictures_leave_three_rotations_beside_the_one_for_tuning() -> None:
    folds = plan_folds(singles(4), 4, tuning=True)
    assert held(folds) == [(0,), (1,), (2,)]
    assert folds.tuning is not None
    assert (folds.tuning.held_out, folds.tuning.number) == ((3,), 3)
    assert folds.note == "4 pictures give 3 rotations besides the one for tuning, and 4 were asked for."
    assert plan_folds(singles(4), 4).note == ""
    assert plan_folds(singles(4), 9).note == "4 pictures give 4 rotations, and 9 were asked for."


def test_the_verdict_goes_before_tuning_where_there_is_but_one_rotation() -> None:
    folds = plan_folds([(0,), (1,), (2, 3, 4, 5), (6, 7, 8, 9)], 2, tuning=True, hold_out=1)
    assert (held(folds), folds.tuning.held_out if folds.tuning else None) == ([(0,)], (1,))
    alone = plan_folds([(0,), (1, 2), (3, 4), (5, 6)], 2, tuning=True, hold_out=1)
    assert (held(alone), alone.tuning) == ([(0,)], None)
    assert (
        alone.note
        == "7 pictures leave no rotation for tuning. 7 pictures give 1 rotation, and 2 were asked for."
    )


def test_tuning_comes_after_the_verdict_changes_none_of_it_and_tells_its_leak() -> None:
    plain, tuned = plan_folds(singles(12), 3), plan_folds(singles(12), 3, tuning=True)
    assert plain.tuning is None
    assert tuned.verdict == plain.verdict
    assert tuned.tuning is not None
    assert tuned.tuning.held_out == (9, 10, 11)
    assert tuned.note == ""
    assert (
        "held out for tuning are held out for the verdict too" in plan_folds(singles(9), 3, tuning=True).note
    )


def test_replicates_go_round_and_the_json_has_digests() -> None:
    folds = plan_folds(singles(4), 2, tuning=True)
    assert [folds.of(replicate).number for replicate in range(5)] == [0, 1, 0, 1, 0]
    assert folds.to_json("abcd") == {"verdict": [["a"], ["b"]], "tuning": ["c"]}
    assert folds.to_json("abcd")["verdict"] != plan_folds(singles(4)[::-1], 2).to_json("abcd")["verdict"]


@pytest.mark.parametrize("count", [4, 5, 8, 13])
def test_the_first_fold_is_what_reading_holds_out(tmp_path: Path, count: int) -> None:
    source = pictures(tmp_path / "My Dog", count)
    Image.open(source / "1.png").resize((192, 128)).save(source / "1 again.png")
    whole = Concept.read(source, token="sks", noun="dog")
    split = Concept.read(source, token="sks", noun="dog", hold_out=None)
    folds = plan_folds(whole.groups, 3)
    assert whole.fold(folds.verdict[0]) == split
    assert whole.fold(folds.verdict[0]).digest() == split.digest()
    assert plan_folds(Concept.read(source, token="sks", noun="dog").groups, 3) == folds
    asked = Concept.read(source, token="sks", noun="dog", hold_out=2)
    assert whole.fold(plan_folds(whole.groups, 3, hold_out=2).verdict[0]) == asked


@given(
    sizes=st.lists(st.integers(1, 4), min_size=4, max_size=14),
    count=st.integers(1, 6),
    tuning=st.booleans(),
)
def test_groups_stay_together_whatever_they_are(sizes: Sequence[int], count: int, tuning: bool) -> None:
    ends = np.cumsum(sizes).tolist()
    groups = [tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    folds = plan_folds(groups, count, tuning=tuning)
    every = [*folds.verdict, *([folds.tuning] if folds.tuning else [])]
    assert 1 <= len(folds.verdict) <= count
    assert len({fold.held_out for fold in every}) == len(every)
    assert bool(folds.note) >= (len(every) < count + tuning)
    for fold in every:
        assert fold.train
        assert fold.held_out
        assert not set(fold.train) & set(fold.held_out)
        for members in groups:
            assert len({place in fold.held_out for place in members}) == 1


@pytest.mark.parametrize("groups", [[], singles(3), [(0, 1, 2, 3), (4,), (5,)]])
def test_fewer_than_four_that_differ_are_refused(groups: list[tuple[int, ...]]) -> None:
    with pytest.raises(ConceptError, match="give at least 4 pictures that differ"):
        plan_folds(groups, 3)


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(ConceptError, match="cannot hold out 4 of 4"):
        plan_folds(singles(4), 1, hold_out=4)
    with pytest.raises(ConceptError, match="at least once"):
        plan_folds(singles(4), 1, hold_out=0)
    with pytest.raises(ConceptError, match="at least once"):
        plan_folds(singles(4), 0)
