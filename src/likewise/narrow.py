"""Importing a large library narrowly: only what is used of it, in a process that is likewise's own.

`import diffusers...` brings every model and scheduler that it knows, transformers, SciPy and torch's compiler along: three
seconds of a start. In the processes of the command line and of its workers, `narrowly` leaves out what does not compute.
In a process that somebody else began, which may want all of diffusers later, it does nothing.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

GROUPS = ("likewise.families", "likewise.methods")
_own = False
_left_out: set[str] = set()


def own_process() -> None:
    """Say that nobody else uses this process, so that imports may be narrow. Asked for by `cli.main` and by workers."""
    global _own
    # What another package adds may want all of diffusers.
    _own = not any(entry_points(group=group) for group in GROUPS)


def left_out() -> frozenset[str]:
    """Packages that a library of this process takes to be missing."""
    return frozenset(_left_out)


@contextmanager
def narrowly(*, absent: Sequence[str], late: Sequence[str]) -> Iterator[None]:
    """Import within this block as if the packages `absent` were not installed, and those of `late` only where needed.

    A library must do without each of `absent`. Packages of `late` are those whose `__init__` only gathers names: one of
    its modules is imported without it, and it runs when somebody asks for a name. Afterwards everything can be imported.
    """
    if not _own:
        yield
        return
    hidden = [name for name in absent if name not in sys.modules]
    _left_out.update(hidden)
    finder = _Late(late)
    with ExitStack() as undo:
        for name in hidden:
            sys.modules[name] = None  # type: ignore[assignment] # so the language says: not to be found
            undo.callback(sys.modules.pop, name, None)
        sys.meta_path.insert(0, finder)
        undo.callback(sys.meta_path.remove, finder)
        # The files of every installed package are read to learn which of them have another name than their module.
        _swap(undo, importlib.metadata, "packages_distributions", _same_names)
        if "torch._dynamo" in hidden:
            import torch

            # Told to stay out of a function, the compiler is loaded. Uncompiled, the function is the same.
            _swap(undo, torch.compiler, "disable", _uncompiled)
        yield


def _swap(undo: ExitStack, owner: ModuleType, name: str, value: Any) -> None:
    """Let `owner.name` be `value` until `undo` is closed."""
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _same_names() -> Mapping[str, list[str]]:
    return {}


def _uncompiled(function: Any = None, **_options: Any) -> Any:
    return (lambda one: one) if function is None else function


class _Late(MetaPathFinder):
    """Finds the packages `names` where they are, and has them run later."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The package's own spec, with a loader that waits."""
        if fullname not in self.names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Waiting(spec.loader)
        return spec


class _Waiting(Loader):
    """Makes a module without running it."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty package, whose modules can be imported."""
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""
        module.__loader__ = self.real
        if module.__spec__ is not None:
            module.__spec__.loader = self.real


class _Package(ModuleType):
    """A package that runs when a name is asked of it. It may then put another module in its place, as lazy ones do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{self.__name__} has no {name}")
        run = self.__dict__.get("__loader__")
        if run is not None and not self.__dict__.get("_ran"):
            self.__dict__["_ran"] = True
            run.exec_module(self)
        if name in self.__dict__:
            return self.__dict__[name]
        successor = sys.modules.get(self.__name__, self)
        if successor is self:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(successor, name)
