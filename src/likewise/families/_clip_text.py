"""CLIP's text encoder, which answers as transformers' does, to the bit, and spares a start the import of transformers.

Radford et al. 2021. Paths of its weights are those of transformers 5. Pictures are the business of `_clip.ClipTwin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.errors import BaseError


@dataclass(frozen=True)
class ClipTextConfig:
    """The sizes of an encoder, by their published names. Defaults are those of a `config.json` that leaves them out."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """From a `config.json`; raises `BaseError` for sizes or an activation that no CLIP has."""
        known = {one.name: config[one.name] for one in fields(cls) if config.get(one.name) is not None}
        made = cls(**known)
        numbers = {
            name: value for name, value in known.items() if name not in ("hidden_act", "layer_norm_eps")
        }
        wrong = [
            f"{name} = {value!r}" for name, value in numbers.items() if type(value) is not int or value < 0
        ]
        if made.hidden_act not in ACTIVATIONS:
            wrong.append(f"hidden_act = {made.hidden_act!r}")
        if not wrong and made.hidden_size % max(1, made.num_attention_heads):
            wrong.append(f"{made.num_attention_heads} heads for {made.hidden_size} features")
        if wrong:
            raise BaseError(f"a text encoder with {wrong[0]} is not CLIP's", "fetch the model again")
        return made


@dataclass(frozen=True)
class ClipTextOutput:
    """What the encoder makes of token ids [B, T]."""

    last_hidden_state: Tensor
    """[B, T, d], after the final norm."""
    pooler_output: Tensor
    """[B, d], the same at the end of each text."""
    hidden_states: tuple[Tensor, ...] | None = None
    """What each layer reads, and what the last one answers, before the norm; only if asked for."""
    text_embeds: Tensor | None = None
    """[B, p], projected into the space that is shared with pictures; None without a projection."""


class QuickGelu(nn.Module):
    """OpenAI's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"quick_gelu": QuickGelu, "gelu": nn.GELU}


class Embeddings(nn.Module):
    """Words and their places."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] -> [B, T, d]."""
        words: Tensor = self.token_embedding(ids)
        return words + self.position_embedding(torch.arange(ids.shape[-1], device=ids.device)[None])


class Attention(nn.Module):
    """Each token attends to those before it."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.k_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        split = (*x.shape[:-1], self.heads, -1)
        q, k, v = (
            project(x).view(split).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        joined: Tensor = self.out_proj(seen.transpose(1, 2).reshape(x.shape))
        return joined


class Feedforward(nn.Module):
    """Two linear layers, token by token."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.activation_fn = ACTIVATIONS[config.hidden_act]()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        changed: Tensor = self.fc2(self.activation_fn(self.fc1(x)))
        return changed


class Layer(nn.Module):
    """One block of the transformer, with its norms first."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Feedforward(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] -> [B, T, d]."""
        x = x + self.self_attn(self.layer_norm1(x))
        changed: Tensor = x + self.mlp(self.layer_norm2(x))
        return changed


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class ClipText(nn.Module):
    """A text encoder as Stable Diffusion reads it."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of words."""
        return self.embeddings.token_embedding

    def forward(self, ids: Tensor, *, output_hidden_states: bool = False) -> ClipTextOutput:
        """Read token ids [B, T]."""
        x = self.embeddings(ids)
        states = [x]
        for layer in self.encoder.layers:
            x = layer(x)
            states.append(x)
        last = self.final_layer_norm(x)
        ends = ids == self.config.eos_token_id
        # The number 2 stands in published files by mistake; their end of text is the word of the largest number.
        end = ids.argmax(-1) if self.config.eos_token_id == 2 else ends.int().argmax(-1)
        pooled = last[torch.arange(len(last), device=last.device), end]
        return ClipTextOutput(last, pooled, tuple(states) if output_hidden_states else None)


class ClipTextProjected(nn.Module):
    """A text encoder with its way into the space of pictures, as SDXL reads it."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = ClipText(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of words."""
        return self.text_model.get_input_embeddings()

    def forward(self, ids: Tensor, *, output_hidden_states: bool = False) -> ClipTextOutput:
        """Read token ids [B, T]."""
        read = self.text_model(ids, output_hidden_states=output_hidden_states)
        embeds = self.text_projection(read.pooler_output)
        return ClipTextOutput(read.last_hidden_state, read.pooler_output, read.hidden_states, embeds)
