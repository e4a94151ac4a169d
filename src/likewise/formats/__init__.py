"""Formats: file layouts, one file each; the folder's listing is the registry.

Formats know tensors and names; they import no family and no method. Files whose names begin with `_` are
shared parts: canonical module names, tensor mathematics, metadata.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.formats._check import verify
from likewise.formats.layout import Contents, Layout, Saving, examine

STREAMED = frozenset({"dreambooth"})
"""Methods whose files are too large to be read back after writing."""

__all__ = ["Contents", "Layout", "Saving", "examine", "get", "names", "read", "recognise", "write"]


def names() -> list[str]:
    """Every layout's name, sorted."""
    here = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in here if not name.startswith("_") and name != "layout")


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
    hint = "`likewise inspect` shows what is in it"
    raise FormatError(f"{contents.path} holds tensors of no layout that is known here", hint)


def read(path: Path) -> Artifact:
    """Read what was taught, in whatever layout it is kept."""
    contents = examine(path)
    return recognise(contents).read(contents)


def write(artifact: Artifact, path: Path, layout: str = "native", saving: Saving | None = None) -> Path:
    """Write `artifact` in a layout; raises `FormatError` in words where the two do not fit.

    What was written is read back and compared before it takes its place, so a wrong file never does.
    """
    chosen, path = get(layout), Path(path)
    saving = saving or Saving()
    saving = replace(saving, title=saving.title or path.stem)
    chosen.refuse_unsupported(artifact)
    if artifact.method in STREAMED:
        return chosen.write(artifact, path, saving)
    dtype = saving.dtype or chosen.usual
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as folder:
        made = chosen.write(artifact, Path(folder) / path.name, replace(saving, dtype=dtype))
        verify(chosen.kept(artifact), read(made), dtype)
        return write_with(path, made.replace)
