"""DreamBooth: which weights train, at which rates, and how a taught model is mixed with what was before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from likewise import methods
from likewise.artifact import Artifact
from likewise.cache import Cache
from likewise.errors import FormatError, UnsupportedError
from likewise.families.sd import StableDiffusion
from likewise.stack import Stack
from likewise.train import Training
from tests.bases import concept, stack

METHOD = methods.get("dreambooth")


@pytest.fixture
def base() -> StableDiffusion:
    return StableDiffusion.tiny()


def weights(base: StableDiffusion) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, module in base.components().items()
        for name, tensor in module.named_parameters()
    }


def jobs_of(folder: Path, **settings: object) -> Stack:
    wanted = {"steps": 2, "learning_rate": 1e-3, "prior": "none", **settings}
    return stack([concept(folder)], [METHOD.recipe().override(wanted)])


@pytest.mark.parametrize("text_rate", [None, 1e-4])
def test_the_backbone_trains_and_the_tower_only_where_it_has_a_rate(
    text_rate: float | None, base: StableDiffusion, tmp_path: Path
) -> None:
    before = weights(base)
    jobs = jobs_of(tmp_path, text_rate=text_rate)
    with METHOD.attach(base, jobs) as adapter:
        rates = [step.rates for step in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))][-1]
        after = weights(base)
        kept = adapter.state(0)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    wanted = {"backbone": 1e-3} | ({"text": 1e-4} if text_rate else {})
    assert {name: value[0] for name, value in rates.items()} == pytest.approx(wanted)
    assert moved == wanted.keys() == {name.split(".")[0] for name in kept}


def test_every_weight_of_the_backbone_trains(base: StableDiffusion, tmp_path: Path) -> None:
    with METHOD.attach(base, jobs_of(tmp_path)) as adapter:
        (group,) = adapter.groups()
        assert {id(p) for p in group.parameters} == {id(p) for p in base.backbone.parameters()}
        assert all(p.requires_grad for p in group.parameters)


def test_strength_mixes_before_and_after(base: StableDiffusion, tmp_path: Path) -> None:
    before = weights(base)
    with METHOD.attach(base, jobs_of(tmp_path)) as adapter:
        for parameter in adapter.groups()[0].parameters:
            parameter.data = parameter.data + 1.0
        after = weights(base)
        adapter.strength = 0.25
        for name, value in weights(base).items():
            torch.testing.assert_close(value, before[name] + 0.25 * (after[name] - before[name]))
        with adapter.disabled():
            assert all(torch.equal(value, before[name]) for name, value in weights(base).items())
        adapter.strength = 1.0
        assert all(torch.equal(value, after[name]) for name, value in weights(base).items())


def test_a_model_that_does_not_fit_is_refused_and_leaves_no_trace(base: StableDiffusion) -> None:
    before = weights(base)
    tensors = {f"backbone.{name}": value * 2 for name, value in base.backbone.named_parameters()}
    tensors.popitem()
    with pytest.raises(FormatError, match="missing or of another shape"):
        METHOD.restore(base, [Artifact("dreambooth", "sd", "sks", "dog", tensors)])
    assert all(torch.equal(value, before[name]) for name, value in weights(base).items())


def test_one_job_at_a_time(base: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        METHOD.attach(base, Stack(jobs_of(tmp_path).jobs * 2))
