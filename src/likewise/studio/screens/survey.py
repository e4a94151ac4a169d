"""Survey: what people publish and download, from a store that `likewise survey` has filled; the same page as its report."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise.reports import survey as report
from likewise.studio.app import Studio

STORE = "survey.duckdb"
COMMAND = ["-m", "likewise", "survey", "stats", "--json", f"--store={STORE}"]


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, which says how a survey is made where there is none."""
    store = studio.root.folder / STORE

    def stamp() -> str:
        return str(store.stat().st_mtime_ns)

    def show(request: Request) -> Response:
        found = studio.facts.known(COMMAND, stamp()) if store.exists() else None
        if not isinstance(found, dict) or "snapshot" not in found:
            script = "survey.js" if store.exists() else None
            return studio.page("survey_empty.html.j2", "survey", script, there=store.exists())
        look = {
            "layout": "report.html.j2",
            "sheets": ("page.css", "survey.css", "studio.css"),
            "tabs": (),
            "tab": "",
        }
        return studio.page("survey.html.j2", "survey", None, **report.view(found) | look)

    def count(request: Request) -> Response:
        found = studio.facts.ask(COMMAND, stamp()) if store.exists() else {"error": "there is no store yet"}
        return JSONResponse({"error": found["error"]} if "error" in found else {"ready": True})

    return [Route("/survey", show), Route("/api/survey", count)]
