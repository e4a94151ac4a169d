"""Booth: the page on this machine where a person votes, and afterwards sees what the votes say. No torch.

Until the ballot is done, or every two conditions have enough votes, no answer of it holds a name: pictures come by ids that
tell nothing, prompts with the plain noun. Who may ask at all is the guard's matter.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from likewise.comparison import votes
from likewise.comparison.voting import Ballot
from likewise.errors import Error
from likewise.local import missing
from likewise.local.guard import App
from likewise.local.pictures import Pictures
from likewise.reports import page
from likewise.statistics.preference import CHOICES

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
    from starlette.routing import Route
except ModuleNotFoundError:
    raise missing("starlette") from None

_HERE = Path(__file__).parent
_STATIC = {
    "page.css": (page.SHEET, "text/css"),
    "booth.css": (_HERE / "booth.css", "text/css"),
    "booth.js": (_HERE / "booth.js", "text/javascript"),
}
"""The only files that are served by name."""
REFERENCES = 6
"""Pictures of the concept above the pair."""


def app(ballot: Ballot, at: str = "") -> App:
    """The application of one ballot, to be put behind the guard. `at` is where another application has it."""
    return _Booth(ballot, at).app


class _Booth:
    def __init__(self, ballot: Ballot, at: str) -> None:
        self.ballot, self.pictures, self.at = ballot, Pictures(ballot.folder), at
        self.references = [self.pictures.add(file) for file in ballot.concept["train"][:REFERENCES]]
        routes = [
            Route("/", self.vote),
            Route("/results", self.results),
            Route("/api/next", self.next),
            Route("/api/votes", self.cast, methods=["POST"]),
            Route("/pictures/{known}", self.picture),
            Route("/static/{name}", self.static),
        ]
        self.app = Starlette(routes=routes, exception_handlers={Error: _refused})

    async def vote(self, request: Request) -> Response:
        """The page of the ballot; what is shown on it comes by `next`."""
        if self.ballot.next() is None:
            return RedirectResponse(f"{self.at}/results", 303)
        return self._page(
            "booth.html.j2", "booth.js", noun=self.ballot.concept["noun"], references=self.references
        )

    async def next(self, request: Request) -> Response:
        """The showing that is to be answered."""
        return JSONResponse(self._state())

    def _state(self) -> dict[str, Any]:
        showing, ballot = self.ballot.next(), self.ballot
        state = {"done": ballot.done, "total": len(ballot), "results": showing is None or ballot.enough()}
        if showing is None:
            return state
        sides = {"a": showing.left.file, "b": showing.right.file}
        shown = {side: self.pictures.add(file) for side, file in sides.items()}
        prompt = ballot.concept["prompts"][showing.pair.prompt]
        return state | {"showing": showing.id, "prompt": prompt, **shown}

    async def cast(self, request: Request) -> Response:
        """Keep an answer `{"showing": id, "choice": left, right, tie or both_bad}`; gives what is to be answered next."""
        try:
            asked = json.loads(await request.body())
            showing, choice = asked["showing"], asked["choice"]
            known = showing in self.ballot.showings and choice in CHOICES
        except (ValueError, LookupError, TypeError):
            known = False
        if not known:
            return JSONResponse({"error": "this is no vote on a pair of this ballot"}, 400)
        self.ballot.cast(showing, choice)
        return JSONResponse(self._state())

    async def results(self, request: Request) -> Response:
        """What the votes say, with names; before the end of the ballot it leads back to it."""
        if not self._state()["results"]:
            return RedirectResponse(f"{self.at}/", 303)
        found = await run_in_threadpool(votes.summary, self.ballot.folder)
        command = f"likewise vote {shlex.quote(str(self.ballot.folder))}"
        facts = {"left": len(self.ballot) - self.ballot.done, "command": command}
        return self._page("booth_results.html.j2", None, v=found, noun=self.ballot.concept["noun"], **facts)

    def picture(self, request: Request) -> Response:
        """The pixels behind an id."""
        content = self.pictures.png(request.path_params["known"])
        if content is None:
            return Response("there is no such picture\n", 404, media_type="text/plain")
        caching = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/png", headers=caching)

    def static(self, request: Request) -> Response:
        """A sheet or a script of this package."""
        if request.path_params["name"] not in _STATIC:
            return Response("there is no such file\n", 404, media_type="text/plain")
        path, kind = _STATIC[request.path_params["name"]]
        return Response(path.read_text(encoding="utf-8"), media_type=kind)

    def _page(self, template: str, script: str | None, **view: Any) -> Response:
        look = {"sheets": ("page.css", "booth.css"), "script": script, "at": self.at}
        return HTMLResponse(page.render(template, {**look, **view}))


async def _refused(request: Request, error: Exception) -> Response:
    """An expected error, such as a full disk, as the line that it is."""
    return JSONResponse({"error": str(error)}, 500)
