"""Methods: one file each; the folder's listing is the registry, and outside packages join by the entry point
`likewise.methods`. Nothing else has to be told about a new method."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from likewise.errors import RecipeError

if TYPE_CHECKING:
    from likewise.method import Method


def names() -> list[str]:
    """Every method's name, sorted."""
    here = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted(here | {entry.name for entry in entry_points(group="likewise.methods")})


def get(name: str) -> Method[Any]:
    """The method called `name`; raises `RecipeError` with the nearest name."""
    wanted = name.strip().lower().replace("-", "_")
    if wanted not in names():
        close = difflib.get_close_matches(wanted, names(), n=1, cutoff=0.4)
        raise RecipeError(
            f"there is no method {name!r}",
            f"did you mean {close[0]}?" if close else f"methods: {', '.join(names())}",
        )
    for entry in entry_points(group="likewise.methods"):
        if entry.name == wanted:
            outside: Method[Any] = entry.load()
            return outside
    method: Method[Any] = importlib.import_module(f"{__name__}.{wanted}").METHOD
    return method
