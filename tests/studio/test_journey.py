"""A person's first session in a real browser against a real `likewise studio`, which is killed on the way.

Pictures are dropped, taught and drawn with; the server is killed and started again while the run goes on; files that mean
harm are dropped as well. The base is tiny, so that what is tested is the page and not the patience.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import likewise
from likewise import journal, records
from likewise.events import Stepped
from likewise.studio import work
from tests.bases import lora_run, pictures
from tests.browser import Browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CAT = Path(likewise.__file__).parent / "pocket" / "concepts" / "cat"
TOKEN = "a-token-of-the-tests"
STEPS = 900
"""Enough that the run is still at work when the server is back, and seconds of a processor's time for a tiny base."""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="no Chromium to be driven over a pipe"),
]


class Served:
    """The command `likewise studio`, which is started, killed and started again on one port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with socket.socket() as spare:
            spare.bind(("127.0.0.1", 0))
            self.port = spare.getsockname()[1]
        self.at = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """The address that it prints, once it is there."""
        command = [
            sys.executable,
            "-m",
            "likewise",
            "studio",
            f"--root={self.root}",
            f"--port={self.port}",
            f"--token={TOKEN}",
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=work.environment()
        )
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        """As a crash ends it: it hears nothing of it."""
        if self._process:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "home"))
    made = Served(tmp_path / "root")
    made.root.mkdir()
    try:
        yield made
    finally:
        made.kill()
        for folder in (made.root / "runs").glob("*"):  # nothing of a test that failed works on
            asked = work.read(folder)
            if "process" in asked and "code" not in asked and records.lives(*asked["process"]):
                os.kill(asked["process"][0], 9)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with Browser(CHROMIUM, tmp_path / "profile") as made:
        yield made


def choose(browser: Browser, selector: str, files: list[Path]) -> None:
    """Give files to an input, as a person does in the system's window."""
    browser.until(f"!!document.querySelector({selector!r})")
    there = browser.send("Runtime.evaluate", expression=f"document.querySelector({selector!r})")["result"]
    browser.send("DOM.setFileInputFiles", files=[str(path) for path in files], objectId=there["objectId"])


def write(browser: Browser, input: str, text: str) -> None:
    """Put a text in the field that an expression gives, and leave it."""
    say = "{bubbles: true}"
    browser.value(
        f"(() => {{ const box = {input}; box.value = {json.dumps(text)}; box.dispatchEvent(new Event('input', {say}));"
        f"box.dispatchEvent(new Event('change', {say})); }})()"
    )


def click(browser: Browser, words: str) -> None:
    """Press the button or link with these words, once it is there and on."""
    found = f"[...document.querySelectorAll('button, a.button')].find((it) => it.textContent.trim().startsWith({words!r}))"
    browser.until(f"!!{found} && !{found}.disabled")
    browser.value(f"{found}.click()")


def labelled(words: str) -> str:
    """The field with a label."""
    return (
        f"[...document.querySelectorAll('label.field')].find((it) => it.querySelector('span')?.textContent === {words!r})"
        "?.querySelector('input, textarea, select')"
    )


def last_step(folder: Path) -> int:
    event = journal.last(folder)
    return event.step if isinstance(event, Stepped) else 0


def test_from_an_upload_to_a_taught_picture_over_a_killed_server(studio: Served, browser: Browser) -> None:
    browser.size(1280, 900)
    browser.open(studio.start())
    browser.until("location.search === '' && !!document.querySelector('#drop input[type=text]')")
    write(browser, "document.querySelector('#drop input[type=text]')", "cat")
    choose(browser, "#drop input[type=file]", sorted(CAT.glob("*.[jp][pn]g")))
    browser.until("location.pathname === '/concepts/cat' && !!document.querySelector('.sheet img')")
    click(browser, "Teach it")
    browser.until(f"!!{labelled('Model to teach')}")
    write(browser, labelled("Model to teach"), "tiny:sd")
    browser.until(f"!!{labelled('Steps')}")
    write(browser, labelled("Steps"), str(STEPS))
    browser.until(f"document.body.textContent.includes('steps={STEPS}')")  # the command, which is what starts
    click(browser, "Start teaching")
    browser.until("location.pathname.startsWith('/runs/') && !!document.querySelector('.head-line')")
    name = str(browser.value("location.pathname.split('/')[2]"))
    folder = studio.root / "runs" / name
    watch(browser, folder)
    died_over(studio, browser, folder)
    browser.until("document.querySelector('.head-line').dataset.status === 'done'")
    assert last_step_drawn(browser) == STEPS
    draw(browser)
    # The browser notes every try to reach a server that is gone, and nothing else.
    assert not [it for it in browser.complaints if "ERR_CONNECTION" not in it and "ERR_INCOMPLETE" not in it]


def watch(browser: Browser, folder: Path) -> None:
    """The run is seen while it goes on: its step, its curve, and a first preview that is a picture."""
    browser.until("document.querySelector('.head-line').dataset.status === 'running'")
    browser.until("!!document.querySelector('svg.curve .smooth')")
    browser.until(
        "[...document.querySelectorAll('.filmed img')].some((it) => it.complete && it.naturalWidth > 0)"
    )
    assert f"of {STEPS}" in browser.value("document.querySelector('.gauges').textContent")
    assert records.held(folder)


def died_over(studio: Served, browser: Browser, folder: Path) -> None:
    """The server is killed and started again. Red where the run dies with it, or where the page has to be loaded anew."""
    browser.value("window.same = true")
    studio.kill()
    browser.until("document.querySelector('.head-line').textContent.includes('does not answer')")
    before = last_step(folder)
    assert records.held(folder), "the run ended with the server"
    studio.start()
    browser.until("!document.querySelector('.head-line').textContent.includes('does not answer')")
    browser.until(f"Number(document.querySelector('.gauges dd')?.textContent.split(' ')[0]) > {before}")
    assert browser.value("window.same") is True, "the page was loaded anew"


def last_step_drawn(browser: Browser) -> int:
    """The step of the last preview on the slider, which the run's last event brought."""
    browser.until(f"document.querySelector('.scrub output')?.textContent === '{STEPS}'")
    return int(browser.value("document.querySelector('.scrub output').textContent"))


def draw(browser: Browser) -> None:
    """A picture of what was taught."""
    click(browser, "Draw with it")
    browser.until(f"location.pathname === '/draw' && !!{labelled('Pictures')}")
    write(browser, labelled("Pictures"), "1")
    click(browser, "Draw 1 picture")
    browser.until(
        "[...document.querySelectorAll('.drawn img')].some((it) => it.complete && it.naturalWidth > 0)"
    )


def noisy(size: tuple[int, int] = (80, 60)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).save(buffer, "PNG")
    return buffer.getvalue()


def hostile(place: Path) -> list[tuple[Path, str]]:
    """Files that mean harm, each with the words that the page says of it."""
    place.mkdir()
    with zipfile.ZipFile(place / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(60_000_000))
    (place / "words.png").write_text("no picture at all")
    Image.new("1", (20_000, 20_000)).save(place / "huge.png")
    (place / "broken.zip").write_bytes(b"PK\x03\x04" + b"nothing of a zip" * 9)
    return [
        (place / "bomb.zip", "bomb.png: unpacked it would be far larger than any picture"),
        (place / "words.png", "words.png: this is no picture that can be read"),
        (place / "huge.png", "huge.png: it has more than 50 megapixels"),
        (place / "broken.zip", "broken.zip: this zip is damaged"),
    ]


def test_files_that_mean_harm_give_one_line_each(studio: Served, browser: Browser, tmp_path: Path) -> None:
    pictures(studio.root / "concepts" / "dog", 4)
    bad = hostile(tmp_path / "bad")
    with zipfile.ZipFile(tmp_path / "climbs.zip", "w") as archive:
        archive.writestr("../../../climbed.png", noisy())
    before = everything(tmp_path)
    browser.open(studio.start())
    browser.until("location.search === ''")
    browser.open(f"{studio.at}/concepts/dog")
    choose(browser, ".zone input[type=file]", [*(path for path, _ in bad), tmp_path / "climbs.zip"])
    browser.until("document.querySelector('.notes-list .note')?.textContent.includes('not taken')")
    said = browser.value("[...document.querySelectorAll('.notes-list .note')][0].innerText").splitlines()
    assert said[0] == f"{len(bad)} files not taken."
    for line, (_, words) in zip([line for line in said[1:] if line], bad, strict=True):
        assert line.startswith(words), line
    assert everything(tmp_path) - before == {"root/concepts/dog/climbed.png"}, "a name in a zip is no way out"
    browser.until("document.querySelectorAll('.sheet img').length === 5")
    assert browser.complaints == []


def everything(place: Path) -> set[str]:
    """Files below a folder, without what the browser keeps."""
    every = (path.relative_to(place) for path in place.rglob("*") if path.is_file())
    return {path.as_posix() for path in every if path.parts[0] not in ("profile", "home")}


def test_a_late_answer_does_not_replace_a_newer_one(studio: Served, browser: Browser) -> None:
    pictures(studio.root / "concepts" / "dog", 4)
    (studio.root / "concepts" / "dog.toml").write_text('noun = "dog"\n')
    browser.open(studio.start())
    browser.until("location.search === ''")
    browser.open(f"{studio.at}/teach?concept=dog")
    browser.until(f"!!{labelled('Trainings')} && !!{labelled('Steps')}")
    browser.value(
        "(() => { const real = window.fetch; window.asked = window.late = 0; window.fetch = async (path, options) => {"
        "  if (path !== '/api/teach/command' || options.body.includes('77')) return real(path, options);"
        "  window.asked += 1; const told = await real(path, options);"
        "  await new Promise((done) => setTimeout(done, 1500)); window.late += 1; return told; }; })()"
    )
    write(browser, labelled("Trainings"), "2")
    browser.until("window.asked > 0")
    write(browser, labelled("Steps"), "77")
    browser.until("document.body.textContent.includes('steps=77')")
    browser.until("window.late > 0")
    time.sleep(0.2)
    assert browser.value("document.body.textContent.includes('steps=77')") is True
    write(browser, labelled("Model to teach"), "no/such model")
    browser.until("!!document.querySelector('.note[role=alert]')?.textContent.includes('no/such model')")
    assert browser.value(f"{labelled('Steps')}.value") == "77"
    write(browser, labelled("Model to teach"), "pocket")
    browser.until("!document.querySelector('.note[role=alert]')")


def test_masks_are_shown_and_captions_changed_all_at_once(studio: Served, browser: Browser) -> None:
    folder = studio.root / "concepts" / "dog"
    pictures(folder, 4)
    (studio.root / "concepts" / "dog.toml").write_text('noun = "dog"\n')
    first, second, *rest = sorted(folder.glob("*.png"))
    Image.new("L", Image.open(first).size, 255).save(folder / f"{first.stem}-masklabel.png")
    first.with_suffix(".txt").write_text("{} in the old garden")
    second.with_suffix(".txt").write_text("{} on an old bench")
    browser.open(studio.start())
    browser.until("location.search === ''")
    browser.open(f"{studio.at}/concepts/dog")
    click(browser, "Subject")
    assert "1 mask says where the subject is" in browser.value(
        "document.querySelector('.notes-list').innerText"
    )
    browser.until("!!document.querySelector('.sheet .mask')?.naturalWidth")
    assert (
        browser.value("[...document.querySelectorAll('.cutmark')].map((it) => it.textContent).join()")
        == "no mask,no mask,no mask"
    )
    write(browser, labelled("Find in all captions"), "old")
    write(browser, labelled("Put instead"), "new")
    click(browser, "Change 2 captions")
    browser.until("document.body.textContent.includes('in the new garden')")
    assert second.with_suffix(".txt").read_text() == "{} on an new bench\n"
    write(browser, labelled("A caption for the 2 pictures without one"), "{} at home")
    click(browser, "Give it to 2 pictures")
    browser.until("document.body.textContent.includes('at home')")
    assert [path.with_suffix(".txt").read_text() for path in rest] == ["{} at home\n"] * 2


def test_the_steps_of_a_run_are_scored(studio: Served, browser: Browser, tmp_path: Path) -> None:
    """By pictures that it was not taught; the page of the run leads to the comparison of its steps."""
    for name in ("dog", "dog-more"):
        pictures(studio.root / "concepts" / name, 4, seed=len(name))
        (studio.root / "concepts" / f"{name}.toml").write_text('noun = "dog"\n')
    run = studio.root / "runs" / "2026-01-02-dog-lora-1"
    list(lora_run(tmp_path, run, steps=16, keep_checkpoints=3).start())
    browser.open(studio.start())
    browser.until("location.search === ''")
    browser.open(f"{studio.at}/runs/{run.name}")
    browser.until("document.body.textContent.includes('Which step is the best?')")
    write(browser, "document.querySelector('select[aria-label]')", "dog-more")
    click(browser, "Score the steps")
    browser.until("location.pathname.startsWith('/comparisons/')")
    (command,) = [work.read(folder)["command"] for folder in (studio.root / "comparisons").iterdir()]
    assert command[:3] == ["checkpoints", f"runs/{run.name}", "--pictures=concepts/dog-more"]
    browser.until("!!document.querySelector('.head-line .chip.done, .head-line .chip.failed')")
    assert browser.value("document.querySelector('.head-line').innerText").startswith("finished"), (
        browser.value("document.body.innerText")
    )
