"""The time of `likewise --help`, and what it loads.

The median of nine processes beside Python doing nothing, and for each module that must stay light, whether
torch is in sys.modules after importing it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.common import ROOT, finish, parse, parser, table, there_and_back

COMMANDS: Mapping[str, Sequence[str]] = {
    "python doing nothing": ["-c", "pass"],
    "import likewise": ["-c", "import likewise"],
    "likewise --help": ["-m", "likewise", "--help"],
}
MODULES = ("likewise", "likewise.recipe", "likewise.intake", "likewise.cli", "likewise.reports.comparison")
HEAVY = ("torch", "diffusers", "transformers", "pydantic", "rich", "jinja2", "numpy")
PROFILE = """
import importlib, json, sys, time
bare, began = set(sys.modules), time.perf_counter()
importlib.import_module(sys.argv[1])
print(json.dumps([time.perf_counter() - began, sorted(set(sys.modules) - bare)]))
"""


def python(*words: str) -> str:
    """Run a Python of its own that finds the package in src, and return what it printed."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, *words]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def measure(runs: int) -> dict[str, list[float]]:
    """Milliseconds of each command, in turns; one run before that fills the caches of bytecode and disk."""
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for words in COMMANDS.values():
        python(*words)
    for name in there_and_back(list(COMMANDS), runs):
        began = time.perf_counter()
        python(*COMMANDS[name])
        found[name].append(1000 * (time.perf_counter() - began))
    return found


def profile(module: str) -> dict[str, Any]:
    """What importing `module` alone brings along."""
    seconds, loaded = json.loads(python("-c", PROFILE, module))
    heavy = [name for name in HEAVY if name in loaded]
    row = {"module": module, "torch": "torch" in heavy, "ms": 1000 * seconds, "modules": len(loaded)}
    return row | {"large ones": ", ".join(heavy)}


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=9)
    given = parse(made)
    runs = 1 if given.smoke else given.runs
    times = measure(runs)
    imports = [profile(module) for module in MODULES]
    rows = [
        {"command": name, "median ms": median(ms), "fastest": min(ms), "slowest": max(ms)}
        for name, ms in times.items()
    ]
    print(f"\n{table(imports)}")
    with_torch = [row["module"] for row in imports if row["torch"]]
    settings = {"runs": runs, "modules that import torch": ", ".join(with_torch) or "none"}
    finish("startup", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
