"""The CLIP parts that Stable Diffusion families share: text states, a tower's vision twin, and a home-made tokenizer.

Nothing here knows a backbone. The twin is loaded on first use, and transformers with it, because only aesthetic
embeddings ask for it. Miniatures are made of transformers' own parts, which can be saved and compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from tokenizers import pre_tokenizers
from torch import Tensor, nn

from likewise.errors import BaseError
from likewise.families._components import build, folder_tensors, read_config
from likewise.preprocessing import pixels
from likewise.tower import TextTower, Tokens
from likewise.weights.pending import Pending

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Radford et al. 2021, the `preprocess` of the published code."""

_LEVELS = ("embeddings", "encoder", "final_layer_norm")
ORIGINS = {
    768: "openai/clip-vit-large-patch14",
    1024: "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    1280: "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k",
}
"""Width of a tower -> the Hub id of the CLIP model it was taken from (SD 1.x and SDXL, SD 2.x, SDXL's second)."""

PLAIN_WORDS = tuple(
    "a an the of on in at and with photo picture painting drawing style dog cat toy mug person sks table red "  # noqa: SIM905
    "green blue yellow black white small large one two three beach snow wooden grass".split()
)
"""Words that are one token for `plain_tokenizer`; `sks` is there because it is everybody's identifier."""


@dataclass(frozen=True)
class TextStates:
    """What the UNet is given: the tower's last hidden states, after its final norm."""

    states: Tensor
    """[B, T, d]."""

    def __len__(self) -> int:
        return len(self.states)

    def pick(self, rows: Sequence[int] | Tensor) -> Self:
        """The states of these rows, in this order."""
        return type(self)(self.states[rows if isinstance(rows, Tensor) else list(rows)])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts`, one after the other."""
        return cls(torch.cat([part.states for part in parts]))

    def framed(self, frames: Tensor) -> Self:
        """The same: this UNet is not told how pictures were cut."""
        return self


@dataclass(frozen=True)
class VisionHalf:
    """Weights and numbers that turn pictures into the space of a text tower."""

    vision: Any
    """A `CLIPVisionModelWithProjection`."""
    text_projection: Tensor
    """[d, width]; from the pooled text state to the common space."""
    last_layers: nn.ModuleList
    """Encoder layers that the tower lacks at its end; empty where it is whole (SD 2's is one layer short)."""
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD


class ClipTwin:
    """The rest of the CLIP model that a text tower was taken from. Implements `tower.Twin`."""

    def __init__(self, tower: TextTower, load: Callable[[], VisionHalf]) -> None:
        self._tower, self._load = tower, load
        self._half: VisionHalf | None = None

    @property
    def half(self) -> VisionHalf:
        """The loaded weights, frozen, where the tower is; raises `BaseError` where they cannot be had."""
        device = self._tower.table.weight.device
        if self._half is None:
            self._half = self._load()
            self._half.vision.requires_grad_(False).eval()
            self._half.last_layers.requires_grad_(False).eval()
        self._half.vision.to(device)
        self._half.last_layers.to(device)
        return self._half

    @property
    def width(self) -> int:
        """Features of the common space."""
        return int(self.half.text_projection.shape[0])

    @torch.no_grad()
    def image_features(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Projected features [n, d] of `pictures`, not normalised; resized and cropped as CLIP does."""
        half = self.half
        side = half.vision.config.image_size
        x = pixels([p.convert("RGB") for p in pictures], resize=side, crop=side, mean=half.mean, std=half.std)
        device = self._tower.table.weight.device
        rows = [half.vision(chunk.to(device)).image_embeds.float() for chunk in x.split(32)]
        return torch.cat(rows)

    def text_features(self, output: Any, tokens: Tokens) -> Tensor:
        """Projected features [B, d], not normalised, of what the tower's encoder answered for `tokens`.

        `output` must be `tower.encode(tokens, output_hidden_states=True)`. Gradients flow to the tower's own
        encoder, the one to steer even where it is cut: the layers that it lacks are applied here, frozen.
        """
        half, encoder = self.half, self._tower.encoder
        if (projected := getattr(output, "text_embeds", None)) is not None:
            return projected
        if len(half.last_layers) == 0:
            pooled = output.pooler_output
        else:
            states = output.hidden_states[-1]  # before the final norm
            mask = states.new_full((states.shape[1],) * 2, float("-inf")).triu(1)
            for layer in half.last_layers:
                states = layer(states, mask[None, None])
            norm: Any = encoder.get_submodule(self.norm_path(encoder))
            pooled = norm(states[torch.arange(len(states)), end_positions(tokens.ids, self._tower.tokenizer)])
        return pooled @ half.text_projection.to(pooled).T

    @staticmethod
    def norm_path(encoder: nn.Module) -> str:
        """Where the final norm lives in this version of transformers."""
        return next(path for path, _ in encoder.named_modules() if path.endswith("final_layer_norm"))


def clip_path(path: str) -> str:
    """A path in a CLIP tower as published: with the level `text_model.`, which transformers 5 drops from some classes."""
    return f"text_model.{path}" if path.partition(".")[0] in _LEVELS else path


def end_positions(ids: Tensor, tokenizer: Any) -> Tensor:
    """Position [B] of the first end-of-text token in `ids` [B, T]."""
    return (ids == tokenizer.eos_token_id).int().argmax(dim=1)


def read_twin(folder: Path, projection: Pending | None, text: Any) -> VisionHalf:
    """The vision half in a model folder's `image_encoder/`, else that of the published CLIP model.

    `projection` [d, width] is `text_projection.weight` of the folder's text encoder, `text` its config.
    """
    if projection is None or not (folder / "config.json").is_file():
        return hub_twin(text)
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = read_config(folder / "config.json")
    vision: Any = build(
        lambda: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config)),
        folder_tensors(folder),
        str(folder),
    )
    if tuple(projection.shape) != (vision.config.projection_dim, text.hidden_size):
        raise BaseError(
            f"{folder} and the text encoder beside it do not share a space", "they are of two CLIP models"
        )
    mean, std = _picture_statistics(folder)
    return VisionHalf(vision, projection.load().float(), nn.ModuleList(), mean, std)


def _picture_statistics(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation from `preprocessor_config.json` there or in `feature_extractor/`, or CLIP's own."""
    for home in (folder, folder.parent / "feature_extractor"):
        if (home / "preprocessor_config.json").is_file():
            found = read_config(home / "preprocessor_config.json")
            return tuple(found.get("image_mean", CLIP_MEAN)), tuple(found.get("image_std", CLIP_STD))
    return CLIP_MEAN, CLIP_STD


def hub_twin(text: Any) -> VisionHalf:
    """The vision half of the published CLIP model that a tower of this configuration was taken from."""
    origin = ORIGINS.get(text.hidden_size)
    if origin is None:
        raise BaseError(
            f"this text encoder is {text.hidden_size} wide and no CLIP model with pictures is known for it",
            "a folder can bring its own: image_encoder/, and text_projection.weight in text_encoder/",
        )
    from transformers import CLIPModel

    try:
        whole = CLIPModel.from_pretrained(origin, dtype=torch.float32, use_safetensors=True)
    except Exception as error:  # the Hub's, the network's and transformers' own; all mean: not here
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BaseError(
            f"the picture half of {origin} is needed and cannot be had: {first}",
            f"go online, or `hf download {origin}`",
        ) from None
    return half_of(whole, text.num_hidden_layers)


def half_of(whole: Any, layers: int) -> VisionHalf:
    """What a tower of the first `layers` layers lacks of the `CLIPModel` `whole`."""
    from transformers import CLIPVisionModelWithProjection

    with torch.device("meta"):
        vision = CLIPVisionModelWithProjection(whole.config.vision_config)
    vision.vision_model, vision.visual_projection = whole.vision_model, whole.visual_projection
    rest = nn.ModuleList(list(whole.text_model.encoder.layers)[layers:])
    return VisionHalf(vision, whole.text_projection.weight.detach(), rest)


def plain_tokenizer(words: Sequence[str] = PLAIN_WORDS, limit: int = 77) -> Any:
    """A CLIP tokenizer with the 256 byte symbols and `words` as whole tokens; nothing is fetched."""
    from transformers import CLIPTokenizer  # can be saved, as tests do

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*symbols, *(f"{symbol}</w>" for symbol in symbols)])
    merges: dict[tuple[str, str], None] = {}
    for word in sorted(words, key=len, reverse=True):  # else `at` would break `cat` before it is whole
        parts = [*word[:-1], f"{word[-1]}</w>"]
        left = parts[0]
        for right in parts[1:]:
            merges[(left, right)] = None
            left += right
            pieces[left] = None
    vocabulary = {piece: n for n, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocabulary, merges=list(merges), model_max_length=limit)
