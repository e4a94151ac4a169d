"""Step 11: write the pocket model as an ordinary Stable Diffusion folder.

Works from any backbone checkpoint. Weights are half precision; the picture twin of the text tower
lies beside the pipeline as ``image_encoder``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from workshop import world
from workshop.common import ADVICE, GUIDANCE, PROMPTS, SIZE, options, settle, shipped
from workshop.compose import composer
from workshop.fetch import attribution
from workshop.tokenizer import START
from workshop.train_backbone import AVERAGE, LENGTHS, SCHEDULE, build
from workshop.train_vae import psnr

TITLE = "likewise pocket model"


def average_option(parser: argparse.ArgumentParser) -> None:
    """``--average``, for whatever reads a checkpoint."""
    text = "which average of the weights, by the pictures it reaches back"
    parser.add_argument("--average", choices=LENGTHS, default=AVERAGE, help=text)


def averaged_unet(folder: Path, average: str = AVERAGE) -> tuple[UNet2DConditionModel, int]:
    """An averaged denoiser of the newest checkpoint and the samples it has seen."""
    state = torch.load(folder / "backbone.pt", map_location="cpu")
    unet = build().eval()
    unet.load_state_dict(state["averages"][average])
    return unet, int(state["samples"])


def save_text(clip: CLIPModel, tokenizer: CLIPTokenizer, out: Path) -> None:
    """One file that loads both as CLIPTextModel and as CLIPTextModelWithProjection."""
    out.mkdir(parents=True, exist_ok=True)
    config = CLIPTextConfig(**clip.config.text_config.to_dict())
    config.projection_dim = clip.config.projection_dim
    model = CLIPTextModelWithProjection(config)
    missing = model.load_state_dict(clip.state_dict(), strict=False).missing_keys
    if missing:
        raise SystemExit(f"text tower lacks {missing}")
    model.half().save_pretrained(out)
    path = out / "config.json"
    book = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({**book, "architectures": ["CLIPTextModel"]}, indent=2) + "\n", encoding="utf-8"
    )


def save_vision(clip: CLIPModel, out: Path) -> None:
    """The picture twin with its projection."""
    config = clip.config.vision_config
    config.projection_dim = clip.config.projection_dim
    model = CLIPVisionModelWithProjection(config)
    missing = model.load_state_dict(clip.state_dict(), strict=False).missing_keys
    if missing:
        raise SystemExit(f"picture tower lacks {missing}")
    model.half().save_pretrained(out)
    how = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": SIZE},
        "do_center_crop": True,
    }
    how |= {
        "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
    }
    how |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True, "resample": 3}
    (out / "preprocessor_config.json").write_text(json.dumps(how, indent=2) + "\n", encoding="utf-8")


def save_index(out: Path) -> None:
    """model_index.json, without a safety checker or feature extractor."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def card(folder: Path, known: world.World, samples: int, quality: float) -> dict[str, object]:
    """What the model is, for programs."""
    rows = [json.loads(line) for line in (folder / "clip.jsonl").read_text(encoding="utf-8").splitlines()]
    used = {
        r["name"]
        for r in json.loads((folder / "cutouts.json").read_text(encoding="utf-8"))
        if r["part"] == "world"
    }
    return {
        "name": TITLE,
        "resolution": SIZE,
        "samples_seen": samples,
        "vae_psnr": round(quality, 2),
        "clip_retrieval_of_64": [r["retrieval"] for r in rows if "retrieval" in r][-1],
        "things": {
            t.name: {"plural": t.many(), "also": list(t.also)}
            for t in known.things
            if t.name in used and t.name in known.drawings
        },
        "scenes": world.SCENES,
        "colours": {k: list(v) for k, v in world.COLOURS.items()},
        "tints": list(world.TINTS),
        "styles": list(known.designs),
        "rare_tokens": list(world.RARE),
        "held_out": list(world.HELD_OUT),
    }


def write(args: argparse.Namespace, out: Path) -> int:
    """The whole folder; returns the samples seen."""
    folder = args.folder
    unet, samples = averaged_unet(folder, args.average)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    quality = psnr(vae.to(args.device), composer(args))
    clip = CLIPModel.from_pretrained(folder / "clip")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    out.mkdir(parents=True, exist_ok=True)
    unet.half().save_pretrained(out / "unet")
    vae.cpu().half().save_pretrained(out / "vae")
    save_text(clip, tokenizer, out / "text_encoder")
    save_vision(clip, out / "image_encoder")
    (out / "tokenizer").mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
        (out / "tokenizer" / name).write_bytes((folder / "tokenizer" / name).read_bytes())
    special = {
        "bos_token": START,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "unk_token": tokenizer.unk_token,
    }
    (out / "tokenizer" / "special_tokens_map.json").write_text(
        json.dumps(special, indent=2) + "\n", encoding="utf-8"
    )
    DDIMScheduler(**SCHEDULE).save_pretrained(out / "scheduler")
    save_index(out)
    for told in (ADVICE, PROMPTS):
        (out / told.name).write_bytes(told.read_bytes())
    (out / "ATTRIBUTION.md").write_text(attribution(TITLE), encoding="utf-8")
    (out / "card.json").write_text(
        json.dumps(card(folder, args.world, samples, quality), indent=1) + "\n", encoding="utf-8"
    )
    for config in out.rglob("config.json"):  # diffusers writes down where it loaded from
        facts = json.loads(config.read_text(encoding="utf-8"))
        facts.pop("_name_or_path", None)
        if (
            "dtype" in facts
        ):  # transformers would load the towers in it, and diffusers loads the rest in float32
            facts["dtype"] = "float32"
        config.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    for path in out.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return samples


def verify(out: Path, picture: Path) -> None:
    """Load it as anyone would and draw once."""
    pipe = StableDiffusionPipeline.from_pretrained(out)
    pipe.set_progress_bar_config(disable=True)
    CLIPTextModelWithProjection.from_pretrained(out / "text_encoder")
    CLIPVisionModelWithProjection.from_pretrained(out / "image_encoder")
    pipe(
        "a cat on a beach",
        num_inference_steps=20,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(0),
    ).images[0].save(picture)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: src/likewise/pocket/model; of the whole world, build"
    )
    average_option(parser)
    args = settle(parser, argv)
    out = args.out or shipped(args, "model")
    samples = write(args, out)
    verify(out, args.folder / "export.png")
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    print(f"{samples} samples, {size / 1e6:.1f} MB in {out}")


if __name__ == "__main__":
    main()
