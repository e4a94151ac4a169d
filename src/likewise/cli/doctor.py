"""`likewise doctor`: is this machine fit, and what to do where it is not.

The report is made for passing on: it holds no secret, and no home folder's name.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from likewise.cache import home
from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.cli.guard import FAILED
from likewise.wording import size_text

LEAST_FREE = 5 * 10**9
"""Bytes: room for one Stable Diffusion base and a few runs."""
_SCAN_SECONDS = 2.0


@dataclass(frozen=True)
class Finding:
    """One line of the report. `bad` means that likewise cannot work."""

    state: Literal["ok", "warn", "bad"]
    what: str
    found: str
    advice: str = ""


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this machine and say what to do.

    \b
    Example:
      likewise doctor
      likewise doctor --json    for a bug report
    """
    findings = list(examine())
    if as_json:
        terminal.result_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            terminal.result(f"{finding.what:<15} {finding.found}", finding.state)
            if finding.advice:
                terminal.paragraph(f"-> {finding.advice}", indent=" " * 22)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FAILED)


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which to read them."""
    yield from _software()
    yield from _torch()
    yield from _torchvision()
    yield from _memory()
    yield from _embedded()
    yield from _folders()
    yield from _hub()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError  # takes longer to import than all of --help
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return None


def _software() -> Iterator[Finding]:
    import platform

    yield Finding("ok", "likewise", _version("likewise") or "from its source folder, not installed")
    old = sys.version_info < (3, 11)
    advice = "likewise needs Python 3.11 or newer" if old else ""
    yield Finding("bad" if old else "ok", "python", platform.python_version(), advice)
    yield Finding("ok", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    for package in ("diffusers", "transformers", "huggingface_hub"):
        found = _version(package)
        advice = "" if found else f"pip install {package}"
        yield Finding("ok" if found else "bad", package, found or "not installed", advice)


def _torch() -> Iterator[Finding]:
    found, trouble = _probe()
    if found is None:
        yield Finding("bad", "torch", trouble, "install torch again; see https://pytorch.org/get-started")
        return
    yield Finding("ok", "torch", found["torch"])
    threads, cores = found["threads"], os.cpu_count() or 1
    few = found["best"] == "cpu" and threads < cores // 2
    advice = "OMP_NUM_THREADS in the environment may hold it back" if few else ""
    yield Finding("warn" if few else "ok", "threads", f"{threads} of {cores} cores", advice)
    cpu = found["best"] == "cpu"
    advice = "the pocket model is quick on a CPU; Stable Diffusion itself wants a GPU" if cpu else ""
    yield Finding("ok", "devices", ", ".join(found["devices"]), advice)
    native = "computed natively" if found["bf16"] else "not native here, so precision=auto means fp32"
    yield Finding("ok", "bf16", native)


def _probe() -> tuple[dict[str, Any] | None, str]:
    import subprocess

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "likewise.cli.probe"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=180, env=environment, check=False
        )
        return json.loads(done.stdout), ""
    except subprocess.TimeoutExpired:
        return None, "did not import within three minutes"
    except ValueError:
        last = next(iter(done.stderr.strip().splitlines()[::-1]), f"ended with code {done.returncode}")
        return None, f"does not import: {last}"


def _torchvision() -> Iterator[Finding]:
    """likewise does without it, but one built for another torch breaks the import of transformers."""
    found = _version("torchvision")
    if found is None:
        yield Finding("ok", "torchvision", "not installed, not needed")
        return
    import subprocess

    command = [sys.executable, "-c", "import torchvision"]
    works = subprocess.run(command, capture_output=True, check=False).returncode == 0
    advice = (
        "" if works else "it does not fit this torch: pip uninstall torchvision, or install the matching one"
    )
    yield Finding(
        "ok" if works else "bad", "torchvision", found if works else f"{found}, does not import", advice
    )


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    low = memory.available < 2 * 10**9
    found = f"{size_text(memory.available)} free of {size_text(memory.total)}"
    advice = "close other programs; the pocket model alone wants about 2 GB" if low else ""
    yield Finding("warn" if low else "ok", "memory", found, advice)


def _embedded() -> Iterator[Finding]:
    from importlib.resources import files

    there = files("likewise").joinpath("pocket/model/model_index.json").is_file()
    advice = "" if there else "install likewise again; other bases work without it"
    yield Finding("ok" if there else "warn", "pocket model", "there" if there else "missing", advice)


def _folders() -> Iterator[Finding]:
    yield _writable("runs", Path.cwd())
    yield _writable("cache", home())
    places = {os.stat(place).st_dev: place for place in (_existing(home()), Path.cwd())}
    for place in places.values():
        free = shutil.disk_usage(place).free
        advice = "a run keeps checkpoints; delete old runs, or the cache" if free < LEAST_FREE else ""
        text = f"{size_text(free)} free at {terminal.short(place)}"
        yield Finding("warn" if advice else "ok", "disk", text, advice)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _writable(what: str, folder: Path) -> Finding:
    found = (
        f"{terminal.short(folder)}, {_contents(folder)}"
        if what == "cache"
        else f"in {terminal.short(folder)}"
    )
    if os.access(_existing(folder), os.W_OK):
        return Finding("ok", what, found)
    variable = (
        "set LIKEWISE_HOME to a folder of yours"
        if what == "cache"
        else "go to a folder of yours, or use --out"
    )
    return Finding("warn", what, f"{found}, not writable", variable)


def _contents(folder: Path) -> str:
    """How much lies in a folder, counted for two seconds at most; links are not followed, nor counted."""
    total, until = 0, time.monotonic() + _SCAN_SECONDS
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
        if time.monotonic() > until:
            return f"more than {size_text(total)}"
    return size_text(total) if total else "empty"


def _hub() -> Iterator[Finding]:
    if _version("huggingface_hub") is None:
        return
    from huggingface_hub import constants, get_token

    cache = Path(constants.HF_HUB_CACHE)
    yield Finding("ok", "Hub cache", f"{terminal.short(cache)}, {_contents(cache)}")
    known = "set" if get_token() else "not set; public bases need none"
    yield Finding("ok", "Hub token", known)
    flags = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    advice = "bases that are not in the Hub cache cannot be fetched" if flags else ""
    yield Finding(
        "ok", "network", f"offline by {', '.join(flags)}" if flags else "used only for Hub ids", advice
    )
