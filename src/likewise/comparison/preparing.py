"""Preparing: a comparison from what a person asks for: conditions, protocol, folds and prompts, all checked beforehand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from likewise import families, identifier, intake, methods, records
from likewise.base import Base, Sampler
from likewise.comparison import design
from likewise.comparison.banks import Prompt, Role, bank_for
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Asked, Condition
from likewise.comparison.folds import Folds, plan_folds
from likewise.comparison.kinds import KINDS, Kind, guess_kind
from likewise.comparison.protocol import Protocol, own_prompts
from likewise.comparison.split import check_split
from likewise.comparison.tuning import Search
from likewise.concept import Concept, slug
from likewise.errors import ConceptError, RecipeError, RunError
from likewise.files import expand
from likewise.planning import asked, job
from likewise.prompt import foreign
from likewise.recipe import nearest
from likewise.sampling import artifacts, as_seeds, several

logger = logging.getLogger(__name__)
ROLES: tuple[Role, ...] = ("use", "class", "reconstruct", "compose")
TRIED = (0, 1)
"""Seeds of the pictures that settings are tried on."""


@dataclass(frozen=True)
class Wish:
    """How a comparison is to be done; what is None follows from the size, the noun and the base."""

    methods: Sequence[str] | None = None
    """None: all. Empty: none of them, where files of others are compared alone."""
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings per method."""
    size: str = "quick"
    replicates: int | None = None
    kind: Kind | None = None
    prompts: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    sampler: Sampler | None = None
    hold_out: int | None = None
    rotations: int | None = None
    """How many choices of held-out pictures take turns. None: every training has its own; 1 tells seeds from pictures."""
    margin: float | None = None
    conditions: Sequence[Asked] = ()
    """Besides the methods."""
    files: Sequence[Path] = ()
    """What others taught."""
    description: str | None = None
    tune: bool = False
    """Also look for each method's best settings, with the same number of tries."""

    def __post_init__(self) -> None:
        design.size_called(self.size)
        if self.kind not in (None, *KINDS):
            raise RecipeError(f"there is no kind {self.kind!r}", f"there are {', '.join(KINDS)}")
        for key in ("replicates", "hold_out", "rotations"):
            if type(getattr(self, key)) not in (type(None), int):
                raise RecipeError(f"{key} = {getattr(self, key)!r}: give a whole number")
        if type(self.margin) not in (type(None), int, float):
            raise RecipeError(f"margin = {self.margin!r}: give a number", "0.08 is customary")
        if not isinstance(self.sampler, Sampler | None):
            raise RecipeError(f"sampler = {self.sampler!r} is no Sampler", "--sample-steps sets its steps")


_READ: Mapping[str, Callable[[Any], Sequence[Any]]] = {
    "methods": several,
    "prompts": several,
    "seeds": as_seeds,
    "files": lambda given: [expand(file) for file in several(given)],
    "conditions": lambda given: [
        design.parse_condition(one) if isinstance(one, str) else one for one in several(given)
    ],
}
"""Fields of `Wish` of which one may stand alone, and how each is read."""


def prepare(
    pictures: intake.Source,
    *,
    noun: str,
    base: Base | str = "pocket",
    token: str | None = None,
    out: Path | str | None = None,
    class_pictures: intake.Source | None = None,
    **options: Any,
) -> Comparison:
    """A comparison that is ready to start, in a new folder under `comparisons/` unless `out` names one.

    `options` are the fields of `Wish` and any hyperparameter, for every method that has it: `steps=100`. One method, prompt
    or condition may stand alone, a condition may be text (`big=lora,rank=32`), and `seeds=3` is three pictures per prompt,
    with the seeds 0 to 2. A wrong option is refused before the base is loaded.
    """
    out = expand(out) if out else None
    records.check_writable(out or Path("comparisons"))
    wish, taught = check(options)
    loaded = families.load(base) if isinstance(base, str) else base
    concept = Concept.read(
        pictures, token=token or identifier.pick(loaded), noun=noun, class_pictures=class_pictures
    )
    protocol, development = _protocols(wish, loaded, noun)
    folds = plan_folds(
        concept.groups, wish.rotations or protocol.replicates, tuning=wish.tune, hold_out=wish.hold_out
    )
    every = [concept.fold(fold) for fold in (*folds.verdict, *filter(None, [folds.tuning]))]
    for one in every:
        check_split(one, development=development.texts if wish.tune else (), test=protocol.texts)
    conditions = _conditions(loaded, every[0], wish, taught)
    return Comparison(
        out or records.new_folder(Path("comparisons"), concept.name),
        base if isinstance(base, str) else base.name,
        concept,
        conditions,
        protocol,
        folds.verdict,
        tuple(note for note in (folds.note,) if note),
        _search(wish, development, folds),
        loaded=loaded,
    )


def check(options: Mapping[str, Any]) -> tuple[Wish, list[Asked]]:
    """What is wished and what is to be taught; raises `Error` for all that can be told to be wrong without a base."""
    wish, settings = _wish(options)
    taught = _taught(wish, settings)
    if wish.prompts is not None:
        list(own_prompts(wish.prompts))
    for file in wish.files:
        if not file.exists():
            raise RunError.missing(f"there is no run or file at {file}", "`likewise runs` lists the runs")
    named = [Condition(slug(one.name), one.name, "method", None) for one in taught]
    design.unique([*_anchors(None, ""), *named])
    return wish, taught


def _search(wish: Wish, development: Protocol, folds: Folds) -> Search | None:
    """On what settings are looked for; raises `ConceptError` where no pictures are left for that."""
    if not wish.tune:
        return None
    if folds.tuning is None:
        raise ConceptError(
            f"settings cannot be tuned: {folds.note}", "add pictures, or compare without tuning"
        )
    return Search(development, folds.tuning)


def _wish(options: Mapping[str, Any]) -> tuple[Wish, dict[str, Any]]:
    """The wish, in which None is what was not given, and all other options: hyperparameters."""
    own = {one.name for one in fields(Wish)}
    given = {key: value for key, value in options.items() if key in own and value is not None}
    read: dict[str, Any] = {
        key: tuple(_READ[key](value)) if key in _READ else value for key, value in given.items()
    }
    return Wish(**read), {key: value for key, value in options.items() if key not in own}


def _taught(wish: Wish, settings: Mapping[str, Any]) -> list[Asked]:
    """What is to be taught, each with all settings that were given for it: those for every method that has them, the
    method's, its own. Raises `RecipeError` on one that is not known, or that nothing reads."""
    named = methods.names() if wish.methods is None else wish.methods
    listed = [*(Asked(name, name, {}) for name in dict.fromkeys(named)), *wish.conditions]
    known = {one.method: methods.get(one.method).recipe.model_fields for one in listed}
    every = {key for own in known.values() for key in own}
    for key in settings:
        if key not in every:
            raise RecipeError(
                f"nothing that is compared has a setting {key!r}",
                nearest(key, every | {one.name for one in fields(Wish)}),
            )
    for name in wish.recipes:
        if methods.get(name).name not in known:
            raise RecipeError(f"there are settings for {name}, which is not compared", "leave them out")
    found = []
    for one in listed:
        shared = {key: value for key, value in settings.items() if key in known[one.method]}
        given = {**shared, **wish.recipes.get(one.method, {}), **one.settings}
        found.append(replace(one, settings=asked(one.method, None, given)))
    return found


def _protocols(wish: Wish, base: Base, noun: str) -> tuple[Protocol, Protocol]:
    """What the verdict is from, and what settings are tried on.

    The prompts are those of the kind of concept, as many as the size has, or the person's own with the bank's for the
    plain class.
    """
    size = design.size_called(wish.size)
    kind, why = (wish.kind, "You said so.") if wish.kind else guess_kind(noun)
    bank = bank_for(kind, base.prompts, base.name)
    prompts = [prompt for role in ROLES for prompt in bank.select("test", role)]
    if wish.prompts is not None:
        for text in dict.fromkeys(text for prompt in wish.prompts for text in foreign(prompt)):
            logger.warning(text)
        prompts = [*own_prompts(wish.prompts), *(prompt for prompt in prompts if prompt.role == "class")]
    else:
        prompts = _first(prompts, size.prompts)
    changes = {"margin": wish.margin} if wish.margin is not None else {}
    verdict = Protocol(
        tuple(prompts),
        tuple(range(size.seeds)) if wish.seeds is None else tuple(wish.seeds),
        base.settled(wish.sampler),
        size.replicates if wish.replicates is None else wish.replicates,
        size.name,
        kind,
        why,
        **changes,
    )
    tried = tuple(bank.select("development", "use"))
    return verdict, replace(verdict, prompts=tried, seeds=TRIED, replicates=1)


def _first(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """The first `count` prompts of the role `use` and all others."""
    use = [prompt for prompt in prompts if prompt.role == "use"][:count]
    return [*use, *(prompt for prompt in prompts if prompt.role != "use")]


def _conditions(base: Base, concept: Concept, wish: Wish, taught: Sequence[Asked]) -> list[Condition]:
    """The anchors, the methods, the conditions that were asked for, and what others taught."""
    found = _anchors(wish.description, concept.noun)
    for one in taught:
        method, given = methods.get(one.method), one.settings
        recipe = job(base, concept, method.name, given).recipe
        for text in recipe.idle(given):
            logger.warning("%s: %s", one.name, text)
        shares = method.stackable and method.trains and getattr(recipe, "optimizer", "adamw") == "adamw"
        found.append(
            Condition(
                slug(one.name), one.title or method.title, "method", f"{concept.token} {concept.noun}",
                method.name, recipe, given, shares=shares,
            )
        )  # fmt: skip
    return design.unique([*found, *(_of_file(file, concept) for file in wish.files)])


def _anchors(words: str | None, noun: str) -> list[Condition]:
    """The untaught base with the bare noun, and with a description in words."""
    return [
        Condition("base", "Untrained base", "floor", noun),
        Condition(
            "description", "Untrained base, described", "description", words or None,
            reason=None if words else "no description of the subject was given",
        ),
    ]  # fmt: skip


def _of_file(file: Path, concept: Concept) -> Condition:
    """What others taught, called by its own token where it has one."""
    taught = artifacts(file)
    if len(taught) > 1:
        names = sorted(one.name for one in file.glob("*.safetensors"))
        raise RecipeError(
            f"{file} left {len(taught)} files, and each is scored by itself",
            f"name those that you mean, such as {file / names[0]}" if names else "name one of its files",
        )
    token = taught[0].token
    words = f"{token} {concept.noun}" if token else concept.noun
    return Condition(
        slug(file.stem) or "file", file.name, "file", words, taught[0].method, file=file,
    )  # fmt: skip
