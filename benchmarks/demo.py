"""The time of `python3 go.py demo` for someone who has just cloned the repository.

Clones what is committed into a temporary folder, runs the one command there, and divides its time where go.py says
that it is ready: setting up (making .venv, installing) before, comparing after. Needs the package registry.
With --smoke nothing is cloned or installed: this Python compares on a miniature.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common import ROOT, cat, finish, parse, parser

READY = re.compile(r"^go: ready after ")


@dataclass
class Outcome:
    """What the command printed, and when."""

    seconds: float = 0.0
    ready: float = 0.0
    """Seconds until go.py had set everything up; 0 where it had nothing to do."""
    reports: list[Path] = field(default_factory=list)


def watch(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Outcome:
    """Run `command` in `folder`, showing what it says; raises SystemExit where it fails."""
    began, found = time.perf_counter(), Outcome()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=printed, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            print(f"{time.perf_counter() - began:7.1f} s  {line.rstrip()}", flush=True)
            if READY.match(line):
                found.ready = time.perf_counter() - began
        if process.wait():
            raise SystemExit(f"the demo failed with exit code {process.returncode}")
        found.seconds = time.perf_counter() - began
        printed.seek(0)
        found.reports = reports(printed.read(), folder)
    return found


def reports(printed: str, folder: Path) -> list[Path]:
    """The pages that standard output names, each checked to be there."""
    named = [folder / line.strip() for line in printed.splitlines() if line.strip().endswith(".html")]
    missing = [page for page in named if not page.is_file()]
    if missing or not named:
        raise SystemExit(f"no report where the demo says there is one: {missing or printed!r}")
    return named


def clone(folder: Path) -> None:
    """What is committed; a warning where the checkout has more."""
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    if changed.stdout.strip():
        print("there are uncommitted changes, which the clone does not have", file=sys.stderr)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)


def smoke(folder: Path) -> Outcome:
    """The same watching and parsing, of a comparison that takes seconds."""
    words = [
        "-m",
        "likewise",
        "compare",
        str(cat()),
        "--noun",
        "cat",
        "--base",
        "tiny:sd",
        "--pictures-per-prompt",
        "1",
    ]
    words += ["--sample-steps", "2", "--out", "comparison", "steps=2", "dreambooth.prior_count=2"]
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return watch([sys.executable, *words], folder, {**os.environ, "PYTHONPATH": path})


def main() -> None:
    """Measure, print, and keep if asked."""
    given = parse(parser(__doc__))
    with tempfile.TemporaryDirectory(prefix="likewise-demo-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        if given.smoke:
            found = smoke(folder)
        else:
            clone(folder / "clone")
            unset = ("VIRTUAL_ENV", "PYTHONPATH", "LIKEWISE_HOME")
            environment = {key: value for key, value in os.environ.items() if key not in unset}
            environment["LIKEWISE_HOME"] = str(folder / "home")
            found = watch(["python3", "go.py", "demo"], folder / "clone", environment)
        size = sum(page.stat().st_size for page in found.reports)
    rows = [
        {"part": "set-up", "s": found.ready},
        {"part": "compare", "s": found.seconds - found.ready},
        {"part": "both", "s": found.seconds},
    ]
    build = os.environ.get("LIKEWISE_TORCH") or "pip's choice"
    settings = {"torch build": build, "report bytes": size, "pip's cache": "as it was"}
    finish("demo", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
