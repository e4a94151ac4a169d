"""Step 6: the text tower and its vision twin, trained contrastively on composed pictures.

Token embeddings have no weight decay, so that the reserved words keep their first values.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from workshop.common import SIZE, log_line, save_atomic, step_seed, work
from workshop.compose import Composer
from workshop.tokenizer import LENGTH

SEED = 202


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Four layers on each side."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "hidden_act": "quick_gelu",
    }
    sight = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "hidden_act": "quick_gelu",
    }
    config = CLIPConfig(
        text_config={
            **text,
            **special,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": LENGTH,
            "projection_dim": 128,
        },
        vision_config={**sight, "image_size": SIZE, "patch_size": 8, "projection_dim": 128},
        projection_dim=128,
    )
    return CLIPModel(config)


def scores(
    clip: CLIPModel, tokenizer: CLIPTokenizer, pixels: torch.Tensor, captions: list[str]
) -> torch.Tensor:
    """Picture by caption similarities, before the temperature."""
    tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
    out = clip(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
    return F.normalize(out.image_embeds, dim=-1) @ F.normalize(out.text_embeds, dim=-1).T


def contrast(clip: CLIPModel, matrix: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """Symmetric loss in which equal captions share the target."""
    logits = matrix * clip.logit_scale.exp().clamp(max=100)
    number = {c: i for i, c in enumerate(captions)}
    row = torch.tensor([number[c] for c in captions])
    same = (row[:, None] == row).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(
    clip: CLIPModel, tokenizer: CLIPTokenizer, composer: Composer, batches: int, size: int = 64
) -> float:
    """Share of fresh pictures whose own caption wins among ``size``."""
    clip.eval()
    hits = []
    for k in range(batches):
        batch = composer.batch(size, step_seed(SEED + 9, k))
        best = scores(clip, tokenizer, batch.pixels, batch.captions).argmax(1)
        hits += [batch.captions[i] == batch.captions[j] for i, j in enumerate(best.tolist())]
    clip.train()
    return sum(hits) / len(hits)


def optimizer_of(clip: CLIPModel) -> torch.optim.AdamW:
    free = [p for n, p in clip.named_parameters() if p.ndim < 2 or "embedding" in n]
    decayed = [p for n, p in clip.named_parameters() if not (p.ndim < 2 or "embedding" in n)]
    return torch.optim.AdamW(
        [{"params": free, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.05}],
        lr=1e-3,
        betas=(0.9, 0.98),
    )


def train(
    clip: CLIPModel, tokenizer: CLIPTokenizer, composer: Composer, args: argparse.Namespace, folder: Path
) -> None:
    optimizer, start, point = optimizer_of(clip), 0, folder / "clip.pt"
    if point.exists():
        state = torch.load(point)
        clip.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    began = time.time()
    for step in range(start, args.steps):
        rate = (
            args.rate
            * min(1, (step + 1) / 100)
            * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = composer.batch(args.batch, step_seed(SEED, step))
        loss = contrast(clip, scores(clip, tokenizer, batch.pixels, batch.captions), batch.captions)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 25 == 0:
            speed = (step + 1 - start) * args.batch / (time.time() - began)
            log_line(folder / "clip.jsonl", step=step + 1, loss=loss.item(), speed=speed)
        if (step + 1) % 200 == 0:
            save_atomic(
                {"model": clip.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, point
            )
            log_line(folder / "clip.jsonl", step=step + 1, retrieval=retrieval(clip, tokenizer, composer, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    folder = work(args.smoke)
    if args.smoke:
        args.steps, args.batch = 3, 8
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    composer = Composer(folder, variants=4 if args.smoke else 400)
    clip = build(tokenizer)
    train(clip, tokenizer, composer, args, folder)
    accuracy = retrieval(clip, tokenizer, composer, 1 if args.smoke else 8)
    clip.eval().save_pretrained(folder / "clip")
    log_line(folder / "clip.jsonl", done=True, retrieval=accuracy)


if __name__ == "__main__":
    main()
