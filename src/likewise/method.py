"""Method and Adapter: how a concept goes on a base, and how it comes off again.

A method (one file in `methods/`) says what to attach, what of it trains, and how it is kept. It asks a base only for what
`base.py` promises, so every method works on every family that can carry it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import RecipeError, UnsupportedError
from likewise.kinds import OWN, Kind
from likewise.recipe import Rate, Recipe
from likewise.stack import Span, Stack

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate. Stacked ones lead with the slot dimension [K, ...]."""

    name: str
    parameters: tuple[nn.Parameter, ...]
    rates: tuple[Rate, ...]
    """One per slot."""
    decay: bool = True
    """Whether the recipe's weight decay applies."""
    first: int = 0
    """The slot of the stack that the parameters' first belongs to."""

    @property
    def own(self) -> slice:
        """Its slots of the stack."""
        return slice(self.first, self.first + len(self.rates))


class Adapter(ABC):
    """A method attached to a base. Also a context manager: leaving it detaches."""

    slots: int = 1
    span: Span | None = None
    """Which slots of a batch are its own; None where all of them are."""
    stacked: bool = True
    """Whether the parameters lead with a slot dimension."""
    trains_text: bool = False
    """Whether prompts must be encoded anew at each step."""
    spare: int = 0
    """Bytes in memory that `before_steps` gives back."""
    strength: float = 1.0
    """A dial: 1 as trained, 0 the base exactly."""

    @abstractmethod
    def groups(self) -> Sequence[Group]:
        """What trains. Empty: nothing does, and the loop runs no step."""

    @abstractmethod
    def state(self, slot: int) -> dict[str, Tensor]:
        """One slot's tensors, without padding, by canonical name; detached copies on the CPU."""

    def load(self, slot: int, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave for a slot, to train on."""
        raise UnsupportedError(f"{type(self).__name__} cannot go on from a file", "teach it anew")

    def shared(self, slot: int) -> Mapping[str, Tensor]:
        """As `state`, for who is done with it before the next step: the tensors may be the adapter's own."""
        return self.state(slot)

    @abstractmethod
    def detach(self) -> None:
        """Take everything off; the base behaves bit for bit as before. Calling it twice is harmless."""

    def place(self, span: Span) -> None:
        """Act on these slots of a batch alone, so that other methods can act on the rest of it.

        Raises `RecipeError` where the span has not as many slots as the adapter.
        """
        if span.count != self.slots:
            raise RecipeError(f"{self.slots} slots do not fit a span of {span.count}")
        self.span = span

    def on_own_rows(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` [B, ...] with `change` applied to the rows of the adapter's own slots."""
        if self.span is None or self.span.whole:
            return change(x)
        own = self.span.rows(len(x))
        return torch.cat([x[: own.start], change(x[own]), x[own.stop :]])

    def before_steps(self) -> None:
        """Called once, when everything that the steps need was encoded."""
        return

    def after_step(self, rates: Mapping[str, Tensor]) -> None:
        """Called after each optimizer step with the groups' current rates [K]; for constraints on the parameters."""
        return

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base as if nothing were attached, for a `with` block."""
        before, self.strength = self.strength, 0.0
        try:
            yield
        finally:
            self.strength = before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


@dataclass(frozen=True)
class Choices:
    """The values that a search tries for one setting, from least to most."""

    key: str
    values: tuple[float, ...]
    times: bool = False
    """Whether the values are factors of what the method and the base advise."""


class Method(ABC, Generic[R]):
    """One way to teach a concept."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    summary: ClassVar[str]
    """What it changes and when to choose it, in two or three sentences for people."""
    recipe: type[R]
    kind: ClassVar[Kind] = OWN
    """What it leaves behind. Programs, layouts and operations go by this, never by the method's name."""
    stackable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    """False where nothing is trained before sampling."""
    space: ClassVar[tuple[Choices, ...]] = ()
    """What a search for its best settings tries. Empty: the defaults are all there is to try."""

    def unsupported(self, base: Base) -> str | None:
        """Why this base cannot be taught this way, as a sentence; None where it can."""
        return None

    def alike(self, recipe: R) -> Hashable:
        """What jobs of one stack must agree in, beside what every method's must. Equal values go together."""
        return ()

    @abstractmethod
    def attach(self, base: Base, stack: Stack) -> Adapter:
        """Put fresh, identity-initialised modules for every job of `stack` on `base`."""

    @abstractmethod
    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> Adapter:
        """Put taught concepts on `base`, one slot each, ready to sample."""

    def check_slots(self, slots: int) -> None:
        """Raise `UnsupportedError` where so many jobs cannot be taught at once, for which no base is needed."""
        if slots > 1 and not self.stackable:
            raise UnsupportedError(
                f"{self.title} changes the whole model, so {slots} cannot be taught at once",
                "start one run for each",
            )

    def check(self, base: Base, slots: int) -> None:
        """Raise `UnsupportedError` where `attach` must not be tried."""
        reason = self.unsupported(base)
        if reason:
            raise UnsupportedError(f"{self.title} cannot teach {base.name}: {reason}")
        self.check_slots(slots)
