"""Sampling from Python: a gallery is drawn once, and never taken for another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.base import Sampler
from likewise.errors import RecipeError, RunError
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


def test_a_concept_taught_anew_is_another_one(tmp_path: Path) -> None:
    photos, run, out = pictures(tmp_path / "p"), tmp_path / "run", tmp_path / "out"
    teach(photos, noun="dog", base="tiny:sd", token="sks", out=run, steps=1, rank=1)
    sample(["a sks dog"], concepts=[run], seeds=[0], sampler=ONE, out=out)
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a sks dog"], concepts=[run], strengths=[0.5], seeds=[0], sampler=ONE, out=out)
    (run / "result.json").touch()
    with pytest.raises(RunError, match="drawn otherwise"):
        sample(["a sks dog"], concepts=[run], seeds=[0], sampler=ONE, out=out)


def test_strengths_and_families_must_fit(tmp_path: Path) -> None:
    teach(pictures(tmp_path / "p"), noun="dog", base="tiny:sd", token="sks", out=tmp_path / "run", steps=1)
    taught = artifacts(tmp_path / "run")
    with pytest.raises(RecipeError, match="1 concepts and 2 strengths"), attached(tiny(), taught, [1.0, 0.5]):
        pass
    with pytest.raises(RunError, match="no run or file"):
        artifacts(tmp_path / "nowhere")
