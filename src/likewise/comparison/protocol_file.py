"""Protocol file: `protocol.toml` of a comparison folder, everything that is held equal, frozen before the first trial.

Its digest stands in its first line, so a change by hand is seen. What a protocol consists of is not known here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import tomlkit

from likewise.errors import RunError
from likewise.files import printable

NAME = "protocol.toml"
_ANEW = "name another folder with --out; a protocol is settled before the first trial"
_NOTHING = object()


def freeze(mapping: Mapping[str, Any]) -> str:
    """The text of the file: `digest`, then the content in its own order. Values that are None are left out."""
    content = _plain(mapping)
    return tomlkit.dumps({"digest": digest(content)} | content)


def digest(mapping: Mapping[str, Any]) -> str:
    """sha256 over the content as canonical JSON. The order of keys does not matter, nor does 3 or 3.0."""
    text = json.dumps(_plain(mapping), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return sha256(text.encode()).hexdigest()


def read(path: Path, wanted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content without its digest. Raises RunError where it cannot be read or is not what was frozen.

    With `wanted`, what the comparison holds equal now, the first difference is named and refused too.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}", _ANEW) from None
    said = content.pop("digest", None)
    changed = compare_protocols(content, wanted) if wanted is not None else ""
    if said != digest(content):
        told = f": {changed}" if changed else ""
        raise RunError(f"{path} was changed after it was frozen{told}", f"put back what it said, or {_ANEW}")
    if changed:
        raise RunError(f"{path} is of another comparison: {changed}", _ANEW)
    return content


def compare_protocols(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The first difference as a clause, such as `seeds[2] was 2 and is now 3`; empty where there is none."""
    return _difference("", _plain(old), _plain(new))


def _difference(where: str, old: Any, new: Any) -> str:
    if type(old) is type(new) and isinstance(old, dict | list):
        keys = list(dict.fromkeys([*_keys(new), *_keys(old)]))
        found = (_difference(_place(where, key), _at(old, key), _at(new, key)) for key in keys)
        return next(filter(None, found), "")
    if old == new and type(old) is type(new):
        return ""
    if old is _NOTHING:
        return f"{where} was not there and is now {_shown(new)}"
    if new is _NOTHING:
        return f"{where} was {_shown(old)} and is not there now"
    return f"{where} was {_shown(old)} and is now {_shown(new)}"


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else list(range(len(value)))


def _at(value: Any, key: Any) -> Any:
    try:
        return value[key]
    except LookupError:
        return _NOTHING


def _place(where: str, key: Any) -> str:
    return f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}".lstrip(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= 60 else f"{text[:57]}...")


def _plain(value: Any) -> Any:
    """As TOML has it: no None, lists for tuples, and one spelling for each number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value if inner is not None]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
