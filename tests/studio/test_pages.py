"""Every screen in a real browser: nothing complains, nothing is too wide for a phone, and an upload becomes a concept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.bases import pictures
from tests.browser import Browser
from tests.local.served import Site
from tests.reports.pages import AXE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENS = [
    "/", "/concepts/dog", "/teach", "/compare", "/runs/2026-01-02-dog-lora-1", "/comparisons/2026-01-03-mug-1",
    "/comparisons/2026-01-03-mug-1/live", "/comparisons/2026-01-03-mug-1/choose", "/draw", "/library", "/queue", "/survey",
    "/settings",
]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="no Chromium to be driven over a pipe"),
]


@pytest.mark.parametrize("width", [1280, 390])
def test_no_screen_complains_or_is_wider_than_the_window(site: Site, tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.size(width, 844)
        browser.open(site.server.address)
        for path in SCREENS:
            browser.open(f"http://{site.host}{path}")
            browser.until("document.readyState === 'complete' && !!document.querySelector('h1')")
            assert browser.value("document.documentElement.scrollWidth") <= width, path
            if AXE.exists():
                browser.send("Page.setBypassCSP", enabled=True)
                browser.value(
                    AXE.read_text(encoding="utf-8")
                    + ";axe.run().then((r) => { window.found = r.violations; }); 0"
                )
                browser.until("window.found !== undefined")
                found = json.loads(browser.value("JSON.stringify(window.found.map((v) => [v.impact, v.id]))"))
                assert not [one for one in found if one[0] in ("serious", "critical")], (path, found)
        assert browser.complaints == []


def test_slider_and_wipe_are_moved_by_keys(site: Site, tmp_path: Path) -> None:
    """Red where a screen of the studio brings the report without its script, or where a picture opens for a mouse alone."""
    assert CHROMIUM is not None
    shown = "[...document.querySelectorAll('[data-film] figcaption')].map((it) => it.textContent).join()"
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.open(site.server.address)
        browser.open(f"http://{site.host}/comparisons/2026-01-03-mug-1")
        browser.until("document.readyState === 'complete' && document.querySelector('#step')?.max > 0")
        browser.value("document.querySelector('#step').focus()")
        ended = browser.value(shown)
        for _ in range(3):
            browser.press("ArrowLeft")
        browser.until("document.querySelector('#step-said').textContent === 'step 0'")
        assert browser.value(shown) != ended
        assert browser.value("document.querySelector('#step').getAttribute('aria-valuetext')") == "step 0"
        browser.value("document.querySelector('.thumb:not([disabled])').focus()")
        browser.press("Enter")
        browser.until("document.querySelector('#box').open && document.activeElement.id === 'wipe'")
        for _ in range(5):
            browser.press("ArrowRight")
        assert browser.value("document.querySelector('.stage').style.getPropertyValue('--at')") == "55%"
        assert browser.value("document.activeElement.getAttribute('aria-valuetext')").startswith("55 % ")
        prompt = browser.value("document.querySelector('#box-seed').textContent")
        browser.press("ArrowDown")
        assert browser.value("document.querySelector('#box-seed').textContent") != prompt
        browser.until(
            "[...document.querySelectorAll('.stage img')].every((it) => it.complete && it.naturalWidth > 0)"
        )
        browser.press("Escape")
        browser.until("!document.querySelector('#box').open")
        assert browser.complaints == []


def test_pictures_that_are_chosen_become_a_concept(site: Site, root: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    chosen = sorted(str(path) for path in pictures(tmp_path / "mine", 5, seed=3).iterdir())
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.open(site.server.address)
        browser.until("!!document.querySelector('#drop input[type=file]')")
        box = "document.querySelector('#drop input[type=text]')"
        typed = f"{box}.value = 'mug'; {box}.dispatchEvent(new Event('input', {{bubbles: true}}))"
        browser.value(typed)
        there = browser.send(
            "Runtime.evaluate", expression="document.querySelector('#drop input[type=file]')"
        )["result"]
        browser.send("DOM.setFileInputFiles", files=chosen, objectId=there["objectId"])
        browser.until(
            "location.pathname === '/concepts/mug' && document.querySelectorAll('.sheet img').length === 5"
        )
        assert "sks mug" in browser.value("document.querySelector('.sheet').textContent")
        browser.until(
            "[...document.querySelectorAll('.sheet img')].every((it) => it.complete && it.naturalWidth > 0)"
        )
        assert browser.complaints == []
    assert len(list((root / "concepts" / "mug").iterdir())) == 5
