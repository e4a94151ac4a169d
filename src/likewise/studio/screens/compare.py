"""Compare: set a comparison up, and see what it would take, before it starts."""

from __future__ import annotations

from itertools import islice
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from likewise.comparison.design import SIZES
from likewise.studio import cards, commands, work
from likewise.studio.app import Studio, post, text, texts
from likewise.studio.root import COMPARISONS

SHOWN = 24
"""Earlier comparisons on the page."""


def routes(studio: Studio) -> list[BaseRoute]:
    """The page and the start."""
    root = studio.root

    def show(request: Request) -> Response:
        listed, chosen = cards.chosen(studio, request)
        done = [cards.comparison(studio, one) for one in islice(root.listing(COMPARISONS).values(), SHOWN)]
        view = {
            "concepts": listed,
            "concept": chosen,
            "done": done,
            "sizes": [vars(one) for one in SIZES.values()],
        }
        return studio.page("compare.html.j2", "compare", "compare.js" if chosen else None, **view)

    def begin(request: Request, asked: dict[str, Any]) -> Any:
        folder = commands.concept(root, asked)
        told = commands.compare(root, folder, asked, "comparisons/new")  # refuses before a folder is made
        if asked.get("only") == "command":
            return {"command": work.shell(told)}
        noun = root.concept(folder)["noun"]
        target = root.new(COMPARISONS, noun)
        made = commands.compare(root, folder, asked, commands.told(root, target))
        work.ask(target, made, noun=noun, size=text(asked, "size", 20))
        title = f"Compare {len(texts(asked, 'methods', 20))} methods on {noun}"
        work.enqueue(root.folder, target, made, title)
        return {"name": target.name}

    return [Route("/compare", show), post("/api/compare", begin)]
