"""CLIP ViT-B/32 (Radford et al. 2021): the prompt measure CLIP-T, and CLIP-I as a second opinion.

The model of TI's, CustomConcept101's and DreamBench++'s harnesses. It sees the kind of a thing, not which one
it is: two corgis score about 0.8, so it never decides on fidelity alone.
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

SOURCE = "openai/clip-vit-base-patch32"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip(Features):
    """Projected image and text vectors."""

    reads_text = True

    def __init__(self, model: Any, tokenizer: Any, source: str) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.size = int(model.config.vision_config.image_size)
        self.length = int(model.config.text_config.max_position_embeddings)
        name = "vit-b32" if source == SOURCE else called(model)
        self.id = f"clip-{name}-r{self.size}c{self.size}-v1"
        self.card = {
            "weights": source,
            "revision": getattr(model.config, "_commit_hash", None),
            "layer": "projected image and text vectors",
            "input": f"short side {self.size} bicubic, centre {self.size}, CLIP mean and deviation, float32",
        }

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> Tensor:
        """[n, projection], each row of length 1."""
        x = pixels(pictures, resize=self.size, crop=self.size, mean=MEAN, std=STD)
        return normalize(self.model.get_image_features(pixel_values=x).pooler_output.float(), dim=1)

    @torch.no_grad()
    def style(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Mean and deviation over the patches of a third and a half of the way up."""
        x = pixels(pictures, resize=self.size, crop=self.size, mean=MEAN, std=STD)
        states = self.model.vision_model(pixel_values=x, output_hidden_states=True).hidden_states
        return channels(middle(states))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """[n, projection], each row of length 1; beyond 77 tokens a text is cut off."""
        tokens = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.length, return_tensors="pt"
        )
        return normalize(self.model.get_text_features(**tokens).pooler_output.float(), dim=1)


def load(source: str = SOURCE) -> Clip:
    """Load from the Hub, its cache or a folder; raises `BaseError`."""
    from transformers import CLIPModel, CLIPTokenizer  # not needed by those who score with the embedded judge

    def read(local: bool) -> Clip:
        model = CLIPModel.from_pretrained(source, dtype=torch.float32, local_files_only=local)
        return Clip(model, CLIPTokenizer.from_pretrained(source, local_files_only=local), source)

    return from_hub("CLIP", source, read)
