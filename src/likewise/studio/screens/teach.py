"""Teach: ways to teach side by side, what each would take on this machine, its settings, and the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise.comparison.answering import SUBJECTS, answer
from likewise.comparison.kinds import guess_kind
from likewise.comparison.limits import Limits
from likewise.errors import RunError
from likewise.studio import cards, commands, work
from likewise.studio.app import Studio, post, text, texts
from likewise.studio.root import RUNS

GROUPS = {
    "Length and pace": ("steps", "epochs", "learning_rate", "schedule", "warmup", "batch_size", "accumulate"),
    "Pictures": ("resolution", "flip", "noise_offset", "snr_gamma"),
    "Keeping the class as it is": ("prior", "prior_weight", "prior_count", "prior_guidance"),
    "How it optimises": ("optimizer", "weight_decay", "clip", "ema"),
    "Files and memory": (
        "keep",
        "precision",
        "checkpointing",
        "cuda_graph",
        "checkpoint_every",
        "keep_checkpoints",
        "keep_state",
    ),
    "Chance": ("seed",),
}
"""Where a setting that methods share is shown. One that is new is shown under the last."""


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, the methods with their settings, what they would take, the command, and the start."""
    root = studio.root

    def show(request: Request) -> Response:
        listed, chosen = cards.chosen(studio, request)
        view = {"concepts": listed, "concept": chosen}
        view["start"] = start(chosen["noun"], chosen["count"]) if chosen else None
        return studio.page("teach.html.j2", "teach", "teach.js" if chosen else None, **view)

    def methods(request: Request) -> Response:
        found = studio.facts.methods(request.query_params.get("base", "pocket")[:500])
        return JSONResponse({**found, "groups": GROUPS}, 400 if "error" in found else 200)

    def estimate(request: Request, asked: dict[str, Any]) -> Any:
        folder = commands.concept(root, asked)
        command = commands.estimate(root, folder, asked)
        busy = bool(cards.active(studio))  # what was measured then is not taken for what it takes alone
        signature = str((busy, sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())))
        return {**studio.facts.ask(["-m", "likewise", *command], signature), "busy": busy}

    def command(request: Request, asked: dict[str, Any]) -> Any:
        folder = commands.concept(root, asked)
        made = (commands.teach(root, folder, asked, name, f"runs/{name}") for name in texts(asked, "methods"))
        return {"commands": [work.shell(one) for one in made]}

    def begin(request: Request, asked: dict[str, Any]) -> Any:
        folder, names = commands.concept(root, asked), texts(asked, "methods")
        noun = text(asked, "noun", 60) or root.concept(folder)["noun"]
        known = {one["name"] for one in studio.facts.methods().get("methods", ())}
        if not names or not set(names) <= known:
            raise RunError("no way to teach is ticked", "tick at least one")
        for name in names:
            commands.teach(root, folder, asked, name, RUNS)  # refuses before a folder is made
        return {"runs": [_begin(studio, folder, asked, name, noun) for name in names]}

    return [
        Route("/teach", show), Route("/api/methods", methods), post("/api/estimate", estimate),
        post("/api/teach/command", command), post("/api/teach", begin),
    ]  # fmt: skip


def _begin(studio: Studio, folder: Path, asked: dict[str, Any], method: str, noun: str) -> str:
    """Put one training into the queue; gives the name of its run."""
    target = studio.root.new(RUNS, noun, method)
    made = commands.teach(studio.root, folder, asked, method, commands.told(studio.root, target))
    work.ask(target, made, method=method, noun=noun, concept=folder.name, token=text(asked, "token", 60))
    work.enqueue(studio.root.folder, target, made, f"Teach {noun} by {cards.title_of(method)}")
    return target.name


def start(noun: str, pictures: int) -> dict[str, Any] | None:
    """Where published evidence says to start for what the noun names."""
    if not noun:
        return None
    kind, why = guess_kind(noun)
    found = answer(kind, Limits(), pictures=pictures or None)
    sentences = [
        {"text": one.text, "source": one.source, "strength": one.strength} for one in found.evidence[:4]
    ]
    return {
        "kind": SUBJECTS[kind],
        "why": why,
        "method": found.start,
        "evidence": sentences,
        "notes": list(found.notes),
    }
