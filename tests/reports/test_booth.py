"""The page of a ballot: blind to its end, then open; and in a real browser by its keys."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the studio extra")
pytest.importorskip("starlette", reason="the studio extra")

from likewise.comparison import voting
from likewise.comparison.voting import Ballot
from likewise.reports import booth
from tests.browser import Browser
from tests.comparison.ballots import TRIALS, comparison
from tests.local.served import Site, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "mugs")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with served(booth.app(Ballot(folder))) as found:
        found.enter()
        yield found


def test_no_answer_names_a_condition_before_the_end(site: Site) -> None:
    names = re.compile("|".join(name for trial in TRIALS for name in trial[:2]), re.IGNORECASE)
    state, shown = site.ask("/api/next").json, 0
    while "showing" in state:
        shown += 1
        page = site.ask("/")
        assert site.ask("/results").headers["location"] == "/"
        for text in (
            page.body.decode(),
            str(state),
            *(str(site.ask(f"/pictures/{state[s]}").headers) for s in "ab"),
        ):
            assert not names.search(text.replace("base-uri", "")), text
        assert "sks" not in str(state), "the prompt of a taught trial would tell it from the base's"
        assert state["prompt"] in ("a mug on a beach", "a mug at night")
        state = site.post("/api/votes", {"showing": state["showing"], "choice": "left"}).json
    assert (shown, state) == (13, {"done": 13, "total": 13, "results": True})
    assert site.ask("/").headers["location"] == "/results"
    results = site.ask("/results").body.decode()
    assert "They never enter the measured verdict." in results
    assert all(title in results for _, title, kind in TRIALS if kind == "method")
    assert "/vote" not in results
    assert "--another" in results


def test_the_pictures_are_those_of_the_pair(site: Site, folder: Path) -> None:
    from PIL import Image, ImageChops

    ballot = Ballot(folder)
    showing = ballot.next()
    assert showing is not None
    state = site.ask("/api/next").json
    assert state["showing"] == showing.id
    for side, entry in (("a", showing.left), ("b", showing.right)):
        (folder / "sent.png").write_bytes(site.ask(f"/pictures/{state[side]}").body)
        with Image.open(folder / "sent.png") as sent, Image.open(folder / entry.file) as kept:
            assert ImageChops.difference(sent, kept).getbbox() is None


def test_results_open_once_every_pair_has_enough(tmp_path: Path) -> None:
    folder = comparison(tmp_path / "mugs", TRIALS[1:3], seeds=30)
    ballot = Ballot(folder)
    with served(booth.app(ballot)) as site:
        site.enter()
        while not site.ask("/api/next").json["results"]:
            showing = ballot.next()
            assert showing is not None
            ballot.cast(showing.id, "right")
        assert 40 <= ballot.done < len(ballot)
        text = site.ask("/results").body.decode()
    assert f"Go on voting: {len(ballot) - ballot.done} pairs left" in text


def test_a_second_answer_takes_the_place_of_the_first(site: Site, folder: Path) -> None:
    shown = site.ask("/api/next").json["showing"]
    for choice in ("left", "both_bad"):
        assert site.post("/api/votes", {"showing": shown, "choice": choice}).json["done"] == 1
    assert [one.choice for one in voting.read(folder)] == ["both_bad"]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="no Chromium to be driven over a pipe")
def test_a_browser_votes_by_its_keys_and_comes_to_the_results(folder: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    with served(booth.app(Ballot(folder))) as site, Browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.open(site.server.address)
        keys = ["ArrowLeft", "ArrowRight", "ArrowDown", "x", "ArrowLeft", "Backspace", "x"]
        keys += ["ArrowRight"] * 8
        for number, key in enumerate(keys):
            browser.until("document.querySelector('main').getAttribute('aria-busy') === 'false'")
            pictures = (
                "[...document.querySelectorAll('.pair img')].every(i => i.complete && i.naturalWidth === 16)"
            )
            assert browser.value(pictures)
            if number == 0:
                assert browser.value("document.querySelector('#count').textContent") == "Pair 1 of 13"
                assert browser.value("location.search") == "", "the token does not stay on screen"
                assert browser.value("document.cookie") == "", "the cookie is not for scripts"
            browser.press(key)
            time.sleep(0.05)
        browser.until("location.pathname === '/results' && document.readyState === 'complete'")
        assert "say" in browser.value("document.querySelector('h1').textContent")
        assert browser.complaints == []
    chosen = [one.choice for one in sorted(voting.read(folder), key=lambda one: one.choice)]
    assert chosen.count("both_bad") == 2, "one by x, and one that took the place of a left"
    assert (chosen.count("left"), chosen.count("tie"), len(chosen)) == (1, 1, 13)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="no Chromium to be driven over a pipe")
@pytest.mark.parametrize(("width", "beside"), [(1280, True), (390, False)])
def test_a_browser_shows_the_pair_and_its_buttons_without_scrolling(
    site: Site, tmp_path: Path, width: int, beside: bool
) -> None:
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path / "profile") as browser:
        browser.size(width, 844)
        browser.open(site.server.address)
        browser.until("document.querySelector('main')?.getAttribute('aria-busy') === 'false'")
        assert browser.value("document.documentElement.scrollWidth") == width
        box = "document.querySelector('{}').getBoundingClientRect().{}"
        assert (browser.value(box.format("#a", "top")) == browser.value(box.format("#b", "top"))) == beside
        assert browser.value(box.format(".answers", "bottom")) <= 844
        focus = "document.querySelector('[data-choice=tie]').focus(); document.activeElement.innerText"
        assert str(browser.value(focus)).startswith("No difference")
