"""The training loop: the only one, for every method on every family.

It is an iterator: the caller's `for` decides what to log, preview, save and when to stop. Whatever it draws depends on (job
seed, step), so a loop that is rebuilt from `state()` continues bit for bit as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from likewise import optimizers
from likewise.base import Base, Conditioning
from likewise.cache import Cache
from likewise.errors import TrainingError
from likewise.materials import Draw, Materials, of_class, of_concept
from likewise.method import Adapter, Group
from likewise.recipe import TrainingRecipe
from likewise.stack import Stack, by_slot, to_slots

_SLOWER = "lower learning_rate, or set precision=fp32"


@dataclass(frozen=True)
class Step:
    """One finished optimizer step. Tuples have one entry per slot."""

    number: int
    """Steps done, from 1."""
    losses: tuple[float, ...]
    norms: tuple[float, ...]
    """Gradient norms before clipping."""
    rates: Mapping[str, tuple[float, ...]]
    seconds: float


class Training:
    """Teaches `adapter`'s slots the jobs of `stack`.

    Iterating runs from `done` to the end. Where the recipes' prior is `pictures`, `class_pictures` holds a list per job of
    those that were drawn, besides the concepts' own.
    """

    def __init__(
        self,
        base: Base,
        adapter: Adapter,
        stack: Stack,
        *,
        cache: Cache | None = None,
        class_pictures: Sequence[Sequence[Image.Image]] = (),
    ) -> None:
        cache = cache or Cache()
        self.base, self.adapter, self.stack = base, adapter, stack
        self.recipes = stack.recipes
        self.groups: list[Group] = list(adapter.groups())
        if not self.groups:
            raise TrainingError("there is nothing to train: this method acts only when it draws")
        self.done = 0
        self.optimizer = optimizers.build(self.groups, self.recipes, adapter.stacked)
        self.parameters = [p for group in self.groups for p in group.parameters]
        self.average = [p.detach().clone() for p in self.parameters] if self.recipes[0].ema else []
        jobs = [(job.concept, recipe) for job, recipe in zip(stack.jobs, self.recipes, strict=True)]
        self.own = [of_concept(base, concept, recipe, cache) for concept, recipe in jobs]
        self.prior: list[Materials] = []
        if self.recipes[0].prior == "pictures":
            self.prior = [
                of_class(base, concept, pictures, recipe, cache)
                for (concept, recipe), pictures in zip(jobs, class_pictures or [()] * len(jobs), strict=True)
            ]
        self._texts = {} if adapter.trains_text else self._encode_all()
        adapter.before_steps()

    def __iter__(self) -> Iterator[Step]:
        while self.done < self.stack.steps:
            yield self._step()
        self._drop_gradients()

    @contextmanager
    def _recomputing(self) -> Iterator[None]:
        """The backbone without kept activations, for a `with` block, where the recipes ask for that."""
        if not self.recipes[0].checkpointing:
            yield
            return
        self.base.recompute(True)
        try:
            yield
        finally:
            self.base.recompute(False)

    def _step(self) -> Step:
        started = time.perf_counter()
        self._drop_gradients()
        losses = self._gradients()
        norms = self._clip()
        rates = self._rates()
        self.optimizer.step(rates)
        self.adapter.after_step(rates)
        self._average()
        self.done += 1
        return Step(
            self.done,
            tuple(losses.tolist()),
            tuple(norms.tolist()),
            {name: tuple(values.tolist()) for name, values in rates.items()},
            time.perf_counter() - started,
        )

    def _gradients(self) -> Tensor:
        """Add up the gradients of the step's batches; returns the mean of their losses, [K]."""
        count = self.recipes[0].accumulate
        mean = torch.zeros(len(self.stack), device=self.base.device)
        for number, batch in enumerate(self._batches()):
            with self._recomputing(), self._seeded(number):
                losses = self._losses(batch) / count
                losses.sum().backward()
            mean += losses.detach()
        return mean

    @torch.no_grad()
    def _average(self) -> None:
        """Let the average follow the weights; that of a job that is done stands still."""
        if not self.average:
            return
        decay = average_decay(self.recipes[0].ema or 0.0, self.done + 1)
        shares = [1 - decay if self.done < recipe.steps else 0.0 for recipe in self.recipes]
        for shadow, parameter in zip(self.average, self.parameters, strict=True):
            if len(set(shares)) == 1:
                shadow.lerp_(parameter, shares[0])
            else:
                shadow.lerp_(parameter, to_slots(torch.tensor(shares), parameter))

    def _drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @contextmanager
    def _seeded(self, batch: int = 0) -> Iterator[None]:
        """Torch's own stream for a batch of the present step; dropout is all that reads it."""
        with torch.random.fork_rng():
            torch.manual_seed(self.recipes[0].seed * 1_000_003 + self.done + batch * 500_009)
            yield

    @torch.no_grad()
    def verify(self) -> None:
        """Raise `TrainingError` unless what was learned, and the loss that it gives, are finite.

        This is for the moments before something is kept. It takes one forward pass and changes nothing.
        """
        for name, value in self.state().items():
            if value.ndim and value.is_floating_point() and not _finite(value):
                what = "a weight" if name.startswith("parameter") else f"the {name.partition('.')[0]}"
                raise TrainingError(f"{what} is not finite after step {self.done}", _SLOWER)
        with self._seeded():
            self._losses(self._batches()[0])

    def _batches(self) -> list[list[Draw]]:
        """The batches of the present step, in each the rows of every slot: the concept's, then the prior's."""
        mode, count = self.recipes[0].prior, self.recipes[0].accumulate
        found: list[list[Draw]] = [[] for _ in range(count)]
        for slot, (recipe, job) in enumerate(zip(self.recipes, self.stack.jobs, strict=True)):
            own = self.own[slot].draw(self.base, recipe, self.done, "own")
            prior = None
            if mode == "pictures":
                prior = self.prior[slot].draw(self.base, recipe, self.done, "prior")
            elif mode == "predicted":
                prior = replace(own, captions=[job.concept.class_prompt()] * len(own.names))
            for number, batch in enumerate(found):
                part = own.part(number, count)
                batch.append(_after(part, prior.part(number, count)) if prior else part)
        return found

    def _losses(self, draws: Sequence[Draw]) -> Tensor:
        """One loss per slot, [K]: the concept's mean squared error plus the weighted prior's."""
        slots, mode = len(self.stack), self.recipes[0].prior
        device = self.base.device
        clean, noise, levels, frames = (
            torch.cat([getattr(d, field) for d in draws]).to(device)
            for field in ("clean", "noise", "levels", "frames")
        )
        captions = [caption for d in draws for caption in d.captions]
        objective = self.base.objective
        noisy = objective.corrupt(clean, noise, levels)
        target = objective.target(clean, noise, levels)
        if mode == "predicted":
            target = self._expect_prior(noisy, levels, frames, target)
        with self.base.autocast():
            answer = self.base.denoise(noisy, levels, self._condition(captions).framed(frames))
        error = (answer.float() - target).square().flatten(1).mean(1)
        self._check(error, [name for d in draws for name in d.names])
        gamma = [recipe.snr_gamma for recipe in self.recipes]
        weights = torch.cat(
            [objective.weights(lv, g) for lv, g in zip(by_slot(levels, slots), gamma, strict=True)]
        )
        return self._join(by_slot(error * weights, slots), mode)

    def _join(self, rows: Tensor, mode: str) -> Tensor:
        if mode == "none":
            return rows.mean(1)
        half = rows.shape[1] // 2
        weight = torch.tensor([recipe.prior_weight for recipe in self.recipes], device=rows.device)
        return rows[:, :half].mean(1) + weight * rows[:, half:].mean(1)

    @torch.no_grad()
    def _expect_prior(self, noisy: Tensor, levels: Tensor, frames: Tensor, target: Tensor) -> Tensor:
        """For the second half of each slot's rows the frozen base's own answer to the class prompt is the target."""
        slots = len(self.stack)
        half = noisy.shape[0] // slots // 2
        classes = [job.concept.class_prompt() for job in self.stack.jobs for _ in range(half)]
        with self.adapter.disabled(), self.base.autocast():
            rows = [by_slot(x, slots)[:, half:].flatten(0, 1) for x in (noisy, levels, frames)]
            given = self.base.encode_text(classes).framed(rows[2])
            answer = self.base.denoise(rows[0], rows[1], given).float()
        target = by_slot(target, slots).clone()
        target[:, half:] = by_slot(answer, slots)
        return target.flatten(0, 1)

    def _condition(self, captions: Sequence[str]) -> Conditioning:
        if self.adapter.trains_text:
            return self.base.encode_text(captions)
        return self._all.pick([self._texts[caption] for caption in captions])

    @torch.no_grad()
    def _encode_all(self) -> dict[str, int]:
        """Encode every caption once; the tower is frozen and nothing acts on it."""
        captions = {c: None for m in (*self.own, *self.prior) for c in m.captions}
        captions |= {job.concept.class_prompt(): None for job in self.stack.jobs}
        with self.base.autocast():
            self._all = self.base.encode_text(list(captions))
        return {caption: row for row, caption in enumerate(captions)}

    def _check(self, error: Tensor, names: Sequence[str]) -> None:
        if torch.isfinite(error.detach()).all():
            return
        bad = sorted(
            {names[n] for n in (~torch.isfinite(error)).nonzero().flatten().tolist() if n < len(names)}
        )
        step = min(self.done + 1, self.stack.steps)  # `verify` looks once more after the last
        raise TrainingError(f"the loss of {', '.join(bad)} is not finite at step {step}", _SLOWER)

    @torch.no_grad()
    def _clip(self) -> Tensor:
        """Scale each slot's gradient down to its limit; returns the norms before, [K]."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        slots = len(self.stack)
        if self.adapter.stacked:
            squares = [g.float().square().flatten(1).sum(1) for g in gradients]
            norms = torch.stack(squares).sum(0).sqrt()
        else:
            norms = torch.stack(torch._foreach_norm(gradients)).norm().view(1)
        if not torch.isfinite(norms).all():
            raise TrainingError(f"the gradient is not finite at step {self.done + 1}", _SLOWER)
        limits = torch.tensor([recipe.clip or math.inf for recipe in self.recipes], device=norms.device)
        factors = (limits / (norms + 1e-6)).clamp(max=1.0)
        if bool((factors < 1).any()):
            if slots > 1:
                torch._foreach_mul_(gradients, [to_slots(factors, g) for g in gradients])
            else:
                torch._foreach_mul_(gradients, float(factors[0]))
        return norms

    def _rates(self) -> dict[str, Tensor]:
        """This step's rate of each group and slot: piecewise value x warm-up x schedule; 0 once a job is done."""
        factors = [factor(recipe, self.done) for recipe in self.recipes]
        device = self.base.device
        return {
            group.name: torch.tensor(
                [rate.at(self.done) * f for rate, f in zip(group.rates, factors, strict=True)], device=device
            )
            for group in self.groups
        }

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, besides the recipe: parameters, average, optimizer, step."""
        found = {"done": torch.tensor(self.done)}
        found |= {f"parameter.{n}": p.detach() for n, p in enumerate(self.parameters)}
        found |= {f"average.{n}": p for n, p in enumerate(self.average)}
        return found | {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a `state` back, exactly; each tensor is asked for once."""
        self.done = int(tensors["done"])
        for n, parameter in enumerate(self.parameters):
            parameter.copy_(tensors[f"parameter.{n}"])
        for n, shadow in enumerate(self.average):
            shadow.copy_(tensors[f"average.{n}"])
        self.optimizer.load(tensors, "optimizer.")

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place of the last ones, for a `with` block; nothing where there is no average."""
        if not self.average:
            yield
            return
        last = [p.data for p in self.parameters]
        for parameter, shadow in zip(self.parameters, self.average, strict=True):
            parameter.data = shadow
        try:
            yield
        finally:
            for parameter, data in zip(self.parameters, last, strict=True):
                parameter.data = data


def _after(own: Draw, prior: Draw) -> Draw:
    """`prior`'s rows behind `own`'s."""
    return Draw(
        torch.cat([own.clean, prior.clean]),
        torch.cat([own.noise, prior.noise]),
        torch.cat([own.levels, prior.levels]),
        torch.cat([own.frames, prior.frames]),
        own.captions + prior.captions,
        own.names + prior.names,
    )


def average_decay(decay: float, update: int) -> float:
    """The decay of update number `update`, from 1: it rises as `(1 + n) / (10 + n)`, so that a short training is not lost
    in what it began with. As in diffusers' `EMAModel.get_decay` without warm-up, and TensorFlow's moving averages."""
    return min(decay, update / (9 + update)) if update > 1 else 0.0


def _finite(value: Tensor) -> bool:
    """Whether all numbers are finite. Both ends are looked at, which takes no memory beside the tensor."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())


def factor(recipe: TrainingRecipe, step: int) -> float:
    """By what the rate of step `step`, from 0, is multiplied: warm-up and schedule, and 0 once the job is done."""
    if step >= recipe.steps:
        return 0.0
    if step < recipe.warmup:
        return (step + 1) / (recipe.warmup + 1)
    if recipe.schedule == "cosine":
        progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0
