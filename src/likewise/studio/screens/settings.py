"""Settings: whether this machine is fit, what to do where it is not, and where everything lies."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise.cache import home
from likewise.studio.app import Studio, post
from likewise.studio.root import COMPARISONS, CONCEPTS, DRAWINGS, LIBRARY, RUNS, TRASH
from likewise.wording import size_text

PLACES = {
    CONCEPTS: "pictures that you brought",
    RUNS: "what was taught",
    COMPARISONS: "comparisons",
    DRAWINGS: "pictures that were drawn",
    LIBRARY: "files that were converted, merged or brought along",
    TRASH: "what was thrown away; empty it by hand",
}


def routes(studio: Studio) -> list[BaseRoute]:
    """The page and the report of the doctor."""

    def show(request: Request) -> Response:
        found = studio.facts.known(["-m", "likewise", "doctor", "--json"])
        places = [
            {"name": name, "what": what, "count": _count(studio, name)} for name, what in PLACES.items()
        ]
        return studio.page(
            "settings.html.j2",
            "settings",
            "settings.js",
            findings=found if isinstance(found, list) else None,
            places=places,
            root=str(studio.root.folder),
            cache=str(home()),
            version=_version(),
        )

    def doctor(request: Request, asked: dict[str, Any]) -> Any:
        found = studio.facts.ask(["-m", "likewise", "doctor", "--json"], anew=asked.get("anew") is True)
        return {"findings": found} if isinstance(found, list) else found

    def storage(request: Request) -> Response:
        total = {
            name: sum(
                p.stat().st_size
                for p in (studio.root.folder / name).rglob("*")
                if p.is_file() and not p.is_symlink()
            )
            for name in PLACES
        }
        return JSONResponse({name: size_text(size) for name, size in total.items()})

    return [Route("/settings", show), post("/api/doctor", doctor), Route("/api/storage", storage)]


def _count(studio: Studio, name: str) -> int:
    place = studio.root.folder / name
    return sum(1 for one in place.iterdir() if not one.name.startswith(".")) if place.is_dir() else 0


def _version() -> str:
    try:
        return importlib.metadata.version("likewise")
    except importlib.metadata.PackageNotFoundError:
        return "from its source folder"
