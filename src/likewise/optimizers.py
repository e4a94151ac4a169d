"""Optimizers: AdamW with a learning rate per slot, and the door to everybody else's for single jobs."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from likewise.errors import RecipeError
from likewise.method import Group
from likewise.recipe import TrainingRecipe
from likewise.stack import to_slots


class SlotAdamW:
    """AdamW (Loshchilov & Hutter 2019) over stacked parameters [K, ...], each slot with its own rate and decay.

    A slot whose rate is 0 stands perfectly still. Unstacked parameters are the case of one slot.
    """

    def __init__(self, groups: Sequence[Group], decay: Tensor, stacked: bool) -> None:
        self.betas, self.eps = (0.9, 0.999), 1e-8
        self.groups, self.decay, self.stacked = list(groups), decay, stacked
        self.step_count = 0
        self.first = [[torch.zeros_like(p) for p in g.parameters] for g in self.groups]
        self.second = [[torch.zeros_like(p) for p in g.parameters] for g in self.groups]

    @torch.no_grad()
    def step(self, rates: Mapping[str, Tensor]) -> None:
        """One update with the groups' current rates [K]."""
        self.step_count += 1
        one, two = (1 - beta**self.step_count for beta in self.betas)
        for group, first, second in zip(self.groups, self.first, self.second, strict=True):
            rate = rates[group.name]
            keep = 1 - rate * self.decay if group.decay else torch.ones_like(rate)
            rows = [
                (p, p.grad, m, v)
                for p, m, v in zip(group.parameters, first, second, strict=True)
                if p.grad is not None
            ]
            for piece in _pieces(rows, whole=self.stacked):
                parameters, gradients, means, squares = (list(column) for column in zip(*piece, strict=True))
                torch._foreach_lerp_(means, gradients, 1 - self.betas[0])
                torch._foreach_mul_(squares, self.betas[1])
                torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.betas[1])
                update = torch._foreach_sqrt(squares)
                torch._foreach_div_(update, two**0.5)
                torch._foreach_add_(update, self.eps)
                update = torch._foreach_div(means, update)
                if self.stacked and len(rate) > 1:
                    torch._foreach_mul_(parameters, [to_slots(keep, p) for p in parameters])
                    torch._foreach_mul_(update, [to_slots(rate / one, p) for p in parameters])
                    torch._foreach_sub_(parameters, update)
                else:
                    torch._foreach_mul_(parameters, float(keep[0]))
                    torch._foreach_add_(parameters, update, alpha=-float(rate[0]) / one)

    def state(self) -> dict[str, Tensor]:
        """Moments and the step count, by group and position."""
        found = {"step": torch.tensor(self.step_count)}
        for group, first, second in zip(self.groups, self.first, self.second, strict=True):
            for n, (m, v) in enumerate(zip(first, second, strict=True)):
                found[f"{group.name}.{n}.first"], found[f"{group.name}.{n}.second"] = m, v
        return found

    def load(self, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
        """Take a `state` back, whose names begin with `prefix`."""
        self.step_count = int(tensors[f"{prefix}step"])
        for group, first, second in zip(self.groups, self.first, self.second, strict=True):
            for n, (m, v) in enumerate(zip(first, second, strict=True)):
                m.copy_(tensors[f"{prefix}{group.name}.{n}.first"])
                v.copy_(tensors[f"{prefix}{group.name}.{n}.second"])


Row = tuple[Tensor, ...]
"""A parameter, its gradient and its two moments, or the same rows of each."""
PIECE = 1 << 22
"""Numbers that are updated at a time: what is computed on the way takes no more memory than they do, twice."""


def _pieces(rows: Iterable[Row], whole: bool) -> Iterator[list[Row]]:
    """`rows` in lists of about `PIECE` numbers; larger tensors are cut along their first dimension, unless left `whole`."""
    piece: list[Row] = []
    room = PIECE
    for row in rows:
        length = len(row[0]) if row[0].ndim else 1
        cut = length if whole or not row[0].numel() else max(1, PIECE * length // row[0].numel())
        parts = [row] if cut >= length else zip(*(tensor.split(cut) for tensor in row), strict=True)
        for part in parts:
            if piece and part[0].numel() > room:
                yield piece
                piece, room = [], PIECE
            piece.append(part)
            room -= part[0].numel()
    if piece:
        yield piece


class ForeignOptimizer:
    """Any torch optimizer, for one job, behind the same three calls."""

    def __init__(self, groups: Sequence[Group], optimizer: torch.optim.Optimizer) -> None:
        self.groups, self.optimizer = list(groups), optimizer

    def step(self, rates: Mapping[str, Tensor]) -> None:
        """One update; the rate of each group is set first."""
        for group, theirs in zip(self.groups, self.optimizer.param_groups, strict=True):
            theirs["lr"] = float(rates[group.name][0])
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
        return SlotAdamW(groups, torch.tensor([r.weight_decay for r in recipes], device=device), stacked)
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
