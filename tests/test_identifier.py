"""Identifiers: which word is picked for a concept, and what is said of one that was chosen badly."""

from __future__ import annotations

from likewise import families, identifier
from tests.bases import tiny

BASE = tiny()


def test_a_picked_word_is_one_rare_token_that_nothing_is_said_of() -> None:
    """In the whole vocabulary, which pocket shares with Stable Diffusion."""
    base = families.load("pocket")
    base.reserved_tokens = ()
    found = identifier.candidates(base, 20)
    vocabulary = base.towers[0].tokenizer.get_vocab()
    ranks = [vocabulary[f"{word}</w>"] for word in found]
    assert ranks == sorted(ranks, reverse=True), "the highest rank is the rarest"
    assert identifier.pick(base) == found[0]
    assert all(len(base.towers[0].pieces(word)) == 1 for word in found)
    assert not identifier.KNOWN.keys() & set(found)
    assert [identifier.warnings(base, word) for word in found] == [[]] * 20


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
