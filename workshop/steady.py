"""Step 7: a text tower that is not thrown off by a word it does not know.

A large tower has met so many names that one more leaves the rest of a sentence as it is. A small one,
taught a few hundred captions, has not, and every method of personalisation puts an unknown word beside
the noun. So vectors of no word are put into captions, and all other states must stay what the tower
said without them. Rows of the embedding table do not move, the reserved words' least of all.

Contrast also leaves numbers almost alike, as a picture is rarely beside its twin with one thing more: the states
of "three cats" and "four cats" were eighty times closer than those of two scenes, and the backbone could not
count. So captions that differ in their number or their design alone are pushed apart.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from workshop import world
from workshop.common import log_line, options, settle, step_seed
from workshop.compose import Composer, composer
from workshop.train_clip import retrieval

SEED = 808
MOST = 3  # vectors put in at once
TWINS = 8  # pairs of captions in a step that differ in one word
CLOSE = 0.5  # of a state's length: twins shall not be closer, from the word that differs on


def told(known: Composer, n: int, seed: int) -> list[str]:
    """Captions alone, without drawing their pictures."""
    rng = np.random.default_rng(seed)
    return [known.caption(known.plan(rng), rng) for _ in range(n)]


def insert(ids: Tensor, words: Tensor, end: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Put 1 to `MOST` random vectors into each row of ``words`` (n, length, width); ``ids`` say where a row ends.

    Returns the new rows, for each of their places the place of the same word before, and a mask of the
    places that hold a word of old. Vectors are as long as a word's, give or take a half.
    """
    n, length, width = words.shape
    size = words[0, 1].norm().item()
    last = (ids == end).int().argmax(1).tolist()  # the first end of text
    rows, places = words.clone(), torch.arange(length).repeat(n, 1)
    old = torch.ones(n, length, dtype=torch.bool)
    for i in range(n):
        count = int(torch.randint(1, MOST + 1, (), generator=generator))
        at = int(torch.randint(1, last[i] + 1, (), generator=generator))
        fresh = torch.randn(count, width, generator=generator)
        fresh *= size * (0.5 + torch.rand(count, 1, generator=generator)) / fresh.norm(dim=1, keepdim=True)
        order = torch.cat([torch.arange(at), torch.full((count,), at), torch.arange(at, length - count)])
        rows[i], places[i] = words[i, order], order
        rows[i, at : at + count], old[i, at : at + count] = fresh.to(words), False
    return rows, places.to(words.device), old.to(words.device)


def run_tower(tower: torch.nn.Module, words: Tensor, ids: Tensor) -> Tensor:
    """States (n, length, width) of word vectors, by splicing them into the embedding's answer."""
    handle = tower.embeddings.token_embedding.register_forward_hook(lambda *_: words)
    try:
        return tower(ids).last_hidden_state
    finally:
        handle.remove()


def crowded(caption: str) -> bool:
    """Whether a caption begins with a number."""
    return caption.split()[0] in world.NUMBERS[1:]


def twins(captions: list[str], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Captions with a number or a design, each beside the same with another one."""
    pairs = []
    for caption in captions:
        words = caption.split()
        at, choice = (0, world.NUMBERS[1:]) if crowded(caption) else (-2, world.DESIGNS)
        if words[at] in choice:
            other = str(rng.choice([word for word in choice if word != words[at]]))
            pairs.append((caption, " ".join([*words[:at], other, *words[at:][1:]])))
    return pairs


def near(
    tower: torch.nn.Module, teacher: torch.nn.Module, ids: Tensor, twin: Tensor, end: int
) -> tuple[Tensor, Tensor]:
    """How much closer than `CLOSE` twins are, from the word that differs to the last, and how far their ends move.

    The end of text stays, since it is what pictures are compared with.
    """
    texts = torch.cat([ids, twin])
    states = tower(texts).last_hidden_state
    with torch.no_grad():
        truth = teacher(texts).last_hidden_state
    over = ((texts == end).cumsum(1) > 0).float()
    moved = ((states - truth).square().mean(2) * over).sum() / over.sum() / truth.var()
    said = ((ids != twin).cumsum(1) > 0).float() * (1 - over.chunk(2)[0])
    mine, other = states.chunk(2)
    short = (1 - (mine - other).norm(dim=2) / (CLOSE * truth.norm(dim=2).mean())).clamp(min=0).square()
    return (short * said).sum() / said.sum().clamp(min=1), moved


def losses(
    tower: torch.nn.Module, teacher: torch.nn.Module, ids: Tensor, end: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """How far old words move beside new ones, and how far known captions move, as shares of the states' variance."""
    with torch.no_grad():
        words, truth = teacher.embeddings.token_embedding(ids), teacher(ids).last_hidden_state
    rows, places, old = insert(ids, words, end, generator)
    wanted = truth.gather(1, places[..., None].expand_as(truth))
    beside, alone = run_tower(tower, torch.cat([rows, words]), torch.cat([ids, ids])).chunk(2)
    apart = ((beside - wanted).square().mean(2) * old).sum() / old.sum()
    return apart / truth.var(), (alone - truth).square().mean() / truth.var()


def train(clip: CLIPModel, tokenizer: CLIPTokenizer, known: Composer, args: argparse.Namespace) -> None:
    """Minutes on a CPU, so it starts anew when it is stopped."""
    tower, teacher = clip.text_model, copy.deepcopy(clip.text_model).eval().requires_grad_(False)
    clip.requires_grad_(False)
    weights = [p for name, p in tower.named_parameters() if "embedding" not in name]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=args.rate, weight_decay=0.0)
    began = time.time()
    for step in range(args.steps):
        seed = step_seed(SEED, step)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 20) * (1 - 0.95 * step / args.steps)
        captions = told(known, args.batch, seed)
        pairs = twins(captions, np.random.default_rng(seed))[:TWINS]
        firsts, seconds = zip(*pairs or [("two cats", "three cats")], strict=True)
        ids, left, right = (
            tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids.to(
                args.device
            )
            for texts in ([c for c in captions if not crowded(c)] or captions, firsts, seconds)
        )
        generator, end = torch.Generator().manual_seed(seed), tokenizer.eos_token_id
        apart, drift = losses(tower, teacher, ids, end, generator)
        alike, moved = near(tower, teacher, left, right, end)
        optimizer.zero_grad()
        (apart + 4 * (drift + moved) + alike).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if (step + 1) % 20 == 0:
            spent = time.time() - began
            log_line(
                args.folder / "steady.jsonl",
                step=step + 1,
                apart=apart.item(),
                drift=drift.item(),
                alike=alike.item(),
                moved=moved.item(),
                seconds=spent,
            )


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (600, 2000, 4), "batch": (16, 256, 2), "rate": (3e-4, 3e-4, 3e-4)}
    args = settle(options(__doc__, **sizes), argv)
    clip = CLIPModel.from_pretrained(args.folder / "clip_plain").to(args.device)
    tokenizer = CLIPTokenizer.from_pretrained(args.folder / "tokenizer")
    train(clip, tokenizer, composer(args, taught=True), args)
    found = retrieval(clip, tokenizer, composer(args), 1 if args.smoke else 6)
    log_line(args.folder / "clip.jsonl", steady=True, retrieval=found)
    clip.eval().save_pretrained(args.folder / "clip")


if __name__ == "__main__":
    main()
