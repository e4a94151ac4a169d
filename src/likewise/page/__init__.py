"""A page: what every HTML file of likewise shares, the comparison's and the survey's alike. It knows neither.

One self-contained file: the look of `page.css` and a sheet of its own, a script if it has one, and a policy that
lets a browser run and fetch nothing else. Layout common to all is in `page.html.j2`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from likewise.files import write_text

_HERE = Path(__file__).parent


def write(folder: Path, view: Mapping[str, Any], out: Path) -> Path:
    """Fill `report.html.j2` of a folder of this package with `view`, and write it to `out`.

    Its `report.css` comes after the common sheet, its `report.js` is taken if it is there. All values are escaped.
    """
    loader = jinja2.FileSystemLoader([folder, _HERE])
    engine = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sheets, script = (_HERE / "page.css", folder / "report.css"), folder / "report.js"
    texts = {"css": "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)}
    if script.exists():
        texts["js"] = script.read_text(encoding="utf-8")
    inlined: dict[str, str] = {}
    for name, text in texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        inlined |= {name: Markup(text), f"{name}_hash": f"sha256-{digest}"}
    return write_text(out, engine.get_template("report.html.j2").render({**view, **inlined}) + "\n")


def scale(span: tuple[float, float], start: float, end: float) -> Callable[[float | None], float | None]:
    """Where a value lies between `start` and `end` in a drawing; None stays None."""
    rate = (end - start) / (span[1] - span[0])
    return lambda value: None if value is None else round(start + rate * (value - span[0]), 2)
