"""Kinds: whether a noun names a thing, an animal, a person or a style, which decides what prompts suit it.

A guess from lists of words, which a person overrules. It looks at no picture.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from likewise.concept import plural

Kind = Literal["object", "live", "person", "style"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_WORDS = Path(__file__).with_name("kinds.toml")
_MEANING = {"object": "a thing", "live": "an animal", "person": "a person", "style": "a style"}
_AFTER = re.compile(r"\s(?:of|by|in|on|from|with|without|at|for|after|that|who)\s", re.IGNORECASE)
"""What stands before such a word is the head of the phrase: `painting of a dog`."""


def guess_kind(noun: str) -> tuple[Kind, str]:
    """The kind that the head of `noun` names, and the reason as a sentence."""
    head = re.findall(r"[^\W_](?:[\w'’-]*\w)?", _AFTER.split(noun, maxsplit=1)[0].casefold())
    for first in range(len(head)):
        ending = " ".join(head[first:])
        kind = _kinds().get(ending)
        if kind is None:
            continue
        likeness = next((word for word in head[:first] if word in _lists()["likeness"]), None)
        if likeness and kind != "style":
            return "object", f"“{noun}” names a thing, as “{likeness}” stands before “{ending}”."
        told = "" if ending == noun.casefold() else f", as “{ending}” does"
        return kind, f"“{noun}” names {_MEANING[kind]}{told}."
    return "object", f"“{noun}” is taken for a thing, as no list of animals, people or styles has it."


@cache
def _lists() -> Mapping[str, frozenset[str]]:
    data = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
    return {name: frozenset(words) for name, words in data.items()}


@cache
def _kinds() -> Mapping[str, Kind]:
    return {form: kind for kind in KINDS for word in _lists()[kind] for form in (plural(word), word)}
