"""App: the studio as one application: every screen, the files that pages are made of, and pictures by id.

A screen is a module of `screens/` with `routes(studio)`; nothing lists them. The application stands behind the guard of
`likewise.local`, which every route passes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from likewise.cache import home
from likewise.errors import Error, RunError
from likewise.local import missing
from likewise.local.guard import App
from likewise.reports import page
from likewise.studio import work
from likewise.studio.facts import Facts
from likewise.studio.pictures import Thumbnails
from likewise.studio.root import Root
from likewise.studio.uploads import MOST_ZIP

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import BaseRoute, Route
except ModuleNotFoundError:
    raise missing("starlette") from None

HERE = Path(__file__).parent
SCREENS, STATIC, REPORTS = HERE / "screens", HERE / "static", page.SHEET.parent
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_WEIGHTS = 32_000_000_000
STREAMS = {"/upload/": MOST_ZIP, "/import/": MOST_WEIGHTS}
"""Where files are sent as they are, for the guard."""
Do = Callable[[Request, dict[str, Any]], Any]


class Studio:
    """What every screen knows: the root's folders, its pictures, answers of slow commands, and how a page is made."""

    def __init__(self, folder: Path) -> None:
        self.root = Root(folder)
        self.root.folder.mkdir(parents=True, exist_ok=True)
        self.secret = secret(self.root.folder)
        self.pictures = Thumbnails(self.root, self.secret)
        self.facts = Facts(self.root.folder)

    @property
    def cookie(self) -> str:
        """The cookie's value, which a page that is open keeps when the server is started again."""
        return hashlib.sha256(b"cookie" + self.secret).hexdigest()

    def page(self, template: str, active: str, script: str | None = None, **view: Any) -> HTMLResponse:
        """A screen: its template filled, with the bar in which `active` is marked."""
        busy = len(work.waiting(self.root.folder)) + (work.current(self.root.folder) is not None)
        view = {
            "sheets": ("page.css", "studio.css"),
            "script": script,
            "active": active,
            "busy": busy,
            **view,
        }
        return HTMLResponse(page.render(template, view, SCREENS))

    def folder(self, kind: str, request: Request) -> Path:
        """The folder that an address names; answers 404 where there is none."""
        found = self.root.find(kind, request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found


def secret(folder: Path) -> bytes:
    """Random bytes of this root, kept where caches are and readable by this person alone; new ones where there are none."""
    import os
    import secrets

    name = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    path = home() / "studio" / name
    try:
        known = path.read_bytes()
        if len(known) == 32 and (os.name == "nt" or path.stat().st_mode & 0o077 == 0):
            return known
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        return secrets.token_bytes(32)
    made = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made)
    except OSError:
        pass  # a page that is open has to be opened again after a restart, and no more than that
    return made


def writes(do: Do) -> Callable[[Request], Awaitable[Response]]:
    """A route that changes something: takes a JSON object, does it in a thread, and answers with what it gives."""

    async def route(request: Request) -> Response:
        try:
            asked = json.loads(await request.body() or b"{}")
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return JSONResponse({"error": "a JSON object is expected"}, 400)
        return JSONResponse(await run_in_threadpool(do, request, asked) or {})

    return route


def post(path: str, do: Do) -> Route:
    """A route for `writes`."""
    return Route(path, writes(do), methods=["POST"])


def text(asked: Mapping[str, Any], key: str, most: int = 200) -> str:
    """A text of a request, without blanks around it; empty where there is none. Raises `RunError` beyond `most` letters."""
    found = asked.get(key)
    if found is None:
        return ""
    if not isinstance(found, str | int | float) or len(str(found)) > most or "\0" in str(found):
        raise RunError(f"{key} is no text of {most} letters at most")
    try:
        str(found).encode()
    except UnicodeEncodeError:
        raise RunError(f"{key} has letters that nothing can write") from None
    return str(found).strip()


def number(asked: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    """A whole number of a request; raises `RunError` outside its limits."""
    found = asked.get(key, default)
    try:
        value = default if found in (None, "") else int(str(found))
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise RunError(f"{key} is a number from {least} to {most}")
    return value


def texts(asked: Mapping[str, Any], key: str, most: int = 50) -> list[str]:
    """A list of texts of a request."""
    found = asked.get(key) or []
    if not isinstance(found, list) or len(found) > most:
        raise RunError(f"{key} is no list of {most} texts at most")
    return [one for one in (text({key: each}, key, 1000) for each in found) if one]


def rows(asked: Mapping[str, Any], key: str, most: int) -> list[dict[str, Any]]:
    """The first objects of a list of a request; what is no object is left out."""
    found = asked.get(key)
    return [one for one in found[:most] if isinstance(one, dict)] if isinstance(found, list) else []


def table(asked: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object of a request; empty where there is none."""
    found = asked.get(key)
    return found if isinstance(found, dict) else {}


def app(studio: Studio) -> App:
    """The application, to be put behind the guard with `STREAMS`."""
    routes: list[BaseRoute] = [
        Route("/static/{name:path}", _Static().give),
        Route("/pictures/{kind}/{name}/{known}/{width:int}", lambda request: _picture(studio, request)),
    ]
    for found in pkgutil.iter_modules([str(SCREENS)]):
        routes += importlib.import_module(f"likewise.studio.screens.{found.name}").routes(studio)

    async def lost(request: Request, error: Exception) -> Response:
        return studio.page("lost.html.j2", "")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Error)
        if request.method == "GET" and not request.url.path.startswith("/api/"):
            answer = studio.page("trouble.html.j2", "", message=error.message, hint=error.hint)
            answer.status_code = 400
            return answer
        return JSONResponse({"error": error.message, "hint": error.hint}, 400)

    async def status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404 and not request.url.path.startswith(("/api/", "/pictures/", "/static/")):
            answer = await lost(request, error)
            answer.status_code = 404
            return answer
        return JSONResponse({"error": error.detail}, error.status_code)

    return Starlette(routes=routes, exception_handlers={Error: refused, HTTPException: status})


class _Static:
    """The files that pages are made of, listed once; each has a tag, by which a browser keeps what it has."""

    def __init__(self) -> None:
        places = (
            (STATIC, STATIC.rglob("*")),
            (SCREENS, SCREENS.glob("*.js")),
            (REPORTS, REPORTS.glob("*.[cj]s*")),
        )
        self._files = {
            path.relative_to(top).as_posix(): path
            for top, found in places
            for path in found
            if path.suffix in KINDS
        }

    def give(self, request: Request) -> Response:
        """A sheet or a script of this package."""
        path = self._files.get(request.path_params["name"])
        if path is None:
            raise HTTPException(404)
        content = path.read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        headers = {"cache-control": "private, no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=KINDS[path.suffix], headers=headers)


def _picture(studio: Studio, request: Request) -> Response:
    at = request.path_params
    content = studio.pictures.webp(at["kind"], at["name"], at["known"], at["width"])
    if content is None:
        raise HTTPException(404, "there is no such picture")
    return Response(
        content, media_type="image/webp", headers={"cache-control": "private, max-age=31536000, immutable"}
    )
