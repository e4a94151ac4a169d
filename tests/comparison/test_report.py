"""The comparison's page: what it holds, what it says where something is missing, that a browser opens it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from likewise.cli import app
from likewise.comparison import report
from likewise.errors import RunError
from likewise.page import wording
from likewise.survey import store as stores
from rehearsal import catalogue

SEEDS = [3, 4]
PROMPTS = [("plain", "a photo of sks mug"), ("evil", '<script>alert(1)</script> & "sks" mug\'s <b>')]
TRIALS = [
    ("floor", "Base", "floor"),
    ("description", "Base + description", "description"),
    ("dreambooth", "DreamBooth", "method"),
    ("lora", "LoRA", "method"),
]
VOID = {"meta", "link", "img", "input", "br", "hr", "wbr", "path", "rect"}


def picture(path: Path, shade: int, side: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade * 7 % 256, shade * 13 % 256, 90)).save(path)


def write_gallery(folder: Path, trial: str, shade: int) -> None:
    rows = []
    for role, prompt in PROMPTS:
        for seed in SEEDS:
            file = f"{len(rows):04d}.png"
            picture(folder / "trials" / trial / "gallery" / file, shade + len(rows))
            rows.append({"prompt": prompt, "seed": seed, "file": file, "role": role})
    (folder / "trials" / trial / "gallery" / "gallery.json").write_text(json.dumps(rows))


def result(folder: Path, number: int, trial: str, title: str, kind: str) -> dict[str, Any]:
    write_gallery(folder, trial, 20 * number)
    trained, reach = kind == "method", {"low": 0.35, "high": 0.75}
    cost = {"bytes": 28_000_000, "seconds": 41.2, "peak_bytes": 1.3e9, "trainable": 797_184}
    picture(folder / f"trials/{trial}/run/samples/0.png", 200 + number)
    return {
        "trial": trial, "title": title, "kind": kind, "status": "done", "reason": None,
        "scores": {
            "fidelity": {"mean": 0.4 + number / 10, **reach, "n": 8, "normalised": number / 5},
            "prompt": {"mean": 0.7 - number / 20, **reach, "n": 8},
            "diversity": None,
        },
        "cost": cost if trained else {},
        "steps": 100 if trained else None, "recipe": {"rank": 8, "sites": ["cross"]} if trained else {},
        "gallery": f"trials/{trial}/gallery",
        "strip": [{"step": 0, "file": f"trials/{trial}/run/samples/0.png"}] if trained else [],
    }  # fmt: skip


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def edit(folder: Path, **values: Any) -> None:
    path = folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        picture(tmp_path / f"pictures/train/{number}.png", 100 + number)
    picture(tmp_path / "pictures/held_out/0.png", 150)
    comparison = {
        "schema": 1, "name": "mugs", "base": "pocket", "token": "sks", "noun": "mug",
        "description": "a red mug", "created": "2026-05-12T14:03:11+00:00", "version": "0.1.0",
        "machine": {"device": "cpu"},
        "prompts": [{"id": role, "text": text} for role, text in PROMPTS], "seeds": SEEDS,
        "sampler": {"steps": 30}, "train": [f"pictures/train/{n}.png" for n in range(3)],
        "held_out": ["pictures/held_out/0.png"],
        "ceiling": {"fidelity": {"mean": 0.86, "low": 0.8, "high": 0.9}},
        "metrics": [{"name": "fidelity", "title": "Likeness", "meaning": "m", "card": "f/1"}],
        "digest": "abc123", "finished": True, "verdict": None, "verdict_note": "One seed, no verdict.",
    }  # fmt: skip
    (tmp_path / "comparison.json").write_text(json.dumps(comparison))
    write_rows(tmp_path, [result(tmp_path, n, *trial) for n, trial in enumerate(TRIALS)])
    return tmp_path


class Page(HTMLParser):
    """The elements of a page, and whether every one is closed."""

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
        return [a for t, a in self.elements if t == tag and attributes.items() <= a.items()]


def test_the_page_holds_everything_itself(folder: Path) -> None:
    path = report.build(folder)
    page = Page(path)
    assert path == folder / "report.html"
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", page.text)
    addresses = [a[key] for _, a in page.elements for key in ("src", "href") if a.get(key)]
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    policy = page.of("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not any(name == "style" or name.startswith("on") for _, a in page.elements for name in a)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert max(Counter(ids).values()) == 1


def test_one_thumb_per_gallery_picture_and_each_content_inlined_once(folder: Path) -> None:
    page = Page(report.build(folder))
    grid = page.text[page.text.index('id="grid"') : page.text.index('id="training"')]
    assert grid.count("<img ") == len(TRIALS) * len(PROMPTS) * len(SEEDS)
    sources = [image["src"] for image in page.of("img") if image.get("src")]
    assert len(sources) == len(set(sources))
    assert all(image.get("alt") for image in page.of("img") if image.get("id") != "box-img")
    drawn = {image["id"] for image in page.of("img") if "src" in image}
    assert {image["data-same"] for image in page.of("img") if "data-same" in image} <= drawn


def test_pictures_whose_noise_has_its_own_seed_stand_in_their_order(folder: Path) -> None:
    for trial, *_ in TRIALS:
        index = folder / "trials" / trial / "gallery" / "gallery.json"
        rows = json.loads(index.read_text())
        index.write_text(json.dumps([row | {"seed": 900 + number} for number, row in enumerate(rows)]))
    edit(folder, prompts=[{"id": role, "text": "a {} here"} for role, _ in PROMPTS])
    page = Page(report.build(folder))
    assert "Seeds, in reading order: 3, 4" in page.words
    assert "a mug here" in page.words
    places = [button["data-at"] for button in page.of("button", **{"class": "thumb"})]
    assert {f"{t}.{p}.{s}" for t in range(4) for p in range(2) for s in range(2)} == set(places)


def test_prompts_and_reasons_are_escaped(folder: Path) -> None:
    rows = rows_of(folder)
    rows[3] |= {"title": "<i>LoRA", "status": "failed", "reason": "<script>boom()</script>", "gallery": None}
    rows[2]["recipe"] = {"note": "</pre><script>"}
    write_rows(folder, rows)
    edit(folder, name="</title><script>", noun="<img src=x>", verdict_note="</aside><script>")
    page = Page(report.build(folder))
    assert len(page.of("script")) == 1
    assert "<i>LoRA" not in page.text
    assert "<script>alert" not in page.text
    assert "<script>boom" not in page.text
    assert not page.of("img", src="x")
    assert PROMPTS[1][1] in page.words


@pytest.mark.parametrize(
    ("status", "word"), [("failed", "failed"), ("unsupported", "not supported"), ("skipped", "skipped")]
)
def test_a_trial_without_result_is_shown_with_its_reason(folder: Path, status: str, word: str) -> None:
    rows = rows_of(folder)
    rows[3] = {
        "trial": "lora",
        "title": "LoRA",
        "kind": "method",
        "status": status,
        "reason": "two text towers",
    }
    write_rows(folder, rows)
    page = Page(report.build(folder))
    assert page.text.count('<div class="gap') >= 1 + len(PROMPTS)  # at a glance, and in every row of the grid
    assert "two text towers" in page.words[page.words.index("Without a result") :]
    assert "taught one way" in page.words
    assert f"LoRA ({word})" in page.words
    assert report.summary(folder)["counts"][status] == 1
    assert report.table(folder)[3]["status"] == word
    assert report.table(folder)[3]["Likeness"] == "not measured"


def test_an_unfinished_folder_says_so(folder: Path) -> None:
    edit(folder, finished=False)
    rows = rows_of(folder)
    write_rows(folder, rows[:3])
    with (folder / "results.jsonl").open("a") as file:
        file.write(json.dumps(rows[3])[:40])  # the row that is being written
    (folder / "trials/dreambooth/gallery/0003.png").unlink()
    page = Page(report.build(folder))
    assert "This comparison is not finished. 3 trials have ended" in page.words
    assert "not drawn yet" in page.words
    assert report.summary(folder)["finished"] is False


def test_a_folder_with_nothing_but_its_plan(folder: Path) -> None:
    (folder / "results.jsonl").unlink()
    edit(folder, finished=False, metrics=None, ceiling=None, held_out=None)
    page = Page(report.build(folder))
    assert "No trial has ended yet" in page.words
    assert "not yet taught" in page.words
    assert report.table(folder) == []


def test_a_missing_or_damaged_folder_is_an_error_with_a_hint(folder: Path) -> None:
    for wrong, said in (
        ("nowhere", "there is no folder"),
        ("results.jsonl", "no folder"),
        ("pictures", "holds no c"),
    ):
        with pytest.raises(RunError, match=said) as caught:
            report.build(folder / wrong)
        assert "Errno" not in str(caught.value)
        assert caught.value.hint
    text = (folder / "results.jsonl").read_text().splitlines()
    (folder / "results.jsonl").write_text("\n".join([text[0], "{torn", text[1]]))
    with pytest.raises(RunError, match="line 2"):
        report.table(folder)
    edit(folder, schema=2)
    with pytest.raises(RunError, match="schema 1"):
        report.summary(folder)


def test_the_same_folder_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    first = report.build(folder).read_bytes()
    assert report.build(folder, tmp_path / "elsewhere" / "page.html").read_bytes() == first


def test_a_trial_tried_again_counts_once(folder: Path) -> None:
    rows = rows_of(folder)
    write_rows(folder, [rows[0], {**rows[3], "status": "failed", "reason": "first try"}, *rows[1:]])
    titles = [row["trial"] for row in report.table(folder)]
    assert titles == ["Base", "Base + description", "LoRA", "DreamBooth"]
    assert "first try" not in report.build(folder).read_text()


def test_no_winner_is_named(folder: Path) -> None:
    page = Page(report.build(folder))
    assert page.words.count("No winner is named. One seed, no verdict.") == 2
    assert not re.search(r'class="[^"]*\b(best|winner|rank)\b', page.text)
    edit(folder, verdict="A better", notes=["the ceiling is close to the floor"])
    words = Page(report.build(folder)).words
    assert "Verdict. A better" in words
    assert "The ceiling is close to the floor." in words


def test_too_many_pictures_go_to_a_folder_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CAP", 100)
    page = Page(report.build(folder, folder / "my page.html"))
    sources = [str(image["src"]) for image in page.of("img") if image.get("src")]
    assert sources
    assert all(source.startswith("my%20page_files/") for source in sources)
    assert all((folder / source.replace("%20", " ")).is_file() for source in sources)


def test_pictures_outside_the_folder_are_not_opened(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.png"
    picture(secret, 77)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    edit(
        folder,
        train=[str(secret), "../" * 9 + str(secret), "broken.png", "absent.png", "pictures/train/0.png"],
    )
    assert Page(report.build(folder)).words.count("missing file") == 4


def test_numbers_are_written_for_people() -> None:
    assert [wording.size_text(n) for n in (0, 1_310, 28_000_000, 999_700, None)] == [
        "0 B", "1.3 kB", "28 MB", "1 MB", "not measured",
    ]  # fmt: skip
    assert [wording.time_text(s) for s in (0.42, 41, 200, 7500, float("nan"), 0.0457)] == [
        "0.42 s", "41 s", "3 min 20 s", "2 h 5 min", "not measured", "0.046 s",
    ]  # fmt: skip
    assert [wording.count_text(n) for n in (256, 797_184, 1_230_000)] == ["256", "797 k", "1.2 M"]
    assert wording.score_text({"mean": 0.62, "low": 0.55, "high": 0.69}) == "0.62 [0.55, 0.69]"
    assert wording.score_text({"mean": 0.62}) == "0.62"
    assert wording.score_text({"mean": None}) == wording.score_text(None) == "not measured"


def test_scores_are_on_the_page_with_their_interval_and_place(folder: Path) -> None:
    page = Page(report.build(folder))
    numbers = page.words[page.words.index("All numbers") : page.words.rindex("How to read")]
    assert "0.60 [0.35, 0.75]" in numbers
    assert "n 8 · 40 % of the way" in numbers
    assert "f/1" in numbers
    assert len(page.of("path", **{"class": "spot"})) == 2 * len(TRIALS)  # the wide plane and the narrow one
    wide, narrow = page.text.split('<svg class="plane ')[1:]
    assert wide.rindex('class="spot"') < wide.index('class="name"')  # no mark is drawn over a name
    assert 'class="name"' not in narrow.partition("</svg>")[0]  # the key below it has the names
    json.dumps(report.summary(folder))


def test_support_is_a_fact_beside_the_cost_and_enters_nothing(folder: Path, tmp_path: Path) -> None:
    plain = Page(report.build(folder)).words
    assert "kohya sd-scripts" in plain[plain.index("What each one costs") : plain.index("All numbers")]
    assert "weight zero" in plain
    assert "Published models" not in plain
    site, survey = catalogue.generate(3000), tmp_path / "survey.duckdb"
    with stores.open(survey) as store:
        site.write(store, np.arange(1, 2000))
        store.connection.execute("UPDATE snapshots SET parameters = '{}'")  # as if it were real
    counted = Page(report.build(folder, survey=survey)).words
    assert "Estimated from 1,999 ids drawn at random at rehearsal 1 on 1 October 2026" in counted
    assert "For DreamBooth it is an upper bound" in counted
    first, last = plain.index("Where the files can go"), counted.index("All numbers")
    assert counted[:first] == plain[:first]
    assert counted[last:] == plain[plain.index("All numbers") :]
    done = CliRunner().invoke(app, ["report", str(folder), "--survey", str(survey)])
    assert done.exit_code == 0, done.output
    assert Page(folder / "report.html").words == counted
    told = CliRunner().invoke(app, ["report", str(folder), "--survey", str(survey), "--json"])
    assert json.loads(told.stdout)["summary"]["common"]["kinds"]["lora"]["low"] > 0
    lost = CliRunner().invoke(app, ["report", str(folder), "--survey", str(tmp_path / "none.duckdb")])
    assert (lost.exit_code, "there is no" in lost.stderr) == (1, True)


def test_torch_is_not_imported() -> None:
    code = "import sys; from likewise.comparison import report, support; support.programs('lora'); "
    code += "sys.exit('torch' in sys.modules)"
    paths = os.pathsep.join([str(Path(report.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}).returncode == 0
    )


def test_the_script_stays_small() -> None:
    assert len((Path(report.__file__).parent / "report.js").read_text().splitlines()) < 250


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_opens_the_page_and_a_picture(folder: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    address = report.build(folder).as_uri() + "#open=3.1.1"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert "CONSOLE" not in done.stderr
    assert re.search(r"<dialog[^>]* open", done.stdout)
    assert re.search(r'id="box-title">LoRA<', done.stdout)
    assert re.search(r'id="box-seed">seed 4<', done.stdout)
    assert re.search(r'<img id="box-img"[^>]*src="data:image/webp', done.stdout)
    assert re.search(r'data-same="i\d+"[^>]* src="data:', done.stdout)
