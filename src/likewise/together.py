"""Together: adapters of several methods on one base, each on slots of its own, as one adapter; and what a slot takes along.

The frozen layers run once for all of them. Slots of one method lie side by side, in the order in which methods first appear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from likewise.base import Base
from likewise.errors import RecipeError
from likewise.method import Adapter, Group, Method
from likewise.optimizers import SlotAdamW
from likewise.recipe import Recipe
from likewise.stack import Job, Span, Stack
from likewise.train import Training

AnyMethod = Method[Recipe]


class Together(Adapter):
    """Adapters with spans of one stack. Group names are `<method>.<name>`."""

    def __init__(self, parts: Sequence[tuple[str, Adapter]]) -> None:
        self.parts = list(parts)
        self.slots = sum(adapter.slots for _, adapter in parts)
        self.trains_text = any(adapter.trains_text for _, adapter in parts)
        self.spans: list[Span] = []
        first = 0
        for _, adapter in parts:
            self.spans.append(Span(first, adapter.slots, self.slots))
            first += adapter.slots
        if len(self.parts) > 1:
            for (_, adapter), span in zip(self.parts, self.spans, strict=True):
                adapter.place(span)

    def groups(self) -> list[Group]:
        """Every part's, with the slots that they belong to."""
        return [
            replace(group, name=f"{name}.{group.name}", first=span.first)
            for (name, adapter), span in zip(self.parts, self.spans, strict=True)
            for group in adapter.groups()
        ]

    def state(self, slot: int) -> dict[str, Tensor]:
        """As the slot's own method keeps it."""
        adapter, own = self._of(slot)
        return adapter.state(own)

    def after_step(self, rates: Mapping[str, Tensor]) -> None:
        """Every part's constraints."""
        for name, adapter in self.parts:
            own = {
                key.partition(".")[2]: rate for key, rate in rates.items() if key.partition(".")[0] == name
            }
            adapter.after_step(own)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The base as if nothing were attached."""
        with ExitStack() as held:
            for _, adapter in self.parts:
                held.enter_context(adapter.disabled())
            yield

    def detach(self) -> None:
        """Take every part off."""
        for _, adapter in reversed(self.parts):
            adapter.detach()

    def _of(self, slot: int) -> tuple[Adapter, int]:
        for (_, adapter), span in zip(self.parts, self.spans, strict=True):
            if span.first <= slot < span.first + span.count:
                return adapter, slot - span.first
        raise RecipeError(f"there is no slot {slot} among {self.slots}")


def attach(base: Base, jobs: Sequence[tuple[AnyMethod, Job]]) -> tuple[Together, Stack]:
    """Adapters for every job, and their stack. Jobs of one method must stand side by side.

    Raises what `Method.attach` raises; nothing stays on the base then.
    """
    names = list(dict.fromkeys(method.name for method, _ in jobs))
    if [method.name for method, _ in jobs] != [n for n in names for m, _ in jobs if m.name == n]:
        raise RecipeError("the jobs of one method do not stand side by side")
    stack = Stack(tuple(job for _, job in jobs), mixed=True)
    with ExitStack() as undo:
        parts: list[tuple[str, Adapter]] = []
        for name in names:
            method = next(m for m, _ in jobs if m.name == name)
            own = Stack(tuple(job for m, job in jobs if m.name == name))
            parts.append((name, undo.enter_context(method.attach(base, own))))
        found = Together(parts)
        undo.pop_all()
    return found, stack


@dataclass(frozen=True)
class Carried:
    """A job half done, as it moves from one stack to another: steps, and tensors by the parameter that they belong to."""

    steps: int
    tensors: Mapping[str, Sequence[Tensor]]
    """Values, both moments and, where there is one, the average; without the slot dimension, padded as they were."""


@torch.no_grad()
def carried(training: Training, slot: int) -> Carried:
    """What a slot has come to."""
    found = {name: [t[own].clone() for t in tensors] for name, own, tensors in _of_slot(training, slot)}
    return Carried(training.before[slot] + training.done, found)


@torch.no_grad()
def put(training: Training, slot: int, job: Carried) -> None:
    """Let a slot go on from there. Its padding may be another: a job is the corner of what is stacked, with zeros around."""
    assert isinstance(training.optimizer, SlotAdamW)
    for name, own, tensors in _of_slot(training, slot):
        for mine, theirs in zip(tensors, job.tensors[name], strict=True):
            corner = tuple(slice(min(a, b)) for a, b in zip(mine.shape[1:], theirs.shape, strict=True))
            mine[own].zero_()
            mine[own][corner].copy_(theirs[corner])
    training.optimizer.begin_at(slot, job.steps)


def _of_slot(training: Training, slot: int) -> Iterator[tuple[str, int, list[Tensor]]]:
    """Each parameter's name, the slot's place in it, and all that is stacked with it."""
    assert isinstance(training.optimizer, SlotAdamW)
    number = -1
    for place, group in enumerate(training.groups):
        for n, parameter in enumerate(group.parameters):
            number += 1
            if group.own.start <= slot < group.own.stop:
                average = training.average[number : number + 1]
                moments = training.optimizer.moments(place, n)
                yield f"{group.name}.{n}", slot - group.first, [parameter.data, *moments, *average]
