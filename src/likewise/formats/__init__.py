"""Formats: file layouts, one file each; the folder's listing is the registry.

Formats know tensors and names; they import no family and no method. Files whose names begin with `_` are
shared parts: canonical module names, tensor mathematics, metadata.
"""

from __future__ import annotations

import difflib
import importlib
import math
import pkgutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.formats._check import verify
from likewise.formats.layout import Contents, Dtype, Identity, Layout, Saving, examine
from likewise.naming.foreign import KNOWN_HERE, by_layers

__all__ = [
    "Contents",
    "Identity",
    "Layout",
    "Saving",
    "examine",
    "foreign",
    "get",
    "names",
    "open_artifact",
    "precision_of",
    "read",
    "recognise",
    "write",
]


def names() -> list[str]:
    """Every layout's name, sorted."""
    return [*_listed(tuple(__path__))]


@cache
def _listed(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The listing of the folders, taken once: a library of files asks for it hundreds of times."""
    here = (module.name for module in pkgutil.iter_modules(folders))
    return tuple(sorted(name for name in here if not name.startswith("_") and name != "layout"))


def get(name: str) -> Layout:
    """The layout called `name`; raises `FormatError` with the nearest name."""
    wanted = name.strip().lower().replace("-", "_")
    if wanted not in names():
        close = difflib.get_close_matches(wanted, names(), n=1, cutoff=0.4)
        hint = f"did you mean {close[0]}?" if close else f"layouts: {', '.join(names())}"
        raise FormatError(f"there is no layout {name!r}", hint)
    layout: Layout = importlib.import_module(f"{__name__}.{wanted}").LAYOUT
    return layout


def recognise(contents: Contents) -> Layout:
    """The layout of a file; raises `FormatError` if none or several know it."""
    found = [layout for layout in map(get, names()) if layout.sniff(contents)]
    if len(found) == 1:
        return found[0]
    if found:
        several = " and ".join(layout.name for layout in found)
        raise FormatError(f"{contents.path} could be {several}", "please report this file's tensor names")
    if model := foreign(contents):
        raise FormatError(
            f"{contents.path} was taught for {model}, a model that is not known here", KNOWN_HERE
        )
    if contents.form == "folder":
        raise FormatError(f"{contents.path} is neither a run nor a folder of weights that is known here")
    hint = "`likewise inspect` shows what is in it"
    raise FormatError(f"{contents.path} holds tensors of no layout that is known here", hint)


def foreign(contents: Contents) -> str:
    """The model that a file of no layout belongs to, by its names; nothing where they do not tell."""
    widths = {side for shape in contents.shapes.values() for side in shape[-1:]}
    return by_layers([name.rpartition(".")[0] for name in contents.shapes], widths)


def read(path: Path) -> Artifact:
    """Read what was taught, in whatever layout it is kept."""
    return open_artifact(examine(path))


def open_artifact(contents: Contents) -> Artifact:
    """Read what `examine` saw, with the precision in which the file keeps it."""
    artifact = recognise(contents).read(contents)
    return replace(artifact, precision=precision_of(contents))


def precision_of(contents: Contents) -> str:
    """The choice of `Saving.dtype` that holds every number of a file, and no more; empty where the file does not tell.

    Single numbers, such as alphas, do not count. Codes of 8 bits fit into half precision, unless they have a scale.
    """
    if contents.form == "picture":  # the numbers are spelled out in it
        return "float32"
    inner = [contents]
    if contents.form == "folder":
        inner = [examine(file) for file in sorted(contents.path.glob("**/*.safetensors"))]
    kept = {
        "F32" if name in one.scaled else dtype
        for one in inner
        for name, dtype in one.dtypes.items()
        if math.prod(one.shapes[name]) > 1
    }
    kept = {"F16" if dtype.startswith("F8") else dtype for dtype in kept}
    if kept & {"F64", "F32"} or {"F16", "BF16"} <= kept:
        return "float32"
    return {"F16": "float16", "BF16": "bfloat16"}.get(next(iter(kept & {"F16", "BF16"}), ""), "")


def write(artifact: Artifact, path: Path, layout: str = "native", saving: Saving | None = None) -> Path:
    """Write `artifact` in a layout; raises `FormatError` in words where the two do not fit.

    What was written is read back and compared before it takes its place, so a wrong file never does.
    """
    chosen, path = get(layout), Path(path)
    saving = saving or Saving()
    saving = replace(saving, title=saving.title or path.stem)
    chosen.refuse_unsupported(artifact)
    dtype = saving.dtype or _fitting(artifact.precision, chosen.usual)
    if artifact.kind.streamed:
        return chosen.write(artifact, path, replace(saving, dtype=dtype))
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        made = chosen.write(artifact, Path(folder) / path.name, replace(saving, dtype=dtype))
        verify(chosen.kept(artifact), read(made), dtype)
        return write_with(path, made.replace)


def _fitting(precision: str, usual: Dtype) -> Dtype:
    """What is usual in a layout, where that holds every number of a file kept in `precision`; else `precision`."""
    if precision in ("bfloat16", "float32") and usual != "float32":
        return cast(Dtype, precision)
    return usual
