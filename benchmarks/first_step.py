"""From the command to its first step, part by part: wall-clock and processor seconds.

Each part is measured in a Python of its own that does what `likewise teach PICTURES --noun cat steps=1` does, without its
words: the interpreter, the imports, the base, the pictures and prompts that a training keeps, the first step, the end. The
command itself is measured beside it. Processor seconds are those of this work alone, so they can be read on a busy machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, cat, finish, parse, parser, there_and_back

PARTS = """
import time
marks = [("the interpreter", time.time(), time.process_time())]
mark = lambda name: marks.append((name, time.time(), time.process_time()))
import json, sys
pictures, base, out = sys.argv[1:4]
import likewise.cli
from likewise import narrow
narrow.own_process()
mark("the command line")
import torch
mark("torch")
from likewise import families, planning, run
import likewise.families.sd
mark("all else")
subject = planning.Subject(pictures, "cat")
way = planning.Way("lora", planning.asked("lora", None, {"steps": 1}), 1)
planning.check([planning.look(subject)], way)
mark("reading the pictures")
loaded = families.load(base)
mark("the base")
job, loaded = run.plan([planning.look(subject)], way, base=loaded, out=out)
for event in job.start(base=loaded):
    name = {"attached": "latents and prompts", "stepped": "the first step"}.get(event.kind)
    if name:
        mark(name)
mark("the file, and the end")
print(json.dumps(marks))
"""


def measured(command: list[str], home: Path, bytecode: bool) -> tuple[str, float, float, float]:
    """What a command prints, when it began, its wall-clock and its processor seconds."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if not bytecode:
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(home / "none")}
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), env.get("PYTHONPATH")]))
    env |= {"LIKEWISE_HOME": str(home), "PYTHONPATH": path}
    before, began = os.times(), time.time()
    done = subprocess.run(
        [sys.executable, *command],
        env=env,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    after, ended = os.times(), time.time()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, began, ended - began, spent


def parts(base: str, home: Path, bytecode: bool) -> dict[str, tuple[float, float]]:
    """Wall-clock and processor seconds of each part, in order."""
    command = ["-c", PARTS, str(cat()), base, str(home / f"run{time.time_ns()}")]
    printed, began, _, _ = measured(command, home, bytecode)
    found, when, spent = {}, began, 0.0
    for name, at, used in json.loads(printed.splitlines()[-1]):
        found[name] = (at - when, used - spent)
        when, spent = at, used
    return found


def whole(base: str, home: Path, bytecode: bool) -> dict[str, tuple[float, float]]:
    """The command."""
    words = [
        "teach",
        str(cat()),
        "--noun",
        "cat",
        "--base",
        base,
        "--out",
        str(home / f"run{time.time_ns()}"),
    ]
    _, _, seconds, spent = measured(["-m", "likewise", *words, "steps=1"], home, bytecode)
    return {"likewise teach steps=1": (seconds, spent)}


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--runs", type=int, default=5)
    made.add_argument("--no-bytecode", action="store_true", help="as where bytecode may not be written")
    given = parse(made)
    base, runs = ("tiny:sd", 1) if given.smoke else (given.base, given.runs)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        warm, bytecode = Path(folder), not given.no_bytecode
        whole(base, warm, bytecode)  # fills the caches of bytecode, disk, latents and prompts
        for number, measure in enumerate(there_and_back([parts, whole], runs)):
            cold = Path(tempfile.mkdtemp(dir=folder))
            for home, label in ((warm, ""), *([(cold, " (new cache)")] if measure is whole else ())):
                for name, times in measure(base, home, bytecode).items():
                    found.setdefault(name + label, []).append(times)
            print(f"{number + 1} of {2 * runs}", file=sys.stderr)
    rows: list[Mapping[str, Any]] = [
        {
            "part": name,
            "wall-clock s": median(one for one, _ in times),
            "processor s": median(one for _, one in times),
            "fastest s": min(one for one, _ in times),
        }
        for name, times in found.items()
    ]
    finish("first_step", rows, {"base": base, "runs": runs, "bytecode": bytecode}, write=given.write)


if __name__ == "__main__":
    main()
