"""DINOv2 ViT-S/14 (Oquab et al. 2023): subject fidelity on photographs, as DreamBench++ measures it.

The class token after the final norm. It sees background, pose and scale too; held-out references and the
ceiling of real against real are what make its numbers readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from likewise.metrics.features import Features, called, channels, from_hub, middle
from likewise.preprocessing import pixels

SOURCE = "facebook/dinov2-small"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2(Features):
    """The class token."""

    def __init__(self, model: Any, source: str) -> None:
        self.model = model.eval()
        name = "small" if source == SOURCE else called(model)
        self.id = f"dinov2-{name}-cls-r256c224-v1"
        self.card = {
            "weights": source,
            "revision": getattr(model.config, "_commit_hash", None),
            "layer": "class token after the final norm",
            "input": "short side 256 bicubic, centre 224, ImageNet mean and deviation, float32",
        }

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """[n, width], each row of length 1."""
        return normalize(self.model(pixel_values=_pixels(pictures)).last_hidden_state[:, 0].float(), dim=1)

    @torch.no_grad()
    def style(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Mean and deviation over the patches of a third and a half of the way up."""
        return channels(
            middle(self.model(pixel_values=_pixels(pictures), output_hidden_states=True).hidden_states)
        )


def _pixels(pictures: Sequence[Image.Image]) -> Tensor:
    return pixels(pictures, resize=256, crop=224, mean=MEAN, std=STD)


def load(source: str = SOURCE) -> Dinov2:
    """Load from the Hub, its cache or a folder; raises `BaseError`."""
    from transformers import Dinov2Model  # not needed by those who score with the embedded judge

    def read(local: bool) -> Dinov2:
        return Dinov2(
            Dinov2Model.from_pretrained(source, dtype=torch.float32, local_files_only=local), source
        )

    return from_hub("DINOv2", source, read)
