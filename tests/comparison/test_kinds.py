"""The guess whether a noun names a thing, an animal, a person or a style, and the lists that it is from."""

from __future__ import annotations

import tomllib

import pytest

from likewise.comparison import kinds
from likewise.comparison.kinds import guess_kind


@pytest.mark.parametrize(
    ("noun", "kind"),
    [
        ("mug", "object"), ("garden gnome", "object"), ("old man's shoes", "object"), ("x", "object"),
        ("dog", "live"), ("my Dog", "live"), ("two mice", "live"), ("guinea pig", "live"), ("dog with a hat", "live"),
        ("woman", "person"), ("policewomen", "object"), ("two women", "person"), ("little boy", "person"),
        ("oil painting", "style"), ("painting of a dog", "style"), ("pixel-art style", "style"), ("anime", "style"),
        ("hot dogs", "object"), ("toy duck", "object"), ("teddy bear", "object"), ("wooden statue of a man", "object"),
        ("wooden painting", "style"), ("dog toy", "object"),
    ],
)  # fmt: skip
def test_the_head_of_the_phrase_decides(noun: str, kind: str) -> None:
    assert guess_kind(noun)[0] == kind


def test_the_reason_is_a_sentence() -> None:
    assert guess_kind("dog")[1] == "“dog” names an animal."
    assert guess_kind("oil painting")[1] == "“oil painting” names a style, as “painting” does."
    assert guess_kind("toy duck")[1] == "“toy duck” names a thing, as “toy” stands before “duck”."
    assert (
        guess_kind("mug")[1] == "“mug” is taken for a thing, as no list of animals, people or styles has it."
    )


def test_the_lists_are_sorted_and_share_no_word() -> None:
    lists = tomllib.loads(kinds._WORDS.read_text(encoding="utf-8"))
    assert set(lists) == {*kinds.KINDS, "likeness"}
    assert all(words == sorted(words) for words in lists.values())
    every = [word for words in lists.values() for word in words]
    assert len(every) == len(set(every))
    assert all(word == word.casefold() for word in every)
