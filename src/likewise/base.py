"""Base: what every family of text-to-image models must be able to do.

A family (one file in `families/`) loads weights, turns pictures into latents and prompts into conditioning, and predicts
noise. It knows nothing of methods, recipes or training. Guidance, batching and the sampling loop are here, once.
"""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self, cast

import torch
from PIL import Image
from torch import Tensor, nn

from likewise.errors import BaseError, DrawingError, RecipeError, UnsupportedError
from likewise.objective import Objective
from likewise.solver import Solver, Watch, counting
from likewise.tower import TextOutput, TextTower

Weights = Literal["float32", "file"]
"""The precision in which frozen weights are kept: widened to float32, or as their file has them (`frozen`)."""
_TOO_STRONG = (
    "lower the strength of what was taught, or teach it again with a lower learning_rate; "
    "if nothing was taught, the base itself is damaged"
)
JUDGES = ("judge", "clip", "dinov2", "dreamsim")
"""Networks that may look at pictures, a file of `metrics` each, by which a base's maker can say who judges its drawings."""
MOST_STEPS = 1000
"""Noise levels that Stable Diffusion and its kin were trained on; a sampler has no more steps to take."""


class Conditioning(Protocol):
    """What the backbone is given from prompts. Only its family looks inside."""

    def __len__(self) -> int:
        """Rows."""

    def pick(self, rows: Sequence[int] | Tensor) -> Self:
        """The conditioning of these rows, in this order; a row may be named twice. A tensor of rows waits for nothing."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts`, one after the other."""

    def framed(self, frames: Tensor) -> Self:
        """The same for pictures that were cut as `frames` [B, 6] say, in the order of `materials.Frame`.

        A family whose backbone is not told how its pictures were cut returns itself.
        """


@dataclass(frozen=True)
class Site:
    """A key or value projection of an attention layer, where the text (or the picture itself) is looked at."""

    path: str
    module: nn.Module
    part: Literal["key", "value"]
    width: int
    """Features of the projection's input."""
    kind: Literal["cross", "self", "joint", "refiner"]
    """`cross`: text only; `self`: picture only; `joint`: both; `refiner`: text before it meets the picture."""


@dataclass(frozen=True)
class Sampler:
    """Settings of one drawing; the same object for everything that is to be compared."""

    steps: int = 20
    guidance: float | None = None
    """Empty: what the base's makers advise, else 5."""
    negative: str = ""
    size: int | None = None
    """Side in pixels; empty for the base's native size."""
    batch: int = 16
    """Pictures drawn at once."""

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise RecipeError(f"{self.steps} denoising steps", f"give 1 to {MOST_STEPS}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise RecipeError(
                f"guidance {self.guidance} is no number from 0 up", "5 is usual; 1 switches it off"
            )
        if self.batch < 1 or (self.size is not None and self.size < 1):
            raise RecipeError(
                f"pictures of {self.size} pixels, {self.batch} at once, cannot be drawn",
                "give 1 or more of each",
            )


class Base(ABC):
    """A loaded model of one family, in evaluation mode, with no gradient on any weight."""

    family: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    """Names of the diffusers pipelines that a folder of this family declares."""
    target_sets: ClassVar[Mapping[str, Mapping[str, str]]]
    """Preset name -> component -> regular expression that whole module paths must match."""

    name: str
    """What the person called it: `pocket`, a path or a Hub id."""
    backbone: nn.Module
    towers: Sequence[TextTower]
    objective: Objective
    resolution: int
    grid: int
    """Picture sides must be multiples of this."""
    advice: Mapping[str, Mapping[str, Any]]
    """Recipe settings per method that suit this base better than the method's defaults."""
    guidance: float = 5.0
    """How strictly to follow the prompt where nothing is said."""
    precision: Literal["fp32", "bf16"] = "fp32"
    judges: Mapping[str, str] = {}
    """Who of `JUDGES` judges `pictures` and `prompts` of this base; empty where its maker names nobody."""

    def __init__(self) -> None:
        self.reserved_tokens: tuple[str, ...] = ()
        """Single tokens that this base never saw in training: perfect identifiers."""
        self.prompts: Mapping[str, Any] = {}
        """Prompts that suit this base better than those for a kind of concept: part -> role -> stratum -> id -> text."""

    @classmethod
    @abstractmethod
    def load(cls, source: str, *, device: str = "cpu", weights: Weights = "float32") -> Self:
        """Load a diffusers folder, a single file or a Hub id; raises `BaseError` with what would be readable."""

    @classmethod
    @abstractmethod
    def tiny(cls, seed: int = 0) -> Self:
        """A random miniature of the same layout, built in well under a second: for tests and dry runs."""

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents of `pixels` [B, 3, H, W] in [-1, 1], scaled for `denoise`."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [-1, 1]."""

    @abstractmethod
    def condition(self, outputs: Sequence[TextOutput]) -> Conditioning:
        """What the backbone is given, from the output of each tower, one row for each prompt."""

    @abstractmethod
    def denoise(self, noisy: Tensor, levels: Tensor, given: Conditioning) -> Tensor:
        """The objective's target for `noisy` [B, ...] at `levels` [B], of the shape of `noisy`."""

    @abstractmethod
    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Shape of one picture's latent, without the batch dimension."""

    @abstractmethod
    def solver(self, steps: int, shape: Sequence[int]) -> Solver:
        """A fresh walk of `steps` levels for one picture's latents of `shape`."""

    @abstractmethod
    def sites(self) -> Sequence[Site]:
        """Every key and value projection of the backbone's attention, in execution order."""

    @abstractmethod
    def components(self) -> Mapping[str, nn.Module]:
        """Every module with weights by its canonical name: `backbone`, `text`, `vae`, ..."""

    def of_prompts(self, given: Conditioning) -> Mapping[nn.Module, Tensor]:
        """Layers of the backbone that see the prompt alone, and what they answer, hooks aside: [B, ..., features]."""
        return {}

    def of_levels(self, levels: Tensor) -> Mapping[nn.Module, Tensor]:
        """Layers of the backbone that see the noise level alone, and their answers to `levels` [B]: [B, features]."""
        return {}

    def sharing(self, paths: Sequence[str]) -> Sequence[Sequence[str]]:
        """`paths` of layers in groups, in order: those of one group read the very same tensor, one after the other."""
        return [[path] for path in paths]

    @property
    def device(self) -> torch.device:
        """Where the backbone's weights are."""
        return next(self.backbone.parameters()).device

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic that `precision` asks for."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The components that read text, in the order of the towers: `text`, `text_2`, ..."""
        return tuple(tower.part for tower in self.towers)

    def tokens(self, shape: Sequence[int]) -> int:
        """How many positions the backbone sees of one picture's latents of `shape`."""
        return int(shape[-1]) * int(shape[-2])

    def recompute(self, on: bool) -> None:
        """Compute activations again in the backward pass, instead of keeping them, or stop doing so.

        Raises `UnsupportedError` where the backbone has no such thing.
        """
        if on:
            raise UnsupportedError(
                f"the backbone of {self.name} cannot compute its activations again", "leave checkpointing off"
            )

    def targets(self, preset: str, part: str) -> dict[str, nn.Module]:
        """Modules that a weight adapter of this preset changes, by canonical path (`backbone.mid_block...to_q`)."""
        if preset not in self.target_sets:
            raise RecipeError(
                f"unknown target set {preset!r}", f"this family has {', '.join(self.target_sets)}"
            )
        pattern = self.target_sets[preset].get(part)
        component = self.components()[part]
        if pattern is None:
            return {}
        found = {
            f"{part}.{self.canonical(part, path)}": module
            for path, module in component.named_modules()
            if re.fullmatch(pattern, self.canonical(part, path))
        }
        if not found:
            raise BaseError(f"the target set {preset!r} matches no module of {self.name}'s {part}")
        return found

    def canonical(self, part: str, path: str) -> str:
        """The published spelling of a live module path. Libraries rename modules; files must not."""
        return path

    def encode_text(self, prompts: Sequence[str]) -> Conditioning:
        """Conditioning of `prompts`, one row each, by the towers as they are now. Gradients flow if they are on."""
        return self.condition([tower.read(prompts) for tower in self.towers])

    def encode_prompts(self, prompts: Sequence[str], *, negative: bool = False) -> Conditioning:
        """The same for prompts that are drawn: the towers' filters act as well."""
        return self.condition([tower.read(prompts, negative=negative) for tower in self.towers])

    def fit(self, prompt: str, keep: Sequence[str] = ()) -> str:
        """`prompt`, cut to what every tower reads where it is longer; the words `keep` stay (see `TextTower.fit`)."""
        for tower in self.towers:
            prompt = tower.fit(prompt, keep)
        return prompt

    def fingerprint(self, *names: str) -> str:
        """A digest of the named components' (or all components') names, shapes and a sample of their values."""
        digest = hashlib.sha256(self.family.encode())
        components = self.components()
        for name in names or components:
            component = components[name]
            for key, value in component.state_dict().items():
                flat = value.detach().reshape(-1)
                digest.update(f"{name}.{key}{tuple(value.shape)}".encode())
                digest.update(flat[:: max(1, flat.numel() // 256)].float().cpu().numpy().tobytes())
        return digest.hexdigest()

    def settled(self, sampler: Sampler | None) -> Sampler:
        """`sampler` with its empty fields filled: what is really drawn with."""
        sampler = sampler or Sampler()
        guidance = self.guidance if sampler.guidance is None else sampler.guidance
        return replace(sampler, guidance=guidance, size=sampler.size or self.resolution)

    def check_side(self, name: str, side: int) -> None:
        """Raise `RecipeError` where pictures of this side, in pixels, cannot be drawn or taught; `name` is the setting's."""
        if side % self.grid:
            below = side - side % self.grid
            near = f"{below} or {below + self.grid}" if below else str(self.grid)
            raise RecipeError(
                f"{name} {side} is not a multiple of {self.grid}, which {self.name} needs", f"{near} is one"
            )

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampler: Sampler | None = None,
        *,
        slots: int = 1,
        watch: Watch | None = None,
    ) -> Iterator[Image.Image]:
        """Draw one picture per (prompt, seed) row, in order.

        The starting noise of a row is drawn on the CPU from its seed alone. With `slots` adapters attached the rows are
        slot-major and every slot has as many. A picture that comes out not finite raises `DrawingError`, after those
        before it were given.
        """
        sampler = self.settled(sampler)
        if len(prompts) != len(seeds) or len(prompts) % slots:
            raise RecipeError(
                f"{len(prompts)} prompts, {len(seeds)} seeds and {slots} slots do not make whole rows"
            )
        if any(not 0 <= seed < 2**64 for seed in seeds):
            raise RecipeError("a seed is a whole number from 0 to 2^64 - 1", "0, 1, 2 will do")
        size = cast(int, sampler.size)
        self.check_side("size", size)
        each = len(prompts) // slots
        pictures: dict[int, Image.Image | None] = {}

        def drawn(row: int) -> Image.Image:
            picture = pictures.pop(row)
            if picture is None:
                raise DrawingError(
                    f"picture {row + 1} of {len(prompts)} is not finite ({prompts[row]!r}, seed {seeds[row]})",
                    _TOO_STRONG,
                )
            return picture

        width = max(1, sampler.batch // slots)
        told = counting(-(-each // width) * sampler.steps, watch)
        for start in range(0, each, width):
            rows = [slot * each + i for slot in range(slots) for i in range(start, min(each, start + width))]
            words, numbers = [prompts[row] for row in rows], [seeds[row] for row in rows]
            latents = self._denoise_rows(words, numbers, sampler, size, slots, told)
            pictures.update(zip(rows, to_pictures(self.decode(latents)), strict=True))
            if slots == 1:
                yield from map(drawn, rows)
        yield from map(drawn, sorted(pictures))

    def _denoise_rows(
        self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: int, slots: int,
        told: Callable[[], None] = lambda: None,
    ) -> Tensor:  # fmt: skip
        shape = self.latent_shape(size)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        solver = self.solver(sampler.steps, shape)
        latents = solver.start(noise.to(self.device))
        with self.autocast():
            answer = self.guided(prompts, sampler, slots)
            for level in solver.levels:
                latents = solver.step(answer(solver.input(latents, level), level), level, latents)
                told()
        return latents

    def guided(
        self, prompts: Sequence[str], sampler: Sampler, slots: int
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function of latents [B, ...] and a level: the backbone's answer to `prompts` [B], guided as this base is.

        Here that is classifier-free guidance, by an answer to the negative prompt for each row. A family that is told its
        guidance as a number overrides this.
        """
        guidance, count = cast(float, sampler.guidance), len(prompts)  # settled
        given = self.encode_prompts(prompts)
        order = list(range(count))
        if guidance != 1.0:
            order = _with_unconditional(count, slots)
            empty = self.encode_prompts([sampler.negative] * count, negative=True)
            given = type(given).join([given, empty]).pick(order)
        back = torch.tensor([order.index(r) for r in range(len(order))], device=self.device)
        rows = [r % count for r in order]

        def answer(latents: Tensor, level: Tensor) -> Tensor:
            levels = level.expand(len(order)).to(self.device)
            found = self.denoise(latents[rows], levels, given).float()[back]
            return found if guidance == 1.0 else self.combine(found[:count], found[count:], guidance)

        return answer

    def combine(self, conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022)."""
        return unconditional + guidance * (conditional - unconditional)


def _with_unconditional(count: int, slots: int) -> list[int]:
    """Row order for `[conditional | unconditional]` (2 x count rows) such that each slot's rows stay together."""
    each = count // slots
    return [half * count + slot * each + i for slot in range(slots) for half in (0, 1) for i in range(each)]


def to_pictures(pixels: Tensor) -> list[Image.Image | None]:
    """`pixels` [B, 3, H, W] in [-1, 1] as 8-bit pictures; None for a row that is not finite."""
    finite = torch.isfinite(pixels).flatten(1).all(1)
    pixels = pixels.nan_to_num().clamp(-1, 1)
    array = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(row) if fine else None for row, fine in zip(array, finite.tolist(), strict=True)]
