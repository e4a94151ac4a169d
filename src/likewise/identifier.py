"""Identifiers: a rare word that a base has no opinion about, to call a concept by.

The DreamBooth paper draws rare tokens for this. A word that splits into several tokens is spread over them, and a word that
means something brings its meaning along: `sks`, the habit of the field, is a rifle in Stable Diffusion 1.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from itertools import chain, islice

from likewise.base import Base
from likewise.errors import BaseError

KNOWN = {"sks": "a rifle", "tok": "an everyday abbreviation"}
UNWANTED = {
    "01cccf00", "1837bc2c", "2044b408", "32c655bb", "4119d174", "5ab9752a", "5b62cca3", "84e9794d", "8c7e4078",
    "a7f53974", "a815760b", "b46130a4", "be223741", "c6603565", "e59a19b5", "e7e44cd4", "f734fa00",
}  # fmt: skip
"""Insults, drugs and the like among CLIP's words of consonants: the first eight digits of each one's SHA-256."""
COMMON = 0.75
"""Vocabularies list byte-pair merges by falling frequency: what stands in this first share of one was seen often."""


def pick(base: Base, taken: Collection[str] = ()) -> str:
    """The first word that is free for a concept, and none of those `taken`, whatever their case.

    Reserved tokens of the base come first, then the rarest short single tokens of its vocabulary that are no known words.
    Raises `BaseError` where none is left.
    """
    used = {word.lower() for word in taken}
    for word in chain(base.reserved_tokens, _rarest(base)):
        if word.lower() not in used:
            return word
    raise _none_left(base)


def candidates(base: Base, count: int) -> list[str]:
    """The `count` rarest single tokens of three or four letters: consonants alone, then those with one vowel.

    What can be spoken is mostly a name, a word or part of one, and an insult more often than one would think.
    """
    found = list(islice(_rarest(base), count))
    if len(found) < count:
        raise _none_left(base)
    return found


def _rarest(base: Base) -> Iterator[str]:
    vocabulary = base.towers[0].tokenizer.get_vocab()
    ends = (
        (token.removesuffix("</w>"), rank) for token, rank in vocabulary.items() if token.endswith("</w>")
    )
    yield from (word for word, _ in sorted(ends, key=lambda end: (_vowels(end[0]), -end[1])) if _suits(word))


def _none_left(base: Base) -> BaseError:
    return BaseError(f"{base.name}'s vocabulary has no rare short token", "name one with --token")


def _vowels(word: str) -> int:
    return len(re.findall("[aeiouy]", word))


def _suits(word: str) -> bool:
    if not re.fullmatch("[a-z]{3,4}", word) or _vowels(word) > 1 or re.search(r"(.)\1\1", word):
        return False
    return word not in KNOWN and hashlib.sha256(word.encode()).hexdigest()[:8] not in UNWANTED


def warnings(base: Base, token: str) -> list[str]:
    """What a person should know about their choice, a sentence each; empty if there is nothing."""
    if token.lower() in (word.lower() for word in base.reserved_tokens):
        return []
    found, better = [], _better(base)
    pieces = base.towers[0].pieces(token)
    if len(pieces) != 1:
        spelt = " + ".join(piece.removesuffix("</w>") for piece in pieces)
        found.append(
            f"{token!r} splits into {len(pieces)} tokens ({spelt}); a single rare one binds better; try {better}"
        )
    meaning = KNOWN.get(token.lower())
    if meaning:
        found.append(f"{token!r} is {meaning} to many bases and will bring that along; try {better}")
    elif len(pieces) == 1 and _common(base, pieces[0]) and repr(token.lower()) != better:
        found.append(
            f"{token!r} is a common word to {base.name} and will bring its meaning along; try {better}"
        )
    return found


def _common(base: Base, piece: str) -> bool:
    vocabulary = base.towers[0].tokenizer.get_vocab()
    return bool(vocabulary[piece] < COMMON * len(vocabulary))


def _better(base: Base) -> str:
    try:
        return repr(pick(base))
    except BaseError:
        return "a rarer one"
