"""Hypernetworks as changes of weights: the same drawing where they are linear maps, and otherwise the loss is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from likewise import families
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.factors.nearest import Size
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.methods import get
from likewise.operations.flattening import flat_lora, flatten
from likewise.operations.subjects import write_subject
from tests.formats.words import pipeline
from tests.operations.changes import random

RECIPE = {"structure": [1, 2, 2, 1], "activation": "linear", "layer_norm": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipeline().save_pretrained(folder)
    return open_checkpoint(folder)


def network(bias: float, width: int = 32, **recipe: Any) -> Artifact:
    tensors, sides = {}, [width, 2 * width, 2 * width, width]
    for seed, part in enumerate(("key", "value")):
        for n in range(3):
            name = f"hypernetwork.{width}.{part}.linear.{n}"
            tensors[f"{name}.weight"] = random(sides[n + 1], sides[n], seed=10 * seed + n, scale=0.2)
            tensors[f"{name}.bias"] = random(sides[n + 1], seed=100 + 10 * seed + n, scale=bias)
    return Artifact("hypernetwork", "sd", "mood", "style", tensors, {**RECIPE, **recipe})


def drawn(folder: Path, artifact: Artifact | None = None) -> torch.Tensor:
    base: Any = families.load(str(folder), device="cpu", precision="fp32")
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = base.encode_text(["a cat"])
        if artifact is None:
            return base.denoise(noisy, torch.tensor([500]), given)
        with get("hypernetwork").restore(base, [artifact]):
            return base.denoise(noisy, torch.tensor([500]), given)


def test_without_constants_it_is_the_same_model(model, tmp_path: Path) -> None:
    """The width of both attentions of the miniature's text and of its second level."""
    taught = network(0.0)
    made, cut = flatten(model, taught)
    folder = write_subject(made, tmp_path / "flat", "diffusers_folder", Saving())
    wanted, plain = drawn(model.origin, taught), drawn(model.origin)
    assert (wanted - plain).abs().max() > 1e-3
    assert (drawn(folder) - wanted).abs().max() <= 1e-5
    assert (cut.error, cut.left_out) == (0.0, {})


def test_what_is_lost_of_one_with_constants_is_told(model) -> None:
    cut = flatten(model, network(0.2))[1]
    assert all(name.endswith("(constant)") for name in cut.left_out)
    assert len(cut.left_out) == len(cut.ranks)
    layer = next(iter(cut.ranks))
    name, taught = f"{layer}.weight", network(0.2)
    x = torch.randn(4096, 32, generator=torch.Generator().manual_seed(1))
    weight, part = model.tensors[name].load(), "key" if layer.endswith("to_k") else "value"
    y = x
    for n in range(3):
        own = f"hypernetwork.32.{part}.linear.{n}"
        y = y @ taught.tensors[f"{own}.weight"].T + taught.tensors[f"{own}.bias"]
    added = y @ weight.T
    constant = float(added.mean(0).norm() / added.square().sum(1).mean().sqrt())
    alone = flatten(model, network(0.2))[1].left_out[f"{layer} (constant)"]
    assert 0 < alone < constant < 1, "a share of one layer, and of all"


def test_a_lora_of_full_rank_is_exact_and_a_small_one_says_what_it_loses(model) -> None:
    taught = network(0.0)
    made, cut = flat_lora(model, taught, Size(32))
    assert (made.method, made.token, cut.error < 1e-5) == ("lora", "mood", True)
    flat = flatten(model, taught)[0]
    for path, own in group(made.tensors).items():
        name = f"{path}.weight"
        change = flat.tensors[name].load() - model.tensors[name].load()
        assert torch.allclose(weight_change(own), change, atol=1e-6), path
    assert 0.1 < flat_lora(model, taught, Size(4))[1].error < 1


@pytest.mark.parametrize(
    ("taught", "said"),
    [
        (network(0.0, activation="relu"), "activation relu is no fixed change"),
        (network(0.0, layer_norm=True), "layer normalisation is no fixed change"),
        (network(0.0, width=768), "no attention of"),
    ],
)
def test_what_is_no_change_of_weights_is_refused(model, taught: Artifact, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        flatten(model, taught)
