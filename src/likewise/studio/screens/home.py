"""Home: what is at work, what was done last, and where to begin."""

from __future__ import annotations

import shutil
from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise.studio import cards
from likewise.studio.app import Studio
from likewise.studio.root import COMPARISONS, RUNS
from likewise.wording import size_text

RECENT = 8


def routes(studio: Studio) -> list[BaseRoute]:
    """The first page, and what of it changes while work goes on."""

    def home(request: Request) -> Response:
        active = cards.active(studio)
        busy = {(one["kind"], one["name"]) for one in active}
        recent = {
            kind: [make(studio, folder) for folder in islice(_idle(kind, busy), RECENT)]
            for kind, make in ((RUNS, cards.run), (COMPARISONS, cards.comparison))
        }
        total = len(studio.root.listing(RUNS))
        studio.facts.ahead(studio.facts.methods, studio.facts.doctor)
        return studio.page(
            "home.html.j2", "home", "home.js", at_work=active, runs=recent[RUNS], comparisons=recent[COMPARISONS],
            concepts=cards.concepts(studio)[:RECENT], total=total, machine=_machine(studio), folder=studio.root.folder.name,
        )  # fmt: skip

    def _idle(kind: str, busy: set[tuple[Any, ...]]) -> Any:
        return (path for name, path in studio.root.listing(kind).items() if (kind, name) not in busy)

    def now(request: Request) -> Response:
        keep = ("kind", "name", "title", "below", "status", "done", "words", "picture")
        return JSONResponse([{key: one.get(key) for key in keep} for one in cards.active(studio)])

    return [Route("/", home), Route("/api/now", now)]


def _machine(studio: Studio) -> list[tuple[str, str]]:
    """What this machine can do, in a line; what takes torch to know is there once somebody has asked."""
    import psutil

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(studio.root.folder)
    known = studio.facts.known(["-m", "likewise", "doctor", "--json"])
    devices = next(
        (one["found"] for one in known or () if isinstance(one, dict) and one.get("what") == "devices"), ""
    )
    facts = [
        ("Device", devices.partition(",")[0] if devices else "being looked at"),
        ("Memory", f"{size_text(memory.available)} free of {size_text(memory.total)}"),
        ("Disk", f"{size_text(disk.free)} free"),
    ]
    return facts
