"""Planning: what a person asks for, checked and put together before anything is taught."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from likewise import identifier, intake, methods, prior
from likewise.base import Base
from likewise.concept import Concept
from likewise.errors import RecipeError
from likewise.kinds import USUAL
from likewise.recipe import Recipe, TrainingRecipe, setting
from likewise.stack import Job, Stack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """One thing to be taught: pictures, and what they are called."""

    pictures: intake.Source
    noun: str | None = None
    """None: as a kohya folder's name has it."""
    token: str | None = None
    """None: as a kohya folder's name has it, else a free word of the base."""
    class_pictures: intake.Source | None = None
    """A person's own for the prior, besides those that lie beside the pictures."""
    hold_out: int | None = 0
    """Pictures that are kept from training; None: as many as the protocol says."""

    @classmethod
    def further(cls, told: Any, hold_out: int | None = 0) -> Self:
        """One more beside the first, told as (pictures, noun) or (pictures, noun, token); raises `RecipeError` else."""
        match told:
            case (pictures, str(noun)):
                return cls(pictures, noun, hold_out=hold_out)
            case (pictures, str(noun), str(token)):
                return cls(pictures, noun, token, hold_out=hold_out)
        raise RecipeError(f"{told!r} does not say what else to teach", 'write also=[("dogs", "dog")]')


@dataclass(frozen=True)
class Way:
    """How every subject is taught: a method, the settings that a person gave for it, and the number of training seeds."""

    method: str = USUAL.mark
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As `asked` has read and checked them."""
    seeds: int = 1
    """Trainings of each subject; the first has the recipe's seed, and the others the numbers after it."""


def check(subjects: Sequence[Subject], way: Way) -> None:
    """Raise `RecipeError` or `UnsupportedError` where the subjects cannot be taught together in this way on any base.

    Two of one token are refused, whatever its case: a prompt that says it would draw both.
    """
    method = methods.get(way.method)
    if way.seeds < 1:
        raise RecipeError(f"{way.seeds} seeds teach nothing", "1 is one training of each concept")
    if way.seeds > 1 and not method.trains:
        reason = "draws nothing at random, so every seed gives the same"
        raise RecipeError(f"{method.title} {reason}", "leave the number of seeds out")
    method.check_slots(len(subjects) * way.seeds)
    taken: set[str] = set()
    for token in (one.token for one in subjects if one.token):
        if token.lower() in taken:
            raise RecipeError(
                f"two concepts are to be called {token!r}", "name another: --also FOLDER=NOUN:TOKEN"
            )
        taken.add(token.lower())


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
    found: Recipe = methods.get(method).recipe()
    found = found.override(base.advice.get(method, {})).override(given)
    if isinstance(found, TrainingRecipe) and found.resolution:
        base.check_side("resolution", found.resolution)
    return found


def job(base: Base, concept: Concept, method: str, given: Mapping[str, Any]) -> Job:
    """One concept with its settled recipe, whose prior follows from the concept's own class pictures."""
    return Job(concept, prior.settled(settle(base, method, given), concept, given))


def jobs(base: Base, subjects: Sequence[Subject], way: Way) -> tuple[Job, ...]:
    """Every subject with every seed, seeds of one subject side by side, ready to be taught in one stack.

    Settings without effect are logged. Raises what reading pictures raises, and `RecipeError` or `UnsupportedError` where
    the jobs do not go together.
    """
    first = [job(base, concept, way.method, way.settings) for concept in concepts(base, subjects)]
    for text in dict.fromkeys(text for one in first for text in one.recipe.idle(way.settings)):
        logger.warning(text)
    found = [
        replace(one, recipe=one.recipe.override({"seed": one.recipe.seed + number}))
        for one in first
        for number in range(way.seeds)
    ]
    methods.get(way.method).check(base, len(found))
    return Stack(tuple(found)).jobs


def concepts(base: Base, subjects: Sequence[Subject]) -> list[Concept]:
    """The subjects' pictures, each with a token of its own: the one that was named, else the next free word of the base."""
    taken = [one.token for one in subjects if one.token]
    found: list[Concept] = []
    for one in subjects:
        token = one.token or identifier.pick(base, taken)
        taken.append(token)
        noun, held, of_class = one.noun or "", one.hold_out, one.class_pictures
        if token.lower() in noun.lower().split():
            logger.warning(
                f"the token {token!r} is also the noun: every {noun} changes with it; a rare word is what --token is for"
            )
        found.append(
            Concept.read(one.pictures, token=token, noun=noun, hold_out=held, class_pictures=of_class)
        )
    return found


def look(subject: Subject) -> Subject:
    """With noun and token as a kohya folder's name has them where they are not given; logs how pictures were understood.

    Raises `RecipeError` where nobody says the noun.
    """
    found = intake.read(subject.pictures, subject.class_pictures)
    for text in (*found.warnings(), *found.notes):
        logger.warning("%s", text)
    if not (subject.noun or found.noun):
        raise RecipeError("the noun is empty", "say what it is: noun='dog' or --noun dog")
    return replace(subject, noun=subject.noun or found.noun, token=subject.token or found.token)
