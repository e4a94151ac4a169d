"""What is held equal: the prompts' words, the noise, and the digest that tells one protocol from another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from likewise.base import Sampler
from likewise.comparison.protocol import POCKET_PROMPTS, Protocol, fill, noise_seed
from likewise.errors import RecipeError
from likewise.metrics import judge
from likewise.metrics.prompt import wanted

PROTOCOL = Protocol(("a {} on a beach", "a {} at night"), seeds=(0, 1))


def test_noise_depends_on_prompt_and_seed_alone_and_never_changes() -> None:
    assert noise_seed("a-on-a-beach", 0) == 1170306482
    assert noise_seed("a-at-night", 1) == 1474496739
    assert 0 <= noise_seed("a-at-night", 2) < 2**31


def test_every_method_draws_from_the_same_noise() -> None:
    taught, plain = PROTOCOL.rows("sks owl", exact=True), PROTOCOL.rows("owl")
    assert [(row.id, row.seed) for row in taught] == [(row.id, row.seed) for row in plain]
    assert len({row.seed for row in taught}) == 4
    wider = replace(PROTOCOL, prompts=("a {} in space", *PROTOCOL.prompts), seeds=(1, 0, 7))
    assert set(taught) <= set(wider.rows("sks owl", exact=True)), "more prompts change no other picture"


def test_rows_go_prompt_by_prompt() -> None:
    rows = PROTOCOL.rows("sks owl", exact=True)
    assert [row.text for row in rows] == ["a sks owl on a beach"] * 2 + ["a sks owl at night"] * 2
    assert [row.id for row in rows] == ["a-on-a-beach"] * 2 + ["a-at-night"] * 2


@pytest.mark.parametrize(
    ("template", "words", "expected"),
    [
        ("a {} at night", "elephant", "an elephant at night"),
        ("an {} at night", "cat", "a cat at night"),
        ("A {} at night", "owl", "An owl at night"),
        ("a small {} in a city", "owl", "a small owl in a city"),
        ("a {} at night", "An old cat with one ear", "an old cat with one ear at night"),
        ("a {} at night", "the unicorn of my aunt", "a unicorn of my aunt at night"),
    ],
)
def test_articles_follow_the_words(template: str, words: str, expected: str) -> None:
    assert fill(template, words) == expected


def test_a_token_stands_exactly_as_it_was_taught() -> None:
    assert fill("a {} at night", "ohwx owl", exact=True) == "a ohwx owl at night"


@pytest.mark.parametrize(
    ("prompts", "seeds", "message"),
    [
        (("a dog",), (0,), "no place for the concept"),
        (("a {} and a {}",), (0,), "no place for the concept"),
        (("a {} with {name}",), (0,), "no place for the concept"),
        ((), (0,), "at least one"),
        (("a {}",), (), "at least one"),
        (("a {}",), (1, 1), "hold one twice"),
        (("a {}, please", "a {} please"), (0,), "read the same"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    prompts: tuple[str, ...], seeds: tuple[int, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        Protocol(prompts, seeds)


def test_the_digest_follows_what_pictures_depend_on() -> None:
    same = {
        replace(PROTOCOL, methods=("lora",)).digest(),
        replace(PROTOCOL, description="a grey owl").digest(),
    }
    assert same == {PROTOCOL.digest()}
    changes = [
        {"prompts": ("a {} in space",)},
        {"seeds": (0, 2)},
        {"sampler": Sampler(steps=21)},
        {"sampler": Sampler(guidance=5.5)},
        {"hold_out": 3},
    ]
    assert len({PROTOCOL.digest(), *(replace(PROTOCOL, **c).digest() for c in changes)}) == len(changes) + 1  # type: ignore[arg-type]


@pytest.mark.skipif(not (judge.FOLDER / "card.json").exists(), reason="the embedded judge is not built yet")
def test_the_pocket_model_is_asked_for_what_its_judge_can_check() -> None:
    protocol = Protocol.default("pocket")
    assert protocol.prompts == POCKET_PROMPTS
    assert len(protocol.prompts) == 8
    book = judge.load().phrases
    assert all(wanted(text, book) for text in protocol.prompts)
    assert len(wanted("a small {} in a city", book)) == 2


def test_other_bases_are_asked_for_what_photographs_show() -> None:
    protocol = Protocol.default("owner/name", seeds=(3,))
    assert len(protocol.prompts) == 8
    assert protocol.seeds == (3,)
    assert not set(protocol.prompts) & set(POCKET_PROMPTS)


def test_what_comparison_json_says_of_it() -> None:
    book = PROTOCOL.to_json()
    assert book["prompts"][0] == {"id": "a-on-a-beach", "text": "a {} on a beach"}
    assert book["seeds"] == [0, 1]
    assert book["sampler"]["steps"] == Sampler().steps
