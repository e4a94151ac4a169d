"""Identifiers: which word is picked for a concept, and what is said of one that was chosen badly."""

from __future__ import annotations

import hashlib

import pytest

from likewise import families, identifier
from likewise.errors import BaseError
from tests.bases import tiny

BASE = tiny()


def test_a_picked_word_is_one_rare_token_that_nothing_is_said_of() -> None:
    """In pocket's vocabulary of 3,971 entries, which is its own; few of its words are short and without vowels."""
    base = families.load("pocket")
    base.reserved_tokens = ()
    found = identifier.candidates(base, 15)
    vocabulary = base.towers[0].tokenizer.get_vocab()
    ranks = [vocabulary[f"{word}</w>"] for word in found]
    assert ranks == sorted(ranks, reverse=True), "the highest rank is the rarest"
    assert identifier.pick(base) == found[0]
    assert all(len(base.towers[0].pieces(word)) == 1 for word in found)
    assert not identifier.KNOWN.keys() & set(found)
    assert not [word for word in found if set(word) & set("aeiouy")]
    assert "zzz" not in found, "a letter three times over is a shout"
    assert [identifier.warnings(base, word) for word in found[:4]] == [[]] * 4


class Vocabulary(dict[str, int]):
    """In place of a tokenizer, of which only the vocabulary is asked."""

    def get_vocab(self) -> dict[str, int]:
        return self


def test_words_without_vowels_come_first_and_unwanted_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny()
    rising = ["kkk", "bnt", "a", "tttt", "vlk", "spx", "xyz", "sks", "lun", "loud", "kp", "wdh"]
    monkeypatch.setattr(
        base.towers[0], "tokenizer", Vocabulary({f"{w}</w>": n for n, w in enumerate(rising)})
    )
    assert identifier.candidates(base, 6) == ["wdh", "spx", "vlk", "bnt", "lun", "xyz"]
    digest = hashlib.sha256(b"spx").hexdigest()[:8]
    monkeypatch.setattr(identifier, "UNWANTED", {*identifier.UNWANTED, digest})
    assert identifier.candidates(base, 2) == ["wdh", "vlk"]
    with pytest.raises(BaseError, match="no rare short token"):
        identifier.candidates(base, 6)


def test_a_common_word_is_warned_of() -> None:
    """`--token cat --noun cat` is the usual mistake."""
    base = families.load("pocket")
    for word in ("cat", "Dog"):
        (said,) = identifier.warnings(base, word)
        assert f"{word!r} is a common word to pocket" in said
        assert "try 'sks'" in said


def test_a_word_that_means_something_is_warned_of() -> None:
    for word in ("sks", "SKS"):
        (said,) = (text for text in identifier.warnings(BASE, word) if "rifle" in text)
        assert identifier.pick(BASE) in said


def test_a_word_that_splits_is_warned_of_with_its_pieces() -> None:
    (said,) = identifier.warnings(BASE, "qxzvjk")
    pieces = [piece.removesuffix("</w>") for piece in BASE.towers[0].pieces("qxzvjk")]
    assert f"splits into {len(pieces)} tokens ({' + '.join(pieces)})" in said
    assert identifier.pick(BASE) in said


def test_words_that_a_base_keeps_free_come_first_and_are_fine() -> None:
    base = tiny()
    base.reserved_tokens = ("sks", "zwx")
    assert identifier.pick(base) == "sks"
    assert identifier.warnings(base, "sks") == []


def test_a_word_that_is_taken_is_not_picked_again() -> None:
    base = tiny()
    rare = identifier.pick(base)
    base.reserved_tokens = ("sks", "zwx")
    assert identifier.pick(base, ["SKS"]) == "zwx"
    assert identifier.pick(base, ["sks", "zwx"]) == rare
    every = ["sks", "zwx", *identifier._rarest(base)]
    with pytest.raises(BaseError, match="no rare short token"):
        identifier.pick(base, every)
