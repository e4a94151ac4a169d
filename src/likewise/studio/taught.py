"""Taught: every file of weights that the root has, with what a look at its header tells."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise import inspection
from likewise.errors import Error
from likewise.files import size_of
from likewise.studio import cards
from likewise.wording import size_text

if TYPE_CHECKING:
    from likewise.studio.app import Studio

NOT_LOADED = ("refuses it",)


def taught(studio: Studio, *, most: int) -> list[dict[str, Any]]:
    """Files in short, the newest first."""
    return [look(studio, known, path) for known, path in islice(studio.root.files(), most)]


def matching(studio: Studio, search: str) -> Iterable[tuple[str, Path]]:
    """Files whose name holds every word that is looked for."""
    words = search.lower().split()
    return (
        (known, path) for known, path in studio.root.files() if all(word in known.lower() for word in words)
    )


def look(studio: Studio, known: str, path: Path) -> dict[str, Any]:
    """One file: kind, trigger, size, and which programs load it."""
    stamp = path.stat().st_mtime_ns
    return {
        "id": known,
        "path": str(path),
        **studio.root.kept("file", path, stamp, lambda: _look(known, path)),
    }


def _look(known: str, path: Path) -> dict[str, Any]:
    run = known.partition("~")[0]
    plain = {
        "name": path.name,
        "run": run,
        "size": size_text(size_of(path)),
        "where": "taught here" if run else "library",
    }
    try:
        found = inspection.inspect(path)
    except (Error, OSError) as error:
        return {**plain, "kind": "unreadable", "trigger": "",
            "noun": "", "loads": [], "refused": [], "draws": False, "note": str(error),
                "family": "", "layout": "", **cards.moment(path.stat().st_mtime)}  # fmt: skip
    programs = [
        {"name": name, "how": how} for name, how in found.portability.items() if how not in NOT_LOADED
    ]
    return {
        **plain,
        "kind": found.kind,
        "trigger": ", ".join(found.trigger_words),
        "layout": found.layout,
        "family": found.family,
        "loads": programs,
        "refused": [name for name, how in found.portability.items() if how in NOT_LOADED],
        "draws": any(one["name"] == "likewise" for one in programs),
        "note": "; ".join(one for one in found.notes if one != inspection.UNREAD),
        "noun": found.metadata.get("likewise.noun", ""),
        "method": found.metadata.get("likewise.method", ""),
        **cards.moment(path.stat().st_mtime),
    }
