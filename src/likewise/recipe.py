"""Recipes: the hyperparameters of one job, and nothing else.

A method subclasses `Recipe` with its own fields; every default there names its source. Values come from the method's
defaults, then the base's own advice, then a recipe file, then `key=value` pairs, and an unknown key is an error.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from likewise.elsewhere import ours
from likewise.errors import RecipeError
from likewise.files import expand, read_text
from likewise.wording import wish


@dataclass(frozen=True)
class Rate:
    """A piecewise-constant learning rate: `(value, last step)` pairs, the last one open-ended.

    Written `0.005:100, 1e-3:1000, 1e-4` (the syntax of the web UI's training tab): 0.005 up to step 100, and so on.
    """

    pieces: tuple[tuple[float, int | None], ...]

    @classmethod
    def parse(cls, text: str | float) -> Rate:
        """Read `1e-4` or `0.005:100, 1e-3:1000, 1e-4`; raises ValueError with the part that does not read."""
        pieces: list[tuple[float, int | None]] = []
        for part in str(text).split(","):
            value, colon, until = (piece.strip() for piece in part.partition(":"))
            try:
                rate, last = float(value), int(until) if colon else None
            except ValueError:
                raise ValueError(
                    f"{part.strip()!r} does not read like 1e-4 or, up to step 100, 1e-4:100"
                ) from None
            if not 0.0 <= rate < float("inf"):
                raise ValueError(f"a learning rate must be a number of at least 0, not {value!r}")
            before = pieces[-1][1] if pieces else 0
            if before is None or (last is not None and last <= before):
                raise ValueError(f"in {text!r} the steps must grow, and only the last part may be open-ended")
            pieces.append((rate, last))
        return cls(tuple(pieces))

    def at(self, step: int) -> float:
        """The rate for optimizer step `step`, counted from 0. Past the last bound the last value holds."""
        for value, until in self.pieces:
            if until is None or step < until:
                return value
        return self.pieces[-1][0]


def _check_rate(value: Any) -> str | float:
    Rate.parse(value)
    return value if isinstance(value, str) and ("," in value or ":" in value) else float(value)


LearningRate = Annotated[float | str, BeforeValidator(_check_rate)]
Steps = PositiveInt


class Recipe(BaseModel):
    """Hyperparameters of one job that every method has. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass. `auto`: bf16 where the hardware computes it natively, else fp32."""
    keep: Literal["fp16", "fp32"] = "fp16"
    """Precision of the saved file, which a comparison scores as it is saved. Half is what people share."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Everything random in the job follows from this number."""

    def idle(self, given: Collection[str]) -> list[str]:
        """A sentence for each of the settings `given` that does nothing beside the others."""
        return [
            f"{key}={getattr(self, key)} has no effect: {why}" for key, why in self._idle() if key in given
        ]

    def _idle(self) -> Iterator[tuple[str, str]]:
        """Settings that do nothing as the others are, and why."""
        return iter(())

    def override(self, pairs: Iterable[str] | Mapping[str, Any]) -> Self:
        """Return a copy with `key=value` texts (or a mapping) applied; raises `RecipeError` naming the nearest key."""
        if not isinstance(pairs, Mapping):
            pairs = dict(setting(pair) for pair in pairs)
        known = type(self).model_fields
        for key in pairs:
            if key not in known:
                raise RecipeError(f"unknown setting {key!r} for {self._owner()}", self._instead_of(key))
        pairs = {key: None if _empty(value, known[key]) else value for key, value in pairs.items()}
        try:
            return type(self)(**{**self.model_dump(), **pairs})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][:1]) or "recipe"
            message = wish(first["msg"].removeprefix("Value error, "))
            raise RecipeError(f"{where} = {pairs.get(where)!r}: {message}", _advice(known, where)) from None

    def stored(self, pairs: Mapping[str, Any]) -> Self:
        """Return a copy with the settings that a run or a file keeps; raises `RecipeError` as `override` does.

        Settings of training are left out where nothing trains: the first version 0.1 kept them there as well.
        """
        known, training = type(self).model_fields, TrainingRecipe.model_fields
        return self.override({key: pairs[key] for key in pairs if key in known or key not in training})

    @classmethod
    def _owner(cls) -> str:
        return cls.__name__.removesuffix("Recipe")

    @classmethod
    def _instead_of(cls, key: str) -> str:
        """The way out for a setting that is not there; a setting of training is missed where nothing trains."""
        training = TrainingRecipe.model_fields
        if (
            not issubclass(cls, TrainingRecipe)
            and (key in training or ours(key, training))
            and not ours(key, cls.model_fields)
        ):
            return f"nothing trains before it draws; its settings are {', '.join(sorted(cls.model_fields))}"
        return nearest(key, cls.model_fields)

    @classmethod
    def read(cls, path: Path | str) -> dict[str, Any]:
        """Read a TOML or JSON recipe file, or a run folder's `run.toml`; returns its settings, still unchecked."""
        try:
            text = read_text(expand(path), fallback="cp1252")
            data = json.loads(text) if str(path).lower().endswith(".json") else tomllib.loads(text)
        except FileNotFoundError:
            raise RecipeError.missing(
                f"no recipe file at {path}", "recipes are TOML, like `steps = 400`"
            ) from None
        except (ValueError, OSError, RecursionError) as error:
            detail = error.strerror if isinstance(error, OSError) else str(error)
            raise RecipeError(f"{path}: {detail}", "recipes are TOML, like `steps = 400`") from None
        jobs = data.get("job") if isinstance(data, dict) else None
        if isinstance(jobs, list) and jobs:
            data = jobs[0]
        recipe = data.get("recipe", data) if isinstance(data, dict) else data
        if not isinstance(recipe, dict):
            raise RecipeError(f"{path}: [recipe] must be a table", "recipes are TOML, like `steps = 400`")
        return recipe


class TrainingRecipe(Recipe):
    """Hyperparameters that every method shares which trains before sampling."""

    steps: Steps = 800
    """Optimizer steps."""
    learning_rate: LearningRate = 1e-4
    """Learning rate; piecewise as `0.005:100, 1e-3:1000`."""
    epochs: PositiveInt | None = None
    """Passes over all pictures, each as often as it repeats, instead of `steps`. Empty: as many as the steps make."""
    batch_size: PositiveInt = 1
    """Pictures per step and job."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are added up to one step: as a batch so many times as large, in the memory of one."""
    resolution: PositiveInt | None = None
    """Side of the square that pictures are cropped to, in pixels. Empty: the base's native size."""
    optimizer: Literal[
        "adamw", "adamw8bit", "prodigy", "adadelta", "adafactor", "adagrad", "adam", "adamax", "asgd", "nadam",
        "radam", "rmsprop", "rprop", "sgd",
    ] = "adamw"  # fmt: skip
    """`adamw` has a learning rate per job. The others train one job at a time: torch's own, `prodigy`, which finds
    the rate itself and wants learning_rate=1, and `adamw8bit`, which needs a CUDA GPU."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay; decoupled with `adamw`, else as the optimizer has it."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the rate falls after the warm-up; `cosine` ends at 0."""
    warmup: NonNegativeInt = 0
    """Steps over which the rate rises from 0."""
    clip: NonNegativeFloat = 1.0
    """Largest gradient norm of one job; 0 turns clipping off. diffusers and kohya use 1."""
    snr_gamma: Annotated[float, Field(gt=0)] | None = None
    """Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556); 5 is customary. It weighs the prior's rows too, as in kohya:
    they are noised alike. diffusers leaves them out. Empty: off."""
    noise_offset: NonNegativeFloat = 0.0
    """Per-channel constant added to the noise; 0.05 to 0.1 helps very dark or bright pictures."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an average over steps that is saved instead of the last weights. Empty: off."""
    flip: bool = False
    """Also train on mirrored pictures. Wrong for text, logos and faces with a parting."""
    prior: Literal["none", "pictures", "predicted"] = "none"
    """What protects the class: `pictures` of it, your own or drawn by the base (Ruiz et al. 2022), or the frozen base's own
    `predicted` noise for the class prompt, which needs no pictures. With own class pictures `pictures` is the default."""
    prior_weight: NonNegativeFloat = 1.0
    """Weight of the prior's loss beside the concept's."""
    prior_count: PositiveInt | None = None
    """How many class pictures to have when `prior` is `pictures`; what your own ones lack is drawn. Empty: your own, else
    100 are drawn (diffusers' default; the paper has 200 per picture)."""
    prior_guidance: NonNegativeFloat = 5.0
    """Guidance of the class pictures. At 1 they are drawn as the base itself distributes them, so learning them changes
    nothing; guided ones look better and are more alike, and the class becomes like them wherever it is drawn."""
    checkpointing: bool = False
    """Compute the backbone's activations again in the backward pass instead of keeping them. This takes much less memory and
    about a third more time; the numbers are the same."""
    cuda_graph: bool = False
    """Record a step's forward and backward pass as CUDA graphs, which an NVIDIA GPU replays without the host. A recording is
    compared with the plain pass first; where there can be none, the reason is said. No GPU has run it yet, so it is off."""
    checkpoint_every: NonNegativeInt = 100
    """Steps between resumable checkpoints; 0 keeps only the end."""
    keep_checkpoints: NonNegativeInt = 0
    """Files of so many steps on the way, evenly spaced on a log scale, with the last one; `likewise checkpoints` compares
    them. 0 and 1 keep the last one alone."""
    keep_state: bool | None = None
    """Keep the optimizer's state of the finished run, so that --more-steps goes on exactly. Empty: where it is less than a
    gigabyte; DreamBooth's of Stable Diffusion is ten."""

    def override(self, pairs: Iterable[str] | Mapping[str, Any]) -> Self:
        """As every recipe's. Of `steps` and `epochs` the later one holds; together they are refused."""
        given = dict(pairs) if isinstance(pairs, Mapping) else dict(setting(pair) for pair in pairs)
        epochs = given.get("epochs") not in (None, "", "none", "None")
        if epochs and given.get("steps") is not None:
            raise RecipeError(
                f"steps={given['steps']} and epochs={given['epochs']} both say how long to train",
                "give one of them",
            )
        if "steps" in given and not epochs:
            given["epochs"] = None
        return super().override(given)

    def resolved(self, pictures: int) -> Self:
        """With `epochs` over so many pictures (repeats and mirrored copies counted) as `steps`, the last one whole."""
        if self.epochs is None:
            return self
        steps = -(-self.epochs * pictures // (self.batch_size * self.accumulate))
        return self.model_copy(update={"steps": steps, "epochs": None})

    def _idle(self) -> Iterator[tuple[str, str]]:
        if self.prior == "none":
            yield "prior_weight", "prior=none"
        if self.prior != "pictures":
            yield from ((key, f"prior={self.prior}") for key in ("prior_count", "prior_guidance"))


def setting(pair: str) -> tuple[str, Any]:
    """Read `key=value`; the value as TOML where it is, else as text. Raises `RecipeError` without an equals sign."""
    key, equals, text = pair.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{pair!r} is not a setting", "write key=value, for instance steps=400")
    text = text.strip()
    try:
        return key.strip(), tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return key.strip(), text


def _empty(value: Any, field: Any) -> bool:
    """Whether this text means that an optional setting is left out."""
    return value in ("", "none", "None") and type(None) in get_args(field.annotation)


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint for a setting that is not there: what another program's is called here, the nearest one, or all of them."""
    known = list(known)
    if named := ours(key, known):
        return f"here it is {named}"
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known settings: {', '.join(sorted(known))}"


def _advice(known: Mapping[str, Any], key: str) -> str | None:
    field = known.get(key)
    return " ".join(field.description.split()) if field is not None and field.description else None
