"""Commands: what a person set on a page as the command line that does it. Paths are written from the root, where it runs.

Values follow their option after `=`, so that none of them can be taken for an option of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from likewise.errors import RunError
from likewise.studio.app import number, table, text, texts
from likewise.studio.root import CONCEPTS, Root

_KEY = re.compile(r"[a-z][a-z0-9_]{0,40}")


def told(root: Root, path: Path) -> str:
    """A path as it is written in a command; one that begins with a dash is no option."""
    return (
        (Path(".") / path.relative_to(root.folder)).as_posix()
        if path.is_relative_to(root.folder)
        else str(path)
    )


def concept(root: Root, asked: Mapping[str, Any]) -> Path:
    """The folder of the concept that is named; raises `RunError` where it is gone."""
    folder = root.find(CONCEPTS, text(asked, "concept", 300))
    if folder is None:
        raise RunError("this concept is not there any more", "go back to the first page")
    return folder


def settings(asked: Any, prefix: str = "") -> list[str]:
    """`key=value` for each setting that was given; raises `RunError` for what is none."""
    if not isinstance(asked, Mapping):
        return []
    found = []
    for key, value in asked.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise RunError(f"{key!r} is no setting")
        if isinstance(value, bool):
            value = str(value).lower()
        if value not in (None, ""):
            found.append(f"{prefix}{key}={text({key: value}, key)}")
    return found


def words(asked: Mapping[str, Any], concept: Mapping[str, Any]) -> list[str]:
    """Noun, token and base, as teach, estimate and compare take them."""
    noun = text(asked, "noun", 60) or concept["noun"]
    if not noun:
        raise RunError(
            "nobody has said what the pictures show", "write it on the page of the concept: dog, mug, person"
        )
    token, base = text(asked, "token", 60) or concept["token"], text(asked, "base", 500) or "pocket"
    return [f"--noun={noun}", *([f"--token={token}"] if token else []), f"--base={base}"]


def teach(root: Root, pictures: Path, asked: Mapping[str, Any], method: str, out: str) -> list[str]:
    """`likewise teach` for one method."""
    concept = root.concept(pictures)
    previews = [f"--preview={prompt}" for prompt in texts(asked, "previews", 8)]
    seeds = number(asked, "seeds", 1, 1, 16)
    return [
        "teach", told(root, pictures), *words(asked, concept), f"--method={method}", *previews,
        *([f"--seeds={seeds}"] if seeds > 1 else []), f"--out={out}", *settings(table(asked, "settings").get(method)),
    ]  # fmt: skip


def estimate(root: Root, pictures: Path, asked: Mapping[str, Any]) -> list[str]:
    """`likewise estimate` for methods that share settings."""
    return [
        "estimate",
        told(root, pictures),
        *words(asked, root.concept(pictures)),
        f"--methods={','.join(texts(asked, 'methods'))}",
        *settings(asked.get("given")),
        "--json",
    ]


def compare(root: Root, pictures: Path, asked: Mapping[str, Any], out: str) -> list[str]:
    """`likewise compare`."""
    methods = [one for one in texts(asked, "methods", 20) if _KEY.fullmatch(one)]
    extra = [f"--condition={one}" for one in texts(asked, "conditions", 12)]
    if not methods and not extra:
        raise RunError("nothing is ticked", "tick at least one method")
    size, description = text(asked, "size", 20) or "quick", text(asked, "description", 300)
    given = table(asked, "settings")
    return [
        "compare", told(root, pictures), *words(asked, root.concept(pictures)),
        f"--methods={','.join(methods) if methods else 'none'}", *extra, f"--size={size}",
        *([f"--description={description}"] if description else []), *(["--tune"] if asked.get("tune") is True else []),
        f"--out={out}", *(one for method in methods for one in settings(given.get(method), f"{method}.")),
    ]  # fmt: skip


def sample(asked: Mapping[str, Any], taught: Sequence[tuple[str, float]], out: str) -> list[str]:
    """`likewise sample`; prompts come behind `--`, as one may begin with a dash."""
    prompts = texts(asked, "prompts", 12)
    if not prompts:
        raise RunError("there is no prompt", "write what is to be seen")
    options = [
        f"--{key}={value}"
        for key in ("steps", "guidance", "size", "negative")
        if (value := text(asked, key, 300))
    ]
    base = text(asked, "base", 500)
    return [
        "sample", *(f"--with={name}:{strength:g}" for name, strength in taught), *([f"--base={base}"] if base else []),
        f"--count={number(asked, 'count', 4, 1, 64)}", f"--seed={number(asked, 'seed', 0, 0, 2**32 - 1)}", *options,
        f"--out={out}", "--", *prompts,
    ]  # fmt: skip
