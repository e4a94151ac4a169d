"""Queue: what is done, one thing at a time, what waits behind it, and in which order; and what a person asks of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise import records
from likewise.errors import RunError
from likewise.studio import cards, commands, work
from likewise.studio.app import Studio, number, post
from likewise.studio.root import COMPARISONS, CONCEPTS, DRAWINGS, RUNS

WORK = (RUNS, COMPARISONS)
LAST = 99_999_999


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, what changes the queue, and how work is stopped, taken up again and thrown away."""
    one, at = _Queue(studio), "/api/{kind}/{name}"
    return [
        Route("/queue", one.show), Route("/api/queue", one.now), post("/api/queue/pause", one.pause),
        post("/api/queue/move", one.move), post("/api/queue/withdraw", one.withdraw), post(f"{at}/stop", one.stop),
        post(f"{at}/resume", one.resume), post(f"{at}/discard", one.discard),
    ]  # fmt: skip


class _Queue:
    def __init__(self, studio: Studio) -> None:
        self.studio, self.root = studio, studio.root.folder

    def show(self, request: Request) -> Response:
        """The page."""
        return self.studio.page("queue.html.j2", "queue", "queue.js", queue=self._state())

    def now(self, request: Request) -> Response:
        """The same for its script."""
        return JSONResponse(self._state())

    def _state(self) -> dict[str, Any]:
        current, items = work.current(self.root), work.waiting(self.root)
        if items and current is None and not work.paused(self.root):
            work.wake(self.root)  # whoever did the work was ended
        mine = Path(current["folder"]).name if current else ""
        others = [
            one for one in cards.active(self.studio) if one["status"] == "running" and one["name"] != mine
        ]
        return {
            "current": self._item(0, current) if current else None, "paused": work.paused(self.root),
            "items": [self._item(place, item) for place, item in items],
            "others": [{"title": f"{one['title']}, {one['below']}", "to": f"/{one['kind']}/{one['name']}",
                        "words": one["words"]} for one in others],
        }  # fmt: skip

    def _item(self, place: int, item: dict[str, Any]) -> dict[str, Any]:
        folder = Path(item["folder"])
        kind = folder.parent.name if folder.parent.name in WORK else RUNS
        facts = {"place": place, "title": item.get("title", folder.name), "to": f"/{kind}/{folder.name}"}
        return facts | (cards.progress(folder) if not place else {})

    def pause(self, request: Request, asked: dict[str, Any]) -> Any:
        """Begin nothing new, or go on."""
        work.pause(self.root, asked.get("paused") is True)
        return self._state()

    def move(self, request: Request, asked: dict[str, Any]) -> Any:
        """Earlier or later."""
        work.reorder(self.root, number(asked, "place", 0, 0, LAST), number(asked, "by", 1, -1, 1))
        return self._state()

    def withdraw(self, request: Request, asked: dict[str, Any]) -> Any:
        """Take something out."""
        work.withdraw(self.root, number(asked, "place", 0, 0, LAST))
        return self._state()

    def stop(self, request: Request, asked: dict[str, Any]) -> Any:
        """Ask what is at work to stop, or take it out of the queue."""
        folder = self._folder(request, WORK)
        place = work.place_of(self.root, folder)
        if place is not None:
            work.withdraw(self.root, place)
            return {"said": "It was taken out of the queue."}
        records.ask_to_stop(folder)
        return {"said": "It stops as soon as what it does now is saved."}

    def resume(self, request: Request, asked: dict[str, Any]) -> Any:
        """Go on, for a finished run with `more` steps."""
        folder, more = self._folder(request, WORK), number(asked, "more", 0, 0, 1_000_000)
        if work.place_of(self.root, folder) is not None or records.held(folder):
            raise RunError("this is at work or waits already")
        where, command = commands.told(self.studio.root, folder), work.read(folder).get("command")
        if (folder / "run.toml").exists():
            command = [
                "teach",
                f"--more-steps={more}" if more else f"--resume={where}",
                *([where] if more else []),
            ]
        if not command:
            raise RunError(
                "this was started elsewhere", "start the same command there with --out and its folder"
            )
        work.enqueue(self.root, folder, command, f"Go on with {folder.name}")
        return {"said": "It goes on as soon as it is its turn."}

    def discard(self, request: Request, asked: dict[str, Any]) -> Any:
        """Move a folder to the trash, and what a concept is called with it."""
        folder = self._folder(request, (*WORK, CONCEPTS, DRAWINGS))
        if (
            records.held(folder)
            or work.state(folder) in ("starting",)
            or work.place_of(self.root, folder) is not None
        ):
            raise RunError("this is at work or waits", "stop it first")
        facts = folder.with_name(f"{folder.name}.toml")
        where = self.studio.root.discard(folder)
        if request.path_params["kind"] == CONCEPTS and facts.exists():
            facts.rename(where.with_name(f"{where.name}.toml"))
        return {"where": f"trash/{where.name}"}

    def _folder(self, request: Request, kinds: tuple[str, ...]) -> Path:
        kind = request.path_params["kind"]
        if kind not in kinds:
            raise HTTPException(404)
        return self.studio.folder(kind, request)
