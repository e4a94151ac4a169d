"""Memory: what a training will take beside the loaded base, part by part, and how much there is.

A training that cannot fit is refused before its first step, with changes that would fit. What a step keeps for its backward
pass is measured on a small picture, as it grows with the area; the rest is counted.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from likewise.base import Base
from likewise.devices import arithmetic
from likewise.errors import CapacityError, UnsupportedError
from likewise.frozen import NARROW
from likewise.method import Adapter, Method
from likewise.prepared import ready_size
from likewise.recipe import TrainingRecipe
from likewise.stack import Stack

STATES: Mapping[str, float] = {
    "adamw": 2, "adamw8bit": 0.5, "prodigy": 4, "adadelta": 2, "adagrad": 1, "adam": 2, "adamax": 2, "asgd": 1,
    "nadam": 2, "radam": 2, "rmsprop": 1, "rprop": 2, "sgd": 0,
}  # fmt: skip
"""What an optimizer remembers of a weight, in weights. Adafactor is counted by itself."""
BACKWARD = 1.1
"""The gradients of activations, of which only a few live at a time, on top of what was kept for them."""
HERE, READY = "the program and the base", "layers that are ready"
SMALL = 8
"""Latent positions along a side of the picture that is measured; divisible by every family's number of halvings."""

Parts = dict[str, float]
Change = tuple[str, Callable[[Parts], Parts]]


def check(base: Base, adapter: Adapter, stack: Stack, title: str) -> Parts:
    """Raise `CapacityError` where what training needs is more than what is free, saying what would fit.

    Returns what it needs, with what is in memory already: the peak that is foreseen, part by part.
    """
    needed = parts(base, adapter, stack)
    release()
    free = available(base.device) + adapter.spare
    if sum(needed.values()) <= free:
        return {HERE: occupied(base.device) - adapter.spare, **needed}
    told = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in needed.items() if size >= 5e7)
    raise CapacityError(
        f"{title} needs about {sum(needed.values()) / 1e9:.1f} GB more memory on {base.name}, and "
        f"{free / 1e9:.1f} GB are free ({told} GB)",
        _way_out(
            [*_fewer(base, adapter, stack, needed, free), *_changes(base, adapter, stack)], needed, free
        ),
    )


def foreseen(base: Base, method: Method[Any], stack: Stack) -> Parts:
    """What a training will have in memory at its peak, part by part, in bytes; nothing is trained and nothing refused."""
    precision, base.precision = base.precision, arithmetic(base.device, stack.recipes[0].precision)
    try:
        with method.attach(base, stack) as adapter:
            needed = parts(base, adapter, stack)
            release()
            return {HERE: occupied(base.device) - adapter.spare, **needed}
    finally:
        base.precision = precision


def parts(base: Base, adapter: Adapter, stack: Stack) -> Parts:
    """Bytes that training will take beside what is in memory once `adapter` is attached."""
    recipe, weights = stack.recipes[0], _trained(adapter)
    fixed, growing = activations(base, stack)
    # Activations are let go while gradients come; about half of those that grow are those of the last gradients.
    kept = max(fixed + growing - weights, growing / 2)
    return {
        "gradients": weights,
        "the optimizer": _remembered(adapter, recipe.optimizer),
        "the average": weights if recipe.ema else 0.0,
        READY: float(ready_size(base) + _widened(base)),
        "activations": BACKWARD * kept,
    }


def _widened(base: Base) -> int:
    """Bytes of the largest weight of the backbone that is kept narrow, widened to compute with, there and back."""
    narrow = [p.numel() for p in base.backbone.parameters() if p.dtype in NARROW and not p.requires_grad]
    return 2 * 4 * max(narrow, default=0)


def activations(base: Base, stack: Stack) -> tuple[float, float]:
    """Bytes that one step keeps for its backward pass, foreseen from a small picture: a fixed share, such as weights in
    another precision, and what grows with rows and area."""
    recipe = stack.recipes[0]
    size = recipe.resolution or base.resolution
    side = min(size, base.grid * SMALL)
    base.recompute(recipe.checkpointing)
    try:
        one, two = (_kept(base, [job.concept.prompt() for job in stack.jobs], rows, side) for rows in (1, 2))
    finally:
        base.recompute(False)
    rows = recipe.batch_size * (1 if recipe.prior == "none" else 2)
    return float(max(0, 2 * one - two)), (two - one) * rows * (size / side) ** 2


def _kept(base: Base, prompts: Sequence[str], rows: int, side: int) -> int:
    """Bytes that a forward pass of `rows` pictures per prompt keeps, besides the weights themselves."""
    prompts = [prompt for prompt in prompts for _ in range(rows)]
    latents = torch.zeros(len(prompts), *base.latent_shape(side), device=base.device)
    levels = torch.ones(len(prompts), dtype=torch.long, device=base.device)
    weights = {p.untyped_storage().data_ptr() for m in base.components().values() for p in m.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Any:
        if (place := tensor.untyped_storage().data_ptr()) not in weights:
            kept[place] = tensor.detach()  # itself would tie the graph to itself, and never be let go

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda _: latents)
    with torch.random.fork_rng(), torch.enable_grad(), base.autocast(), hooks:
        base.denoise(latents, levels, base.encode_text(prompts))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def release() -> None:
    """Give memory back that was freed: the C library and the GPU's allocator keep it otherwise."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, which does as it likes
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def occupied(device: torch.device) -> float:
    """Bytes that this process has now: on the GPU, or of the machine, files that are mapped included."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    return float(psutil.Process().memory_info().rss)


def available(device: torch.device) -> float:
    """Bytes that this process may still take: on the GPU, or of the machine, its container and the shell's limits."""
    if device.type == "cuda":
        spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + spare)
    return float(min([psutil.virtual_memory().available, *_groups(), *_limits()]))


def _groups() -> Iterator[int]:
    """What the control groups of this process leave it, in both of Linux's versions. Pages of files count as free."""
    root = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            for names, place in (
                (("memory.max", "memory.current", "inactive_file"), root),
                (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), root / "memory"),
            ):
                if kinds in ("", "memory"):
                    inner = place / path.lstrip("/")
                    for folder in (inner, *(up for up in inner.parents if up.is_relative_to(place))):
                        yield from _left(folder, *names)


def _left(folder: Path, limit: str, used: str, idle: str) -> Iterator[int]:
    with suppress(OSError, ValueError):
        most = int((folder / limit).read_text())  # `max` is no number, and no limit
        rows = (row.split() for row in (folder / "memory.stat").read_text().splitlines())
        spare = next((int(row[1]) for row in rows if row[0] == idle), 0)
        yield max(0, most - int((folder / used).read_text()) + spare)


def _limits() -> Iterator[int]:
    """What `ulimit -v` leaves."""
    with suppress(ImportError, OSError):
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            yield max(0, most - psutil.Process().memory_info().vms)


def _remembered(adapter: Adapter, optimizer: str) -> float:
    if optimizer != "adafactor":
        return STATES[optimizer] * _trained(adapter)
    # A row and a column of each last two dimensions (Shazeer & Stern 2018), which for 3 x 3 kernels are two thirds.
    every = (p for group in adapter.groups() for p in group.parameters)
    return float(
        sum(
            p.element_size() * p.numel() * (1 / p.shape[-1] + 1 / p.shape[-2] if p.ndim > 1 else 1)
            for p in every
        )
    )


def _trained(adapter: Adapter, part: str | None = None) -> float:
    groups = (group for group in adapter.groups() if part in (None, group.name))
    return float(sum(p.numel() * p.element_size() for group in groups for p in group.parameters))


def _fewer(base: Base, adapter: Adapter, stack: Stack, needed: Parts, free: float) -> Iterator[Change]:
    """As many jobs of a stack as fit, which costs nobody anything but time; one where not even that fits alone."""
    count, weights = len(stack), _trained(adapter)
    fixed, growing = activations(base, stack)

    def left(jobs: int) -> Parts:
        share = jobs / count
        kept = max(fixed + share * (growing - weights), share * growing / 2)  # as in `parts`
        scaled = {name: size * share for name, size in needed.items()}
        return scaled | {READY: needed[READY], "activations": BACKWARD * kept}

    if count > 1:
        fit = next((jobs for jobs in range(count - 1, 1, -1) if sum(left(jobs).values()) <= free), 1)
        share = sum(left(fit).values()) / sum(needed.values())
        yield (
            f"{fit} of the {count} trainings at once (fewer seeds or concepts)",
            lambda found: {name: size * share for name, size in found.items()},
        )


def _changes(base: Base, adapter: Adapter, stack: Stack) -> Iterator[Change]:
    """What a person could do, the least loss first, and what it makes of the parts."""
    recipe: TrainingRecipe = stack.recipes[0]
    weights, text = _trained(adapter), _trained(adapter, "text")

    def fewer(share: float) -> Callable[[Parts], Parts]:
        return lambda found: found | {"activations": found["activations"] * share}

    if recipe.ema:
        yield "no ema", lambda found: found | {"the average": 0.0}
    if text and text < weights:
        kept = 1 - text / weights
        yield (
            "no text_rate",
            lambda found: {k: v if k == "activations" else v * kept for k, v in found.items()},
        )
    if recipe.batch_size > 1:
        yield "batch_size=1", fewer(1 / recipe.batch_size)
    if recipe.prior != "none":
        yield "prior=none", fewer(0.5)
    if not recipe.checkpointing and (share := _recomputed(base, stack)) < 1:
        yield "checkpointing=true", fewer(share)
    size = recipe.resolution or base.resolution
    if (less := size // 2 // base.grid * base.grid) >= base.grid * SMALL:
        yield f"resolution={less}", fewer((less / size) ** 2)
    frugal = "adamw8bit" if base.device.type == "cuda" else "adafactor"
    if len(stack) == 1 and (less_state := _remembered(adapter, frugal)) < _remembered(
        adapter, recipe.optimizer
    ):
        yield f"optimizer={frugal}", lambda found: found | {"the optimizer": less_state}
    if not adapter.stacked:
        yield "--method lora", lambda found: {"activations": found["activations"]}


def _recomputed(base: Base, stack: Stack) -> float:
    """The share of activations that is left where they are computed again; 1 where this base cannot do so."""
    jobs = tuple(replace(j, recipe=j.recipe.override({"checkpointing": True})) for j in stack.jobs)
    try:
        fewer, all_of_them = (sum(activations(base, s)) for s in (Stack(jobs), stack))
    except UnsupportedError:
        return 1.0
    return fewer / max(all_of_them, 1.0)


def _way_out(changes: list[Change], needed: Parts, free: float) -> str:
    """The changes that fit alone; else as many together as it takes; else the plain truth."""
    alone = [text for text, change in changes if sum(change(needed).values()) <= free]
    if alone:
        return f"any of these would fit: {', '.join(alone)}"
    found, taken = needed, list[str]()
    for text, change in changes:
        found, taken = change(found), [*taken, text]
        if sum(found.values()) <= free:
            return f"all of these together would fit: {', '.join(taken)}"
    return "close other programs, or take a machine with more memory; no setting makes it fit here"
