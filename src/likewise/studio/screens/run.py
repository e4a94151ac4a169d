"""Run: one training while it goes on and afterwards, from its journal; stop it, go on with it, take its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise import journal
from likewise.events import Failed, Stopped
from likewise.studio import cards, commands, stream, work
from likewise.studio.app import Studio, post
from likewise.studio.root import COMPARISONS, CONCEPTS, RUNS
from likewise.wording import size_text, time_text


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, its stream of events, its previews, and what a person may ask of it."""

    def show(request: Request) -> Response:
        return studio.page("run.html.j2", "library", "run.js", **view(studio, studio.folder(RUNS, request)))

    def state(request: Request) -> Response:
        return JSONResponse(view(studio, studio.folder(RUNS, request)))

    def events(request: Request) -> Response:
        folder = studio.folder(RUNS, request)
        return stream.answer(request, folder, lambda: str(studio.root.run(folder)["status"]))

    def steps(request: Request, asked: dict[str, Any]) -> Any:
        """A comparison of the steps that a run kept, by pictures that it was not taught."""
        root, folder = studio.root, studio.folder(RUNS, request)
        pictures, noun = commands.concept(root, asked), str(cards.run(studio, folder).get("noun") or "run")
        target = root.new(COMPARISONS, noun, "steps")
        out, place = commands.told(root, target), commands.told(root, folder)
        made = ["checkpoints", place, f"--pictures={commands.told(root, pictures)}", f"--out={out}"]
        work.ask(target, made, noun=noun, size="checkpoints")
        work.enqueue(root.folder, target, made, f"Score the steps of {folder.name}")
        return {"name": target.name}

    return [
        Route("/runs/{name}", show),
        Route("/api/runs/{name}", state),
        Route("/runs/{name}/events", events),
        post("/api/runs/{name}/steps", steps),
    ]


def view(studio: Studio, folder: Path) -> dict[str, Any]:
    """What the page shows of a run besides its events."""
    card, plan = cards.run(studio, folder), cards.plan_of(folder)
    jobs = plan.get("job") or [{}]
    recipe = dict(jobs[0].get("recipe") or {})
    queued = work.place_of(studio.root.folder, folder) is not None
    status = "waiting" if queued and card["status"] != "running" else card["status"]
    files = [
        {"id": f"{folder.name}~{path.name}", "name": path.name, "size": size_text(path.stat().st_size)}
        for path in sorted(folder.glob("*.safetensors"))
    ]
    asked, source = work.read(folder), str(card.get("concept") or "")
    return {
        "run": {
            key: card.get(key)
            for key in (
                "name",
                "title",
                "below",
                "method",
                "method_title",
                "token",
                "noun",
                "base",
                "steps",
                "said",
            )
        },
        "status": status,
        "recipe": recipe,
        "command": work.shell(asked["command"]) if asked.get("command") else "",
        "previews": cards.previews(studio, folder, len(jobs)),
        "files": files,
        "why": _why(folder, status),
        "jobs": [
            {"token": job["concept"]["token"], "noun": job["concept"]["noun"]}
            for job in plan.get("job") or ()
        ],
        "concept": source if studio.root.find(CONCEPTS, source) else "",
        "kept": sorted(path.name for path in (folder / "steps").glob("*")),
        "others": sorted(name for name in studio.root.listing(CONCEPTS) if name != source),
        "spent": _spent(card),
    }


def _spent(card: dict[str, Any]) -> list[tuple[str, str]]:
    machine = card.get("machine") or {}
    known = [
        ("Time", time_text(card["seconds"]) if card.get("seconds") else ""),
        ("File", size_text(card.get("bytes")) if card.get("bytes") else ""),
        ("Machine", str(machine.get("device_name") or machine.get("device") or "")),
    ]
    return [(name, said) for name, said in known if said]


def _why(folder: Path, status: str) -> str:
    """Why a run is not going on, in the words of its journal or of the command."""
    if status not in ("failed", "stopped", "dead"):
        return ""
    last = journal.last(folder)
    if isinstance(last, Failed | Stopped):
        return f"{last.message}." + (f" {last.hint}." if last.hint and status == "failed" else "")
    if status == "dead":
        return "Its process is gone without a word. Going on begins at its last checkpoint."
    return work.said(folder, 4)
