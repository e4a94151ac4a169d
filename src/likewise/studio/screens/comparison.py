"""Comparison: watch one, read its verdict, choose under limits, and vote.

The verdict is the page of `reports.comparison`, the same template and the same data as in its file; only its pictures come
one by one instead of lying inside. The ballot is `reports.booth`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from likewise.comparison import concluded
from likewise.comparison.limits import Limits, programs
from likewise.comparison.recommending import recommend
from likewise.comparison.voting import Ballot
from likewise.errors import RecipeError, RunError
from likewise.reports import booth
from likewise.reports import comparison as report
from likewise.reports.album import Linked
from likewise.studio import cards, stream, work
from likewise.studio.app import Studio, number, text
from likewise.studio.root import COMPARISONS

SHOWN = 320
"""Pixels of a side of a picture in the grid."""
_TRIAL = re.compile(r"\w[\w-]*")
"""The name of a trial, whose folder may still be to come."""
SHEETS = ("page.css", "comparison.css", "studio.css")


def routes(studio: Studio) -> list[BaseRoute]:
    """Everything of one comparison."""
    one, at = _Comparison(studio), "/comparisons/{name}"
    return [
        Route(at, one.verdict), Route(f"{at}/live", one.live), Route(f"{at}/events", one.events),
        Route(f"{at}/choose", one.choose), Route(f"/api{at}/choose", one.decide), Mount(f"{at}/vote", app=one.vote),
    ]  # fmt: skip


class _Comparison:
    def __init__(self, studio: Studio) -> None:
        self.studio, self.ballots = studio, dict[str, Any]()

    def verdict(self, request: Request) -> Response:
        """Its report, with what there is so far."""
        folder = self.studio.folder(COMPARISONS, request)
        if not (folder / "comparison.json").exists():
            return RedirectResponse(f"/comparisons/{request.path_params['name']}/live", 303)
        album = Linked(folder, lambda path: self.studio.pictures.address(path, SHOWN) or "")
        look = {"beside": False, "layout": "report.html.j2", "sheets": SHEETS, **_tabs(folder, "verdict")}
        shown = report.view(folder, album) | look
        return self.studio.page("comparison.html.j2", "compare", "comparison.js", **shown)

    def live(self, request: Request) -> Response:
        """How far it has come."""
        folder = self.studio.folder(COMPARISONS, request)
        card, asked = cards.comparison(self.studio, folder), work.read(folder)
        status = "waiting" if work.place_of(self.studio.root.folder, folder) is not None else card["status"]
        typed = cards.book_of(self.studio, folder).get("command") or ""
        view = {
            "card": card, "status": status, "name": folder.name, "said": work.said(folder, 6) if status == "failed" else "",
            "command": work.shell(asked["command"]) if asked.get("command") else str(typed), **_tabs(folder, "live"),
        }  # fmt: skip
        return self.studio.page("live.html.j2", "compare", "live.js", **view)

    def events(self, request: Request) -> Response:
        """Its journal as it grows, or that of one of its trials, which says every step."""
        folder, trial = self.studio.folder(COMPARISONS, request), request.query_params.get("trial")
        if trial is not None:
            if not _TRIAL.fullmatch(trial):
                raise HTTPException(404)
            return stream.answer(request, folder / "trials" / trial / "run", lambda: "")
        return stream.answer(request, folder, lambda: cards.comparison_status(folder))

    def choose(self, request: Request) -> Response:
        """Which one to use, under limits."""
        folder = self.studio.folder(COMPARISONS, request)
        view = {"name": folder.name, "programs": programs(), "card": cards.comparison(self.studio, folder)}
        view |= {"first": _decided(folder, {}), **_tabs(folder, "choose")}
        return self.studio.page("choose.html.j2", "compare", "choose.js", **view)

    def decide(self, request: Request) -> Response:
        """The same for a script."""
        return JSONResponse(_decided(self.studio.folder(COMPARISONS, request), dict(request.query_params)))

    async def vote(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ballot, which is an application of its own."""
        name = scope["path_params"]["name"]
        folder = self.studio.root.find(COMPARISONS, name)
        try:
            if folder is None:
                raise RunError(f"there is no comparison {name}")
            if name not in self.ballots:
                self.ballots[name] = booth.app(Ballot(folder), at=f"/comparisons/{name}/vote")
            answer = self.ballots[name]
        except RunError as error:
            answer = self.studio.page("trouble.html.j2", "compare", message=error.message, hint=error.hint)
        await answer(scope, receive, send)


def _tabs(folder: Path, now: str) -> dict[str, Any]:
    """The views of a comparison that there is something to see in."""
    at, decided = f"/comparisons/{folder.name}", (folder / "verdict.json").exists()
    every = [
        ("verdict", at, "Verdict", (folder / "comparison.json").exists()),
        ("choose", f"{at}/choose", "Choose", decided),
        ("vote", f"{at}/vote/", "Vote", decided),
        ("live", f"{at}/live", "Progress", True),
    ]
    return {"tabs": [(key, to, title) for key, to, title, there in every if there], "tab": now}


def _decided(folder: Path, asked: dict[str, str]) -> dict[str, Any]:
    """What is recommended under limits, in sentences; an `error` for a limit that is not understood."""
    given = {key: text(asked, key, 40) or None for key in ("at_most", "within", "memory")}
    loads = [one for one in str(asked.get("must_load", "")).split(",") if one]
    try:
        limits = Limits.parse(**given, must_load=loads, pictures=number(asked, "pictures", 100, 1, 10**7))
        standings, decisions = concluded.read_verdict(folder)
    except RecipeError as error:
        return {"error": error.message, "hint": error.hint}
    found, titles = recommend(standings, decisions, limits), {one.name: one.title for one in standings}
    return {
        **json.loads(json.dumps(found.to_json())), "title": titles.get(found.choice or "", ""),
        "tied_titles": [titles[name] for name in found.tied],
        "excluded": [{"title": titles[name], "why": why} for name, why in found.excluded.items()],
        "standings": [{
            "title": one.title, "kind": one.kind, "bytes": one.cost.bytes, "seconds": one.cost.seconds,
            "axes": {axis: one.axes[axis].value for axis in ("composite", "fidelity", "prompt") if axis in one.axes},
            "chosen": one.name == found.choice, "out": found.excluded.get(one.name, ""),
        } for one in standings],
    }  # fmt: skip
