"""Take an exported model's parts back into the work folder, to go on from them.

Towers, vocabulary and autoencoder become what the other steps read; the denoiser is taken by
``train_backbone --init``. Weights are half precision in an export, so a model that was taken back and exported
again is the same, and a training that goes on starts from rounded weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTokenizer

from likewise.weights import read_tensors
from workshop.common import log_line, options, settle, shipped
from workshop.train_clip import build


def towers(model: Path, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Both towers in one, with the untrained temperature that only their training uses."""
    clip = build(tokenizer)
    parts = [read_tensors(model / part / "model.safetensors") for part in ("text_encoder", "image_encoder")]
    found = {name: tensor.float() for part in parts for name, tensor in part.items()}
    missing, unknown = clip.load_state_dict(found, strict=False)
    if set(missing) != {"logit_scale"} or unknown:
        raise SystemExit(
            f"{model} is no model of this workshop: its towers lack {missing} and have {unknown}"
        )
    return clip


def adopt(model: Path, args: argparse.Namespace) -> None:
    """Write ``clip``, ``clip_plain``, ``tokenizer`` and ``vae`` into the work folder."""
    folder = args.folder
    taken = [name for name in ("clip", "tokenizer", "vae") if (folder / name).exists()]
    if taken:
        raise SystemExit(f"{folder} has {', '.join(taken)} already; delete the folder to start from {model}")
    shutil.copytree(model / "tokenizer", folder / "tokenizer")
    clip = towers(model, CLIPTokenizer.from_pretrained(folder / "tokenizer"))
    for name in ("clip", "clip_plain"):
        clip.save_pretrained(folder / name)
    AutoencoderKL.from_pretrained(model / "vae").float().save_pretrained(folder / "vae")
    card = json.loads((model / "card.json").read_text(encoding="utf-8"))
    log_line(folder / "clip.jsonl", adopted=True, retrieval=card["clip_retrieval_of_64"])


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, default=None, help="default: src/likewise/pocket/model")
    args = settle(parser, argv)
    adopt(args.model or shipped(args, "model"), args)


if __name__ == "__main__":
    main()
