"""Memory: what a training will take is known before, and refused with a way out where it is too much."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from likewise import memory, methods
from likewise.cache import Cache
from likewise.errors import CapacityError
from likewise.run import Run
from likewise.stack import Job, Stack
from likewise.train import Training
from tests.bases import concept, tiny


def job(folder: Path, method: str = "dreambooth", **settings: Any) -> Stack:
    fixed = {"steps": 2, "prior": "none", "precision": "fp32"}
    recipe = methods.get(method).recipe().override({**fixed, **settings})
    return Stack((Job(concept(folder), recipe),))


def parts(folder: Path, method: str = "dreambooth", **settings: Any) -> memory.Parts:
    base, jobs = tiny(), job(folder, method, **settings)
    with methods.get(method).attach(base, jobs) as adapter:
        return memory.parts(base, adapter, jobs)


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "adam", "sgd", "rmsprop", "prodigy", "adadelta"])
def test_what_an_optimizer_remembers_is_what_was_foreseen(optimizer: str, tmp_path: Path) -> None:
    base, jobs = tiny(), job(tmp_path, optimizer=optimizer)
    with methods.get("dreambooth").attach(base, jobs) as adapter:
        foreseen = memory.parts(base, adapter, jobs)
        training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))
        for _ in training:
            pass
        kept = sum(v.numel() * v.element_size() for v in training.optimizer.state().values())
    weights = sum(p.numel() * p.element_size() for p in training.parameters)
    assert foreseen["gradients"] == weights
    assert abs(kept - foreseen["the optimizer"]) < 0.05 * weights + 10_000


@pytest.mark.parametrize(("size", "batch"), [(64, 1), (128, 1), (128, 3)])
def test_what_a_step_keeps_grows_with_area_and_rows_as_foreseen(
    size: int, batch: int, tmp_path: Path
) -> None:
    base, jobs = tiny(), job(tmp_path, resolution=size, batch_size=batch)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with methods.get("dreambooth").attach(base, jobs) as adapter:
        foreseen = sum(memory.activations(base, jobs))
        training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = training._passed(training._batches()[0])[1]
        found = sum(kept.values())
        del losses
    assert 0.7 * found < foreseen < 1.4 * found


def test_looking_changes_nothing(tmp_path: Path) -> None:
    base, jobs = tiny(), job(tmp_path, "lora", dropout=0.5)
    stream = torch.random.get_rng_state()
    with methods.get("lora").attach(base, jobs) as adapter:
        memory.check(base, adapter, jobs, "LoRA")
        assert all(p.grad is None for group in adapter.groups() for p in group.parameters)
    gc.collect()
    assert torch.equal(torch.random.get_rng_state(), stream)


def test_what_cannot_fit_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = job(tmp_path, prior="pictures", prior_count=3, ema=0.9).jobs
    whole = parts(tmp_path, prior="pictures", prior_count=3, ema=0.9)
    monkeypatch.setattr(memory, "available", lambda device: sum(whole.values()) - 1)
    cache = Cache(tmp_path / "cache")
    run = Run("tiny:sd", "dreambooth", (only,), tmp_path / "run", cache=cache)
    base = tiny()
    before = base.fingerprint()
    with pytest.raises(CapacityError, match=r"DreamBooth needs about .* GB more memory on tiny:sd") as told:
        list(run.start(base=base))
    assert (
        told.value.hint
        == "any of these would fit: no ema, prior=none, checkpointing=true, optimizer=adafactor, --method lora"
    )
    assert not cache.folder.exists()
    assert base.fingerprint() == before


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"ema": 0.9}, {"ema": None}),
        ({"text_rate": 1e-4}, {"text_rate": None}),
        ({"batch_size": 4}, {"batch_size": 1}),
        ({"prior": "predicted"}, {"prior": "none"}),
        ({"resolution": 256}, {"resolution": 128}),
        ({}, {"optimizer": "adafactor"}),
    ],
)
def test_a_way_out_that_is_named_does_fit(
    settings: dict[str, Any], change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is made, and passes where the whole does not."""
    whole = parts(tmp_path, **settings)
    less = parts(tmp_path, **{**settings, **change})
    free = (sum(whole.values()) + sum(less.values())) / 2
    monkeypatch.setattr(memory, "available", lambda device: free)
    assert sum(whole.values()) > free
    base, jobs = tiny(), job(tmp_path, **settings)
    with methods.get("dreambooth").attach(base, jobs) as adapter, pytest.raises(CapacityError) as told:
        memory.check(base, adapter, jobs, "DreamBooth")
    ((name, value),) = change.items()
    assert (f"no {name}" if value is None else f"{name}={value}") in str(told.value.hint)
    base, jobs = tiny(), job(tmp_path, **{**settings, **change})
    with methods.get("dreambooth").attach(base, jobs) as adapter:
        memory.check(base, adapter, jobs, "DreamBooth")


@pytest.mark.parametrize("fit", [2, 4])
def test_a_stack_that_does_not_fit_is_told_how_much_of_it_would(
    fit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as the advice names do fit, and one more does not."""

    def stacked(count: int) -> Stack:
        (only,) = job(tmp_path, "lora").jobs
        return Stack(tuple(Job(only.concept, only.recipe.override({"seed": n})) for n in range(count)))

    def needed(count: int) -> float:
        base, jobs = tiny(), stacked(count)
        with methods.get("lora").attach(base, jobs) as adapter:
            return sum(memory.parts(base, adapter, jobs).values())

    free = (needed(fit) + needed(fit + 1)) / 2
    monkeypatch.setattr(memory, "available", lambda device: free)
    base, jobs = tiny(), stacked(5)
    with methods.get("lora").attach(base, jobs) as adapter, pytest.raises(CapacityError) as told:
        memory.check(base, adapter, jobs, "LoRA")
    assert f"{fit} of the 5 trainings at once (fewer seeds or concepts)" in str(told.value.hint)


def test_where_nothing_fits_alone_all_together_are_named_or_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, jobs = tiny(), job(tmp_path, ema=0.9, batch_size=4, prior="predicted")
    with methods.get("dreambooth").attach(base, jobs) as adapter:
        kept = memory.parts(base, adapter, jobs)
        enough = kept["gradients"] + kept["activations"] / 8
        monkeypatch.setattr(memory, "available", lambda device: enough * 1.05)
        with pytest.raises(CapacityError, match="needs about") as told:
            memory.check(base, adapter, jobs, "DreamBooth")
        assert str(told.value.hint).startswith(
            "all of these together would fit: no ema, batch_size=1, prior=none"
        )
        monkeypatch.setattr(memory, "available", lambda device: 1000.0)
        with pytest.raises(CapacityError) as told:
            memory.check(base, adapter, jobs, "DreamBooth")
        assert "no setting makes it fit" in str(told.value.hint)


def test_the_shell_s_limit_counts() -> None:
    """In a process of its own, as a limit cannot be lifted again."""
    code = (
        "import psutil, resource, torch; from likewise import memory\n"
        "free = memory.available(torch.device('cpu'))\n"
        "most = psutil.Process().memory_info().vms + 300_000_000\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "found = memory.available(torch.device('cpu'))\n"
        "assert free > 400_000_000 and 250_000_000 < found < 350_000_000, (free, found)"
    )
    pytest.importorskip("resource")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_limit_of_a_control_group_counts(tmp_path: Path) -> None:
    for name, text in (
        ("memory.max", "1000"),
        ("memory.current", "700"),
        ("memory.stat", "anon 1\ninactive_file 50"),
    ):
        (tmp_path / name).write_text(text)
    names = ("memory.max", "memory.current", "inactive_file")
    assert list(memory._left(tmp_path, *names)) == [350]
    (tmp_path / "memory.max").write_text("max")
    assert list(memory._left(tmp_path, *names)) == []
