"""Library: every taught and imported file, what it is and where it loads; convert, install, merge, throw away."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise import formats, inspection
from likewise.errors import FormatError, RunError
from likewise.local.pictures import confined
from likewise.studio import cards, commands, facts
from likewise.studio.app import Studio, number, post, rows, text
from likewise.studio.root import LIBRARY, RUNS
from likewise.studio.taught import look, matching

PAGE = 48


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, downloads, and what is done with files."""

    def show(request: Request) -> Response:
        search, start = request.query_params.get("find", "")[:100], _start(request)
        found = list(matching(studio, search))
        files = [look(studio, known, path) for known, path in found[start : start + PAGE]]
        shown = [{key: value for key, value in one.items() if key != "path"} for one in files]
        # What was taught but left no file: at work, stopped or failed.
        newest = list(studio.root.listing(RUNS).values())[:200] if not start and not search else []
        rest = (cards.run(studio, folder) for folder in newest if not studio.root.settled(folder))
        unfinished = list(islice((one for one in rest if one["status"] != "done"), 24))
        return studio.page("library.html.j2", "library", "library.js", files=shown, every=len(found), start=start,
                           search=search, size=PAGE, unfinished=unfinished, layouts=_layouts())  # fmt: skip

    def download(request: Request) -> Response:
        path = _file(studio, request.path_params["known"])
        if not path.is_file():
            raise HTTPException(404, "this is a folder; convert it to a file first")
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    def convert(request: Request, asked: dict[str, Any]) -> Any:
        path, to = _file(studio, text(asked, "id", 400)), text(asked, "to", 40)
        install, base = text(asked, "install", 1000), text(asked, "base", 500)
        (studio.root.folder / LIBRARY).mkdir(exist_ok=True)
        where = [f"--install={install}"] if install else [f"--out={LIBRARY}"]
        return _done(studio, ["convert", commands.told(studio.root, path), *([f"--to={to}"] if to else []), *where,
                              *([f"--base={base}"] if base else []), "--json"])  # fmt: skip

    def merge(request: Request, asked: dict[str, Any]) -> Any:
        parts = rows(asked, "files", 12)
        if len(parts) < 2:
            raise RunError("two files at least are added up", "tick them")
        named = [
            f"{commands.told(studio.root, _file(studio, text(one, 'id', 400)))}:{_weight(one):g}"
            for one in parts
        ]
        (studio.root.folder / LIBRARY).mkdir(exist_ok=True)
        return _done(studio, ["merge", *named, f"--out={LIBRARY}", "--json"])

    def discard(request: Request, asked: dict[str, Any]) -> Any:
        path = _file(studio, text(asked, "id", 400))
        return {"where": f"trash/{studio.root.discard(path).name}"}

    async def bring(request: Request) -> Response:
        name = Path(unquote(request.headers.get("x-likewise-name", "")).replace("\\", "/")).name
        return JSONResponse(await _import(studio, name, request))

    return [
        Route("/library", show), Route("/files/{known}", download), post("/api/library/convert", convert),
        post("/api/library/merge", merge), post("/api/library/discard", discard),
        Route("/import/file", bring, methods=["POST"]),
    ]  # fmt: skip


def _start(request: Request) -> int:
    try:
        return number(dict(request.query_params), "from", 0, 0, 1_000_000)
    except RunError:
        return 0


def _file(studio: Studio, known: str) -> Path:
    """The file of an id; 404 where there is none, or a link leads to it."""
    path = dict(studio.root.files()).get(known)
    if path is None or confined(studio.root.folder, str(path.relative_to(studio.root.folder))) is None:
        raise HTTPException(404, "there is no such file")
    return path


def _weight(one: dict[str, Any]) -> float:
    try:
        return float(one.get("weight", 1))
    except (TypeError, ValueError):
        raise RunError("a weight is a number", "0.8, for instance") from None


def _done(studio: Studio, command: list[str]) -> Any:
    found = facts.run(["-m", "likewise", *command], studio.root.folder)
    if "error" in found:
        raise FormatError(found["error"].removeprefix("error: "))
    return {
        "name": Path(found["path"]).name,
        "loads": found.get("portability", {}),
        "notes": found.get("notes", []),
    }


def _layouts() -> list[dict[str, Any]]:
    """Every layout that can be written, with who reads it."""
    return [
        {
            "name": name,
            "title": layout.title,
            "readers": sorted(layout.readers),
            "kinds": [kind.title for kind in layout.kinds],
        }
        for name in formats.names()
        for layout in (formats.get(name),)
    ]


async def _import(studio: Studio, name: str, request: Request) -> dict[str, Any]:
    """Take in a safetensors file, which nothing in it is run of; others may hold programs and are not taken."""
    if not name.lower().endswith(".safetensors"):
        raise FormatError(
            "only .safetensors files are taken here",
            "other kinds may hold programs; `likewise convert` reads them",
        )
    folder = studio.root.folder / LIBRARY
    folder.mkdir(exist_ok=True)
    target = folder / name
    if target.exists() or name.startswith("."):
        raise FormatError(f"there is a file {name} already", "rename it first")
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".safetensors", delete=False) as file:
        temporary = Path(file.name)
        try:
            async for piece in request.stream():
                await run_in_threadpool(file.write, piece)
            file.flush()
            found = await run_in_threadpool(inspection.inspect, temporary)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    temporary.rename(target)
    return {"name": name, "kind": found.kind}
