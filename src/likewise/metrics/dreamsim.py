"""DreamSim (Fu et al. 2023, arXiv 2306.09344): what people call alike, from three networks tuned on human judgements.

Its weights are published for its own package alone, as adapters on DINO, CLIP and OpenCLIP ViT-B/16, so that package is
needed: `pip install dreamsim` (0.2.1, whose source this was written by). It fetches the weights once and reads them from
pickled files; likewise itself opens none.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likewise.cache import home
from likewise.errors import BaseError
from likewise.metrics.features import Features

SOURCE = "ensemble"


class DreamSim(Features):
    """The ensemble's vectors: 1 - cosine is DreamSim's distance."""

    def __init__(self, model: Any, preprocess: Callable[[Image.Image], Tensor]) -> None:
        self.model, self.preprocess = model.eval(), preprocess
        self.id = "dreamsim-ensemble-r224-v1"
        self.card = {
            "weights": "dreamsim ensemble, release 0.2.0",
            "layer": "DINO class token, CLIP and OpenCLIP projections of ViT-B/16, side by side, less their mean",
            "input": "224 x 224 bicubic, not cropped, 0 to 1, float32",
        }

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """[n, 1792], each row of length 1."""
        # One at a time: `embed` squeezes what it makes of a batch.
        rows = [self.model.embed(self.preprocess(picture)).float().flatten() for picture in pictures]
        return normalize(torch.stack(rows), dim=1)


def load(source: str = SOURCE) -> DreamSim:
    """Load with the package `dreamsim`, from its copy here or from its site; raises `BaseError`."""
    try:
        from dreamsim import dreamsim  # an extra that few need
    except ImportError as error:
        raise BaseError(f"DreamSim cannot be loaded: {error}", "pip install dreamsim") from None
    folder = home() / "dreamsim"
    try:
        folder.mkdir(parents=True, exist_ok=True)  # the package makes the last folder alone
        with redirect_stdout(sys.stderr):  # it prints what it does, and what we print there is for programs
            model, preprocess = dreamsim(
                pretrained=True, device="cpu", cache_dir=str(folder), dreamsim_type=source
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = f"go online once, or put its release into {folder}"
        raise BaseError(f"DreamSim ({source}) cannot be loaded: {reason}", hint) from None
    return DreamSim(model, preprocess)
