"""Features: how metrics look at pictures. Each backend is a file (`judge`, `clip`, `dinov2`, ...) with `load`.

Every backend has a versioned id that names weights, layer and preprocessing; numbers from different ids must
not be compared.
"""

from __future__ import annotations

import hashlib
import importlib
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import normalize

from likewise.base import JUDGES
from likewise.errors import BaseError, RecipeError
from likewise.metrics.descriptor import miniatures
from likewise.metrics.score import Reading

T = TypeVar("T")
BACKENDS = JUDGES
"""Files here with a `load`. A base's advice may name them, so the list stands in `base`, which knows no metric."""
BATCH = 32
DARKEST = 4
"""A picture whose brightest value, of 255, is no more than this shows nothing: a drawing that went wrong."""


class Features(ABC):
    """A frozen network that turns pictures into vectors, and perhaps into labels or the space of texts."""

    id: str
    """Weights, layer and preprocessing in one versioned word, such as `pocket-judge-v4`."""
    card: Mapping[str, Any]
    """What the id stands for, in full."""
    phrases: Mapping[str, Mapping[str, str]] = {}
    """Words of a prompt -> {head: label} that must be seen, for backends with `labels`."""
    ceilings: Mapping[str, float] = {}
    """How often each head is right on true pictures, for backends with `labels`."""
    reads_text: bool = False
    """Whether `texts` and `images` share one space."""

    @abstractmethod
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """[n, d], each row of length 1: what the subject is."""

    def appearance(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        """[n, d], each row of length 1: the whole picture; None where `images` says that too."""
        return None

    def style(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        """[n, s], each row of length 1: how it is drawn, whatever it shows; None where the features do not tell."""
        return None

    def labels(self, pictures: Sequence[Image.Image]) -> tuple[Mapping[str, str], ...]:
        """What each head says of each picture; empty where there are no heads."""
        return ()

    def masks(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        """[n, h, w] in 0 to 1: where the subject is, in the middle square of each picture; None without a segmenter.

        What finds no subject in a picture gives 0 everywhere in it.
        """
        return None

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, d] in the space of `images`, each row of length 1."""
        raise RecipeError(f"{self.id} does not read text", "use clip")


def read(features: Features, pictures: Iterable[Image.Image]) -> Reading:
    """Look at `pictures` in batches, whose size does not change the result; no more than two are held at once."""
    vectors: list[Tensor] = []
    whole: list[Tensor] = []
    styles: list[Tensor] = []
    small: list[Tensor] = []
    labels: list[Mapping[str, str]] = []
    failed: list[bool] = []
    rest = iter(pictures)
    while batch := list(islice(rest, BATCH)):
        failed += [blank(picture) for picture in batch]
        part = [upright(picture) for picture in batch]
        vectors.append(features.images(part).float().cpu())
        seen = features.appearance(part)
        whole.append(vectors[-1] if seen is None else seen.float().cpu())
        manner = features.style(part)
        styles += [] if manner is None else [manner.float().cpu()]
        small.append(miniatures(part))
        labels += features.labels(part)
    if not vectors:
        return Reading(torch.empty(0, 0), (), torch.empty(0, 0))
    style = torch.cat(styles) if styles else None
    return Reading(
        torch.cat(vectors), tuple(failed), torch.cat(whole), tuple(labels), style, torch.cat(small)
    )


def channels(maps: Sequence[Tensor]) -> Tensor:
    """[n, s], each row of length 1: mean and deviation of each channel of each of `maps` [n, channels, h, w].

    Statistics over the picture forget where things are and so, mostly, what they are: Gram matrices (Gatys et al. 2016)
    with their diagonal alone, as in AdaIN (Huang & Belongie 2017). Each layer counts the same.
    """
    layers = [torch.cat([m.mean((2, 3)), m.std((2, 3), correction=0)], 1) for m in maps]
    return normalize(torch.cat([normalize(layer, dim=1) for layer in layers], 1), dim=1)


def middle(states: Sequence[Tensor]) -> list[Tensor]:
    """The maps [n, width, patches, 1] of a vision transformer a third and a half of the way up.

    `states` are the hidden states [n, 1 + patches, width] of all layers, whose first row is the class token.
    """
    top = len(states) - 1
    return [
        states[level][:, 1:].float().transpose(1, 2).unsqueeze(3) for level in (-(-top // 3), -(-top // 2))
    ]


def called(model: torch.nn.Module) -> str:
    """A name for weights that are not the published ones: the first letters of their digest, and so never another's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def blank(picture: Image.Image) -> bool:
    """Whether there is nothing to see. Samplers write black where the numbers broke."""
    return int(np.asarray(upright(picture)).max()) <= DARKEST


def upright(picture: Image.Image) -> Image.Image:
    """RGB, turned as its EXIF says, transparency laid on white."""
    picture = ImageOps.exif_transpose(picture) or picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def load(name: str) -> Features:
    """The backend called `name`; raises `BaseError` where its weights cannot be had."""
    if name not in BACKENDS:
        raise RecipeError(f"there are no features called {name!r}", f"known: {', '.join(BACKENDS)}")
    features: Features = importlib.import_module(f"likewise.metrics.{name}").load()
    return features


def from_hub(title: str, source: str, read: Callable[[bool], T]) -> T:
    """`read(local_only)` the weights of `source`: a folder, the Hub's copy here, or the Hub if it answers.

    The probe comes first because the Hub's own client tries for most of a minute before it says that there is
    no network.
    """
    from huggingface_hub import constants

    try:
        return read(True)
    except (OSError, ValueError) as error:
        reason = _first_line(error)
    if not Path(source).exists() and not constants.HF_HUB_OFFLINE:
        try:
            probe = urllib.request.Request(constants.ENDPOINT, method="HEAD")
            urllib.request.urlopen(probe, timeout=5).close()
            return read(False)
        except urllib.error.HTTPError as error:
            reason = f"the Hub answers {error.code}"
        except urllib.error.URLError:
            reason = "it is not on this machine, and the Hub cannot be reached"
        except (OSError, ValueError) as error:
            reason = _first_line(error)
    raise BaseError(
        f"{title} ({source}) cannot be loaded: {reason}", f"go online once, or `hf download {source}`"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class Panel:
    """Who judges: one network for the subject, one for the prompt, and what to know about the choice."""

    pictures: Features
    prompts: Features
    note: str | None = None


def panel(judges: Mapping[str, str]) -> Panel:
    """The networks that a base names for `pictures` and `prompts`; for one that names none, DINOv2 and CLIP.

    Without the weights of those two the embedded judge stands in, and says so. A named one is never replaced: raises
    `BaseError` where it cannot be had, and `RecipeError` for one that does not exist.
    """
    if judges:
        named = {name: load(name) for name in dict.fromkeys(judges.values())}
        return Panel(named[judges["pictures"]], named[judges["prompts"]])
    try:
        return Panel(load("dinov2"), load("clip"))
    except BaseError as error:
        judge = load("judge")
        note = f"Scored by the embedded judge, which knows drawn pictures only: {error.message}."
        return Panel(judge, judge, note)
