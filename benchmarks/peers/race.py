"""A LoRA by diffusers' own script and by likewise, whole commands, side by side.

    python -m benchmarks.peers.race CHECKOUT [--true-shape] --write

The base is `pocket`, or a random model of Stable Diffusion 1.5's true shape. CHECKOUT is a clone of diffusers, or its git
directory; the script is read from it and kept nowhere. First both sides teach for 20 steps on the same latents, noise and
levels: where they do not come to the same, the race is void and is not run. Then whole commands run in turns, A B, B A.
Seconds of a step are the difference of two lengths, so that no start is in them.
The machine should be idle; processor seconds stand beside the clock's for one that is not.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

import likewise
from benchmarks.common import cat, finish, parse, parser, there_and_back
from benchmarks.peers import maths
from benchmarks.true_shape import make
from likewise import methods
from likewise.base import Base
from likewise.concept import Concept
from likewise.families import POCKET

SCRIPT = "examples/dreambooth/train_dreambooth_lora.py"
RANK, RATE = 8, 1e-4
SIZE = 64
"""Side of the pictures, which is pocket's own. At 512 pixels a step of a larger base takes a processor half a minute."""
SETTINGS = {
    "rank": RANK, "learning_rate": RATE, "precision": "fp32", "checkpoint_every": 0, "resolution": SIZE,
}  # fmt: skip
SIDES = ("diffusers", "likewise")


def script(checkout: Path) -> tuple[str, str]:
    """The text of diffusers' script in a clone or a git directory, and the commit that it is of."""
    git = ["git", "-C", str(checkout)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    if (checkout / SCRIPT).is_file():
        return (checkout / SCRIPT).read_text(encoding="utf-8"), commit.stdout.strip() or "unknown"
    shown = subprocess.run([*git, "show", f"HEAD:{SCRIPT}"], capture_output=True, text=True)
    if shown.returncode:
        raise SystemExit(f"{checkout} holds no {SCRIPT}: give a clone of diffusers, or its git directory")
    return shown.stdout, commit.stdout.strip()


def unadvised(base: Base) -> dict[str, Any]:
    """Ours, with the method's own default wherever the base advises something: it would be other work than the script's."""
    plain = methods.get("lora").recipe()
    return {name: getattr(plain, name) for name in base.advice.get("lora", {})} | SETTINGS


def command(
    side: str, steps: int, place: Path, out: Path, *, model: Path, python: str = sys.executable, jobs: int = 1
) -> list[str]:
    """What a person would type, with the flags that make it fast; `model` is the base's folder, `python` runs the script."""
    if side == "likewise":
        words = ["-m", "likewise", "teach", str(place / "photos"), "--noun", "cat", "--token", "sks"]
        words += [] if model == POCKET else ["--base", str(model)]
        words += ["--recipe", str(place / "lora.json"), "--out", str(out), "--seeds", str(jobs)]
        return [sys.executable, *words, f"steps={steps}"]
    flags = {
        "pretrained_model_name_or_path": model, "instance_data_dir": place / "photos",
        "instance_prompt": "a photo of sks cat", "output_dir": out, "resolution": SIZE, "train_batch_size": 1,
        "rank": RANK, "learning_rate": RATE, "lr_scheduler": "constant", "mixed_precision": "no",
        "max_train_steps": steps, "checkpointing_steps": 10 * steps, "seed": 0, "dataloader_num_workers": 0,
    }  # fmt: skip
    words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [python, str(place / "peer.py"), *words, "--pre_compute_text_embeddings"]


def run(words: Sequence[str], log: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor that a command takes; its output goes to `log`. A failure ends the race."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{log.read_text()[-2000:]}")
    return seconds, sum(getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime"))


def product() -> float:
    """Multiplications and additions a second of this machine's own matrix product, on random numbers."""
    one, two = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(12):
        began = time.perf_counter()
        one @ two
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / median(times[2:])


def measure(
    place: Path, lengths: tuple[int, int], rounds: int, python: str, model: Path
) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Every side at both lengths, in turns."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    cases = [(side, steps) for steps in lengths for side in SIDES]
    for number, (side, steps) in enumerate(there_and_back(cases, rounds)):
        words = command(side, steps, place, place / f"out{number}", model=model, python=python)
        found.setdefault((side, steps), []).append(run(words, place / f"log{number}.txt"))
        print(f"{side}, {steps} steps: {found[side, steps][-1][0]:.1f} s", file=sys.stderr)
    return found


def stacked(place: Path, steps: int, jobs: int, python: str, model: Path) -> dict[str, tuple[float, float]]:
    """So many LoRAs: the script's commands one after another, and one command of ours."""
    alone = [
        run(
            command("diffusers", steps, place, place / f"one{n}", model=model, python=python),
            place / f"one{n}.txt",
        )
        for n in range(jobs)
    ]
    ours = run(command("likewise", steps, place, place / "all", model=model, jobs=jobs), place / "all.txt")
    return {"diffusers": (sum(a for a, _ in alone), sum(b for _, b in alone)), "likewise": ours}


def rows(
    times: dict[tuple[str, int], list[tuple[float, float]]], flops: int, ceiling: float
) -> list[dict[str, Any]]:
    """A row for each side: medians, seconds of a step without the start, and its share of the matrix product."""
    short, long = sorted({steps for _, steps in times})
    found = []
    for side in SIDES:
        whole = {
            steps: [median(values) for values in zip(*times[side, steps], strict=True)]
            for steps in (short, long)
        }
        each = [(b - a) / (long - short) for a, b in zip(whole[short], whole[long], strict=True)]
        found.append({
            "program": side, f"s, {long} steps": whole[long][0], f"processor s, {long} steps": whole[long][1],
            "s per step": each[0], "processor s per step": each[1], 
            "share of the product": flops / each[0] / ceiling if each[0] > 0 else None,
        })  # fmt: skip
    for row in found:
        row["times the script"] = found[0][f"s, {long} steps"] / row[f"s, {long} steps"]
    return found


def main() -> None:
    """Check, race, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument(
        "checkout", type=Path, metavar="CHECKOUT", help="a clone of diffusers, or its git directory"
    )
    made.add_argument("--true-shape", action="store_true", help="SD 1.5's shape in half precision, random")
    made.add_argument("--steps", type=int, default=200)
    made.add_argument("--rounds", type=int, default=2, help="A B, B A is two")
    made.add_argument("--jobs", type=int, default=8, help="LoRAs of the stacked row; 0 leaves it out")
    made.add_argument(
        "--python", default=sys.executable, help="an interpreter that has what the script imports"
    )
    given = parse(made)
    needed = "import accelerate, diffusers, peft, torchvision, transformers"
    if lacks := subprocess.run([given.python, "-c", needed], capture_output=True, text=True).stderr:
        raise SystemExit(f"{given.python} cannot run the script: {lacks.splitlines()[-1]} (give --python)")
    if given.smoke:
        given.steps, given.rounds, given.jobs = 2, 1, 0
    text, commit = script(given.checkout)
    if lost := maths.missing(text):
        raise SystemExit(
            f"the script of {commit} is another than this race knows: it no longer says {lost[0]!r}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        os.environ["LIKEWISE_HOME"] = str(place / "home")
        (place / "peer.py").write_text(text, encoding="utf-8")
        (place / "photos").mkdir()
        for picture in sorted(cat().glob("*.png")):
            shutil.copy(picture, place / "photos")
        concept = Concept.read(place / "photos", token="sks", noun="cat")
        model = make(place / "sd15") if given.true_shape else POCKET
        base = likewise.load(str(model) if given.true_shape else "pocket")
        ours = unadvised(base)
        (place / "lora.json").write_text(json.dumps(ours), encoding="utf-8")
        equal = maths.compare(base, model, concept, ours, 3 if given.smoke else 20)
        print(
            f"apart by {equal.losses:.1e} in losses and {equal.factors:.1e} in what was learned",
            file=sys.stderr,
        )
        if not equal.holds:
            raise SystemExit("the two do not compute the same, so the race is void")
        ceiling = product()
        times = measure(place, (max(1, given.steps // 4), given.steps), given.rounds, given.python, model)
        many = stacked(place, given.steps, given.jobs, given.python, model) if given.jobs else {}
    table = rows(times, equal.flops, ceiling)
    for row in table:
        row[f"s, {given.jobs} LoRAs"] = many[row["program"]][0] if many else None
    name = "true-shape" if given.true_shape else "pocket"
    packages = {package: version(package) for package in ("diffusers", "peft", "accelerate", "transformers")}
    settings = {
        "base": name, "processor": platform.processor() or platform.machine(), "script": commit[:12], **packages,
        "losses apart": equal.losses, "learned apart": equal.factors, "GFLOP a step": equal.flops / 1e9,
        "product GFLOP/s": ceiling / 1e9, "rounds": given.rounds,
        "flags": " ".join(command("diffusers", given.steps, Path("."), Path("out"), model=Path(name))[2:]),
    }  # fmt: skip
    finish("race-diffusers", table, settings, write=given.write)


if __name__ == "__main__":
    main()
