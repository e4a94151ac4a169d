"""What the tests of pages share: a parser that knows a page's elements and words, and a browser."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "link", "img", "input", "br", "hr", "wbr", "path", "rect", "circle"}
AXE = next(
    (
        Path(place) / "axe.min.js"
        for place in getattr(importlib.util.find_spec("axe_core_python"), "submodule_search_locations", [])
    ),
    Path("axe.min.js"),
)
"""What looks for faults in a page, where the package that brings it is installed."""
"""Where `npm install --no-save axe-core` puts it."""


class Page(HTMLParser):
    """The elements of a page, whether every one is closed, and the words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words += data

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of a tag that have these."""
        return [a for name, a in self.elements if name == tag and attributes.items() <= a.items()]


def data_of(page: Page) -> dict[str, Any]:
    """What the page's script is given."""
    text = page.text.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    found: dict[str, Any] = json.loads(text)
    return found


def section(page: Page, title: str, until: str) -> str:
    """The words from a title behind the head of the page to another one."""
    start = page.words.index(title, page.words.index("Repeat it"))
    return page.words[start : page.words.index(until, start)]


def browse(address: str, profile: Path, *options: str) -> tuple[str, str]:
    """The document after its script has run, and what the browser logged; skips where there is no browser."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *options]
    command += ["--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    return done.stdout, done.stderr


def faults(page: Path, profile: Path, before: str = "") -> list[tuple[str, str]]:
    """What axe-core finds in a page as (impact, rule), after a line of script; skips where axe-core is not installed.

    The copy that it looks at has no policy, so that axe may run in it.
    """
    if not AXE.exists():
        pytest.skip("axe-core-python is not installed")
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition('<meta http-equiv="Content-Security-Policy"')
    text = head + rest.partition(">")[2]
    report = "axe.run().then((r) => { document.title = JSON.stringify(r.violations.map((v) => [v.impact, v.id])); });"
    copy = profile.with_suffix(".html")
    script = f"<script>{AXE.read_text(encoding='utf-8')}</script><script>{before};{report}</script>"
    copy.write_text(
        text.replace("</body>", script.replace("</body>", "<\\/body>") + "</body>"), encoding="utf-8"
    )
    document, _ = browse(copy.as_uri(), profile)
    title = document.partition("<title>")[2].partition("</title>")[0]
    found: list[Any] = json.loads(title.replace("&amp;", "&"))
    return [(impact, rule) for impact, rule in found]
