"""Step 12: what the model draws against what it was told, as the judge sees it.

Beside each share stand the judge's ceilings: on the true pictures of the same prompts, and on those after
the autoencoder, since no picture of the model can be sharper than that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from likewise.metrics.judge import FOLDER, JudgeNet
from likewise.weights import read_tensors
from workshop.common import log_line, work
from workshop.compose import Composer, labels, sheet
from workshop.export import averaged_unet
from workshop.train_backbone import Words, sample

SEED = 707
HEADS = ("scene", "plain", "count", "tint", "small", "style", "thing")


def judge() -> JudgeNet:
    """The shipped judge."""
    card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
    network = JudgeNet({head: len(names) for head, names in card["heads"].items()}, card["embedding"])
    network.load_state_dict(read_tensors(FOLDER / "model.safetensors"))
    return network.eval()


@torch.no_grad()
def right(network: JudgeNet, pixels: torch.Tensor, truth: dict[str, torch.Tensor]) -> dict[str, float]:
    """Share of pictures that each head agrees with; ``plain`` and ``tint`` count only where they were told."""
    out, found = network(pixels), {}
    use = {name: truth[name] >= 0 for name in HEADS}
    use["count"] = truth["count"] > 0
    use["tint"] = truth["tint"] < out["tint"].shape[1] - 1
    use["small"] = truth["small"] > 0
    for name in HEADS:
        if use[name].any():
            found[name] = float((out[name].argmax(1) == truth[name])[use[name]].float().mean())
    best = out["thing"].topk(5, 1).indices
    found["thing top-5"] = float((best == truth["thing"][:, None]).any(1).float().mean())
    return found


@torch.no_grad()
def measure(folder: Path, n: int, guidance: float, variants: int) -> dict[str, dict[str, float]]:
    """Draw ``n`` prompts and judge them; writes ``measured.png``."""
    composer = Composer(folder, variants=variants, taught=True)
    rng = np.random.default_rng(SEED)
    plans = [composer.plan(rng) for _ in range(n)]
    prompts = tuple(composer.caption(p, rng) for p in plans)
    truth, true = labels(plans), composer.draw(plans, rng)[0]
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    unet, _ = averaged_unet(folder)
    words, drawn = Words(folder), []
    for k in range(0, n, 32):
        latents = sample(unet, words, prompts[k : k + 32], seed=SEED + k, guidance=guidance)
        drawn.append(vae.decode(latents).sample.clamp(-1, 1))
    pixels, network = torch.cat(drawn), judge()
    again = torch.cat([vae.decode(vae.encode(x).latent_dist.mode()).sample for x in true.split(32)])
    sheet(torch.stack([true[:64], pixels[:64]], 1).flatten(0, 1), 16, folder / "measured.png", zoom=1)
    return {
        "drawn": right(network, pixels, truth),
        "true, after the autoencoder": right(network, again.clamp(-1, 1), truth),
        "true": right(network, true, truth),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = work(args.smoke)
    table = measure(folder, 4 if args.smoke else args.prompts, args.guidance, 4 if args.smoke else 400)
    samples = averaged_unet(folder)[1]
    for name, row in table.items():
        log_line(folder / "measured.jsonl", samples=samples, guidance=args.guidance, pictures=name, **row)


if __name__ == "__main__":
    main()
