"""Numbers that are not finite end a training, and are kept by nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likewise import methods
from likewise.cache import Cache
from likewise.errors import TrainingError
from likewise.run import Run
from likewise.stack import Job, Stack
from likewise.train import Training
from tests.bases import concept, tiny
from tests.stacks import jobs_of


def test_a_loss_that_is_not_finite_names_the_picture(tmp_path: Path) -> None:
    jobs = Stack((jobs_of("lora", tmp_path, steps=3).jobs[0],))
    base = tiny()
    with methods.get("lora").attach(base, jobs) as adapter:
        training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))
        training.own[0].latents[2] = float("nan")
        with pytest.raises(TrainingError, match=r"loss of .*2\.png.* not finite"):
            for _ in training:
                pass


def test_the_last_checkpoint_of_a_run_that_failed_is_good(tmp_path: Path) -> None:
    """The third step jumps out of all bounds, the fourth finds that out: what the second left is there and finite."""
    wild = {"learning_rate": "1e-3:2, 1e30", "checkpoint_every": 2, "clip": 0.0}
    job = jobs_of("lora", tmp_path, steps=8, **wild).jobs[0]
    run = Run("tiny:sd", "lora", (job,), tmp_path / "run", cache=Cache(tmp_path / "cache"))
    with pytest.raises(TrainingError, match=r"loss of .*\.png is not finite at step 4"):
        for _ in run.start(base=tiny()):
            pass
    kept = load_file(run.folder / "checkpoint" / "state.safetensors")
    assert int(kept["done"]) == 2
    assert all(bool(torch.isfinite(value).all()) for value in kept.values())
    assert not list(run.folder.glob("*.safetensors"))


def test_a_step_that_ruins_the_weights_does_not_take_a_good_checkpoint_s_place(tmp_path: Path) -> None:
    """The loss of the fourth step is fine; only one more look at it tells that the step itself was not."""
    wild = {"learning_rate": "1e-3:3, 1e20", "checkpoint_every": 2}
    job = jobs_of("lora", tmp_path, steps=8, **wild).jobs[0]
    run = Run("tiny:sd", "lora", (job,), tmp_path / "run", cache=Cache(tmp_path / "cache"))
    with pytest.raises(TrainingError, match=r"not finite at step 5") as told:
        list(run.start(base=tiny()))
    assert str(told.value.hint).endswith(f"the checkpoint of step 2 is kept in {run.folder}")
    assert int(load_file(run.folder / "checkpoint" / "state.safetensors")["done"]) == 2


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize("rate", [1e20, 1e30, 1e308])
def test_one_wild_step_leaves_no_file(method: str, rate: float, tmp_path: Path) -> None:
    """The only loss there is was taken before the step, and is finite."""
    recipe = (
        methods.get(method).recipe().override({"steps": 1, "learning_rate": rate, "clip": 0, "prior": "none"})
    )
    run = Run(
        "tiny:sd", method, (Job(concept(tmp_path), recipe),), tmp_path / "run", cache=Cache(tmp_path / "c")
    )
    with pytest.raises(TrainingError, match=r"not finite (after|at) step 1") as told:
        list(run.start(base=tiny()))
    assert told.value.hint == "lower learning_rate, or set precision=fp32", "there is no checkpoint to name"
    assert sorted(path.name for path in run.folder.iterdir()) == ["events.jsonl", "run.toml"]


@pytest.mark.parametrize("part", ["parameter", "average", "optimizer"])
def test_whatever_a_checkpoint_holds_is_looked_at(part: str, tmp_path: Path) -> None:
    job = Stack((jobs_of("lora", tmp_path, steps=2, ema=0.5).jobs[0],))
    base = tiny()
    with methods.get("lora").attach(base, job) as adapter:
        training = Training(base, adapter, job, cache=Cache(tmp_path / "cache"))
        next(iter(training))
        before = {name: value.clone() for name, value in training.state().items()}
        stream_before = torch.random.get_rng_state()
        training.verify()
        assert torch.equal(torch.random.get_rng_state(), stream_before)
        assert all(torch.equal(value, before[name]) for name, value in training.state().items())
        spoilt = next(v for name, v in training.state().items() if name.startswith(part) and v.ndim > 1)
        spoilt.view(-1)[-1] = float("inf")
        with pytest.raises(TrainingError, match=r"is not finite after step 1"):
            training.verify()


def test_latents_that_are_not_finite_name_the_picture_and_are_not_kept(tmp_path: Path) -> None:
    jobs = Stack((jobs_of("lora", tmp_path).jobs[0],))
    base, cache = tiny(), Cache(tmp_path / "cache")
    with torch.no_grad():
        next(base.components()["vae"].parameters()).fill_(float("nan"))
    with methods.get("lora").attach(base, jobs) as adapter, pytest.raises(TrainingError, match=r"0\.png"):
        Training(base, adapter, jobs, cache=cache)
    assert not list(cache.folder.rglob("*.safetensors"))
