"""Step 6: the text tower and its vision twin, trained contrastively on composed pictures.

Token embeddings have no weight decay, so that the reserved words keep their first values.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from workshop.common import SIZE, Course, autocast, log_line, options, save_atomic, settle, step_seed
from workshop.compose import Composer, composer
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
    tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt").to(pixels.device)
    with autocast(pixels.device):
        out = clip(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels)
    return F.normalize(out.image_embeds.float(), dim=-1) @ F.normalize(out.text_embeds.float(), dim=-1).T


def contrast(clip: CLIPModel, matrix: torch.Tensor, captions: list[str]) -> torch.Tensor:
    """Symmetric loss in which equal captions share the target."""
    logits = matrix * clip.logit_scale.exp().clamp(max=100)
    number = {c: i for i, c in enumerate(captions)}
    row = torch.tensor([number[c] for c in captions], device=matrix.device)
    same = (row[:, None] == row).float()
    target = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@torch.no_grad()
def retrieval(
    clip: CLIPModel, tokenizer: CLIPTokenizer, known: Composer, batches: int, size: int = 64
) -> float:
    """Share of fresh pictures whose own caption wins among ``size``."""
    clip.eval()
    hits = []
    for k in range(batches):
        batch = known.batch(size, step_seed(SEED + 9, k))
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


def train(clip: CLIPModel, tokenizer: CLIPTokenizer, known: Composer, args: argparse.Namespace) -> None:
    folder, course = args.folder, Course(args.steps, args.minutes)
    optimizer, step, point = optimizer_of(clip), 0, folder / "clip.pt"
    if point.exists():
        state = torch.load(point, map_location=args.device)
        clip.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        course.resume(state)
    began, start, batches = time.time(), step, known.batches(args.batch, SEED)
    while course.share(step) < 1:
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step, args.rate, 100, 0.03)
        batch = batches(step)
        loss = contrast(clip, scores(clip, tokenizer, batch.pixels, batch.captions), batch.captions)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            speed = (step - start) * args.batch / (time.time() - began)
            log_line(folder / "clip.jsonl", step=step, loss=loss.item(), speed=speed)
        if step % 200 == 0:
            state = {"model": clip.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            save_atomic({**state, **course.state()}, point)
            log_line(folder / "clip.jsonl", step=step, retrieval=retrieval(clip, tokenizer, known, 2))


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (1000, 6000, 3), "batch": (64, 1024, 8), "rate": (1e-3, 1e-3, 1e-3)}
    args = settle(options(__doc__, **sizes), argv)
    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(args.folder / "tokenizer")
    known = composer(args)
    clip = build(tokenizer).to(args.device)
    train(clip, tokenizer, known, args)
    accuracy = retrieval(clip, tokenizer, known, 1 if args.smoke else 8)
    clip.eval().save_pretrained(args.folder / "clip_plain")
    log_line(args.folder / "clip.jsonl", done=True, retrieval=accuracy)


if __name__ == "__main__":
    main()
