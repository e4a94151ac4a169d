"""Design: which conditions are compared, with how many replicates, and which trainings that makes. No torch.

A condition is a method with named settings, an untaught base, or a file that others taught. A replicate is a training seed
together with a choice of held-out pictures (a fold). A trial is one condition in one replicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likewise.comparison.results import Kind
from likewise.errors import RecipeError
from likewise.recipe import Recipe, setting

TOGETHER = 8
"""Trainings that share a batch at most. More gain little on any device that was measured."""


@dataclass(frozen=True)
class Size:
    """How much a comparison draws and teaches, and what that can decide."""

    name: str
    replicates: int
    """Training seeds, each with a fold of its own."""
    prompts: int
    """Test prompts at most."""
    seeds: int
    """Pictures per prompt."""
    decides: str
    """One sentence for people."""


SIZES = {
    size.name: size
    for size in (
        Size("quick", 1, 10, 2, "One training per method shows what each can look like. It decides nothing."),
        Size(
            "standard",
            3,
            20,
            4,
            "Three trainings per method find a difference of about half of the way from the untaught base to real "
            "pictures.",
        ),
        Size(
            "thorough",
            5,
            25,
            4,
            "Five trainings per method find a difference of about a third of the way from the untaught base to real "
            "pictures.",
        ),
    )
}
"""Evaluation sizes by name."""


def size_called(name: str) -> Size:
    """The size of this name; raises `RecipeError` with the known ones."""
    if name not in SIZES:
        raise RecipeError(f"there is no size {name!r}", f"sizes: {', '.join(SIZES)}")
    return SIZES[name]


@dataclass(frozen=True)
class Condition:
    """What is compared: one line of the result."""

    name: str
    """A slug, unique in the comparison."""
    title: str
    kind: Kind
    words: str | None
    """What stands in the place of `{}` in a prompt; empty for a condition that is skipped."""
    method: str | None = None
    recipe: Recipe | None = None
    """Settled settings, with the seed of the first replicate."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The settings that differ from the defaults, as they were given."""
    file: Path | None = None
    """What others taught, for a condition of kind `file`."""
    shares: bool = False
    """Whether several of its trainings can share a batch."""
    reason: str | None = None
    """Why it is skipped."""

    @property
    def taught(self) -> bool:
        """Whether it is trained here, once per replicate."""
        return self.kind == "method"


@dataclass(frozen=True)
class Trial:
    """One condition in one replicate. What is not taught is drawn once and belongs to every replicate."""

    condition: Condition
    replicate: int | None = None
    """Which training: 0 is the first. None for what is not taught."""
    fold: int | None = None

    @property
    def name(self) -> str:
        """The name of its folder under `trials/`: `lora-0`, `base`."""
        return self.condition.name if self.replicate is None else f"{self.condition.name}-{self.replicate}"

    @property
    def title(self) -> str:
        """What people read while it works."""
        return (
            self.condition.title if not self.replicate else f"{self.condition.title} ({self.replicate + 1})"
        )

    @property
    def recipe(self) -> Recipe | None:
        """The condition's settings with the seed of this replicate."""
        recipe = self.condition.recipe
        if recipe is None or not self.replicate:
            return recipe
        return recipe.model_copy(update={"seed": (recipe.seed + self.replicate) % 2**32})

    @property
    def seed(self) -> int | None:
        """The training seed."""
        return self.recipe.seed if self.recipe is not None else None


def trials(conditions: Sequence[Condition], replicates: int, folds: int) -> list[Trial]:
    """Every trial: what is not taught first, then replicate by replicate, so that an early stop leaves whole replicates."""
    still = [Trial(one) for one in conditions if not one.taught]
    return still + [
        Trial(one, number, number % folds) for number in range(replicates) for one in conditions if one.taught
    ]


@dataclass(frozen=True)
class Asked:
    """A condition as a person asks for it."""

    name: str
    method: str
    settings: Mapping[str, Any]
    title: str | None = None
    """Empty: the method's own title, or the name where there are settings."""


def parse_condition(text: str) -> Asked:
    """Read `NAME=method,key=value,...`; raises `RecipeError` for what is not of this form."""
    name, equals, rest = text.partition("=")
    method, *pairs = (part.strip() for part in rest.split(","))
    if not equals or not name.strip() or not method:
        raise RecipeError(f"{text!r} is no condition", "write NAME=METHOD,key=value: big=lora,rank=32")
    settings = dict(setting(pair) for pair in pairs if pair)
    return Asked(name.strip(), method.replace("-", "_"), settings, name.strip())


def unique(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions; raises `RecipeError` where two share a name or one takes an anchor's."""
    found: dict[str, Condition] = {}
    for one in conditions:
        if not one.name or one.name in found:
            raise RecipeError(
                f"two conditions are called {one.title!r}" if one.name else f"{one.title!r} is no name",
                "name each differently, in letters and digits",
            )
        found[one.name] = one
    return list(found.values())


def mates(trial: Trial, later: Sequence[Trial], shared: Sequence[str], *, alone: bool) -> tuple[Trial, ...]:
    """The later trials that can share a batch with `trial`; none where it must be taught by itself.

    Those of its own condition come first, as they fit it best. With `alone`, the first replicate of every condition is
    taught by itself, because its cost is what the comparison reports. `shared` names the settings that jobs of one batch
    have in common.
    """

    def sociable(one: Trial) -> bool:
        return one.condition.shares and (bool(one.replicate) or not alone)

    if not sociable(trial):
        return ()
    found = [other for other in later if sociable(other) and _alike(trial, other, shared)]
    return tuple(sorted(found, key=lambda other: other.condition.name != trial.condition.name))


def _alike(one: Trial, other: Trial, shared: Sequence[str]) -> bool:
    return one.condition.method == other.condition.method and all(
        getattr(one.recipe, key, None) == getattr(other.recipe, key, None) for key in shared
    )
