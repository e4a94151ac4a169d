"""The world that pocket is taught: its words, drawings and lessons, and what is held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from workshop import world
from workshop.ahead import Ahead
from workshop.compose import Composer
from workshop.plan import Planner

ROOT = Path(__file__).parents[2]


def test_held_out_art_is_in_no_training_picture(made: Path) -> None:
    composer = Composer(made, ("world", "other", "more"), variants=4)
    assert not {row["code"] for row in composer.rows} & set(world.HELD_OUT)


def test_pictures_follow_from_the_seed(made: Path) -> None:
    composer = Composer(made, variants=4, taught=True)
    first, again, other = (composer.batch(6, seed) for seed in (1, 1, 2))
    assert first.captions == again.captions
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_a_pool_holds_pictures_of_one_plan(made: Path) -> None:
    from workshop import pool

    with pytest.raises(SystemExit, match=r"pool\.plan\.json was begun with hold_out False"):
        pool.main(["--smoke", "--hold-out"])
    plan = made / "pool.plan.json"
    kept = plan.read_text(encoding="utf-8")
    plan.write_text(json.dumps(json.loads(kept) | {"designs": ["fluent"]}), encoding="utf-8")
    with pytest.raises(SystemExit, match="designs"):
        pool.main(["--smoke"])
    plan.write_text(kept, encoding="utf-8")


def test_planning_ahead_changes_nothing(made: Path) -> None:
    planner = Planner(made, variants=4)
    ahead = Ahead(lambda step: planner.orders(5, step), torch.device("cpu"), processes=2)
    for step in (3, 4, 7):
        there, here = ahead(step), planner.orders(5, step)
        assert there.captions == here.captions
        assert np.array_equal(there.places, here.places)
        assert np.array_equal(there.copies, here.copies)


def test_held_out_combinations_are_in_no_picture_and_measured_alone(made: Path) -> None:
    planner, rng = Planner(made, variants=4, known=world.WORLDS["whole"]), np.random.default_rng(1)

    def kinds() -> set[str]:
        plans = [planner.plan(rng) for _ in range(400)]
        rows = [planner.rows[plan.cut] for plan in plans]
        return {world.held_out(r["name"], r["design"], p.context()) for p, r in zip(plans, rows, strict=True)}

    assert kinds() > {"", "combination"}
    planner.only = ("",)
    assert kinds() == {""}
    planner.only = ("combination",)
    assert kinds() == {"combination"}


def test_lessons_have_more_crowds_and_new_things_and_nothing_held_out(made: Path) -> None:
    planner, taught = (Planner(made, variants=4) for _ in range(2))  # of six things bird and duck came later
    taught.teach(hold_out=True)
    rng = np.random.default_rng(1)
    plans, lessons = ([one.plan(rng) for _ in range(1500)] for one in (planner, taught))

    def share(plans: list[Any], true: Any) -> float:
        return sum(map(true, plans)) / len(plans)

    def late(plan: Any) -> bool:
        return taught.rows[plan.cut]["name"] in world.LATER

    assert share(lessons, lambda p: p.count > 1) > 1.3 * share(plans, lambda p: p.count > 1)
    assert share(lessons, late) > 1.1 * share(plans, late) > 0
    rows = [(taught.rows[p.cut], p.context()) for p in lessons]
    assert not any(taught.world.held_out(row["name"], row["design"], place) for row, place in rows)


def test_only_things_that_came_later_are_held_out() -> None:
    small, whole = world.WORLDS["taught"], world.WORLDS["whole"]
    assert {name for name in small.drawings if small.held_out(name, "noto", "beach")} <= set(world.LATER)
    assert small.held_out("duck", "noto", "beach") == whole.held_out("duck", "noto", "beach") == "style"
    assert any(whole.held_out(name, "noto", "beach") for name in world.TAUGHT)
    assert not set(world.LATER) & set(world.TAUGHT)


def test_a_tenth_is_held_out() -> None:
    places = (*world.SCENES, *world.COLOURS)
    things = world.WORLDS["whole"].things
    found = [
        world.held_out(t.name, design, place) for t in things for design in world.DESIGNS for place in places
    ]
    assert 0.08 < found.count("combination") / len(found) < 0.12
    assert 0.03 < found.count("style") / len(found) < 0.06


def test_the_grown_world_keeps_the_numbers_of_the_first() -> None:
    small, whole = world.WORLDS["taught"], world.WORLDS["whole"]
    assert whole.things[: len(small.things)] == small.things
    card = json.loads((ROOT / "src/likewise/pocket/judge/card.json").read_text(encoding="utf-8"))
    assert card["heads"]["thing"] == [thing.name for thing in small.things]
    assert len(whole.things) >= 150
    assert len(whole.designs) == 5


def test_no_word_or_drawing_means_two_things() -> None:
    things = world.WORLDS["whole"].things
    words = [word for thing in things for word in (thing.name, *thing.also)]
    assert len(set(words)) == len(words)
    assert all(word.isascii() and word.isalpha() for word in words)
    codes = [code for thing in things for code in thing.codes]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & set(world.HELD_OUT)


@pytest.mark.parametrize(
    ("word", "article"),
    [("owl", "an"), ("unicorn", "a"), ("ewe", "a"), ("hourglass", "an"), ("house", "a"), ("ant", "an")],
)
def test_articles_follow_the_sound(word: str, article: str) -> None:
    assert world.article(word) == article


def test_twins_differ_in_one_number_or_design() -> None:
    from workshop.steady import twins

    told = ["two cats at night", "a cat at night", "three red cats at night, noto style", "a cat, noto style"]
    pairs = twins(told, np.random.default_rng(0))
    assert [first for first, _ in pairs] == [told[0], told[2], told[3]]
    for first, second in pairs:
        changed = [(a, b) for a, b in zip(first.split(), second.split(), strict=True) if a != b]
        assert len(changed) == 1
        assert set(changed[0]) <= set(world.NUMBERS[1:]) or set(changed[0]) <= set(world.DESIGNS)


def test_twins_that_say_the_same_are_near(made: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    from workshop.steady import near

    tower = CLIPModel.from_pretrained(made / "clip").text_model.eval()
    tokenizer = CLIPTokenizer.from_pretrained(made / "tokenizer")
    texts = ["two cats at night", "three cats at night"]
    one, other = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.split(
        1
    )
    alike, moved = near(tower, tower, one, other, tokenizer.eos_token_id)
    assert 0 <= alike < 1
    assert moved == 0
    table = tower.embeddings.token_embedding.weight.data
    table[other[0, 1]] = table[one[0, 1]]  # now both numbers are one word
    torch.testing.assert_close(near(tower, tower, one, other, tokenizer.eos_token_id)[0], torch.tensor(1.0))


def test_strange_words_leave_the_others_in_their_order() -> None:
    from workshop.steady import MOST, insert

    ids = torch.tensor([[0, 5, 6, 7, 9, 9, 9, 9], [0, 5, 9, 9, 9, 9, 9, 9]])
    words = torch.randn(2, 8, 4)
    for seed in range(20):
        rows, places, old = insert(ids, words, 9, torch.Generator().manual_seed(seed))
        kept = words.gather(1, places[..., None].expand_as(words))
        assert torch.equal(rows[old], kept[old])
        assert ((~old).sum(1) <= MOST).all()
        assert ((~old).sum(1) >= 1).all()
        assert old[:, 0].all()  # nothing before the start of text
        assert (places.diff(dim=1) >= 0).all()
