"""A person's own pictures of the class: used as such by every method that has a prior, and said where they are not."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import likewise
from likewise import methods, prior
from likewise.cache import Cache
from likewise.cli import app
from likewise.comparison.preparing import prepare
from likewise.concept import Concept
from likewise.materials import of_class
from likewise.methods.aesthetic import AestheticRecipe
from likewise.methods.dreambooth import DreamBoothRecipe
from likewise.methods.lora import LoRARecipe
from likewise.run import Run
from likewise.stack import Job, Stack
from likewise.train import Training
from tests.bases import pictures, tiny

QUICK = [
    "--base",
    "tiny:sd",
    "--token",
    "sks",
    "--noun",
    "dog",
    "steps=2",
    "checkpoint_every=0",
    "resolution=64",
]

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exit_code == 0, result.output
        return result

    return run


def both(root: Path) -> Path:
    """`instance_images/` with three pictures beside `class_images/` with five."""
    pictures(root / "instance_images", 3, seed=1)
    pictures(root / "class_images", 5, seed=2)
    return root


def own(folder: Path, **more: str) -> Concept:
    """A concept with five class pictures."""
    return Concept.read(both(folder), token="sks", noun="dog", **more)  # type: ignore[arg-type]


def captioned(folder: Path, count: int) -> Concept:
    """A concept of so many pictures, of which the first two have captions."""
    pictures(folder, count)
    for number, text in enumerate(["a {} in a garden", "a {} at night"]):
        (folder / f"{number}.txt").write_text(text)
    return Concept.read(folder, token="sks", noun="dog")


@pytest.mark.parametrize("method", ["lora", "dreambooth", "textual_inversion", "hypernetwork"])
def test_every_method_learns_own_class_pictures_as_its_prior(call: Call, method: str) -> None:
    result = call("teach", both(Path("mixed")), "--method", method, *QUICK)
    run = Run.open(Path(result.stdout.strip()))
    job = run.jobs[0]
    assert (len(job.concept.examples), len(job.concept.class_pictures)) == (3, 5)
    assert job.recipe.prior == "pictures"  # type: ignore[attr-defined]
    assert "note: class_images: 5 class pictures, not learned as the concept" in result.stderr
    assert "note: 5 own class pictures protect the class (prior=pictures)" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prior=none"], "not used, because prior=none; prior=pictures uses them"),
        (["prior=predicted"], "not used, because prior=predicted"),
        (["prior_count=7"], "5 own class pictures protect the class (prior=pictures), 2 more are drawn"),
        (["prior_count=3"], "5 own class pictures protect the class (prior=pictures)\n"),
        (["--method", "aesthetic"], "not used: this method trains nothing"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_what_becomes_of_own_class_pictures_is_said(call: Call, words: list[str], said: str) -> None:
    quick = [word for word in QUICK if "=" not in word] if "aesthetic" in words else QUICK
    assert said in call("teach", both(Path("mixed")), *quick, *words).stderr


def test_class_pictures_of_an_option_and_from_python(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both(tmp_path)
    result = call("teach", "instance_images", "--class-pictures", "class_images", *QUICK)
    assert len(Run.open(Path(result.stdout.strip())).jobs[0].concept.class_pictures) == 5
    with caplog.at_level(logging.WARNING):
        taught = likewise.teach(
            "instance_images",
            noun="dog",
            token="sks",
            base="tiny:sd",
            class_pictures="class_images",
            steps=1,
            out="run",
        )
    assert len(Run.open(Path(taught["folder"])).jobs[0].concept.class_pictures) == 5
    assert any("5 own class pictures protect" in record.getMessage() for record in caplog.records)


def test_own_class_pictures_are_what_the_prior_draws_from(tmp_path: Path) -> None:
    (both(tmp_path) / "class_images" / "0.txt").write_text("a dog in a garden")
    (tmp_path / "class_images" / "1.txt").write_text("a sks dog")
    concept = own(tmp_path)
    recipe = LoRARecipe(prior="pictures", resolution=64)
    found = of_class(tiny(), concept, [], recipe, Cache(tmp_path / "cache"))
    assert found.names == tuple(f"{n}.png" for n in range(5))
    assert found.captions == ("a dog in a garden", *["a dog"] * 4), (
        "what calls the concept is no class caption"
    )
    drawn = of_class(tiny(), concept, [concept.examples[0].open()] * 2, recipe, Cache(tmp_path / "cache"))
    assert drawn.names[5:] == ("class picture 0", "class picture 1")


def test_drawn_class_pictures_show_the_class_where_the_captions_have_the_concept(tmp_path: Path) -> None:
    concept = captioned(tmp_path / "photos", 3)
    recipe = LoRARecipe(steps=1, prior="pictures", prior_count=4, resolution=64)
    run = Run("tiny:sd", "lora", (Job(concept, recipe),), tmp_path / "run", cache=Cache(tmp_path / "cache"))
    base = tiny()
    assert len(list(run.class_pictures(base, run.jobs[0]))) == 4
    (listed,) = (tmp_path / "cache").rglob("gallery.json")
    prompts = [picture["prompt"] for picture in json.loads(listed.read_text(encoding="utf-8"))]
    assert prompts == ["a dog in a garden", "a dog at night", "a dog", "a dog in a garden"]
    drawn = of_class(base, concept, [concept.examples[0].open()] * 4, recipe, Cache(tmp_path / "cache"))
    assert list(drawn.captions) == prompts


def test_a_predicted_prior_asks_of_the_class_what_is_said_of_the_concept(tmp_path: Path) -> None:
    concept = captioned(tmp_path / "photos", 2)
    recipe = LoRARecipe(steps=1, prior="predicted", batch_size=2, resolution=64)
    stack, base = Stack((Job(concept, recipe),)), tiny()
    with methods.get("lora").attach(base, stack) as adapter:
        (batch,) = Training(base, adapter, stack, cache=Cache(tmp_path / "cache"))._batches()
    own, prior_rows = batch.captions[:2], batch.captions[2:]
    assert set(own) <= {"a sks dog in a garden", "a sks dog at night"}
    assert prior_rows == tuple(text.replace("sks ", "") for text in own)


def test_how_many_are_drawn(tmp_path: Path) -> None:
    concept, bare = own(tmp_path / "a"), Concept("it", "sks", "dog", ())
    wanted = DreamBoothRecipe
    assert prior.missing(wanted(), bare) == prior.DRAWN == 100
    assert prior.missing(wanted(prior_count=9), bare) == 9
    assert prior.missing(wanted(), concept) == 0
    assert prior.missing(wanted(prior_count=9), concept) == 4
    assert prior.missing(wanted(prior_count=2), concept) == 0
    assert prior.missing(wanted(prior="none"), bare) == 0
    assert prior.missing(AestheticRecipe(), concept) == 0


def test_the_identity_of_a_concept_covers_its_class_pictures_and_no_path(tmp_path: Path) -> None:
    first = own(tmp_path / "a")
    moved = tmp_path / "b"
    (tmp_path / "a").rename(moved)
    again = Concept.read(moved, token="sks", noun="dog")
    assert first.class_pictures[0].path != again.class_pictures[0].path
    assert [e.sha256 for e in first.class_pictures] == [e.sha256 for e in again.class_pictures]
    before = again.digest()
    kept = again.to_json()
    assert re.fullmatch("[0-9a-f]{64}", kept["class_pictures"][0]["sha256"])
    assert Concept.from_json(kept) == again
    (moved / "class_images" / "0.txt").write_text("another caption")
    assert Concept.read(moved, token="sks", noun="dog").digest() != before
    for row in (*kept["examples"], *kept["class_pictures"]):
        del row["sha256"]  # as older versions wrote it
    del kept["class_pictures"]
    assert Concept.from_json(kept).examples == again.examples


def test_every_method_of_a_comparison_uses_them(tmp_path: Path) -> None:
    pictures(both(tmp_path) / "instance_images", 5, seed=3)
    made = prepare(tmp_path, noun="dog", base="tiny:sd", out=tmp_path / "out", resolution=64)
    priors = {trial.name: getattr(trial.recipe, "prior", None) for trial in made.conditions if trial.taught}
    assert {name for name, used in priors.items() if used == "pictures"} == {
        "lora", "dreambooth", "textual_inversion", "hypernetwork",
    }  # fmt: skip
    assert len(made.concept.class_pictures) == 5
    own, of_class = tmp_path / "instance_images", tmp_path / "class_images"
    more = {"class_pictures": of_class, "prior": "none"}
    other = prepare(own, noun="dog", base="tiny:sd", out=tmp_path / "out", **more)
    assert {getattr(trial.recipe, "prior", "none") for trial in other.conditions if trial.recipe} == {"none"}
    assert len(other.concept.class_pictures) == 5
