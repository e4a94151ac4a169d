"""Equal maths: whether a LoRA step of likewise and one as diffusers' script makes it come to the same numbers.

Both start from the same factors and see the same latents, noise and levels, captions included. The other side is built of
peft, diffusers and torch as the script builds it, and the script's text is looked at for what it is taken to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from likewise import methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.concept import Concept
from likewise.stack import Job, Stack
from likewise.train import Training

TARGETS = ["to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]
SAYS = (
    'target_modules=["to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]',
    "lora_alpha=args.rank",
    "optimizer_class = torch.optim.AdamW",
    'F.mse_loss(model_pred.float(), target.float(), reduction="mean")',
    "accelerator.clip_grad_norm_(",
    'parser.add_argument("--max_grad_norm", default=1.0',
)
"""What the script must still say for this to be its maths."""
NEAR = {"losses": 1e-4, "factors": 1e-2}
"""Largest relative differences after all steps."""


@dataclass(frozen=True)
class Equal:
    """How far the two sides are apart, relative; and the arithmetic of a step."""

    losses: float
    factors: float
    flops: int

    @property
    def holds(self) -> bool:
        """Whether a race between them is one between equals."""
        return self.losses <= NEAR["losses"] and self.factors <= NEAR["factors"]


def missing(script: str) -> list[str]:
    """What the script no longer says."""
    plain = " ".join(script.split())
    return [text for text in SAYS if text not in plain]


def compare(base: Base, model: Path, concept: Concept, settings: Mapping[str, Any], steps: int = 20) -> Equal:
    """Teach for so many steps on both sides; `model` is the base's folder."""
    lora = methods.get("lora")
    recipe = lora.recipe().override({**settings, "steps": steps})
    job = Stack((Job(concept, recipe),))
    base.precision = "fp32"
    with lora.attach(base, job) as adapter:
        training = Training(base, adapter, job, cache=Cache())
        start = adapter.state(0)
        batches = [training._batches_of.at(step)[0] for step in range(steps)]
        with FlopCounterMode(display=False) as counter:
            training._errors(batches[0]).sum().backward()
        training._drop_gradients()
        losses = [step.losses[0] for step in training]
        end = adapter.state(0)
    unet: Any = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
    unet.requires_grad_(False)
    rank = int(recipe.rank)  # type: ignore[attr-defined]
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS)
    )
    theirs = _factors(unet)
    with torch.no_grad():
        for name, tensor in theirs.items():
            tensor.copy_(start[name])
    optimizer = torch.optim.AdamW(
        theirs.values(), lr=float(recipe.learning_rate), betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8
    )
    found = []
    for batch in batches:
        with torch.no_grad():
            states = base.encode_text(batch.captions).states  # type: ignore[attr-defined]
        answer = unet(batch.noisy, batch.levels, states, return_dict=False)[0]
        loss = F.mse_loss(answer.float(), batch.target.float(), reduction="mean")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    with torch.no_grad():  # of the factors themselves: Adam makes whole steps of what is rounding alone
        whole = sum(float(theirs[n].square().sum()) for n in theirs) ** 0.5
        apart = sum(float((end[n] - theirs[n]).square().sum()) for n in theirs) ** 0.5
    far = max(abs(a - b) / b for a, b in zip(losses, found, strict=True))
    return Equal(far, apart / whole, counter.get_total_flops())


def _factors(unet: Any) -> dict[str, Tensor]:
    """peft's parameters by our names."""
    found = {}
    for name, parameter in unet.named_parameters():
        path, mark, tail = name.partition(".lora_")
        if mark:
            found[f"backbone.{path}.{'down' if tail.startswith('A') else 'up'}"] = parameter
    return found
