"""Attaching: changes beside the layers act as the same changes in the weights do, and come off without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likewise import families
from likewise.artifact import Artifact
from likewise.base import Base
from likewise.checkpoints import open_checkpoint
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.operations.attaching import Changes, is_plain
from likewise.operations.merging import merge_into
from likewise.operations.subjects import write_subject
from likewise.sampling import attached
from tests.formats import whole_models
from tests.operations.changes import BLOCK, CONV, LINEAR, TEXT, full, lora, random


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_models.folder("sd1", tmp_path_factory.mktemp("model") / "sd1")


def answer(base: Base) -> torch.Tensor:
    """What the base predicts for fixed noise and words."""
    noise = random(1, *base.latent_shape(64), seed=5, scale=1.0)
    with torch.no_grad():
        return base.denoise(noise, torch.tensor([500]), base.encode_text(["a photo of sks dog"]))


def decomposed() -> Artifact:
    """A DoRA, an (IA)3 and a Kronecker product, which depend on the weights or have another form."""
    own = {
        f"{LINEAR}.down": random(2, 64),
        f"{LINEAR}.up": random(32, 2),
        f"{LINEAR}.dora_scale": random(32, 1) + 1,
    }
    own |= {f"{TEXT}.weight": random(64), f"{TEXT}.on_input": torch.tensor(False)}
    own |= {f"{CONV}.lokr_w1": random(4, 4), f"{CONV}.lokr_w2": random(8, 8, 3, 3, seed=2)}
    return Artifact("lycoris", "sd", "other", "dog", own)


@pytest.mark.parametrize("artifact", [full(), decomposed(), lora(1)], ids=["full", "other", "lora"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_it_acts_like_the_same_change_in_the_weights(
    artifact: Artifact, strength: float, folder: Path, tmp_path: Path
) -> None:
    merged = merge_into(open_checkpoint(folder), [(artifact, strength)])
    other = families.load(str(write_subject(merged, tmp_path / "merged", "diffusers_folder", Saving())))
    base = families.load(str(folder))
    before = answer(base)
    with Changes(base, artifact) as adapter:
        adapter.strength = strength
        found = answer(base)
        adapter.strength = 0.0
        assert torch.equal(answer(base), before)
    assert torch.equal(answer(base), before)
    wanted = answer(other)
    assert float((wanted - before).norm()) > 1e-3
    assert float((found - wanted).norm()) <= 1e-4 * float(wanted.norm())


def test_a_lora_of_layers_beyond_the_usual_ones_is_put_on_as_well(folder: Path) -> None:
    base = families.load(str(folder))
    path = "backbone.time_embedding.linear_1"
    own = {f"{path}.down": random(2, 32), f"{path}.up": random(128, 2), f"{path}.alpha": torch.tensor(2.0)}
    artifact = Artifact("lora", "sd", "sks", "dog", own)
    assert not is_plain(base, artifact)
    assert is_plain(base, lora(1))
    before = answer(base)
    with attached(base, [artifact]):
        assert not torch.equal(answer(base), before)
    assert torch.equal(answer(base), before)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"backbone.down_blocks.3.resnets.0.conv1.diff": random(4, 4, 3, 3)}, "does not have"),
        ({f"{LINEAR}.diff": random(4, 4)}, "does not fit"),
        ({f"{BLOCK}.norm1.w_norm": random(7)}, "does not fit"),
        ({"text.text_model.embeddings.token_embedding.diff": random(4, 64)}, "nothing can be put"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_base(tensors: dict, said: str, folder: Path) -> None:
    base = families.load(str(folder))
    before = answer(base)
    good = {f"{CONV}.diff": random(32, 32, 3, 3)}
    with pytest.raises(FormatError, match=said):
        Changes(base, Artifact("lycoris", "sd", "x", "", {**good, **tensors}))
    assert torch.equal(answer(base), before)
