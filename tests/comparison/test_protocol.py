"""What is held equal: the prompts' words, the noise, and the digest that tells one protocol from another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from likewise.base import Sampler
from likewise.comparison import banks
from likewise.comparison.banks import UNNAMED, Prompt, Role
from likewise.comparison.kinds import KINDS
from likewise.comparison.protocol import Drawing, Protocol, fill, noise_seed, own_prompts
from likewise.errors import RecipeError


def prompt(text: str, role: Role = "use", name: str = "") -> Prompt:
    return replace(next(iter(own_prompts([text]))), role=role, **({"id": name} if name else {}))


PROMPTS = (prompt("a {} on a beach"), prompt("a {} at night"))
PROTOCOL = Protocol(PROMPTS, seeds=(0, 1))


def named(protocol: Protocol) -> list[Drawing]:
    """What is drawn with the taught word, or for the class."""
    rows = protocol.drawings("sks owl", "owl", exact=True)
    return [row for row in rows if not row.id.endswith(UNNAMED)]


def test_some_prompts_are_drawn_without_the_taught_word_from_the_same_noise() -> None:
    """Red when the word stays in, the noise differs, or the untaught base draws them too."""
    many = replace(
        PROTOCOL, prompts=tuple(prompt(f"a {{}} at place {n}") for n in range(20)), seeds=(0, 1, 2, 3)
    )
    rows = many.drawings("sks owl", "owl", exact=True)
    bare = [row for row in rows if row.id.endswith(UNNAMED)]
    assert len(bare) == 5 * 2
    plain = {(row.id, row.text, row.seed) for row in many.drawings("owl", "owl")}
    assert {(row.id.removesuffix(UNNAMED), row.text, row.seed) for row in bare} <= plain
    assert not any(row.id.endswith(UNNAMED) for row in many.drawings("owl", "owl", exact=True)), (
        "no word, no question"
    )
    tried = replace(many, prompts=tuple(replace(one, part="development") for one in many.prompts))
    assert len(tried.drawings("sks owl", "owl", exact=True)) == 80, "settings are tried without it"


def test_noise_depends_on_prompt_and_seed_alone_and_never_changes() -> None:
    assert noise_seed("a-on-a-beach", 0) == 1170306482
    assert noise_seed("a-at-night", 1) == 1474496739
    assert 0 <= noise_seed("a-at-night", 2) < 2**31


def test_every_method_draws_from_the_same_noise() -> None:
    taught, plain = named(PROTOCOL), PROTOCOL.drawings("owl", "owl")
    assert [(row.id, row.seed) for row in taught] == [(row.id, row.seed) for row in plain]
    assert len({row.seed for row in taught}) == 4
    wider = replace(PROTOCOL, prompts=(prompt("a {} in space"), *PROMPTS), seeds=(1, 0, 7))
    assert set(taught) <= set(named(wider)), "more prompts change no other picture"


def test_drawings_go_prompt_by_prompt() -> None:
    rows = named(PROTOCOL)
    assert [row.text for row in rows] == ["a sks owl on a beach"] * 2 + ["a sks owl at night"] * 2
    assert [row.id for row in rows] == ["a-on-a-beach"] * 2 + ["a-at-night"] * 2


def test_prompts_of_the_class_name_the_class_whatever_was_taught() -> None:
    both = Protocol((prompt("a {} at night"), prompt("a {} in a garden", "class")), (0,))
    texts = [row.text for row in named(both)]
    assert texts == ["a sks owl at night", "an owl in a garden"]
    assert both.of_role("use") == {"a-at-night": "a {} at night"}
    assert list(both.of_role("use", "class").values()) == both.texts


@pytest.mark.parametrize(
    ("template", "words", "expected"),
    [
        ("a {} at night", "elephant", "an elephant at night"),
        ("an {} at night", "cat", "a cat at night"),
        ("A {} at night", "owl", "An owl at night"),
        ("a small {} in a city", "owl", "a small owl in a city"),
        ("a {} at night", "An old cat with one ear", "an old cat with one ear at night"),
        ("a {} at night", "the unicorn of my aunt", "a unicorn of my aunt at night"),
        ("two {}s at night", "mouse", "two mice at night"),
    ],
)
def test_articles_and_numbers_follow_the_words(template: str, words: str, expected: str) -> None:
    assert fill(template, words) == expected


def test_a_token_stands_exactly_as_it_was_taught() -> None:
    assert fill("a {} at night", "ohwx owl", exact=True) == "a ohwx owl at night"
    assert fill("two {}s at night", "ohwx mouse", exact=True) == "two ohwx mice at night"


@pytest.mark.parametrize("text", ["a dog", "a {} and a {}", "a {} with {name}", "a {} with }", ""])
def test_own_prompts_name_the_concept_once(text: str) -> None:
    with pytest.raises(RecipeError, match="no place for the concept"):
        list(own_prompts([text]))


def test_own_prompts_have_ids_by_which_they_are_known_again() -> None:
    found = list(own_prompts(["a {} on a beach", "{}", "two {}s"]))
    assert [one.id for one in found] == ["a-on-a-beach", "plain", "two-s"]
    assert {(one.part, one.role) for one in found} == {("test", "use")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": ()}, "at least one"),
        ({"prompts": (prompt("a {}", "class"),)}, "at least one"),
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "hold one twice"),
        ({"prompts": tuple(own_prompts(["a {}, please", "a {} please"]))}, "read the same"),
        ({"margin": 0.0}, "not between 0 and 1"),
        ({"replicates": 0}, "0 trainings per method"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        replace(PROTOCOL, **changes)


def test_the_digest_follows_what_pictures_depend_on_and_nothing_else() -> None:
    same: list[dict[str, Any]] = [
        {"replicates": 5},
        {"size": "thorough"},
        {"kind": "live", "kind_reason": "It is."},
        {"margin": 0.1},
        {"alpha": 0.01},
    ]
    assert {replace(PROTOCOL, **change).digest() for change in same} == {PROTOCOL.digest()}
    changes: list[dict[str, Any]] = [
        {"prompts": (prompt("a {} in space"),)},
        {"prompts": (PROMPTS[0], replace(PROMPTS[1], role="compose"))},
        {"seeds": (0, 2)},
        {"sampler": Sampler(steps=21)},
        {"sampler": Sampler(guidance=5.5)},
    ]
    assert len({PROTOCOL.digest(), *(replace(PROTOCOL, **c).digest() for c in changes)}) == len(changes) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_bank_of_every_kind_makes_a_protocol(kind: Any) -> None:
    bank = banks.load(kind)
    whole = Protocol(tuple(one for one in bank.prompts if one.part == "test"))
    texts = [row.text for row in named(whole)]
    assert not any(mark in text for text in texts for mark in "{}")
    assert whole.of_role("class")


def test_what_is_frozen_of_it() -> None:
    book = replace(PROTOCOL, replicates=3, size="standard").to_json()
    assert book["prompts"][0]["id"] == "a-on-a-beach"
    assert book["prompts"][0]["role"] == "use"
    assert book["seeds"] == [0, 1]
    assert book["sampler"]["steps"] == Sampler().steps
    assert (book["replicates"], book["size"], book["margin"], book["alpha"]) == (3, "standard", 0.08, 0.05)
    assert book["primary"] == "composite"
