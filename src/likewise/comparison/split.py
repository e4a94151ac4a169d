"""Split: what is judged by may not be learned from, and what is tuned on may not decide. No torch here.

A broken rule stops a comparison with one line. Pictures are compared by their looks, so that a copy under another name, in
another format or from the same burst is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from likewise.concept import Concept, slug
from likewise.errors import ConceptError, RecipeError
from likewise.picture import Example, Fingerprint, fingerprint, near_duplicates


def check_split(
    concept: Concept,
    *,
    development: Iterable[str],
    test: Iterable[str],
    tuned_on: Iterable[str] = (),
    elsewhere: Mapping[str, Sequence[Example]] | None = None,
) -> None:
    """Refuse a fold of a concept and its prompts unless the parts are apart.

    The prompts are texts with `{}`; `tuned_on` are those that settings were really chosen on. `elsewhere` names further
    parts that may hold none of the held-out pictures. Raises ConceptError for pictures and RecipeError for prompts.
    """
    check_pictures(
        concept.held_out,
        {
            "the training pictures": concept.examples,
            "the class pictures": concept.class_pictures,
            **(elsewhere or {}),
        },
    )
    check_prompts(development, test, tuned_on)


def check_pictures(held_out: Sequence[Example], others: Mapping[str, Sequence[Example]]) -> None:
    """Raise ConceptError where a held-out picture, or one that looks like it, is among the `others`.

    These are the pictures of parts by name.
    """
    kept = [_looks(example) for example in held_out]
    for part, pictures in others.items():
        prints = [*kept, *map(_looks, pictures)]
        for group in near_duplicates([str(place) for place in range(len(prints))], prints):
            places = sorted(map(int, group))
            inside, outside = places[0], places[-1] - len(kept)
            if inside < len(kept) and outside >= 0:
                raise _leak(held_out[inside], pictures[outside], part)


def check_prompts(development: Iterable[str], test: Iterable[str], tuned_on: Iterable[str] = ()) -> None:
    """Raise RecipeError where a test prompt is for development too, or was tuned on. Case and punctuation do not count."""
    kept = {slug(text): text for text in test}
    for text in development:
        if slug(text) in kept:
            hint = "each prompt has one part: choose on development prompts, decide on test prompts"
            raise RecipeError(f"the prompt {text!r} is in development and in test", hint)
    for text in tuned_on:
        if slug(text) in kept:
            hint = "tune again on development prompts, or leave this prompt out of the test"
            raise RecipeError(f"settings were chosen on the test prompt {text!r}", hint)


def _leak(held: Example, other: Example, part: str) -> ConceptError:
    same = _pixels(held) == _pixels(other)
    what = "is also among" if same else f"looks like {other.name} of"
    hint = "leave one of the two out: what is judged by may not be learned from"
    return ConceptError(f"the held-out picture {held.name} {what} {part}", hint)


def _looks(example: Example) -> Fingerprint:
    return fingerprint(example.look(64).picture)


def _pixels(example: Example) -> str:
    picture = example.open()
    return hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
