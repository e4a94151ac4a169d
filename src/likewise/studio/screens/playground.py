"""Playground: pictures from a prompt with taught files and strengths, and grids over any two settings."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from likewise.errors import RunError
from likewise.studio import cards, commands, work
from likewise.studio.app import Studio, post, rows, text, texts
from likewise.studio.root import DRAWINGS, MARKS, when
from likewise.studio.taught import taught

AXES = {"": "one value", "strength": "strength", "steps": "steps", "guidance": "guidance", "seed": "seed"}
"""What a grid may go over. Prompts are its rows anyway."""
MOST_CELLS, MOST_PICTURES = 64, 400


def routes(studio: Studio) -> list[BaseRoute]:
    """The page, a drawing as it comes, and the start of one."""

    def show(request: Request) -> Response:
        files = [one for one in taught(studio, most=200) if one["draws"]]
        recent = [_card(studio, folder) for folder in list(studio.root.listing(DRAWINGS).values())[:12]]
        chosen = request.query_params.get("with", "")
        return studio.page(
            "playground.html.j2",
            "draw",
            "playground.js",
            files=files,
            recent=recent,
            chosen=chosen,
            axes=AXES,
        )

    def drawing(request: Request) -> Response:
        return JSONResponse(_drawing(studio, studio.folder(DRAWINGS, request)))

    def begin(request: Request, asked: dict[str, Any]) -> Any:
        made = _commands(studio, asked)
        if asked.get("only") == "command":
            return {"commands": [work.shell(one(Path("samples") / "new")) for _, one in made]}
        target = studio.root.new(DRAWINGS, text({"prompt": texts(asked, "prompts")[0]}, "prompt", 1000)[:40])
        listed = []
        for place, one in made:
            listed.append(one(Path(commands.told(studio.root, target)) / place))
        work.begin(target, listed, studio.root.folder, prompts=texts(asked, "prompts"), cells=[place for place, _ in made],
                   axes=_axes(asked))  # fmt: skip
        return {"name": target.name}

    return [
        Route("/draw", show), Route("/api/drawings/{name}", drawing), post("/api/draw", begin),
    ]  # fmt: skip


def _axes(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Up to two axes: what they go over, and their values. Raises `RunError` for what is none."""
    found = []
    for axis in rows(asked, "axes", 2):
        name, values = text(axis, "name", 20), re.split(r"[\s,;]+", text(axis, "values", 200))
        if not name:
            continue
        if name not in AXES:
            raise RunError(f"a grid does not go over {name!r}")
        numbers = [one for one in values if one]
        try:
            found.append({"name": name, "values": [f"{float(one):g}" for one in numbers]})
        except ValueError:
            raise RunError(
                f"the values of {name} are numbers with commas between", "0, 0.5, 1, for instance"
            ) from None
        if not numbers:
            raise RunError(f"there are no values of {name}", "write some, with commas between")
    return found


def _commands(studio: Studio, asked: dict[str, Any]) -> list[tuple[str, Any]]:
    """(folder of the cell, what makes its command of where it goes) for every cell of the grid."""
    axes = _axes(asked)
    known = {one["id"]: one for one in taught(studio, most=2000)}
    chosen = rows(asked, "with", 8)
    if any(one.get("id") not in known for one in chosen):
        raise RunError("one of these files is not there any more", "load the page anew")
    cells = list(product(*[one["values"] for one in axes]))
    if len(cells) > MOST_CELLS:
        raise RunError(f"{len(cells)} cells are more than {MOST_CELLS}", "give fewer values")
    made = []
    for number, cell in enumerate(cells):
        at = dict(zip([one["name"] for one in axes], cell, strict=True))
        given = {**asked, **{key: value for key, value in at.items() if key != "strength"}}
        files = [
            (commands.told(studio.root, Path(known[str(one["id"])]["path"])), _strength(one))
            for one in chosen
        ]
        if files and "strength" in at:
            files[0] = (files[0][0], float(at["strength"]))

        def command(
            out: Path, given: dict[str, Any] = given, files: list[tuple[str, float]] = files
        ) -> list[str]:
            return commands.sample(given, files, out.as_posix())

        command(Path("samples"))  # what cannot be is refused before anything is begun
        made.append((f"cell{number:03d}" if axes else "", command))
    return made


def _strength(one: dict[str, Any]) -> float:
    try:
        return float(one.get("strength", 1))
    except (TypeError, ValueError):
        raise RunError("a strength is a number", "1 is as it was taught") from None


def _drawing(studio: Studio, folder: Path) -> dict[str, Any]:
    """What there is of a drawing: its cells in order, each with its pictures."""
    asked = work.read(folder)
    facts = asked.get("facts", {})
    cells = []
    for place in facts.get("cells") or [""]:
        cells.append(
            [
                {
                    "src": studio.pictures.address(folder / place / str(one["file"]), 640),
                    "prompt": str(one["prompt"]),
                    "seed": one["seed"],
                }
                for one in _gallery(folder / place)
            ]
        )
    status = work.state(folder) if asked else "done"
    if status == "done" and len([one for one in cells if one]) < len(cells):
        status = "starting"
    return {
        "name": folder.name, "status": status, "cells": cells, "axes": facts.get("axes") or [],
        "said": work.said(folder, 4) if status == "failed" else "",
        "commands": [work.shell(one) for one in facts.get("commands") or ()],
    }  # fmt: skip


def _gallery(folder: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found[:MOST_PICTURES]


def _card(studio: Studio, folder: Path) -> dict[str, Any]:
    prompts = work.read(folder).get("facts", {}).get("prompts") or [
        one["prompt"] for one in _gallery(folder)[:1]
    ]
    picture = next(
        (
            a
            for path in (folder / "0000.png", folder / "cell000" / "0000.png")
            if (a := studio.pictures.address(path))
        ),
        None,
    )
    return {"name": folder.name, "title": prompts[0] if prompts else folder.name, "picture": picture,
            **cards.moment(when(folder, MARKS[DRAWINGS]))}  # fmt: skip
