"""Time and memory of inspecting and converting whole models.

A random Stable Diffusion 1.5 in half precision (2 GB) goes from a single file to a folder and back, each in a process of its
own, checks of what was written included. A file of SDXL's names and size (7 GB) is inspected; it is a hole on the disk, as
nothing but its header should be read. `allowed` is 1.2 times the largest tensor that is written and 300 MB, Python included,
and torch where it is needed.

`peak` is what Linux keeps of the process as the most that was ever resident (`VmHWM`), pages of shared libraries included;
`own` is the most of it that was no file (`RssAnon`), looked at every 5 ms. `ru_maxrss` would not do: a process begins with
that of whoever started it, and this one has made tensors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import finish, parse, parser
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.single_file import single_tensors
from likewise.naming.single_file import canonical
from likewise.weights.pending import Pending
from likewise.weights.streaming import in_order, serialise_header, write_streamed

MB = 1e6
LOOKS = 9
COMMAND = """
import json, sys, threading, time
def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))
own = [0]
def watch():
    while True:
        own[0] = max(own[0], kilobytes("RssAnon"))
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
from likewise.cli import app
app(json.loads(sys.argv[1]), standalone_mode=False)
print(json.dumps([time.perf_counter() - began, time.process_time(), kilobytes("VmHWM") * 1024, own[0] * 1024]))
"""
LOOK = """
import json, sys, time
from pathlib import Path
from likewise.inspection import inspect
began, ran = time.perf_counter(), time.process_time()
found = inspect(Path(sys.argv[1]))
seconds = [time.perf_counter() - began, time.process_time() - ran]
print(json.dumps([seconds, found.layout, "torch" in sys.modules]))
"""


def networks(version: str, small: bool) -> dict[str, Any]:
    """The networks of Stable Diffusion 1.5 or XL as published, without memory; or the first with small layers."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    four = (32, 32, 64, 64) if small else (128, 256, 512, 512)
    width = 64 if small else 768
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=four, layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        tower = CLIPTextModel(CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=12, num_attention_heads=width // 64,
        ))  # fmt: skip
        if version == "sd1":
            widths = (32, 32, 64, 64) if small else (320, 640, 1280, 1280)
            unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=width, block_out_channels=widths)
            return {"backbone": unet, "vae": vae, "text": tower}
        unet = UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), attention_head_dim=[5, 10, 20],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 10], cross_attention_dim=2048, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
        big = CLIPTextModelWithProjection(CLIPTextConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280,
        ))  # fmt: skip
    return {"backbone": unet, "vae": vae, "text": tower, "text_2": big}


def random_model(version: str, small: bool) -> Checkpoint:
    """Every tensor in half precision, drawn when it is asked for."""
    tensors = {
        canonical(part, name): _drawn(tuple(tensor.shape), number)
        for part, network in networks(version, small).items()
        for number, (name, tensor) in enumerate(network.state_dict().items())
        if "position_ids" not in name
    }
    return Checkpoint(version, tensors, Path("random"))


def _drawn(shape: tuple[int, ...], seed: int) -> Pending:
    def load() -> Any:
        import torch

        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(0.02).half()

    return Pending("F16", shape, load)


def write_hole(path: Path, tensors: dict[str, Pending]) -> Path:
    """A safetensors file that ends where it should and holds nothing but its header."""
    names = in_order((name, one.dtype) for name, one in tensors.items())
    header = serialise_header({name: (tensors[name].dtype, tensors[name].shape) for name in names}, {})
    last = json.loads(header[8:])[names[-1]]["data_offsets"][1]
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + last)
    return path


def write_words(folder: Path) -> None:
    """A tokenizer of CLIP's size beside the single file, so that none is fetched."""
    folder.mkdir()
    words = ["!", *(f"w{n}</w>" for n in range(49408 - 3)), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(
        json.dumps({word: n for n, word in enumerate(words)}), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def child(*words: str) -> list[Any]:
    """The last line that a Python of its own prints, as JSON."""
    done = subprocess.run([sys.executable, "-c", *words], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def converted(what: str, words: Sequence[str], allowed: float) -> dict[str, Any]:
    """One command in a process of its own."""
    seconds, processor, peak, own = child(COMMAND, json.dumps(list(words)))
    row = {"what": what, "seconds": seconds, "of a processor": processor}
    return {**row, "peak MB": peak / MB, "own MB": own / MB, "allowed MB": allowed}


def inspected(what: str, path: Path, looks: int) -> list[dict[str, Any]]:
    """Looks by the function, and by the whole command with the start of Python; medians."""
    found: list[list[float]] = []
    commands: list[list[float]] = []
    for _ in range(looks):
        seconds, layout, torch = child(LOOK, str(path))
        assert (layout, torch) == ("checkpoint", False)
        found.append(seconds)
        began, ran = time.perf_counter(), children_seconds()
        command = [sys.executable, "-m", "likewise", "inspect", str(path)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        commands.append([time.perf_counter() - began, children_seconds() - ran])
    rows = []
    for name, times in ((f"inspect {what}", found), (f"the same with Python's start ({what})", commands)):
        wall, processor = (median(column) for column in zip(*times, strict=True))
        row = {"what": name, "seconds": wall, "of a processor": processor}
        rows.append({**row, "peak MB": None, "own MB": None, "allowed MB": None})
    return rows


def children_seconds() -> float:
    """What finished children of this process have computed so far."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure, print, and keep if asked."""
    given = parse(parser(__doc__))
    small, looks = given.smoke, 1 if given.smoke else LOOKS
    whole = random_model("sd1", small)
    tensors = single_tensors(whole)
    largest = max(one.load().nbytes for one in tensors.values())
    allowed, twice = ((1.2 * size + 300e6) / MB for size in (largest, 2 * largest))
    with TemporaryDirectory(prefix="likewise-files-") as name:
        folder = Path(name)
        file = write_streamed(folder / "model.safetensors", tensors)
        write_words(folder / "tokenizer")
        big = write_hole(
            folder / "big.safetensors", single_tensors(random_model("sd1" if small else "sdxl", small))
        )
        rows = inspected(f"{file.stat().st_size / 1e9:.1f} GB", file, looks)
        rows += inspected(f"{big.stat().st_size / 1e9:.1f} GB", big, looks)
        there = ["convert", str(file), "--to", "diffusers_folder", "--out", str(folder / "there")]
        back = [
            "convert",
            str(folder / "there"),
            "--to",
            "checkpoint",
            "--out",
            str(folder / "back.safetensors"),
        ]
        rows.append(converted("single file to folder", there, allowed))
        rows.append(converted("folder to single file", back, allowed))
        rows.append(
            converted(
                "to float32", [*back[:-1], str(folder / "full.safetensors"), "--dtype", "float32"], twice
            )
        )
    finish("files", rows, {"largest tensor": f"{largest / MB:.0f} MB", "looks": looks}, write=given.write)


if __name__ == "__main__":
    main()
