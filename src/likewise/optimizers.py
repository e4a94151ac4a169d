"""Optimizers: AdamW with a learning rate per slot, and the door to everybody else's for single jobs.

Rates are numbers of this side, not of the device, so that a step waits for nothing.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from likewise.errors import RecipeError
from likewise.method import Group
from likewise.recipe import TrainingRecipe


class Flat:
    """Stacked parameters [K, ...] side by side in one buffer [K, n], to which their storage moves.

    One operator then does for all of them what would take one for each: hundreds, in a LoRA.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self._sizes = [p[0].numel() for p in self.parameters]
        self.values = torch.cat([p.detach().flatten(1) for p in self.parameters], 1)
        for parameter, view in zip(self.parameters, self.views(self.values), strict=True):
            parameter.data = view

    def views(self, buffer: Tensor) -> list[Tensor]:
        """Parts of `buffer` [K, n] in the parameters' shapes."""
        parts = buffer.split(self._sizes, 1)
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]

    def gather(self) -> Tensor:
        """The parameters' gradients [K, n]; 0 where there is none."""
        found = (torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters)
        return torch.cat([slope.flatten(1) for slope in found], 1)


@dataclass(frozen=True)
class _Moments:
    """One moment of everything that is updated, twice: the same memory as rows to update, and in the parameters' shapes."""

    rows: list[list[list[Tensor]]]
    """By group, slot and position."""
    whole: list[list[Tensor]]
    """[K, ...] by group and position."""


class SlotAdamW:
    """AdamW (Loshchilov & Hutter 2019) over stacked parameters [K, ...], each slot with its own rate and decay.

    The arithmetic is torch's fused AdamW, which updates in place and takes no memory on the way. It is given one row of
    numbers for each slot; unstacked parameters are given as they are. A slot whose rate is 0 stands perfectly still.
    """

    def __init__(self, groups: Sequence[Group], decays: Sequence[float], stacked: bool) -> None:
        self.groups, self.step_count = list(groups), 0
        self._flats = [Flat(group.parameters) for group in self.groups] if stacked else []
        self._slopes: list[Tensor] = []
        """The gradients of each flat group, [K, n]; kept, so that they stay in one place."""
        self._rows = [[[row] for row in flat.values] for flat in self._flats] or [
            [list(group.parameters)] for group in self.groups
        ]
        """By group and slot: what is updated by one number each for rate and decay."""
        self._decays = [decay if group.decay else 0.0 for group in self.groups for decay in decays[group.own]]
        self._moments = {name: self._begun() for name in ("first", "second")}
        self._steps = [
            [[torch.zeros((), device=p.device) for p in row] for row in slots] for slots in self._rows
        ]

    def _begun(self) -> _Moments:
        """Moments of 0."""
        if not self._flats:
            every = [[torch.zeros_like(p) for p in slots[0]] for slots in self._rows]
            return _Moments([[row] for row in every], every)
        flats = [torch.zeros_like(flat.values) for flat in self._flats]
        views = [flat.views(zeros) for flat, zeros in zip(self._flats, flats, strict=True)]
        return _Moments([[[row] for row in zeros] for zeros in flats], views)

    def gradients(self) -> list[Tensor]:
        """What `step` goes by: [K, n] for each group that is stacked, else the tensors' own. To scale them is to clip."""
        if not self._flats:
            every = (p.grad for group in self.groups for p in group.parameters)
            return [slope for slope in every if slope is not None]
        self._slopes = [flat.gather() for flat in self._flats]
        return self._slopes

    @torch.no_grad()
    def step(self, rates: Mapping[str, Sequence[float]]) -> None:
        """One update with the groups' current rates, one for each slot, and what `gradients` gave last."""
        self.step_count += 1
        every = iter([rate for group in self.groups for rate in rates[group.name]])
        first, second = self._moments["first"].rows, self._moments["second"].rows
        decays = iter(self._decays)
        for n, slots in enumerate(self._rows):
            for k, row in enumerate(slots):
                slopes = [self._slopes[n][k]] if self._flats else [p.grad for p in row]
                there = [place for place, slope in enumerate(slopes) if slope is not None]
                # The function itself: the class would import torch's compiler, which takes a second of every start.
                adamw(
                    [row[i] for i in there],
                    [slopes[i] for i in there],
                    [first[n][k][i] for i in there],
                    [second[n][k][i] for i in there],
                    [],
                    [self._steps[n][k][i] for i in there],
                    fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=next(every), weight_decay=next(decays),
                    eps=1e-8, maximize=False,
                )  # fmt: skip

    def moments(self, number: int, n: int) -> tuple[Tensor, Tensor]:
        """The moments [K, ...] of parameter `n` of group `number`."""
        return self._moments["first"].whole[number][n], self._moments["second"].whole[number][n]

    def begin_at(self, slot: int, steps: int) -> None:
        """Let a slot go on as after so many steps."""
        for group, slots in zip(self.groups, self._steps, strict=True):
            if slot in range(group.own.start, group.own.stop):
                for taken in slots[slot - group.first]:
                    taken.fill_(steps)

    def state(self) -> dict[str, Tensor]:
        """Moments and the step count, by group and position."""
        found = {"step": torch.tensor(self.step_count)}
        for number, group in enumerate(self.groups):
            for n in range(len(group.parameters)):
                for name, moments in self._moments.items():
                    found[f"{group.name}.{n}.{name}"] = moments.whole[number][n]
        return found

    def load(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take a `state` back, whose names begin with `prefix`."""
        self.step_count = int(tensors[f"{prefix}step"])
        for name, moment in self.state().items():
            if name != "step":
                moment.copy_(tensors[f"{prefix}{name}"])
        for taken in (one for slots in self._steps for row in slots for one in row):
            taken.fill_(self.step_count)


class ForeignOptimizer:
    """Any torch optimizer, for one job, behind the same three calls."""

    def __init__(self, groups: Sequence[Group], optimizer: torch.optim.Optimizer) -> None:
        self.groups, self.optimizer = list(groups), optimizer

    def gradients(self) -> list[Tensor]:
        """The parameters' own, which `step` goes by."""
        every = (p.grad for group in self.groups for p in group.parameters)
        return [slope for slope in every if slope is not None]

    def step(self, rates: Mapping[str, Sequence[float]]) -> None:
        """One update; the rate of each group is set first."""
        for group, theirs in zip(self.groups, self.optimizer.param_groups, strict=True):
            theirs["lr"] = rates[group.name][0]
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """The optimizer's own state, flattened to tensors: nothing pickled."""
        found: dict[str, Tensor] = {}
        for n, entry in self.optimizer.state_dict()["state"].items():
            for name, value in entry.items():
                if isinstance(value, (Tensor, int, float)):
                    found[f"{n}.{name}"] = torch.as_tensor(value)
        for n, theirs in enumerate(self.optimizer.param_groups):
            for name, value in theirs.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                    found[f"group.{n}.{name}"] = torch.tensor(value, dtype=torch.float64)
        return found

    def load(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take a `state` back, whose names begin with `prefix`."""
        whole = self.optimizer.state_dict()
        state: dict[int, dict[str, Any]] = {}
        for key in tensors:
            if not key.startswith(prefix):
                continue
            value = tensors[key]
            first, _, rest = key.removeprefix(prefix).partition(".")
            if first == "group":
                position, _, name = rest.partition(".")
                kind = type(whole["param_groups"][int(position)].get(name, 0.0))
                whole["param_groups"][int(position)][name] = kind(value.item())
            else:
                state.setdefault(int(first), {})[rest] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def build(
    groups: Sequence[Group], recipes: Sequence[TrainingRecipe], stacked: bool
) -> SlotAdamW | ForeignOptimizer:
    """The optimizer that the recipes ask for; raises `RecipeError` where it is not installed or cannot work here."""
    first = recipes[0]
    device = groups[0].parameters[0].device
    if first.optimizer == "adamw":
        return SlotAdamW(groups, [r.weight_decay for r in recipes], stacked)
    kind = _foreign(first.optimizer, groups, device)
    # Rates are set before each step. Prodigy refuses to be made with a rate of 0, which a warm-up may begin with.
    settings = [
        {"params": list(g.parameters), "weight_decay": first.weight_decay if g.decay else 0.0} for g in groups
    ]
    return ForeignOptimizer(groups, kind(settings))


def _foreign(name: str, groups: Sequence[Group], device: torch.device) -> Any:
    if name == "adamw8bit":
        if device.type != "cuda":
            raise RecipeError(
                f"optimizer=adamw8bit needs a CUDA GPU, and this runs on {device}", "use optimizer=adamw"
            )
        return _installed("bitsandbytes", "bitsandbytes.optim", "AdamW8bit")
    if name == "prodigy":
        if len({group.rates for group in groups if any(rate for rate, _ in group.rates[0].pieces)}) > 1:
            raise RecipeError(
                "optimizer=prodigy has one rate for all that trains", "set text_rate as learning_rate"
            )
        return _installed("prodigyopt", "prodigyopt", "Prodigy")
    return next(
        kind for title, kind in vars(torch.optim).items() if isinstance(kind, type) and title.lower() == name
    )


def _installed(package: str, module: str, attribute: str) -> Any:
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError:
        raise RecipeError(f"{package} is not installed", f"pip install {package}") from None
