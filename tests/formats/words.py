"""Embeddings that tests of formats share, and plain diffusers as their reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from likewise import formats
from likewise.artifact import Artifact
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.methods import textual_inversion

FULL = Saving("float32")


def embedding(count: int = 2, width: int = 32, token: str = "sks", **more: Any) -> Artifact:
    """A word of `count` vectors for one text tower."""
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(count)) * 0.4
    family = more.pop("family", "sd")
    return Artifact(
        "textual_inversion", family, token, "dog", {"vectors": vectors, **more.pop("tensors", {})}, **more
    )


def for_two_towers(count: int = 2) -> Artifact:
    """A word for SDXL."""
    second = torch.randn(count, 1280, generator=torch.Generator().manual_seed(9))
    return embedding(count, 768, family="sdxl", tensors={"vectors_2": second})


def pipeline() -> Any:
    """A tiny pipeline of plain diffusers."""
    base = StableDiffusion.tiny()
    return StableDiffusionPipeline(
        vae=base.vae, text_encoder=base.towers[0].encoder, tokenizer=base.towers[0].tokenizer, unet=base.backbone,
        scheduler=base.scheduler(4), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def diffusers_vectors(path: Path, token: str, given: str | None = None) -> Tensor:
    """What plain diffusers has for `token` after loading the file, further vectors included."""
    pipe = pipeline()
    pipe.load_textual_inversion(path.parent, weight_name=path.name, token=given)
    words = [token] + [f"{token}_{n}" for n in range(1, 16)]
    added = pipe.tokenizer.get_added_vocab()
    ids = [added[word] for word in words if word in added]
    return pipe.text_encoder.get_input_embeddings().weight.detach()[ids]


def diffusers_states(path: Path, prompt: str, token: str) -> Tensor:
    """Text states of `prompt`, as plain diffusers encodes it after loading the file."""
    pipe = pipeline()
    pipe.load_textual_inversion(path.parent, weight_name=path.name, token=token)
    with torch.no_grad():
        return pipe.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)[0]


def our_states(path: Path, prompt: str) -> Tensor:
    """The same by us, from the file as `formats.read` reads it."""
    base = StableDiffusion.tiny()
    with torch.no_grad(), textual_inversion.METHOD.restore(base, [formats.read(path)]):
        return base.encode_text([prompt]).states
