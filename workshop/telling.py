"""How well a judge tells individuals apart that are alike in class and colour.

    python -m workshop.telling [--judge FOLDER] [--tint]

`PAIRS` pairs of individuals that nothing was taught with are each seen six times, on grounds of their own: random objects, bodies of
kinds known and unknown, avatars of the suite's styles, and cut-outs. The AUC of a pair is the chance that two pictures of one
individual look more alike than pictures of the two; 0.5 is guessing. `true` are the composed pictures, `blurred` the same after
pocket's autoencoder. A histogram of colours and the pixels themselves stand beside it, of the whole picture and of the true cut-out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from likewise.metrics._judge import IdentityNet, JudgeNet, MaskNet, cut_out
from likewise.metrics.judge import FOLDER, load
from workshop.common import POCKET, options, settle, step_seed
from workshop.lineup import Lineup, Seen

SEED, VIEWS = 811, 6
PAIRS = {"body": 20, "portrait": 10, "cut": 10}

Look = Callable[[Seen], Tensor]
"""Pictures to vectors [n, d] of length 1."""


def pairs(lineup: Lineup) -> list[tuple[str, Seen]]:
    """Two individuals each that differ in form alone."""
    found = []
    for source in lineup.sources:
        for number in range(PAIRS[source]):
            rng = np.random.default_rng(step_seed(SEED + len(source), number))
            layers, who = getattr(lineup, f"_{source}")(rng, "form", 2, VIEWS)
            pixels, cover = lineup.place(layers, rng)
            found.append((source, Seen(pixels, cover, torch.from_numpy(who))))
    return found


def auc(vectors: Tensor, who: Tensor) -> float:
    """The chance that two views of one individual are nearer than two of different ones; ties count half."""
    near = (vectors @ vectors.T).numpy()
    above = np.triu(np.ones_like(near, bool), 1)
    alike = (who[:, None] == who[None]).numpy()
    same, other = near[above & alike], near[above & ~alike]
    return float((same[:, None] > other).mean() + 0.5 * (same[:, None] == other).mean())


def judged(network: JudgeNet) -> Look:
    """The identity vectors of a judge."""
    return torch.no_grad()(lambda seen: network.subject(seen.pixels))


def by_cover(identity: IdentityNet) -> Look:
    """The identity vectors of subjects that are cut out by what they cover."""

    @torch.no_grad()
    def look(seen: Seen) -> Tensor:
        identity.eval()
        marks = identity(cut_out(seen.pixels, seen.cover))
        identity.train()
        return marks

    return look


def told(look: Look, tests: list[tuple[str, Seen]]) -> dict[str, float]:
    """Mean AUC over all pairs, and over those of each source."""
    values = [(source, auc(look(seen), seen.who)) for source, seen in tests]
    found = {
        source: mean([v for s, v in values if s == source]) for source in PAIRS if source in dict(values)
    }
    return {"auc": mean([v for _, v in values])} | found


@torch.no_grad()
def overlap(mask: MaskNet, tests: list[tuple[str, Seen]]) -> float:
    """Mean share of what mask and cover have in common, of what either has."""
    learning = mask.training
    mask.eval()
    shares = []
    for _, seen in tests:
        found, cover = mask(seen.pixels) > 0, seen.cover > 0.5
        shares += ((found & cover).sum((1, 2, 3)) / (found | cover).sum((1, 2, 3)).clamp(min=1)).tolist()
    mask.train(learning)
    return mean(shares)


def histogram(pixels: Tensor, weight: Tensor) -> Tensor:
    """Shares of 6 x 6 x 6 colours, each row of length 1."""
    level = ((pixels + 1) * 3).long().clamp(0, 5)
    code = (level[:, 0] * 36 + level[:, 1] * 6 + level[:, 2]).flatten(1)
    return F.normalize(torch.zeros(len(pixels), 216).scatter_add_(1, code, weight.flatten(1)).sqrt(), dim=1)


def plain_ones() -> dict[str, Look]:
    """What needs no judge."""
    return {
        "colours": lambda seen: histogram(seen.pixels, torch.ones_like(seen.cover)),
        "colours, cut out": lambda seen: histogram(seen.pixels, (seen.cover > 0.5).float()),
        "pixels": lambda seen: F.normalize(seen.pixels.flatten(1), dim=1),
        "pixels, cut out": lambda seen: F.normalize(
            cut_out(seen.pixels, seen.cover)[:, :3].flatten(1), dim=1
        ),
    }


@torch.no_grad()
def blurred(seen: Seen, vae: AutoencoderKL) -> Seen:
    """The pictures as the autoencoder gives them back."""
    pixels = vae.decode(vae.encode(seen.pixels).latent_dist.mode()).sample.clamp(-1, 1)
    return Seen(pixels, seen.cover, seen.who)


def tell(
    looks: dict[str, Look], tests: list[tuple[str, Seen]], vae: AutoencoderKL
) -> list[dict[str, object]]:
    """A row for each way to look, with means over all pairs and over those of each source."""
    rows = []
    for form, seen in {"true": tests, "blurred": [(s, blurred(one, vae)) for s, one in tests]}.items():
        for name, look in looks.items():
            values = [(source, auc(look(one), one.who)) for source, one in seen]
            row: dict[str, object] = {"look": name, "pictures": form, "auc": mean([v for _, v in values])}
            row |= {
                source: mean([v for s, v in values if s == source])
                for source in PAIRS
                if source in dict(values)
            }
            rows.append(row | {"least": round(min(v for _, v in values), 3)})
    return rows


def mean(values: list[float]) -> float:
    """Rounded for reading."""
    return round(float(np.mean(values)), 3)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, smoke="the smoke run's individuals")
    parser.add_argument("--judge", type=Path, default=FOLDER)
    args = settle(parser, argv)
    judge = load(args.judge)
    vae = AutoencoderKL.from_pretrained(POCKET / "model" / "vae").eval()
    tests = pairs(Lineup(args.folder, held=True, variants=args.variants))
    print(json.dumps({"judge": judge.id, "overlap of masks": overlap(judge.network.mask, tests)}))
    for row in tell({judge.id: judged(judge.network)} | plain_ones(), tests, vae):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
