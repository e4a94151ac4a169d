"""The comparison's page: what it says first, what it holds, what it says where something is missing, and how it is used."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from likewise import wording
from likewise.cli import app
from likewise.comparison import reasons
from likewise.comparison import votes as people
from likewise.comparison.verdicts import Decision, sentence
from likewise.reports import album
from likewise.reports import comparison as report
from likewise.survey import store as stores
from rehearsal import catalogue
from tests.reports.folders import (
    EVIL,
    LEVELS,
    PROMPTS,
    SEEDS,
    TITLES,
    VOTES,
    edit,
    made,
    picture,
    verdict,
    write,
)
from tests.reports.pages import Page, data_of, section

# ------------------------------------------------------------------------------------------- the verdict first


def test_the_verdict_comes_first_in_the_words_of_verdict_json(folder: Path) -> None:
    told = verdict(3)["recommendation"]
    words = Page(report.build(folder)).words
    assert told["choice"] == "lora"
    first = words.index("LoRA is the one to take")
    assert first < words.index("Likeness against prompt following")
    assert all(wording.minus(reason.partition(" (card")[0]) in words[first:] for reason in told["reasons"])
    assert "DreamBooth. 9 of 16 pictures are copies. Try take fewer steps." in words
    assert all(text in words for text in told["untested"])


def test_one_training_is_called_a_screen(tmp_path: Path) -> None:
    page = Page(report.build(made(tmp_path / "mugs", 1)))
    assert page.words.index("A screen, not a verdict") < page.words.index("Likeness against prompt following")
    assert "Each method was taught once." in page.words
    assert "one replicate does not tell luck from method" in page.words.lower()
    assert "with --size standard, which teaches each of them with 3 training seeds" in page.words
    assert "is the one to take" not in page.words
    assert 'class="reach"' not in page.text  # one training has no interval
    assert "It decides nothing." in page.words


def test_an_abstention_says_what_would_decide(folder: Path) -> None:
    book = verdict(3)
    book["recommendation"] |= {"choice": None, "tied": ["big", "lora"], "next": "Compare with 2 more seeds."}
    write(folder / "verdict.json", book)
    words = Page(report.build(folder)).words
    assert "Too close to call" in words
    assert "LoRA of rank 32 and LoRA cannot be told apart yet." in words
    assert "What would decide more. Compare with 2 more seeds." in words


def test_a_description_that_is_enough_is_said_to_be(folder: Path) -> None:
    book = verdict(3)
    book["recommendation"] |= {
        "choice": "description",
        "reasons": [f"{reasons.PERHAPS}: nothing is shown better yet."],
    }
    write(folder / "verdict.json", book)
    assert "A good description may be enough" in Page(report.build(folder)).words
    book["recommendation"]["reasons"] = [f"{reasons.ENOUGH}."]
    write(folder / "verdict.json", book)
    assert "A good description is enough" in Page(report.build(folder)).words


def test_numbers_on_the_page_equal_those_of_verdict_json(folder: Path) -> None:
    page = Page(report.build(folder))
    book = verdict(3)
    numbers = section(page, "All numbers", "How to read")
    for one in book["standings"]:
        for axis in ("composite", "fidelity", "prompt"):
            found = one["axes"][axis]
            value, low, high = (wording.measured_text(found[key]) for key in ("value", "low", "high"))
            assert f"{value}{low} to {high}" in numbers
    assert "1.234" in numbers
    assert "f-v1/judge" in numbers
    for axis, one in book["decisions"].items():
        decision = Decision.from_json(one)
        assert decision.axis == axis
        for pair in decision.pairs:
            assert wording.minus(sentence(pair, TITLES)) in page.words


def test_the_matrix_says_each_pair_from_both_sides(folder: Path) -> None:
    page = Page(report.build(folder))
    cells = page.of("button", **{"class": "cell"})
    assert len(cells) == 3 * len(LEVELS) * (len(LEVELS) - 1)
    assert Counter(cell["data-says"] for cell in cells).most_common()[0][1] == 2
    overall = page.text[page.text.index('id="matrix"') :].partition("</table>")[0]
    kinds = Counter(re.findall(r'<td class="(better|worse|same|undecided)">', overall))
    assert kinds["better"] == kinds["worse"] > 0
    assert kinds["same"] == 2  # LoRA and its rank 32
    assert overall.index("Overall") < overall.index("<table")
    assert "by Holm" in page.words


# ------------------------------------------------------------------------------------------- one file, safe and readable


def test_the_page_holds_everything_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "beside", lambda folder: VOTES)
    path = report.build(folder)
    page = Page(path)
    assert path == folder / "report.html"
    assert page.open == []
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\(", page.text)
    addresses = [a[key] for _, a in page.elements for key in ("src", "href") if a.get(key)]
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert max(Counter(ids).values()) == 1
    assert {str(a)[1:] for a in addresses if str(a).startswith("#")} <= set(ids)
    policy = page.of("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not any(name == "style" or name.startswith("on") for _, a in page.elements for name in a)


def test_the_page_can_be_read_without_seeing_it(folder: Path) -> None:
    page = Page(report.build(folder))
    drawings = page.of("svg")
    assert all(a.get("aria-hidden") or (a.get("role") == "img" and a.get("aria-label")) for a in drawings)
    filled = {"box-left", "box-right", "near-left", "near-right"}  # by the script
    assert all(image.get("alt") for image in page.of("img") if image.get("id") not in filled)
    assert all(a.get("scope") for a in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_words_from_outside_are_escaped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = verdict(3)
    book["standings"][2]["title"] = "<i>LoRA"
    book["notes"] = ["</script><script>boom()"]
    write(folder / "verdict.json", book)
    described = json.loads((folder / "comparison.json").read_text())
    described["conditions"][2]["title"] = "<i>LoRA</script>"
    write(folder / "comparison.json", described | {"name": "</title><script>", "noun": "<img src=x>"})
    monkeypatch.setattr(people, "beside", lambda folder: VOTES | {"sentences": ["<script>boom()</script>"]})
    page = Page(report.build(folder))
    assert len(page.of("script")) == 2
    assert not re.search(r"<script>(alert|boom)|<i>LoRA|<img src=x", page.text)
    assert EVIL.replace("{}", "<img src=x>") in page.words
    assert data_of(page)["titles"][2] == "<i>LoRA</script>"
    text = (folder / "report.md").read_text()
    assert not re.search(r"(?<!\\)<", text)


def test_the_same_folder_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    first = report.build(folder).read_bytes()
    assert report.build(folder, tmp_path / "elsewhere" / "page.html").read_bytes() == first
    assert (tmp_path / "elsewhere" / "page.csv").read_bytes() == (folder / "report.csv").read_bytes()


# ------------------------------------------------------------------------------------------- pictures


def test_every_picture_of_every_training_is_there_once(folder: Path) -> None:
    page = Page(report.build(folder))
    data = data_of(page)
    assert len(page.of("button", **{"class": "thumb"})) == len(LEVELS) * len(PROMPTS) * len(SEEDS)
    held = {image["id"]: image["src"] for image in page.of("img") if image.get("src") and image.get("id")}
    sources = [*held.values(), *data["sources"].values()]
    assert len(sources) == len(set(sources))
    known = {int(str(name)[1:]) for name in held} | {int(number) for number in data["sources"]}
    trials = [tuple(numbers) for column in data["drawn"] for numbers in column]
    assert {number for numbers in trials for number in numbers} <= known
    assert {number for column in data["films"] for film in column for _, number in film} <= known
    lora, base = data["drawn"][2], data["drawn"][0]
    assert len({tuple(numbers) for numbers in lora}) == 3  # a gallery per training
    assert len({tuple(numbers) for numbers in base}) == 1
    assert all(len(numbers) == len(PROMPTS) * len(SEEDS) for numbers in trials)


def test_prompts_stand_by_role_and_the_slider_has_the_steps(folder: Path) -> None:
    page = Page(report.build(folder))
    assert page.words.index("What decides: place") < page.words.index("The noun alone: place")
    data = data_of(page)
    assert data["prompts"][0] == "a mug on a beach"
    assert [step for step, _ in data["films"][2][1]] == [0, 5, 20]
    assert data["films"][0] == [[], [], []]
    assert data["held"] == [[0], [1], [2]]
    assert "While it learned" in page.words
    assert "a sks mug" in page.words
    assert len(page.of("img", **{"class": "real held"})) == 1


def test_the_nearest_training_picture_is_shown_where_it_was_looked_for(folder: Path) -> None:
    write(folder / "trials/lora-0/scores.json", {"nearest": [3, None, 2, 1, 1, 1]})
    data = data_of(Page(report.build(folder)))
    real = data["nearest"][2][0]
    assert (real[0] is None, real[1] is None, real[3] == real[4]) == (False, True, True)
    assert data["nearest"][2][1] == data["nearest"][0][0] == []


def test_pictures_outside_the_folder_are_not_opened(folder: Path, tmp_path: Path) -> None:
    picture(tmp_path / "secret.png", 77)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    paths = [str(tmp_path / "secret.png"), "../secret.png", "broken.png", "absent.png", "pictures/0.png"]
    edit(folder, pictures=paths)
    assert Page(report.build(folder)).words.count("missing file") == 4


def test_too_many_pictures_go_to_a_folder_beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "CAP", 100)
    page = Page(report.build(folder, folder / "my page.html"))
    sources = [str(image["src"]) for image in page.of("img") if image.get("src")]
    sources += data_of(page)["sources"].values()
    assert sources
    assert all(source.startswith("my%20page_files/") for source in sources)
    assert all((folder / source.replace("%20", " ")).is_file() for source in sources)


# ------------------------------------------------------------------------------------------- the other blocks


def test_costs_say_where_curves_cross_and_what_is_a_share(folder: Path) -> None:
    words = section(Page(report.build(folder)), "What each one costs", "Where the files can go")
    assert "The training time of LoRA of rank 32 is a share" in words
    assert "From 489 pictures on, LoRA of rank 32 takes less time in all than LoRA." in words
    assert "28 MB" in words
    assert wording.time_text(41.2 + 1000 * 0.5) in words
    assert report.table(folder)[3]["Training time"] == "90 s (share)"


def test_warnings_that_were_given_come_first_with_what_to_try(folder: Path) -> None:
    words = section(Page(report.build(folder)), "Warnings", "All numbers")
    assert words.index("DreamBooth") < words.index("LoRA")
    assert "Copying9 of 16 pictures are copies.To try: take fewer steps." in words
    assert words.count("Passed: copying") == 2


def test_a_search_shows_what_was_tried(folder: Path) -> None:
    assert "Settings that were searched" not in Page(report.build(folder)).words
    tries = [[{"name": f"lora-{k}", "settings": {"rank": k} if k else {}, "value": 0.1 * k} for k in range(count)]
             for count in (3, 2, 1)]  # fmt: skip
    tries[0][2]["value"] = None
    write(folder / "tuning.json", {
        "rounds": tries, "notes": ["Aesthetic embedding is not tuned.", "LoRA is best."],
        "found": [{"condition": "lora", "settings": {}, "edges": [], "tries": 3, "seconds": 9.0,
                   "note": "LoRA is best with its defaults among 3 settings."}],
    })  # fmt: skip
    page = Page(report.build(folder))
    words = section(page, "Settings that were searched", "Warnings")
    assert "LoRA is best with its defaults among 3 settings." in words
    assert "rank=2" in words
    assert page.text.count('class="try') == 2  # what had no value has no line
    assert len(page.of("path", **{"class": "try plain won method h0"})) == 1


def test_people_stand_beside_the_measure_and_never_in_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Page(report.build(folder))
    monkeypatch.setattr(people, "beside", lambda folder: VOTES)
    told = Page(report.build(folder))
    assert "What people say" not in plain.words
    words = section(told, "What people say", "How to read this page")
    assert "90 votes of 5 people" in words
    assert "0.71 [0.60, 0.80]" in words
    assert section(plain, "Each against each", "All numbers") == section(
        told, "Each against each", "All numbers"
    )


def test_how_to_read_and_how_to_repeat(folder: Path) -> None:
    words = Page(report.build(folder)).words
    assert "Three trainings per method find a difference" in words
    assert "“mug” names a thing." in words
    assert "A note on the <scale>." in words
    for text in (
        "likewise compare mugs --noun mug",
        "likewise recompute mugs",
        "abc123",
        "8 GB",
        "sampler · steps",
    ):
        assert text in words


def test_support_is_a_fact_beside_the_cost_and_enters_nothing(folder: Path, tmp_path: Path) -> None:
    plain = Page(report.build(folder)).words
    assert "diffusers" in plain[plain.index("Where the files can go") :]
    assert "weight zero" in plain
    assert "Published models" not in plain
    site, survey = catalogue.generate(3000), tmp_path / "survey.duckdb"
    with stores.open(survey) as store:
        site.write(store, np.arange(1, 2000))
        store.connection.execute("UPDATE snapshots SET parameters = '{}'")  # as if it were real
    counted = Page(report.build(folder, survey=survey)).words
    assert "Estimated from 1,999 ids drawn at random at rehearsal 1 on 1 October 2026" in counted
    assert "For DreamBooth it is an upper bound" in counted
    first = plain.index("Where the files can go")
    assert counted[:first] == plain[:first]
    assert counted[counted.index("Warnings", first) :] == plain[plain.index("Warnings", first) :]
    done = CliRunner().invoke(app, ["report", str(folder), "--survey", str(survey)])
    assert done.exit_code == 0, done.output
    assert Page(folder / "report.html").words == counted
    told = CliRunner().invoke(app, ["report", str(folder), "--survey", str(survey), "--json"])
    assert json.loads(told.stdout)["summary"]["common"]["kinds"]["lora"]["low"] > 0
    lost = CliRunner().invoke(app, ["report", str(folder), "--survey", str(tmp_path / "none.duckdb")])
    assert (lost.exit_code, "there is no" in lost.stderr) == (3, True)


def test_the_lead_names_what_the_choice_cannot_be_told_from(folder: Path) -> None:
    """Red when a page takes one condition and is silent on another that stands above it."""
    book = verdict(3)
    book["recommendation"] |= {"choice": "lora", "tied": ["dreambooth"]}
    write(folder / "verdict.json", book)
    words = Page(report.build(folder)).words
    assert (
        "It cannot be told from DreamBooth. Of what is shown better than the untaught base it costs least, "
        "by the size of its file first and by time second." in words
    )
