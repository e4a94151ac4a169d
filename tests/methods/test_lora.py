"""LoRA files of other programs: ranks and alphas that differ from layer to layer, kernels left out."""

from __future__ import annotations

import pytest
import torch

from likewise import methods
from likewise.artifact import Artifact
from likewise.errors import FormatError, RecipeError
from likewise.families.sd import StableDiffusion

FIRST = "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
SECOND = "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CONVOLUTION = "backbone.down_blocks.0.resnets.0.conv1"


def file(base: StableDiffusion, sizes: dict[str, tuple[int, float | None]], seed: int = 0) -> Artifact:
    """Random factors with the given rank and alpha for each module."""
    generator = torch.Generator().manual_seed(seed)
    modules, tensors = base.targets("all", "backbone"), {}
    for path, (rank, alpha) in sizes.items():
        weight = modules[path].weight
        tensors[f"{path}.down"] = torch.randn(rank, *weight.shape[1:], generator=generator)
        tensors[f"{path}.up"] = torch.randn(weight.shape[0], rank, generator=generator)
        if alpha is not None:
            tensors[f"{path}.alpha"] = torch.tensor(alpha)
    return Artifact("lora", "sd", "sks", "dog", tensors)


def changes(base: StableDiffusion, artifacts: list[Artifact], path: str) -> torch.Tensor:
    """What a restored adapter adds to a module's answer for rows of ones, one row per slot."""
    module = base.targets("all", "backbone")[path]
    rows = torch.ones(len(artifacts), 3, module.in_features)
    before = module(rows)
    with methods.get("lora").restore(base, artifacts):
        return (module(rows) - before).detach()


@pytest.fixture
def base() -> StableDiffusion:
    return StableDiffusion.tiny()


def expected(artifact: Artifact, path: str) -> torch.Tensor:
    down, up = artifact.tensors[f"{path}.down"], artifact.tensors[f"{path}.up"]
    scale = float(artifact.tensors.get(f"{path}.alpha", len(down))) / len(down)
    return scale * (up @ down).sum(1)


def test_every_layer_has_its_own_rank_and_alpha(base: StableDiffusion) -> None:
    artifact = file(base, {FIRST: (2, 1.0), SECOND: (5, 20.0)})
    for path in (FIRST, SECOND):
        torch.testing.assert_close(changes(base, [artifact], path)[0, 0], expected(artifact, path))


def test_a_file_without_alpha_acts_in_full(base: StableDiffusion) -> None:
    artifact = file(base, {FIRST: (3, None)})
    torch.testing.assert_close(changes(base, [artifact], FIRST)[0, 0], expected(artifact, FIRST))


def test_slots_may_change_different_layers(base: StableDiffusion) -> None:
    one, other = file(base, {FIRST: (2, 2.0)}), file(base, {SECOND: (4, 1.0)}, seed=1)
    added = changes(base, [one, other], FIRST)
    torch.testing.assert_close(added[0, 0], expected(one, FIRST))
    assert not added[1].any()


def test_the_state_of_a_restored_file_is_the_file(base: StableDiffusion) -> None:
    one, other = file(base, {FIRST: (2, 1.0), CONVOLUTION: (3, 6.0)}), file(base, {SECOND: (4, 1.0)})
    with methods.get("lora").restore(base, [one, other]) as adapter:
        for slot, artifact in enumerate((one, other)):
            found = adapter.state(slot)
            assert found.keys() == artifact.tensors.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in artifact.tensors.items())


def test_factors_of_another_width_are_refused(base: StableDiffusion) -> None:
    artifact = file(base, {FIRST: (2, 1.0)})
    wide = {**artifact.tensors, f"{FIRST}.down": torch.zeros(2, 999)}
    with pytest.raises(FormatError, match="this base needs"):
        methods.get("lora").restore(base, [Artifact("lora", "sd", "sks", "dog", wide)])


@pytest.mark.parametrize("pair", ["dropout=1", "dropout=1.5", "dropout=-0.1", "rank=0", "rank=1025"])
def test_settings_that_cannot_train_are_refused(pair: str) -> None:
    with pytest.raises(RecipeError, match=pair.replace("=", " = ")):
        methods.get("lora").recipe().override([pair])
