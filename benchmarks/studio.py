"""The studio in a real browser, with much in its folder.

A comparison of about 5,000 pictures is scrolled from top to bottom: the longest task of the page after it has loaded, in ms.
A browser tells of tasks from 50 ms on, so 0 is less than that. The first page and the library of a folder with 1,000 runs:
first paint, in ms, for a server that has just been started and for one that has answered before, and the processor time of
the server. Needs Chromium and the studio extra.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import finish, parse, parser
from likewise.local.server import Server
from likewise.studio.app import STREAMS, Studio, app
from tests.bases import lora_run
from tests.browser import Browser
from tests.local.served import served
from tests.reports import folders

SIDE = 128
"""Pixels of a side of a picture, as `pocket` draws them."""
LONG = (
    "window.tasks = [];"
    "new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((it) => [it.startTime, it.duration])))"
    ".observe({type: 'longtask', buffered: true});"
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
SCROLL = """
window.ended = false; window.began = performance.now();
(function further() {
  scrollBy({top: 120, behavior: 'instant'});
  if (scrollY + innerHeight < document.documentElement.scrollHeight - 1) requestAnimationFrame(further);
  else setTimeout(() => { window.ended = true; }, 500);
})(); 0
"""


def comparison(folder: Path, prompts: int, seeds: int) -> int:
    """A finished comparison of 11 trials with so many prompts and seeds; gives the number of its pictures."""
    listed = [
        {"id": f"p{n}", "text": f"a {{}} in place {n}", "role": "use", "stratum": "place"}
        for n in range(prompts)
    ]
    kept = folders.PROMPTS, folders.SEEDS
    folders.PROMPTS, folders.SEEDS = listed, list(range(seeds))
    try:
        folders.made(folder)
    finally:
        folders.PROMPTS, folders.SEEDS = kept
    noise = [Image.effect_noise((SIDE, SIDE), 20 + 4 * n).convert("RGB") for n in range(40)]
    count = 0
    for count, path in enumerate(sorted(folder.glob("trials/*/gallery/*.png")), 1):
        noise[count % len(noise)].save(path, compress_level=1)
    return count


def library(root: Path, runs: int) -> None:
    """So many finished runs, each with its file and its previews: copies of one."""
    first = root / "runs" / "2026-01-01-dog-lora-0000"
    with tempfile.TemporaryDirectory() as place:
        list(lora_run(Path(place), first, steps=6, keep_checkpoints=0).start())
    for number in range(1, runs):
        shutil.copytree(first, first.with_name(f"2026-01-01-dog-lora-{number:04d}"))


def scrolled(browser: Browser, address: str) -> dict[str, float]:
    """A page from top to bottom once it has loaded: the longest task meanwhile."""
    browser.open(address)
    browser.until("document.readyState === 'complete' && !!document.querySelector('h1')")
    time.sleep(3)
    browser.value(LONG)
    browser.value(SCROLL)
    browser.until("window.ended")
    longest = browser.value(
        "Math.max(0, ...window.tasks.filter(([at]) => at >= window.began).map(([, took]) => took))"
    )
    over = browser.value("window.tasks.filter(([at, took]) => at >= window.began && took > 100).length")
    return {"longest task, ms": longest, "tasks over 100 ms": over}


def painted(browser: Browser, address: str) -> dict[str, float]:
    """The first paint of a page, and the processor time that this process, the server, spends on it."""
    browser.open("about:blank")
    browser.until("location.href === 'about:blank'")
    began = time.process_time()
    browser.open(address)
    browser.until(f"location.href !== 'about:blank' && document.readyState === 'complete' && ({PAINTED}) > 0")
    return {"first paint, ms": browser.value(PAINTED), "server cpu s": time.process_time() - began}


def measure(root: Path, profile: Path, chromium: str) -> list[dict[str, Any]]:
    """A row for each page."""
    rows: list[dict[str, Any]] = []
    with Browser(chromium, profile) as browser:
        browser.size(1280, 900)

        def fresh(look: Callable[[Server, str], None]) -> None:
            made = Studio(root)
            with served(app(made), streams=STREAMS, cookie=made.cookie) as site:
                look(site.server, f"http://{site.host}")

        def pages(server: Server, at: str) -> None:
            browser.open(server.address)  # also answers for the first page once
            browser.until("location.search === ''")
            rows.append({"page": "first page", **painted(browser, f"{at}/")})
            rows.append({"page": "library, asked first", **painted(browser, f"{at}/library")})
            rows.append({"page": "library, asked again", **painted(browser, f"{at}/library")})

        def grid(server: Server, at: str) -> None:
            browser.open(server.address)
            browser.until("location.search === ''")
            name = next((root / "comparisons").iterdir()).name
            rows.append({"page": "comparison, scrolled", **scrolled(browser, f"{at}/comparisons/{name}")})

        fresh(pages)
        fresh(grid)
    return rows


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=1000)
    made.add_argument("--prompts", type=int, default=46)
    made.add_argument("--seeds", type=int, default=10)
    given = parse(made)
    if given.smoke:
        given.runs, given.prompts, given.seeds = 3, 2, 2
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        made.error("no Chromium on this machine")
    # The browser may still write into its profile when it has been ended.
    with tempfile.TemporaryDirectory(prefix="likewise-", ignore_cleanup_errors=True) as place:
        root = Path(place) / "root"
        library(root, given.runs)
        pictures = comparison(root / "comparisons" / "2026-01-03-mug-1", given.prompts, given.seeds)
        rows = measure(root, Path(place) / "profile", chromium)
    columns = ("page", "first paint, ms", "server cpu s", "longest task, ms", "tasks over 100 ms")
    finish(
        "studio",
        [{key: row.get(key) for key in columns} for row in rows],
        {"runs": given.runs, "pictures": pictures},
        write=given.write,
    )


if __name__ == "__main__":
    main()
