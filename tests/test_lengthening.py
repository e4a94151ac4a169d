"""Lengthening: a finished run that goes on is the run that had been longer from the beginning."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from likewise import methods, records
from likewise.cache import Cache
from likewise.cli import app
from likewise.errors import Interrupted, RecipeError, RunError
from likewise.events import Finished, Stepped, Warned
from likewise.run import Run
from likewise.sampling import artifacts
from likewise.stack import Job
from tests.bases import concept, pictures, tiny

TRAINED = ["lora", "textual_inversion", "hypernetwork", "dreambooth"]


def run_of(folder: Path, name: str, method: str = "lora", **settings: Any) -> Run:
    wanted = {"steps": 4, "learning_rate": 1e-3, "prior": "none", "checkpoint_every": 3, **settings}
    job = Job(concept(folder), methods.get(method).recipe().override(wanted))
    return Run("tiny:sd", method, (job,), folder / name, cache=Cache(folder / "cache"))


def finish(run: Run) -> tuple[bytes, list[int], list[str]]:
    """What the run leaves, the steps that were done for it, and what was said."""
    events = list(run.start(base=tiny()))
    assert isinstance(events[-1], Finished)
    done = [event.step for event in events if isinstance(event, Stepped)]
    said = [event.text for event in events if isinstance(event, Warned)]
    return (run.folder / events[-1].result["files"][0]).read_bytes(), done, said


def opened(run: Run) -> Run:
    return replace(Run.open(run.folder), cache=run.cache)


@pytest.mark.parametrize("method", TRAINED)
def test_more_steps_equal_the_longer_run_bit_for_bit(method: str, tmp_path: Path) -> None:
    whole, _, _ = finish(run_of(tmp_path, "whole", method, steps=7))
    run = run_of(tmp_path, "short", method)
    finish(run)
    longer, done, said = finish(opened(run).longer(3))
    assert done == [5, 6, 7]
    assert longer == whole
    assert not any("anew" in text for text in said)
    result = records.read_result(run.folder)
    assert result is not None
    assert (result["steps"], len(result["losses"])) == (7, 7)
    assert finish(opened(run))[1] == [], "the longer run is finished now"


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.9},
        {"warmup": 6},
        {"dropout": 0.3},
        {"learning_rate": "1e-3:5, 1e-4"},
        {"optimizer": "prodigy", "learning_rate": 1.0},
        {"optimizer": "adafactor"},
        {"accumulate": 2, "flip": True, "prior": "predicted"},
    ],
)
def test_what_a_longer_run_depends_on_is_kept(settings: dict[str, Any], tmp_path: Path) -> None:
    whole, _, _ = finish(run_of(tmp_path, "whole", steps=7, **settings))
    run = run_of(tmp_path, "short", **settings)
    finish(run)
    for more in (1, 2):
        longer, _, _ = finish(opened(run).longer(more))
    assert longer == whole


def test_what_was_taught_stays_until_more_of_it_is(tmp_path: Path) -> None:
    run = run_of(tmp_path, "run", steps=4)
    before, _, _ = finish(run)
    longer = opened(run).longer(5)

    def stop_at_six() -> None:
        for event in longer.start(base=tiny()):
            if isinstance(event, Stepped) and event.step == 6:
                longer.stop()

    with pytest.raises(Interrupted, match="step 6 of 9"):
        stop_at_six()
    assert (run.folder / "pictures0-lora.safetensors").read_bytes() == before
    assert len(artifacts(run.folder)) == 1
    with pytest.raises(RunError, match="is not finished") as told:
        opened(run).longer(1)
    assert told.value.hint == f"finish it first: likewise teach --resume {run.folder}"
    assert finish(opened(run))[1] == [7, 8, 9]
    assert finish(run)[1] == [], "the first command again finds it done"


@pytest.mark.parametrize("method", TRAINED)
def test_without_a_state_it_goes_on_from_the_file_and_says_so(method: str, tmp_path: Path) -> None:
    own = {"norm_pull": False} if method == "textual_inversion" else {}
    run = run_of(tmp_path, "run", method, keep_state=False, keep="fp32", clip=0, **own)
    finish(run)
    assert not (run.folder / "checkpoint").exists()
    (before,) = artifacts(run.folder)
    _, done, said = finish(opened(run).longer(1))
    (after,) = artifacts(run.folder)
    assert done == [5]
    assert (
        said[-1] == "no state of the optimizer was kept: it begins anew from the weights in the file (fp32)"
    )
    moved = max(float((after.tensors[n] - value).abs().max()) for n, value in before.tensors.items())
    assert 5e-4 < moved < 1.1e-3, "AdamW's first step is as long as its rate, from where the file was"


def test_a_state_that_is_asked_for_is_kept_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise import resuming

    monkeypatch.setattr(resuming, "LARGE", 1)
    finish(run_of(tmp_path, "large"))
    assert not (tmp_path / "large" / "checkpoint").exists()
    whole, _, _ = finish(run_of(tmp_path, "whole", steps=7, keep_state=True))
    run = run_of(tmp_path, "kept", keep_state=True)
    finish(run)
    assert finish(opened(run).longer(3))[0] == whole


def test_a_cosine_that_had_ended_is_said(tmp_path: Path) -> None:
    run = run_of(tmp_path, "run", schedule="cosine")
    finish(run)
    _, done, said = finish(opened(run).longer(2))
    assert done == [5, 6]
    assert said[1].startswith(
        "schedule=cosine had fallen to 0 at step 4; the rate now goes on along the curve"
    )


def test_what_cannot_go_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not finished"):
        run_of(tmp_path, "never").longer(1)
    job = Job(concept(tmp_path), methods.get("aesthetic").recipe())
    still = Run("tiny:sd", "aesthetic", (job,), tmp_path / "still", cache=Cache(tmp_path / "cache"))
    finish(still)
    with pytest.raises(RecipeError, match="nothing was trained"):
        opened(still).longer(1)
    (one,) = run_of(tmp_path, "x").jobs
    uneven = replace(
        run_of(tmp_path, "uneven"), jobs=(one, Job(one.concept, one.recipe.override({"steps": 2})))
    )
    finish(uneven)
    with pytest.raises(RecipeError, match="different numbers of steps"):
        opened(uneven).longer(1)


def test_a_stack_goes_on_together(tmp_path: Path) -> None:
    def stacked(name: str, steps: int) -> Run:
        (one,) = run_of(tmp_path, name, steps=steps).jobs
        other = Job(concept(tmp_path, "zwx", "dog", 1), one.recipe.override({"seed": 5}))
        return replace(run_of(tmp_path, name), jobs=(one, other))

    finish(stacked("whole", 7))
    run = stacked("short", 4)
    finish(run)
    finish(opened(run).longer(3))
    files = [
        sorted(path.read_bytes() for path in (tmp_path / n).glob("*.safetensors")) for n in ("whole", "short")
    ]
    assert files[0] == files[1]


def test_the_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Any:
        return CliRunner().invoke(app, ["teach", *words], prog_name="likewise")

    pictures(Path("photos"))
    first = call("photos", "--noun", "dog", "--token", "sks", "--base", "tiny:sd", "steps=3", "rank=2")
    run = first.stdout.strip()
    assert "taught: 3 steps" in first.stderr
    for words, steps in ((["latest"], 5), ([run], 7), (["--resume", run], 9), ([run, "photos"], 11)):
        longer = call("--more-steps", "2", *words)
        assert longer.exit_code == 0, longer.output
        assert f"taught: {steps} steps" in longer.stderr
        assert f"going on after step {steps - 2}" in longer.stderr
    assert "taught before: 11 steps" in call("--resume", run).stderr
    assert call("--more-steps", "2").exit_code == 2
    assert call("--more-steps", "0", run).exit_code == 2
    assert call("--more-steps", "2", os.fspath(tmp_path / "none")).exit_code == 3
