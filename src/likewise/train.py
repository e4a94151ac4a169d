"""The training loop: the only one, for every method on every family.

It is an iterator: the caller's `for` decides what to log, preview, save and when to stop. Whatever it draws depends on (job
seed, step), so a loop that is rebuilt from `state()` continues bit for bit as if nothing had happened.

A step waits for nothing: its losses stay on the device until somebody reads them, and whether they are finite is looked at
every `LOOK` steps, and before anything is read or kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from likewise import optimizers, recording
from likewise.base import Base, Conditioning
from likewise.batches import Batch, Batches
from likewise.cache import Cache
from likewise.errors import TrainingError
from likewise.materials import Materials, of_class, of_concept
from likewise.method import Adapter, Group
from likewise.prepared import Prepared
from likewise.recipe import TrainingRecipe
from likewise.stack import Stack, by_slot, to_slots

_SLOWER = "lower learning_rate, or set precision=fp32"
LOOK = 25
"""Steps after which what is not finite is found at the latest."""


@dataclass(frozen=True)
class Step:
    """One optimizer step. Tuples have one entry per slot. To read losses or norms is to wait for the device, and raises
    `TrainingError` where a loss or gradient so far is not finite."""

    number: int
    """Steps done, from 1."""
    rates: Mapping[str, tuple[float, ...]]
    seconds: float
    """Without the wait for a device that is still at it."""
    told: tuple[Tensor, Tensor]
    """Losses and norms [K] as they are on the device."""
    check: Callable[[], None]

    @property
    def losses(self) -> tuple[float, ...]:
        """The mean loss of each slot."""
        self.check()
        return tuple(self.told[0].tolist())

    @property
    def norms(self) -> tuple[float, ...]:
        """Gradient norms before clipping."""
        self.check()
        return tuple(self.told[1].tolist())


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
        before: Sequence[int] = (),
    ) -> None:
        """`before` are the steps that each job has done in another stack (`carried`); none where nothing is said."""
        cache = cache or Cache()
        self.base, self.adapter, self.stack = base, adapter, stack
        self.recipes = stack.recipes
        self.groups: list[Group] = list(adapter.groups())
        if not self.groups:
            raise TrainingError("there is nothing to train: this method acts only when it draws")
        self.done, self.before = 0, list(before) or [0] * len(stack)
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
        self._texts, self._all = self._encode_all()
        self._prepared = Prepared(base, None if adapter.trains_text else self._all)
        texts = {} if adapter.trains_text else self._texts
        self._batches_of = Batches(base, stack, self.own, self.prior, texts, self._prepared.pace, self.before)
        self._prior_weight = torch.tensor([r.prior_weight for r in self.recipes], device=base.device)
        self._limits = torch.tensor([r.clip or math.inf for r in self.recipes], device=base.device)
        self._unseen: list[tuple[int, list[Tensor], Tensor]] = []
        """Steps from 0, their rows' errors by batch and their norms, which nobody looked at yet."""
        self._recording: recording.Recording | None = None
        adapter.before_steps()

    def record(self) -> list[str]:
        """Record the coming steps' pass, if the recipes ask for it; returns what people are told where there is none."""
        self._recording, notes = recording.record(
            self.base, self.recipes, self._passed,
            lambda ahead: self._batches_of.at(self.done + ahead)[0], self.parameters,
        )  # fmt: skip
        return notes

    def __iter__(self) -> Iterator[Step]:
        while self.done < self.steps:
            yield self._step()
        self.check()
        self._drop_gradients()
        self._recording = None  # with the memory of its step

    @property
    def steps(self) -> int:
        """Steps until every job is done."""
        return max(self.left(slot) for slot in range(len(self.stack))) + self.done

    def left(self, slot: int) -> int:
        """Steps that a job has still to do."""
        return max(0, self.recipes[slot].steps - self.before[slot] - self.done)

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
        losses, errors = self._gradients()
        norms = self._clip()
        rates = self._rates()
        self.optimizer.step(rates)
        self.adapter.after_step({name: torch.tensor(values) for name, values in rates.items()})
        self._average()
        self._unseen.append((self.done, errors, norms))
        self.done += 1
        if len(self._unseen) >= LOOK:
            self.check()
        return Step(self.done, rates, time.perf_counter() - started, (losses, norms), self.check)

    def _gradients(self) -> tuple[Tensor, list[Tensor]]:
        """Add up the gradients of the step's batches; returns the mean of their losses, [K], and the rows' errors."""
        batches, found, errors = self._batches(), list[Tensor](), list[Tensor]()
        for number, batch in enumerate(batches):
            if self._recording:
                error, losses = (part.clone() for part in self._recording(batch))
                losses.sum().backward()
            else:
                with self._recomputing(), self._seeded(number), self._prepared.answering(batch):
                    error = self._errors(batch)
                    losses = self._joined(batch, error)
                    losses.sum().div(len(batches)).backward()
            found.append(losses.detach())
            errors.append(error.detach())
        return (found[0] if len(found) == 1 else torch.stack(found).mean(0)), errors

    @torch.no_grad()
    def _average(self) -> None:
        """Let the average follow the weights; that of a job that is done stands still."""
        if not self.average:
            return
        ema = self.recipes[0].ema or 0.0
        shares = [
            1 - average_decay(ema, self.done + before + 1) if self.left(slot) else 0.0
            for slot, before in enumerate(self.before)
        ]
        parameters = [(group, p) for group in self.groups for p in group.parameters]
        for shadow, (group, parameter) in zip(self.average, parameters, strict=True):
            own = shares[group.own]
            if len(set(own)) == 1:
                shadow.lerp_(parameter, own[0])
            else:
                shadow.lerp_(parameter, to_slots(torch.tensor(own), parameter))

    def _drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def check(self) -> None:
        """Raise `TrainingError` where a loss or a gradient so far is not finite, naming its pictures and its step."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        every = torch.cat([part.flatten() for _, errors, norms in unseen for part in (*errors, norms)])
        if bool(torch.isfinite(every).all()):
            return
        for step, errors, norms in unseen:
            for batch, error in zip(self._batches_of.at(step), errors, strict=True):
                self._refuse(error, batch, step + 1)
            bad = [slot for slot, norm in enumerate(norms.tolist()) if not math.isfinite(norm)]
            if bad:
                raise TrainingError(f"the gradient is not finite at step {step + 1}", _SLOWER, slots=bad)

    def _refuse(self, error: Tensor, batch: Batch, step: int) -> None:
        """Raise `TrainingError` unless the rows' errors [B] are finite."""
        bad = [row for row, e in enumerate(error.tolist()) if not math.isfinite(e)]
        if bad:
            named = ", ".join(sorted({batch.names[row] for row in bad}))
            slots = sorted({row * len(self.stack) // len(error) for row in bad})
            raise TrainingError(f"the loss of {named} is not finite at step {step}", _SLOWER, slots=slots)

    @contextmanager
    def _seeded(self, batch: int = 0) -> Iterator[None]:
        """Torch's own stream for a batch of the present step; dropout is all that reads it."""
        devices = [self.base.device] if self.base.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.recipes[0].seed * 1_000_003 + self.done + batch * 500_009)
            yield

    @torch.no_grad()
    def verify(self) -> None:
        """Raise `TrainingError` unless what was learned, and the loss that it gives, are finite.

        This is for the moments before something is kept. It takes one forward pass and changes nothing.
        """
        self.check()
        for name, value in self.state().items():
            if value.ndim and value.is_floating_point() and not _finite(value):
                what = "a weight" if name.startswith("parameter") else f"the {name.partition('.')[0]}"
                raise TrainingError(f"{what} is not finite after step {self.done}", _SLOWER)
        batch = self._batches()[0]
        with self._seeded(), self._prepared.answering(batch):
            # The last step has none after it: this is a look at what it left.
            self._refuse(self._errors(batch), batch, min(self.done + 1, self.steps))

    def _batches(self) -> list[Batch]:
        """The batches of the present step."""
        return self._batches_of.at(self.done)

    def _errors(self, batch: Batch) -> Tensor:
        """The mean squared error of each row, [B]."""
        target = batch.target
        if self.recipes[0].prior == "predicted":
            with self._prepared.resting():
                target = self._expect_prior(batch)
        with self.base.autocast():
            answer = self.base.denoise(batch.noisy, batch.levels, self._condition(batch).framed(batch.frames))
        return (answer.float() - target).square().flatten(1).mean(1)

    def _passed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Errors [B] and losses [K] of a batch by its tensors alone, as a recording needs it."""
        with self._prepared.answering(batch):
            error = self._errors(batch)
            return error, self._joined(batch, error)

    def _joined(self, batch: Batch, error: Tensor) -> Tensor:
        """Rows' errors [B] as one loss per slot, [K]."""
        rows = by_slot(error if batch.weights is None else error * batch.weights, len(self.stack))
        if self.recipes[0].prior == "none":
            return rows.mean(1)
        half = rows.shape[1] // 2
        return rows[:, :half].mean(1) + self._prior_weight * rows[:, half:].mean(1)

    @torch.no_grad()
    def _expect_prior(self, batch: Batch) -> Tensor:
        """The target of each slot's second half of rows is the frozen base's own answer to their captions of the class."""
        slots = len(self.stack)
        each = len(batch.noisy) // slots
        half = each // 2
        classes = [self._texts[text] for row, text in enumerate(batch.captions) if row % each >= half]
        with self.adapter.disabled(), self.base.autocast():
            noisy, levels, frames = (
                by_slot(x, slots)[:, half:].flatten(0, 1) for x in (batch.noisy, batch.levels, batch.frames)
            )
            answer = self.base.denoise(noisy, levels, self._all.pick(classes).framed(frames)).float()
        target = by_slot(batch.target, slots).clone()
        target[:, half:] = by_slot(answer, slots)
        return target.flatten(0, 1)

    def _condition(self, batch: Batch) -> Conditioning:
        return self.base.encode_text(batch.captions) if batch.texts is None else self._all.pick(batch.texts)

    @torch.no_grad()
    def _encode_all(self) -> tuple[dict[str, int], Any]:
        """Every caption encoded once, and which row each is.

        Where the method changes how text is read, that is of use to a predicted prior alone, which asks the untouched base.
        """
        if self.adapter.trains_text and self.recipes[0].prior != "predicted":
            return {}, None
        jobs = zip(self.stack.jobs, self.own, strict=True)
        captions = dict.fromkeys(job.concept.of_class(text) for job, own in jobs for text in own.captions)
        if not self.adapter.trains_text:
            captions = dict.fromkeys([c for m in (*self.own, *self.prior) for c in m.captions]) | captions
        slots = self.base.towers[
            0
        ].slots  # a tower whose words are spelled by slot reads as many prompts in each
        with self.adapter.disabled() if self.adapter.trains_text else nullcontext(), self.base.autocast():
            encoded = self.base.encode_text(list(captions) * slots).pick(range(len(captions)))
        return {caption: row for row, caption in enumerate(captions)}, encoded

    @torch.no_grad()
    def _clip(self) -> Tensor:
        """Scale each slot's gradient down to its limit; returns the norms before, [K]."""
        slopes = self.optimizer.gradients()
        if len(self.stack) == 1:
            norms = torch.stack(torch._foreach_norm(slopes)).norm().view(1)
        else:
            squares = torch.zeros_like(self._limits)
            for group, slope in zip(self.groups, slopes, strict=True):
                squares[group.own] += slope.square().sum(1)
            norms = squares.sqrt()
        if any(recipe.clip for recipe in self.recipes):
            factors = (self._limits / (norms + 1e-6)).clamp(max=1.0)
            if len(self.stack) == 1:
                torch._foreach_mul_(slopes, factors[0])
            else:
                torch._foreach_mul_(slopes, [factors[group.own][:, None] for group in self.groups])
        return norms

    def _rates(self) -> dict[str, tuple[float, ...]]:
        """This step's rate of each group and slot: piecewise value x warm-up x schedule; 0 once a job is done."""
        steps = [self.done + before for before in self.before]
        factors = [factor(recipe, step) for recipe, step in zip(self.recipes, steps, strict=True)]
        return {
            group.name: tuple(
                rate.at(step) * f
                for rate, step, f in zip(group.rates, steps[group.own], factors[group.own], strict=True)
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
