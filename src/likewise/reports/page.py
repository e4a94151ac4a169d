"""Page: what every HTML file of likewise shares, the comparison's and the survey's alike. It knows neither.

One self-contained file: the look of `page.css` and a sheet of its own, a script if it has one, and a policy that
lets a browser run and fetch nothing else. Layout common to all is in `page.html.j2`, and `served.html.j2` is for pages that
a server on this machine gives.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from likewise.files import write_text
from likewise.wording import size_text, time_text

_HERE = Path(__file__).parent
SHEET = _HERE / "page.css"
"""The sheet that comes first in every page."""


def write(name: str, view: Mapping[str, Any], out: Path) -> Path:
    """Fill `NAME.html.j2` of this package with `view`, and write it to `out`.

    Its `NAME.css` comes after the common sheet, its `NAME.js` is taken if it is there. All values are escaped.
    """
    sheets, script = (SHEET, _HERE / f"{name}.css"), _HERE / f"{name}.js"
    texts = {"css": "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)}
    if script.exists():
        texts["js"] = script.read_text(encoding="utf-8")
    inlined: dict[str, str] = {}
    for kind, text in texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        inlined |= {kind: Markup(text), f"{kind}_hash": f"sha256-{digest}"}
    return write_text(out, render(f"{name}.html.j2", {**view, **inlined}) + "\n")


def render(template: str, view: Mapping[str, Any], *folders: Path) -> str:
    """A template of this package, or of further `folders`, filled with `view`. All values are escaped."""
    return _engine((*folders, _HERE)).get_template(template).render(view)


@cache
def _engine(folders: tuple[Path, ...]) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(folders)
    engine = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    engine.filters |= {"size": size_text, "time": time_text, "data": data}
    return engine


def data(value: Any) -> Markup:
    """Plain values as JSON that may stand in an element of a page."""
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def scale(span: tuple[float, float], start: float, end: float) -> Callable[[float | None], float | None]:
    """Where a value lies between `start` and `end` in a drawing; None stays None."""
    rate = (end - start) / (span[1] - span[0])
    return lambda value: None if value is None else round(start + rate * (value - span[0]), 2)
