"""Sampling from Python: a gallery is drawn once, and never taken for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import likewise
from likewise.base import Sampler
from likewise.comparison.preparing import prepare
from likewise.errors import DrawingError, RecipeError, RunError
from likewise.gallery import Gallery
from likewise.run import teach
from likewise.sampling import artifacts, attached, draw, sample
from tests.bases import pictures, tiny

ONE = Sampler(steps=1)


def test_pictures_that_are_there_are_not_drawn_again(tmp_path: Path) -> None:
    base, folder = tiny(), tmp_path / "g"
    draw(base, ["a dog"], [0], ONE, Gallery(folder))
    first = (folder / "0000.png").stat().st_mtime_ns
    both = draw(base, ["a dog", "a cat"], [0, 0], ONE, Gallery(folder))
    assert [p.prompt for p in both] == ["a dog", "a cat"]
    assert (folder / "0000.png").stat().st_mtime_ns == first


@pytest.mark.parametrize(
    "other",
    [{"sampler": Sampler(steps=2)}, {"sampler": Sampler(steps=1, guidance=2.0)}, {"base": "tiny:sd:1"}],
)
def test_a_folder_of_other_settings_is_refused(tmp_path: Path, other: dict[str, object]) -> None:
    """A gallery knows prompts and seeds only, so it would give the old pictures back for the new ones."""
    settings: dict[str, object] = {"base": "tiny:sd", "sampler": ONE, "out": tmp_path / "out"}
    sample(["a dog"], seeds=[0], **settings)  # type: ignore[arg-type]
    before = (tmp_path / "out" / "0000.png").read_bytes()
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a dog"], seeds=[0], **settings | other)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "0000.png").read_bytes() == before
    assert len(sample(["a dog"], seeds=[0, 1], **settings)) == 2  # type: ignore[arg-type]


def test_another_advice_of_the_base_is_another_setting(tmp_path: Path) -> None:
    base, out = tiny(), tmp_path / "out"
    sample(["a dog"], base=base, seeds=[0], sampler=ONE, out=out)
    base.guidance = 2.0
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a dog"], base=base, seeds=[0], sampler=ONE, out=out)


def test_a_concept_taught_anew_is_another_one(tmp_path: Path) -> None:
    photos, run, out = pictures(tmp_path / "p"), tmp_path / "run", tmp_path / "out"
    teach(photos, noun="dog", base="tiny:sd", token="sks", out=run, steps=1, rank=1)
    sample(["a sks dog"], concepts=[run], seeds=[0], sampler=ONE, out=out)
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a sks dog"], concepts=[run], strengths=[0.5], seeds=[0], sampler=ONE, out=out)
    anew = teach(photos, noun="dog", base="tiny:sd", token="sks", out=tmp_path / "anew", steps=2, rank=1)
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a sks dog"], concepts=[anew["folder"]], seeds=[0], sampler=ONE, out=out)
    run = run.rename(tmp_path / "elsewhere")
    assert len(sample(["a sks dog"], concepts=[run], seeds=[0], sampler=ONE, out=out)) == 1, (
        "it is the same one"
    )


def test_a_run_stands_for_its_concepts_and_of_several_seeds_for_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three files of one concept at once would be the concept three times over."""
    run, photos = tmp_path / "run", pictures(tmp_path / "p")
    small = {"base": "tiny:sd", "steps": 2, "rank": 1, "learning_rate": 0.1}
    taught = teach(photos, noun="dog", token="sks", seeds=2, also=[(photos, "cat", "ohwx")], out=run, **small)
    files = [run / name for name in taught["files"]]
    caplog.clear()
    whole = sample("a sks dog", concepts=run, seeds=[0], sampler=ONE, out=tmp_path / "whole")
    (said,) = (text for text in caplog.messages if "'sks' with 2 seeds" in text)
    assert f"{files[0].name} is taken; name a file to take another, such as {files[1]}" in said
    named = sample("a sks dog", concepts=files[::2], seeds=[0], sampler=ONE, out=tmp_path / "named")
    every = sample("a sks dog", concepts=files, seeds=[0], sampler=ONE, out=tmp_path / "every")
    first, same, other = (gallery.images()[0].tobytes() for gallery in (whole, named, every))
    assert first == same != other


def test_strengths_and_families_must_fit(tmp_path: Path) -> None:
    teach(pictures(tmp_path / "p"), noun="dog", base="tiny:sd", token="sks", out=tmp_path / "run", steps=1)
    taught = artifacts(tmp_path / "run")
    with pytest.raises(RecipeError, match="1 concepts and 2 strengths"), attached(tiny(), taught, [1.0, 0.5]):
        pass
    with pytest.raises(RunError, match="no run or file"):
        artifacts(tmp_path / "nowhere")


def test_one_prompt_one_concept_and_a_count_of_seeds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    teach(pictures(tmp_path / "p"), noun="dog", base="tiny:sd", token="sks", out=run, steps=1, rank=1)
    drawn = sample(
        "a sks dog", concepts=str(run), strengths=0.5, seeds=2, sampler=ONE, out=str(tmp_path / "o")
    )
    assert [(picture.prompt, picture.seed) for picture in drawn] == [("a sks dog", 0), ("a sks dog", 1)]
    listed = sample(
        ["a sks dog"], concepts=[run], strengths=[0.5], seeds=[0, 1], sampler=ONE, out=tmp_path / "o"
    )
    assert len(listed) == 2
    for nothing in ({"prompts": []}, {"prompts": "a dog", "seeds": 0}):
        with pytest.raises(RecipeError, match="nothing to draw"):
            sample(**nothing, base="tiny:sd", out=tmp_path / "none")  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()


def test_a_file_in_the_place_of_the_folder_is_said_before_the_base_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(RunError, match="is a file"):
        sample(["a dog"], base="no such base", out=tmp_path / "taken" / "here")


def test_drawing_stops_after_a_batch_and_goes_on_with_the_same_pictures(tmp_path: Path) -> None:
    base, two = tiny(), Sampler(steps=1, batch=2)
    words, seeds = ["a dog"] * 5, range(5)
    part = draw(base, words, seeds, two, Gallery(tmp_path / "a"), stop=lambda: True)
    assert len(Gallery(part.folder)) == 2
    again = draw(base, words, seeds, two, Gallery(part.folder), stop=lambda: False)
    whole = draw(base, words, seeds, two, Gallery(tmp_path / "b"))
    assert [i.tobytes() for i in again.images()] == [i.tobytes() for i in whole.images()]
    assert len(whole) == 5


def test_whoever_watches_hears_of_every_step_once_everything_is_checked(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    options: dict[str, Any] = {"base": "tiny:sd", "watch": lambda *steps: told.append(steps)}
    with pytest.raises(RecipeError, match="size 63 is not a multiple"):
        sample("a dog", sampler=Sampler(steps=2, size=63), out=tmp_path / "odd", **options)
    assert told == []
    sample("a dog", seeds=3, sampler=Sampler(steps=2, batch=2), out=tmp_path / "drawn", **options)
    assert told == [(number, 4) for number in range(5)], "two batches of two steps"
    sample("a dog", seeds=3, sampler=Sampler(steps=2, batch=2), out=tmp_path / "drawn", **options)
    assert len(told) == 5, "nothing is left to draw"


@pytest.fixture
def concepts(tmp_path: Path) -> list[Path]:
    """Two taught concepts that go by one word, in two cases."""
    found = []
    for name, token in (("one", "sks"), ("two", "SKS")):
        folder = pictures(tmp_path / f"of {name}")
        taught = likewise.teach(folder, noun="dog", token=token, base="tiny:sd", steps=1, out=tmp_path / name)
        found.append(Path(taught["folder"]))
    return found


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ("a (red:1.5) sks dog", {}, ["'(red:1.5)' in the prompt is read as letters"]),
        ("a sks dog <lora:x:0.8>", {}, ["'<lora:x:0.8>'"]),
        ("a sks dog AND a cat", {}, ["'AND'"]),
        ("a SKS dog", {}, []),
        ("a dog", {}, ["'a dog' does not say 'sks', the token of one"]),
        ("a sks cat", {}, ["'a sks cat' says 'sks' without 'dog', with which one was taught"]),
        ("two sks dogs", {}, []),
        ("a sks dog", {"size": 192}, ["size 192 is 3 times the side that tiny:sd was made for (64)"]),
        (
            "a sks dog",
            {"negative": "cats", "guidance": 1.0},
            ["the negative prompt has no effect at guidance 1"],
        ),
        (
            "a sks dog",
            {"negative": "cats", "guidance": 0.5},
            ["guidance 0.5 draws towards the negative prompt"],
        ),
        ("a sks dog", {"negative": "cats", "guidance": 2.0}, []),
        ("a sks dog", {"negative": "(cats:2)", "guidance": 2.0}, ["'(cats:2)'"]),
    ],
)
def test_what_has_no_effect_is_said(
    concepts: list[Path],
    prompt: str,
    options: dict[str, Any],
    said: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sampler = Sampler(steps=1, **options)
    caplog.clear()
    likewise.sample([prompt], concepts=concepts[0], seeds=1, sampler=sampler, out=concepts[0] / "drawn")
    told = [record.getMessage() for record in caplog.records if record.name == "likewise.sampling"]
    assert len(told) == len(said)
    assert all(wanted in text for wanted, text in zip(said, told, strict=True))


def test_two_concepts_of_one_word_are_said_to_be_drawn_together(
    concepts: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    likewise.sample(
        "a sks dog", concepts=concepts, seeds=1, sampler=Sampler(steps=1), out=concepts[0] / "drawn"
    )
    assert any("one and two are both called 'sks'" in record.getMessage() for record in caplog.records)


def test_the_negative_prompt_of_a_base_that_advises_no_guidance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny()
    base.guidance = 1.0
    likewise.sample(
        "a dog", base=base, seeds=1, sampler=Sampler(steps=1, negative="cats"), out=tmp_path / "drawn"
    )
    assert any("no effect at guidance 1" in record.getMessage() for record in caplog.records)


def test_prompts_of_comparisons_and_previews_are_looked_at_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pictures(tmp_path / "dog")
    likewise.teach(
        folder, noun="dog", token="sks", base="tiny:sd", steps=1, out=tmp_path / "run", previews="a ({}:1.2)"
    )
    assert any("'({}:1.2)'" in record.getMessage() for record in caplog.records)
    caplog.clear()
    prepare(folder, noun="dog", base="tiny:sd", prompts=["a [{}] here"], out=tmp_path / "compared")
    assert any("'[{}]'" in record.getMessage() for record in caplog.records)


def test_settings_that_do_nothing_are_said_where_a_person_gave_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"noun": "dog", "token": "sks", "base": "tiny:sd", "steps": 1}
    folder = pictures(tmp_path / "dog")
    likewise.teach(folder, out=tmp_path / "a", prior_weight=0.5, **more)
    assert [r.getMessage() for r in caplog.records if "no effect" in r.getMessage()] == [
        "prior_weight=0.5 has no effect: prior=none"
    ]
    caplog.clear()
    likewise.teach(folder, out=tmp_path / "b", prior="predicted", prior_weight=0.5, prior_count=3, **more)
    assert [r.getMessage() for r in caplog.records if "no effect" in r.getMessage()] == [
        "prior_count=3 has no effect: prior=predicted"
    ]
    caplog.clear()
    likewise.teach(folder, out=tmp_path / "c", **more)
    assert not [r for r in caplog.records if "no effect" in r.getMessage()]


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "hypernetwork", "dreambooth", "aesthetic"])
def test_a_strength_beyond_all_bounds_draws_nothing(method: str, tmp_path: Path) -> None:
    """The numbers of the file are good; what so large a multiple of them draws is not a picture."""
    settings = {} if method == "aesthetic" else {"steps": 1, "learning_rate": 1e-3, "prior": "none"}
    photos, run, out = pictures(tmp_path / "p"), tmp_path / "run", tmp_path / "out"
    teach(photos, noun="dog", base="tiny:sd", token="sks", method=method, out=run, **settings)
    with pytest.raises(DrawingError, match="picture 1 of 2 is not finite") as told:
        sample("a sks dog", concepts=run, strengths=3e38, seeds=2, sampler=ONE, out=out)
    assert "lower the strength" in str(told.value.hint)
    assert not list(out.glob("*.png"))
    assert Gallery(out).pictures == []


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_no_number_is_refused(strength: float) -> None:
    with pytest.raises(RecipeError, match="is not a finite number"), attached(tiny(), [object()], [strength]):  # type: ignore[list-item]
        pass


def test_what_was_drawn_before_a_picture_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    base = tiny()
    decode = base.decode
    base.decode = lambda latents: torch.stack(  # type: ignore[method-assign]
        [row * (float("nan") if n == 2 else 1) for n, row in enumerate(decode(latents))]
    )
    with pytest.raises(DrawingError, match="picture 3 of 4"):
        draw(base, ["a dog"] * 4, [0, 1, 2, 3], ONE, Gallery(tmp_path))
    assert [picture.seed for picture in Gallery(tmp_path)] == [0, 1]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["0000.png", "0001.png"]
