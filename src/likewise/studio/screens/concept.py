"""Concept: pictures that somebody drops, what was understood of them, and the captions that will really be trained."""

from __future__ import annotations

import importlib.resources
import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise import intake
from likewise.cli.checking import POCKET_TOKEN, UNCAPTIONED, trained
from likewise.concept import check_token
from likewise.errors import ConceptError, RunError
from likewise.intake import Intake
from likewise.picture import Example
from likewise.studio import uploads
from likewise.studio.app import Studio, post, table, text, texts
from likewise.studio.root import CONCEPTS

FEW, BEST = 4, 20
LARGE = 512
"""Pixels of a side that published models are taught with."""


def routes(studio: Studio) -> list[BaseRoute]:
    """The page of a concept, and what changes one."""

    def show(request: Request) -> Response:
        folder = studio.folder(CONCEPTS, request)
        seen = look(studio, folder)
        return studio.page("concept.html.j2", "teach", "concept.js", **seen)

    def again(request: Request) -> Response:
        return JSONResponse(look(studio, studio.folder(CONCEPTS, request)))

    def create(request: Request, asked: dict[str, Any]) -> Any:
        noun, example = text(asked, "noun", 60), text(asked, "example", 60)
        if example:
            return {"name": _example(studio, example).name}
        folder = studio.root.new(CONCEPTS, noun or "concept")
        studio.root.call(folder, noun=_noun(noun) if noun else "")
        return {"name": folder.name}

    async def upload(request: Request) -> Response:
        folder = studio.folder(CONCEPTS, request)
        name = unquote(request.headers.get("x-likewise-name", "picture"))[:200]
        taken = await uploads.receive(name, request.stream(), folder)
        return JSONResponse({"kept": taken.kept, "refused": taken.refused})

    def change(request: Request, asked: dict[str, Any]) -> Any:
        folder = studio.folder(CONCEPTS, request)
        files = {path.name for path in folder.iterdir()}
        words = {key: text(asked, key, 60) for key in ("noun", "token") if key in asked}
        if words.get("noun"):
            words["noun"] = _noun(words["noun"])
        if words.get("token"):
            check_token(words["token"])
        if words:
            studio.root.call(folder, **words)
        for name, caption in table(asked, "captions").items():
            if name in files:
                uploads.caption(folder, name, text({"caption": caption}, "caption", uploads.MOST_CAPTION))
        for name in texts(asked, "remove", 500):
            if name in files:
                studio.root.discard(folder / name)
        return look(studio, folder)

    def examples(request: Request) -> Response:
        return JSONResponse(_examples())

    return [
        Route("/concepts/{name}", show), Route("/api/concepts/{name}", again), Route("/api/examples", examples),
        post("/api/concepts", create), post("/api/concepts/{name}/change", change),
        Route("/upload/{name}", upload, methods=["POST"]),
    ]  # fmt: skip


def look(studio: Studio, folder: Path) -> dict[str, Any]:
    """What was understood of a concept's folder, for page and script."""
    facts = studio.root.concept(folder)
    files = sorted((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*"))
    signature = (tuple(files), facts["noun"], facts["token"])
    return studio.root.kept("concept", folder, signature, lambda: _look(studio, folder, facts))


def _look(studio: Studio, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    view = {
        **facts,
        "example_token": POCKET_TOKEN,
        "pictures": [],
        "problems": [],
        "notes": [],
        "remark": "",
        "error": "",
    }
    try:
        found = intake.read(folder)
    except ConceptError as error:
        empty = not any(folder.iterdir())
        return {**view, "error": "" if empty else str(error), "cautions": []}
    noun, token = facts["noun"] or found.noun or "", facts["token"] or found.token or POCKET_TOKEN
    captions, remark = trained(found, token, noun, "pocket") if noun else ([], "")
    rows = [_row(studio, folder, found, number, captions) for number in range(len(found.examples))]
    problems = [{"file": one.file, "reason": one.reason} for one in found.problems]
    return {
        **view, "noun": noun, "pictures": rows, "problems": problems, "notes": list(found.notes), "remark": remark,
        "cautions": _cautions(found, rows),
    }  # fmt: skip


def _row(studio: Studio, folder: Path, found: Intake, number: int, captions: list[str]) -> dict[str, Any]:
    example, name, (width, height) = found.examples[number], found.names[number], found.sizes[number]
    return {
        "file": name, "width": width, "height": height, "cut": round(1 - min(width, height) / max(width, height), 3),
        "src": studio.pictures.address(example.path, 320), "large": studio.pictures.address(example.path, 1280),
        "mask": studio.pictures.address(example.mask.path, 320) if example.mask else "",
        "caption": example.caption or "", "trained": captions[number] if captions else "", "repeats": example.repeats,
    }  # fmt: skip


def _cautions(found: Intake, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a person may want to mend, with the files that the button takes out."""
    cautions: list[dict[str, Any]] = []
    if len(rows) < FEW:
        cautions.append(
            {
                "text": f"{FEW} to {BEST} pictures work best. With fewer, none can be kept back for judging.",
                "mend": [],
            }
        )
    for group in found.duplicates:
        keep = max(
            group, key=lambda name: next(row["width"] * row["height"] for row in rows if row["file"] == name)
        )
        rest = [name for name in group if name != keep]
        cautions.append({"text": f"{len(group)} pictures are nearly the same: {', '.join(group[:3])}.", "mend": rest,
                         "button": f"Keep {keep}, take out {len(rest)}"})  # fmt: skip
    if not any(row["caption"] for row in rows):
        cautions.append({"text": UNCAPTIONED, "mend": []})
    small = [row["file"] for row in rows if min(row["width"], row["height"]) < LARGE]
    if small:
        which = "All pictures" if len(small) == len(rows) else f"{len(small)} of {len(rows)} pictures"
        text = f"{which} have sides below {LARGE} pixels: enough for the bundled model, little for Stable Diffusion."
        mend = small if len(small) < len(rows) else []
        cautions.append({"text": text, "mend": mend, "button": "Take these out"})
    used = [Path(example.mask.path).as_posix() for example in found.examples if example.mask]
    unread = defaultdict(list)
    for one in found.problems:
        if not any(mask.endswith(f"/{one.file}") for mask in used):
            unread[one.reason].append(one.file)
    for reason, files in unread.items():
        text = f"{len(files)} file{'s' * (len(files) != 1)} cannot be used: {reason}"
        cautions.append({"text": text, "mend": files, "button": "Take them out"})
    if used:
        count = f"{len(used)} mask{'s say' if len(used) != 1 else ' says'}"
        cautions.append(
            {
                "text": f"{count} where the subject is. A comparison looks there; nothing is taught by it.",
                "mend": [],
            }
        )
    return cautions


def _noun(noun: str) -> str:
    found = " ".join(noun.split())
    if not found.isprintable() or found.startswith("-"):
        raise ConceptError(
            f"the noun {noun!r} says nothing", "say what the pictures show: dog, mug, oil painting"
        )
    return found


def _suite() -> Path:
    return Path(str(importlib.resources.files("likewise"))) / "pocket"


def _examples() -> list[dict[str, str]]:
    """The concepts that come along, for who only wants to see how it goes."""
    listed = [{"name": "cat", "noun": "cat", "title": "A drawn cat"}]
    try:
        for one in json.loads((_suite() / "suite" / "card.json").read_text(encoding="utf-8"))["concepts"]:
            listed.append(
                {
                    "name": one["name"],
                    "noun": one["noun"],
                    "title": one["name"].replace("-", " ").capitalize(),
                }
            )
    except (OSError, ValueError, KeyError):
        pass
    return listed


def _example(studio: Studio, name: str) -> Path:
    """A copy of an example as a concept of one's own."""
    found = next((one for one in _examples() if one["name"] == name), None)
    if found is None:
        raise RunError(f"there is no example {name!r}")
    source = _suite() / "concepts" / "cat" if name == "cat" else _suite() / "suite" / name / "references"
    folder = studio.root.new(CONCEPTS, name)
    for path in sorted(source.iterdir()):
        if path.suffix.lower() in intake.PICTURES:
            with Example(path).stream() as file:
                uploads.take(path.name, file, folder)
    studio.root.call(folder, noun=found["noun"])
    return folder
