"""Prior: which pictures of the class protect it, and what there is to say about them.

A person's own class pictures are all used; the base draws more only where `prior_count` asks for more than these. Without
own ones it draws `DRAWN`. No torch here.
"""

from __future__ import annotations

from collections.abc import Collection

from likewise.concept import Concept
from likewise.events import Noted, Warned
from likewise.recipe import Recipe, TrainingRecipe

DRAWN = 100
"""How many class pictures are drawn where nobody says. diffusers' default; the paper has 200 per picture."""


def settled(recipe: Recipe, concept: Concept, given: Collection[str]) -> Recipe:
    """`recipe` with class pictures as its prior, where the concept brings some and nobody has said which prior to use.

    `given` are the names of the settings that a person gave.
    """
    if not isinstance(recipe, TrainingRecipe) or not concept.class_pictures or "prior" in given:
        return recipe
    return recipe.override({"prior": "pictures"})


def missing(recipe: Recipe, concept: Concept) -> int:
    """How many class pictures the base has to draw."""
    if not isinstance(recipe, TrainingRecipe) or recipe.prior != "pictures":
        return 0
    own = len(concept.class_pictures)
    wanted = recipe.prior_count or (0 if own else DRAWN)
    return max(0, wanted - own)


def remarks(recipe: Recipe, concept: Concept) -> list[Warned]:
    """What becomes of the person's own class pictures, in a sentence; nothing where there are none."""
    count = len(concept.class_pictures)
    if not count:
        return []
    own = f"{count} own class picture" + ("" if count == 1 else "s")
    if not isinstance(recipe, TrainingRecipe):
        return [Warned(f"{own} not used: this method trains nothing that could forget the class")]
    if recipe.prior != "pictures":
        return [Warned(f"{own} not used, because prior={recipe.prior}; prior=pictures uses them")]
    more = missing(recipe, concept)
    drawn = f", {more} more are drawn, as prior_count={recipe.prior_count}" if more else ""
    return [Noted(f"{own} protect{'s' if count == 1 else ''} the class (prior=pictures){drawn}")]
