"""Cards: what a run, a comparison or a concept is in a few words, with a picture; and how far what is at work has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from likewise import journal, records
from likewise.comparison.answering import TITLES
from likewise.errors import RunError
from likewise.events import Sampled, Stepped, TrialStarted
from likewise.intake import PICTURES
from likewise.studio import work
from likewise.studio.root import COMPARISONS, CONCEPTS, MARKS, RUNS, when
from likewise.wording import time_text

if TYPE_CHECKING:
    from likewise.studio.app import Studio

BUSY = ("running", "starting", "waiting")


def title_of(method: str | None) -> str:
    """What people call a method; the name of one that is not of this package."""
    found = TITLES.get(method or "", (method or "").replace("_", " "))
    return found[:1].upper() + found[1:]


def moment(seconds: float) -> dict[str, Any]:
    """A time for people and for programs: `when`, `date`, `said`."""
    if not seconds:
        return {"when": 0, "date": "", "said": ""}
    then, now = datetime.fromtimestamp(seconds), datetime.now()
    days = (now.date() - then.date()).days
    said = {0: f"today {then:%H:%M}", 1: f"yesterday {then:%H:%M}"}.get(days, f"{then.day} {then:%B}")
    said += f" {then.year}" if then.year != now.year else ""
    return {"when": seconds, "date": then.isoformat(timespec="seconds"), "said": said}


def run(studio: Studio, folder: Path) -> dict[str, Any]:
    """The card of a run."""
    row = studio.root.run(folder)
    noun, token = row.get("noun") or row.get("concept") or "", row.get("token") or ""
    return {
        **row, **moment(row["when"]), "method_title": title_of(row.get("method")),
        "title": f"{token} {noun}".strip() or folder.name, "below": title_of(row.get("method")),
        "picture": newest(studio, folder, "samples/*/*.png"),
    }  # fmt: skip


def comparison(studio: Studio, folder: Path) -> dict[str, Any]:
    """The card of a comparison."""
    book, asked = book_of(studio, folder), work.read(folder).get("facts", {})
    count = sum(one.get("kind") == "method" for one in book.get("conditions") or ())
    noun = book.get("noun") or asked.get("noun") or ""
    below = (
        f"{count} method{'s' * (count != 1)}, {book['size']}"
        if count and book.get("size")
        else asked.get("size", "")
    )
    return {
        **moment(when(folder, MARKS[COMPARISONS])), "name": folder.name, "title": noun or folder.name, "below": below,
        "status": comparison_status(folder), "picture": newest(studio, folder, "trials/*-0/gallery/0000.png", first=True),
        "noun": noun,
    }  # fmt: skip


def book_of(studio: Studio, folder: Path) -> dict[str, Any]:
    """comparison.json, empty where it is not there or cannot be read."""
    path = folder / "comparison.json"
    try:
        return studio.root.kept(
            "book", path, path.stat().st_mtime_ns, lambda: json.loads(path.read_text("utf-8"))
        )
    except (OSError, ValueError):
        return {}


def comparison_status(folder: Path) -> str:
    """As `records.status`, of a comparison."""
    if records.held(folder):
        return "running"
    if (folder / "verdict.json").exists():
        return "done"
    if not (folder / "comparison.json").exists():
        return work.state(folder)
    last = journal.last(folder)
    return {"stopped": "stopped", "failed": "failed"}.get(last.kind if last else "", "dead")


def concept(studio: Studio, folder: Path) -> dict[str, Any]:
    """The card of a concept."""
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURES)
    facts = studio.root.concept(folder)
    return {
        **facts, **moment(folder.stat().st_mtime), "count": len(files), "status": "",
        "pictures": [address for path in files[:4] if (address := studio.pictures.address(path, 160))],
    }  # fmt: skip


def newest(studio: Studio, folder: Path, pattern: str, *, first: bool = False) -> str | None:
    """The address of the last picture that a pattern finds in a folder, or of the first one of the last folder."""
    found = sorted(folder.glob(pattern))
    if not found:
        return None
    last = [path for path in found if path.parent == found[-1].parent]
    return studio.pictures.address(last[0] if first or len(last) > 1 else last[-1])


def active(studio: Studio) -> list[dict[str, Any]]:
    """Cards of all that is at work or waits, with how far it has come."""
    found = []
    for kind, make in ((RUNS, run), (COMPARISONS, comparison)):
        for folder in studio.root.listing(kind).values():
            if (folder / "lock").exists() or _asked(folder):
                card = make(studio, folder)
                if card["status"] in BUSY:
                    found.append({**card, "kind": kind, **progress(folder)})
    return found


def _asked(folder: Path) -> bool:
    """Whether something was asked for here that has not ended."""
    path = folder / work.ASKED
    return path.exists() and "code" not in work.read(folder)


def progress(folder: Path) -> dict[str, Any]:
    """How far a run or comparison has come: `done` from 0 to 1, and a few words."""
    event = journal.last(folder)
    title = ""
    if isinstance(event, Sampled):
        return {"done": None, "words": f"drew a preview at step {event.step}"}
    if isinstance(event, TrialStarted):
        within = journal.last(folder / "trials" / event.trial / "run")
        title, event = (f"{event.title}: ", within) if isinstance(within, Stepped) else ("", event)
    if isinstance(event, Stepped):
        left = (event.steps - event.step) * event.seconds
        return {
            "done": event.step / event.steps,
            "words": f"{title}step {event.step} of {event.steps}, {time_text(left)} left",
        }
    if isinstance(event, TrialStarted):
        return {
            "done": (event.number - 1) / event.total,
            "words": f"{event.title}, {event.number} of {event.total}",
        }
    return {"done": None, "words": title.rstrip(": ")}


def previews(studio: Studio, folder: Path, jobs: int) -> list[dict[str, Any]]:
    """The previews of a run by step: their pictures with prompts."""
    found = []
    for place in sorted((folder / "samples").glob("step*")):
        try:
            rows = json.loads((place / "gallery.json").read_text(encoding="utf-8"))
            step = int(place.name.removeprefix("step"))
            pictures = [
                {"prompt": str(one["prompt"]), "src": studio.pictures.address(place / str(one["file"]), 640)}
                for one in rows
            ]
        except (OSError, ValueError, KeyError, TypeError, RunError):
            continue
        found.append({"step": step, "pictures": pictures})
    return found


def concepts(studio: Studio) -> list[dict[str, Any]]:
    """Cards of all concepts."""
    return [concept(studio, folder) for folder in studio.root.listing(CONCEPTS).values()]


def plan_of(folder: Path) -> Mapping[str, Any]:
    """A run's plan; empty before it has one."""
    try:
        return records.read_plan(folder)
    except RunError:
        return {}


def chosen(studio: Studio, request: Request) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """All concepts, and the one that the address names; the only one where it names none. 404 where it is not there."""
    listed, name = concepts(studio), request.query_params.get("concept", "")
    found = next((one for one in listed if one["name"] == name), None)
    if name and found is None:
        raise HTTPException(404)
    return listed, found or (listed[0] if len(listed) == 1 else None)
