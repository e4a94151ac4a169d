"""Run by another Python, with older libraries: `python old_readers.py FOLDER OUT` loads what lies in FOLDER.

Writes to OUT what plain diffusers makes of every file, by its name. Knows nothing of ours.
"""

import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file


def pipeline(folder):
    kind = StableDiffusionXLPipeline if folder.name.startswith("sdxl") else StableDiffusionPipeline
    return kind.from_pretrained(folder)


def facts(pipe, prompt="a photo of a dog"):
    """Text states, and the sums of every weight of the networks that files can change."""
    with torch.no_grad():
        states = pipe.encode_prompt(
            prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
    found = {"states": states}
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        network = getattr(pipe, part, None)
        if network is not None:
            rows = {name.replace("text_model.", ""): value for name, value in network.state_dict().items()}
            weights = [rows[name].double().flatten() for name in sorted(rows) if "position_ids" not in name]
            found[part] = torch.stack([torch.stack([one.sum(), one.abs().sum()]) for one in weights])
    return found


def main(home, out):
    found = {}
    for folder in sorted(home.glob("sd*")):
        found[folder.name] = facts(pipeline(folder))
    for file in sorted(home.glob("single-*.safetensors")):
        folder = home / file.stem.removeprefix("single-")
        kind = type(pipeline(folder))
        found[file.stem] = facts(kind.from_single_file(str(file), config=str(folder), local_files_only=True))
    for file in sorted(home.glob("lora-*.safetensors")):
        pipe = pipeline(home / "sd1")
        pipe.load_lora_weights(str(home), weight_name=file.name)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        found[file.stem] = facts(pipe)
    for file in sorted(home.glob("word-*")):
        pipe = pipeline(home / "sd1")
        pipe.load_textual_inversion(str(home), weight_name=file.name, token="zork")
        found[file.stem] = facts(pipe, "a zork dog")
    found["baked"] = facts(pipeline(home / "baked"), "a zork dog")
    tensors = {f"{name} {part}": value for name, own in found.items() for part, value in own.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
