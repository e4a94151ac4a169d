"""Memory and time of every method on a model of Stable Diffusion 1.5's true shape.

The model is random, in half precision (2 GB), and made by diffusers' own classes: miniatures hide what a whole model costs.
Each method takes two steps at 64 pixels in a process of its own, its class pictures, checks and file included. `peak` is
the most of the process that was ever resident (`VmHWM`), `own` the most of it that was no file (`RssAnon`), looked at every
5 ms. `foreseen` is what the run expected before its first step, which `teach --plan` prints by part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.common import cat, finish, parse, parser
from benchmarks.files import COMMAND

GB = 1e9
CASES: dict[str, list[str]] = {
    "aesthetic": ["--method", "aesthetic"],
    "textual_inversion": ["--method", "textual_inversion"],
    "lora": ["--method", "lora"],
    "lora, text tower": ["--method", "lora", "text_rate=1e-5", "targets=all"],
    "hypernetwork": ["--method", "hypernetwork"],
    "dreambooth, no prior": ["--method", "dreambooth", "prior=none"],
    "dreambooth, prior pictures": ["--method", "dreambooth", "prior=pictures", "prior_count=2"],
    "dreambooth, prior predicted": ["--method", "dreambooth", "prior=predicted"],
}
EMPTY = dict.fromkeys(("seconds", "peak GB", "own GB", "foreseen GB", "file MB", "note"))
NEEDED = 16 * GB
"""Memory that must be free before the largest case is tried."""
MAKE = """
import json, shutil, sys
from importlib import resources
from pathlib import Path
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection
out = Path(sys.argv[1])
torch.manual_seed(0)
wide = dict(block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8)
UNet2DConditionModel(sample_size=64, cross_attention_dim=768, **wide).half().save_pretrained(out / "unet")
kinds = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **kinds).half().save_pretrained(out / "vae")
text = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)
CLIPTextModel(CLIPTextConfig(vocab_size=49408, **text)).half().save_pretrained(out / "text_encoder")
seen = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14)
CLIPVisionModelWithProjection(CLIPVisionConfig(projection_dim=768, **seen)).half().save_pretrained(out / "image_encoder")
from safetensors.torch import load_file, save_file
path = out / "text_encoder" / "model.safetensors"
save_file(load_file(path) | {"text_projection.weight": torch.randn(768, 768).half() * 768**-0.5}, path, {"format": "pt"})
betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
DDPMScheduler(**betas).save_pretrained(out / "scheduler")
shutil.copytree(resources.files("likewise") / "pocket" / "model" / "tokenizer", out / "tokenizer")
parts = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
         "scheduler": ["diffusers", "DDPMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
         "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": [None, None], "feature_extractor": [None, None]}
(out / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **parts}))
"""


def make(folder: Path) -> Path:
    """A diffusers folder of that shape, made in a process of its own; one that is there is used."""
    if not (folder / "model_index.json").exists():
        subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True)
    return folder


def measure(words: list[str], base: Path | str, out: Path, settings: list[str]) -> dict[str, Any]:
    """Teach in a process of its own; what it took, or the line that it ended with."""
    command = ["teach", str(cat()), "--noun", "cat", "--token", "sks", "--base", str(base), "--out", str(out)]
    trains = "aesthetic" not in words
    arguments = json.dumps([*command, *words, *(settings if trains else [])])
    child = subprocess.run(
        [sys.executable, "-c", COMMAND, arguments], capture_output=True, text=True, env=dict(os.environ)
    )
    if child.returncode:
        lines = [line for line in child.stderr.splitlines() if line.strip()]
        return {"note": f"{child.returncode}: {(lines or ['without a word'])[-1]}"}
    seconds, _, peak, own = json.loads(child.stdout.splitlines()[-1])
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return {
        "seconds": round(seconds, 1),
        "peak GB": round(peak / GB, 2),
        "own GB": round(own / GB, 2),
        "foreseen GB": round(result["foreseen_bytes"] / GB, 2),
        "file MB": round(result["bytes"] / 1e6, 3),
    }


def _free(seconds: int) -> bool:
    """Wait until enough memory is free; False if it is not after `seconds`."""
    until = time.monotonic() + seconds
    while psutil.virtual_memory().available < NEEDED and time.monotonic() < until:
        time.sleep(5)
    return bool(psutil.virtual_memory().available >= NEEDED)


def main() -> None:
    """Print the table."""
    made = parser(__doc__)
    made.add_argument("--folder", type=Path, help="keep the model here (2 GB), or use the one that is here")
    made.add_argument("--only", help="the cases whose names hold this text")
    made.add_argument("--resolution", type=int, default=64)
    made.add_argument("--wait", type=int, default=0, help="seconds to wait for memory that others use")
    arguments = parse(made)
    rows = []
    with TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.environ["LIKEWISE_HOME"] = str(place / "home")
        base = "tiny:sd" if arguments.smoke else make((arguments.folder or place / "model").absolute())
        settings = ["steps=2", f"resolution={arguments.resolution}", "checkpoint_every=0", "batch_size=1"]
        for number, (name, words) in enumerate(CASES.items()):
            if arguments.only and arguments.only not in name:
                continue
            if not arguments.smoke and "dreambooth" in name and not _free(arguments.wait):
                found: dict[str, Any] = {"note": "not tried: too little memory is free"}
            else:
                found = measure(words, base, place / f"run{number}", settings)
            rows.append({"method": name, **EMPTY, **found})
            print(rows[-1], file=sys.stderr)
    finish("true-shape", rows, {"steps": 2, "resolution": arguments.resolution}, write=arguments.write)


if __name__ == "__main__":
    main()
