"""Trees of pickled files: every tensor in them by its name, whether its numbers were read or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from likewise.errors import FormatError
from likewise.weights.pickled import Unread

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
MOST_LEVELS, MOST_NODES = 8, 100_000
"""The most of a pickled tree that is read. A few bytes can spell one without end."""


def tensors_in(tree: Any, path: Path) -> dict[str, Tensor]:
    """The named tensors of what `read_object(path)` gave, opened from its `state_dict` if it has one.

    Names of nested ones are joined by dots, places in lists and tuples counted from 0: `768.0.linear.0.weight`. A
    bare tensor is called "".
    """
    from torch import Tensor

    return _named(tree, path, Tensor)


def unread_in(tree: Any, path: Path) -> dict[str, Unread]:
    """The same of a tree that was read without its data."""
    return _named(tree, path, Unread)


def _named(tree: Any, path: Path, kind: type[T]) -> dict[str, T]:
    # `dict.get(tree, ...)`: a pickle can hang attributes named `get` and `items` on its dictionaries
    inner = dict.get(tree, "state_dict", tree) if isinstance(tree, dict) else tree
    found: dict[str, T] = {}
    for name, tensor in _walk(inner, path, kind):
        if name in found:
            raise FormatError(f"{path} holds two tensors called {name!r}")
        found[name] = tensor
    if not found:
        raise FormatError(f"{path} holds no tensors")
    return found


def _walk(tree: Any, path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Every tensor of a tree in its order, with its name."""
    pending: list[tuple[tuple[str, ...], Any]] = []
    if isinstance(tree, dict | list | tuple | kind):
        pending = [((), tree)]
    seen = 0
    while pending:
        place, node = pending.pop()
        if isinstance(node, kind):
            yield ".".join(place), node
            continue
        named = dict.items(node) if isinstance(node, dict) else enumerate(node)
        children = [(str(k), child) for k, child in named if isinstance(child, dict | list | tuple | kind)]
        seen += len(children)
        if seen > MOST_NODES or (children and len(place) == MOST_LEVELS):
            raise FormatError(f"{path} is nested beyond all measure", "nothing of it was run")
        pending += [((*place, key), child) for key, child in reversed(children)]
