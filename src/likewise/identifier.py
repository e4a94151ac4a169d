"""Identifiers: a rare word that a base has no opinion about, to call a concept by.

The DreamBooth paper draws rare tokens for this. A word that splits into several tokens is spread over them, and a word that
means something brings its meaning along: `sks`, the habit of the field, is a rifle in Stable Diffusion 1.
"""

from __future__ import annotations

import re

from likewise.base import Base
from likewise.errors import BaseError

KNOWN = {"sks": "a rifle", "tok": "an everyday abbreviation"}


def pick(base: Base) -> str:
    """A reserved token of the base, else the rarest short single token of its vocabulary that is no known word.

    Vocabularies list byte-pair merges by falling frequency, so the highest ids are the rarest.
    """
    if base.reserved_tokens:
        return base.reserved_tokens[0]
    return candidates(base, 1)[0]


def candidates(base: Base, count: int) -> list[str]:
    """The `count` rarest single tokens of three or four consonant-heavy letters."""
    vocabulary = base.towers[0].tokenizer.get_vocab()
    short = (
        (rank, token.removesuffix("</w>"))
        for token, rank in vocabulary.items()
        if re.fullmatch(r"[a-z]{3,4}</w>", token) and not re.search(r"[aeiou]{2}|[aeiou].?[aeiou]", token)
    )
    found = [
        word
        for _, word in sorted(short, reverse=True)
        if not KNOWN.get(word) and len(re.findall("[aeiouy]", word)) < 2
    ]
    if len(found) < count:
        raise BaseError(f"{base.name}'s vocabulary has no rare short token", "name one with --token")
    return found[:count]


def warnings(base: Base, token: str) -> list[str]:
    """What a person should know about their choice, a sentence each; empty if there is nothing."""
    if token in base.reserved_tokens:
        return []
    found = []
    pieces = base.towers[0].pieces(token)
    if len(pieces) != 1:
        spelt = " + ".join(piece.removesuffix("</w>") for piece in pieces)
        found.append(
            f"{token!r} splits into {len(pieces)} tokens ({spelt}); a single rare one binds better, such as {_try(base)}"
        )
    meaning = KNOWN.get(token.lower())
    if meaning:
        found.append(f"{token!r} is {meaning} to many bases and will bring that along; try {_try(base)}")
    return found


def _try(base: Base) -> str:
    return repr(pick(base))
