"""The registry of model families, and the way from what a person typed to a loaded base.

A family is one file of this folder with `FAMILY`, a subclass of `Base`; outside packages add theirs with an
entry point of the group `likewise.families`. Nothing heavy is imported until a family is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import json
import logging
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from likewise.errors import BaseError, Error, FormatError
from likewise.files import expand
from likewise.narrow import left_out
from likewise.weights import read_shapes

if TYPE_CHECKING:
    from likewise.base import Base

logger = logging.getLogger(__name__)

GROUP = "likewise.families"
POCKET = Path(__file__).parents[1] / "pocket" / "model"
LARGE = 2**29
"""Bytes of weights from which on they stay in the precision of their file."""
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth")
READABLE = (
    "a base is `pocket`, a diffusers folder, a single .safetensors or .ckpt file, or a Hub id such as "
    "owner/name; `tiny:sd` is a random miniature"
)


def names() -> list[str]:
    """Every family that can be loaded, sorted."""
    return sorted({*_built_in(), *(point.name for point in entry_points(group=GROUP))})


def _built_in() -> list[str]:
    return [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]


def get(name: str) -> type[Base]:
    """The class of family `name`; raises `BaseError` with the nearest name."""
    if name in _built_in():
        return importlib.import_module(f"{__name__}.{name}").FAMILY
    for point in entry_points(group=GROUP):
        if point.name == name:
            found = point.load()
            return getattr(found, "FAMILY", found)
    hint = _nearest(name, names()) or f"there are {', '.join(names())}"
    raise BaseError(f"there is no family {name!r}", hint)


def load(
    source: str,
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    weights: Literal["auto", "float32", "file"] = "auto",
) -> Base:
    """The base that `source` names, with its arithmetic chosen; raises `BaseError` with what was tried.

    `device="auto"` is the accelerator where there is one, and the CPU for miniatures. `precision="auto"` is bf16
    where the hardware computes it natively, else fp32. `weights="auto"` keeps large frozen weights as their file has
    them, and widens small ones to float32, which computes faster. The numbers are the same.
    """
    from likewise.devices import arithmetic, best_device

    if device == "auto":
        device = "cpu" if str(source).startswith("tiny:") else best_device()
    base = _load(str(source), device, weights)
    base.precision = arithmetic(base.device, precision)
    return base


def _load(source: str, device: str, weights: Literal["auto", "float32", "file"]) -> Base:
    if source.startswith("tiny:"):
        return _load_tiny(source, device)
    path = locate(source)
    family = family_of_folder(path) if path.is_dir() else family_of_file(path)
    if weights == "auto":
        weights = "file" if _bytes(path) > LARGE else "float32"
    base = family.load(str(path), device=device, weights=weights)
    if source == "pocket" or not expand(source).exists():
        base.name = source
    return base


def locate(source: str) -> Path:
    """The folder or single file that `source` names, fetched from the Hub where it is a Hub id.

    Every command and function that takes a base asks this one. Raises `BaseError` with what was tried: also for a
    miniature (`tiny:...`), which is made in memory and lies nowhere.
    """
    if source == "pocket":
        if not (POCKET / "model_index.json").is_file():
            raise BaseError(
                f"the pocket model is not in {POCKET}", "install likewise again or name another base"
            )
        return POCKET
    if source.startswith("tiny:"):
        raise BaseError(f"{source} is a miniature in memory and has no files", READABLE)
    if not source.strip():
        raise BaseError("the base has no name", READABLE)
    path = expand(source)
    if path.is_dir() or path.is_file():
        return path
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) and path.suffix not in SINGLE_FILES:
        return hub_folder(source)
    raise BaseError.missing(f"there is no base {source!r}", _neighbour(path) or READABLE)


def advised(source: str, method: str) -> tuple[Mapping[str, Any], str]:
    """The settings that the maker of a base advises for a method, and the name of the file that says so.

    No weights are read. Both are empty where nobody advises. Raises `BaseError` as `locate` does.
    """
    from likewise.families._advice import advice, advice_file

    if source.startswith("tiny:"):
        return {}, ""
    path = locate(source)
    return advice(path).recipes.get(method, {}), advice_file(path).name


def _bytes(path: Path) -> int:
    """Size of the largest file of weights in a checkpoint."""
    files = (
        [path] if path.is_file() else [f for f in path.glob("*/*") if f.suffix in (".safetensors", ".bin")]
    )
    return max((file.stat().st_size for file in files), default=0)


def resolved(source: str) -> str:
    """`source` as it can be found from any folder: absolute where it lies on this disk, else the name that it is."""
    if source == "pocket" or source.startswith("tiny:") or not source.strip():
        return source
    path = expand(source)
    return str(path.absolute()) if path.exists() else source


def _load_tiny(source: str, device: str) -> Base:
    """`tiny:FAMILY[:SEED]`; one of a family's `tiny_variants` may stand for it, as in `tiny:sd2`."""
    _, kind, *rest = source.split(":")
    if len(rest) > 1 or not all(part.isdecimal() for part in rest):
        raise BaseError(f"{source!r} is not a miniature", "write tiny:FAMILY or tiny:FAMILY:SEED")
    seed = int(rest[0]) if rest else 0
    base = _miniature(kind)(seed)
    base.name = source
    for component in base.components().values():
        component.to(device)
    return base


def _miniature(kind: str) -> Callable[[int], Base]:
    if kind not in names():
        for name in names():
            family: Any = get(name)
            variants: dict[str, Callable[[int], Base]] = getattr(family, "tiny_variants", dict)()
            if kind in variants:
                return variants[kind]
    return get(kind).tiny


def family_of_folder(folder: Path) -> type[Base]:
    """The family whose pipeline the folder's `model_index.json` declares."""
    index = folder / "model_index.json"
    try:
        declared = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except FileNotFoundError:
        hint = "a diffusers folder has one, beside unet/ and vae/"
        raise BaseError(f"{folder} has no model_index.json", hint) from None
    except (ValueError, OSError, AttributeError) as error:
        raise BaseError(f"{index} cannot be read: {error}") from None
    known: list[str] = []
    for name in names():
        family = get(name)
        if declared in family.pipelines:
            return family
        known.extend(family.pipelines)
    hint = f"readable are {', '.join(sorted(known))}"
    raise BaseError(f"{folder} is a {declared}, which no family reads", hint)


def family_of_file(path: Path) -> type[Base]:
    """The family that recognises a single file by the names and shapes in it; nothing else of it is read."""
    if path.suffix not in SINGLE_FILES:
        raise BaseError(f"{path} is not a checkpoint", READABLE)
    try:
        shapes = read_shapes(path)
    except FormatError as error:
        raise BaseError(error.message, error.hint) from error
    for name in names():
        family: Any = get(name)
        recognises = getattr(family, "recognises", None)
        if recognises is not None and recognises(shapes):
            return family
    raise BaseError(f"{path} holds no model that likewise can teach", _looks_like(shapes))


def _looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    if any("lora_" in key for key in shapes):
        return "it looks like a LoRA, which is put on a base and is not one"
    if 0 < len(shapes) < 8:
        return "it holds only a few tensors: an embedding or an adapter, not a base"
    return f"the families here are {', '.join(names())}"


def hub_folder(repository: str) -> Path:
    """The local copy of a Hub repository's diffusers folder, fetched unless `HF_HUB_OFFLINE` says no."""
    if (
        "transformers" in left_out()
    ):  # the diffusers of this process computes, and cannot tell what a pipeline needs
        return _fetched_elsewhere(repository)
    from diffusers import DiffusionPipeline

    reasons = []
    unwanted: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    for variant in (None, "fp16"):
        try:
            kept = DiffusionPipeline.download(repository, variant=variant, use_safetensors=True, **unwanted)
            return Path(kept)
        except Error:
            raise
        except Exception as error:  # the Hub's, the network's and diffusers' own; all mean: not here
            reasons.append((str(error).strip() or type(error).__name__).splitlines()[0].split(" (")[0][:160])
    logger.debug("Hub download of %s failed: %s", repository, reasons)
    raise BaseError(
        f"{repository!r} is no folder here, and the Hub does not give it: {reasons[0].rstrip('.')}",
        "go online, fetch it first with `hf download`, or name a local folder or file",
    )


def _fetched_elsewhere(repository: str) -> Path:
    """`hub_folder`, in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", _FETCH, repository], stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    if "folder" in answer:
        return Path(answer["folder"])
    raise BaseError(answer.get("message", f"{repository!r} cannot be fetched"), answer.get("hint"))


_FETCH = """
import json, sys
from likewise.errors import Error
from likewise.families import hub_folder
try:
    print(json.dumps({"folder": str(hub_folder(sys.argv[1]))}))
except Error as error:
    print(json.dumps({"message": error.message, "hint": error.hint}))
"""


def _nearest(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else None


def _neighbour(path: Path) -> str | None:
    """The nearest name in the folder where `path` should have been, or among the words that always work."""
    words = ["pocket", *(f"tiny:{name}" for name in names())]
    try:
        beside = sorted(found.name for found in path.parent.iterdir())
    except OSError:
        beside = []
    close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.6)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    return _nearest(str(path), words)
