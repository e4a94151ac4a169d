"""The suite's benchmark puts the untaught base at 0 and true pictures at 1, and asks what the card says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

suite = pytest.importorskip("benchmarks.suite", reason="the benchmarks are not part of this copy")

from benchmarks import suite_card, suite_scores  # noqa: E402
from likewise.gallery import Gallery  # noqa: E402
from likewise.metrics.features import load, read  # noqa: E402

CARD = json.loads(suite_card.CARD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def subject() -> suite.Subject:
    (found,) = suite.subjects(suite.SHIPPED, suite.read_card(suite.SHIPPED), ["mosaic-style"])
    return found


def drawn(folder: Path, pictures: list[Image.Image], plain: list[Image.Image] | None = None) -> Gallery:
    gallery = Gallery(folder)
    for role, shown in (("asked", pictures), ("class", pictures if plain is None else plain)):
        for number, picture in enumerate(shown):
            gallery.add(picture, "", number, role)
    return gallery


@pytest.fixture(scope="module")
def scorer(subject: suite.Subject, tmp_path_factory: pytest.TempPathFactory) -> suite_scores.Scorer:
    """The scorer of a base that draws other things in other places."""
    _, true = subject.pictures()
    other = [true[(3 * n + 18) % len(true)] for n in range(len(subject.asks))]
    return suite_scores.Scorer(load("judge"), subject, drawn(tmp_path_factory.mktemp("floor"), other))


def test_scores_lie_between_the_untaught_base_and_the_truth(
    scorer: suite_scores.Scorer, tmp_path: Path
) -> None:
    _, true = scorer.subject.pictures()
    other = [true[(3 * n + 18) % len(true)] for n in range(len(scorer.subject.asks))]
    low = scorer.scores(drawn(tmp_path / "floor", other))
    assert low["subject"] == low["picture"] == low["leak"] == 0
    assert low["drift"] == pytest.approx(0, abs=1e-5)
    high = scorer.scores(drawn(tmp_path / "true", true[::3]))
    assert high["subject"] > 0.9
    assert high["picture"] > 0.9
    assert high["prompt"] > low["prompt"]
    assert high["thing"] > low["thing"]
    assert set(low) == set(high) == set(suite_scores.AXES)


def test_a_class_may_be_lost_without_becoming_the_concept(
    scorer: suite_scores.Scorer, tmp_path: Path
) -> None:
    _, true = scorer.subject.pictures()
    grey = [Image.new("RGB", (64, 64), (128, 128, 128))] * len(scorer.subject.asks)
    lost = scorer.scores(drawn(tmp_path / "lost", true[::3], grey))
    assert lost["drift"] > 0.2
    assert lost["leak"] < 0.5
    black = [Image.new("RGB", (64, 64))] * len(scorer.subject.asks)
    nothing = scorer.scores(drawn(tmp_path / "black", black))
    assert nothing["prompt"] == nothing["thing"] == 0
    assert nothing["subject"] <= 0, "a picture of nothing is like nothing"


def test_copies_of_references_are_known_as_such(scorer: suite_scores.Scorer) -> None:
    copied, real = scorer.copied(), scorer.real()
    assert copied["copies"] == 1
    assert copied["prompt"] < real["prompt"]
    assert copied["thing"] < real["thing"]


def test_a_picture_that_is_not_the_suites_is_refused(subject: suite.Subject, tmp_path: Path) -> None:
    shutil.copytree(subject.folder, tmp_path / subject.name)
    moved = suite.Subject(tmp_path / subject.name, subject.card)
    assert read(load("judge"), moved.pictures()[0]).vectors.shape[0] == 6
    Image.new("RGB", (128, 128)).save(tmp_path / subject.name / "references" / "3.png")
    with pytest.raises(SystemExit, match=r"3\.png is not the suite's"):
        moved.pictures()


@pytest.mark.parametrize("entry", CARD["concepts"], ids=lambda entry: entry["name"])
def test_prompts_carry_the_token_or_the_description_or_neither(entry: dict) -> None:
    asked, plain, described = (
        suite.Subject(Path(), entry).texts(kind, "sks") for kind in ("asked", "class", "described")
    )
    assert len(asked) == len(plain) == len(described) == len(set(plain)) == 12
    assert all("sks" in text.split() for text in asked)
    assert not any("sks" in text or "{" in text for text in (*plain, *described))
    for ask, words, text in zip(entry["prompts"], described, plain, strict=False):
        if "tint" in ask["told"]:
            assert words.split()[1] == ask["told"]["tint"]
            assert len({"red", "blue", "green", "yellow", "orange", "purple"} & set(words.split()[:-2])) == 1
        elif entry["name"] != "red-mug":
            assert words != text, "every description says more than the class"
        assert words.startswith(("a ", "an ", "two ", "three "))
        assert words.split()[0] != "a" or words.split()[1][0] not in "aeiou"
        counts = (" ducks ", " mugs ", " bricks ", " heads ", " men ", " drawings ")
        assert ("count" in ask["told"]) == any(word in words for word in counts)


def smoke(out: Path, *words: str) -> None:
    """The command as it is typed, with two steps of everything."""
    old, sys.argv = sys.argv, ["suite", "--smoke", "--seeds", "0", "--out", str(out), *words]
    try:
        suite.main()
    finally:
        sys.argv = old


def test_a_bench_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "BUILT", tmp_path / "none")  # the part in the package is enough
    methods, one = ("--methods", "lora"), ("--concepts", "ink-woman")
    smoke(tmp_path / "out", *methods, *one)
    alone = Gallery(tmp_path / "out" / "drawn" / "lora-0" / "ink-woman")
    assert len(alone) == 24
    smoke(tmp_path / "out", *methods, "--concepts", "ink-woman,mosaic-style")
    both = [Gallery(tmp_path / "out" / "drawn" / "lora-0" / name) for name in ("ink-woman", "mosaic-style")]
    assert [len(gallery) for gallery in both] == [24, 24], "drawn anew, not drawn twice"
    assert len(list((tmp_path / "out" / "runs" / "lora-0" / "all").glob("*.safetensors"))) == 2
    written = (both[0].folder / "gallery.json").stat().st_mtime_ns
    capsys.readouterr()
    smoke(tmp_path / "out", *methods, "--concepts", "ink-woman,mosaic-style", "--report")
    assert (both[0].folder / "gallery.json").stat().st_mtime_ns == written
    said = capsys.readouterr().out
    assert "KB" in said
    for trial in ("base", "token", "described", "lora", "references", "true pictures"):
        assert sum(f" {trial} " in line for line in said.splitlines()) >= 2, trial


def test_work_on_another_base_is_not_taken_for_this_one(tmp_path: Path) -> None:
    import likewise

    base = likewise.load("pocket")
    bench = suite.Bench(base, "sks", [], tmp_path, suite.Sampler(), {})
    bench.claim("suite-1")
    bench.claim("suite-1")
    with pytest.raises(SystemExit, match="another base, suite or sampler"):
        bench.claim("suite-2")
    base.components()["backbone"].conv_in.weight.data.add_(1.0)
    with pytest.raises(SystemExit, match="another base"):
        bench.claim("suite-1")
    few = suite.Bench(likewise.load("pocket"), "sks", [], tmp_path, suite.Sampler(steps=2), {})
    with pytest.raises(SystemExit, match="another base"):
        few.claim("suite-1")
