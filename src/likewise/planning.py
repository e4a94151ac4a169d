"""Planning: what a person asks for, checked and put together before anything is taught."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from likewise import intake, methods
from likewise.base import Base
from likewise.errors import RecipeError
from likewise.recipe import Recipe, setting

logger = logging.getLogger(__name__)


def asked(
    method: str, recipe_file: Path | str | None, settings: Sequence[str] | Mapping[str, Any]
) -> dict[str, Any]:
    """The settings that a person gave in a file and beside it. Raises `RecipeError` on one that the method does not have.

    No base is needed, so this comes before one is loaded.
    """
    given = dict(Recipe.read(recipe_file)) if recipe_file is not None else {}
    given |= settings if isinstance(settings, Mapping) else dict(setting(pair) for pair in settings)
    methods.get(method).recipe().override(given)
    return given


def settle(base: Base, method: str, given: Mapping[str, Any]) -> Recipe:
    """The recipe of one job: the method's defaults, the base's advice, then what a person gave."""
    recipe: Recipe = methods.get(method).recipe()
    return recipe.override(base.advice.get(method, {})).override(given)


def look(
    pictures: intake.Source,
    noun: str | None,
    token: str | None,
    class_pictures: intake.Source | None = None,
) -> tuple[str, str | None]:
    """Noun and token, as a kohya folder's name has them where they are not given; logs how the pictures were understood.

    Raises `RecipeError` where nobody says the noun.
    """
    found = intake.read(pictures, class_pictures)
    for text in (*found.warnings(), *found.notes):
        logger.warning("%s", text)
    if not (noun or found.noun):
        raise RecipeError("the noun is empty", "say what it is: noun='dog' or --noun dog")
    return noun or str(found.noun), token or found.token
