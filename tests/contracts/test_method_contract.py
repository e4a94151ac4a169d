"""What every method must keep on every family. A new file in `methods/` or `families/` is tested here by being there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from likewise import formats, kinds, methods
from likewise.artifact import Artifact
from likewise.base import Base, Sampler
from likewise.cache import Cache
from likewise.errors import UnsupportedError
from likewise.method import Adapter, Method
from likewise.recipe import Recipe
from likewise.train import Training
from tests.bases import VARIANTS, concept, stack, tiny

PAIRS = [(method, variant) for variant in VARIANTS for method in methods.names()]
PROMPTS = ["a sks dog", "a photo of a cat"]
SAMPLER = Sampler(steps=3, guidance=3.0)


def fast(method: Method) -> Recipe:
    """A recipe that moves a random miniature visibly within a few steps."""
    recipe = method.recipe()
    return recipe.override({"steps": 12, "learning_rate": 3e-3, "prior": "none"}) if method.trains else recipe


def weights(base: Base) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in base.components().items()
        for name, tensor in module.state_dict().items()
    }


def drawn(base: Base) -> np.ndarray:
    return np.stack([np.asarray(p) for p in base.sample(PROMPTS, [1, 2], SAMPLER)])


def taught(base: Base, method: Method, folder: Path) -> tuple[Adapter, Training | None, Recipe]:
    recipe = fast(method)
    jobs = stack([concept(folder)], [recipe])
    adapter = method.attach(base, jobs)
    training = Training(base, adapter, jobs, cache=Cache(folder / "cache")) if method.trains else None
    for _ in training or ():
        pass
    return adapter, training, recipe


@pytest.fixture(params=PAIRS, ids=[f"{method}-{variant}" for method, variant in PAIRS])
def pair(request: pytest.FixtureRequest) -> tuple[Method, Base]:
    name, variant = request.param
    method, base = methods.get(name), tiny(variant)
    reason = method.unsupported(base)
    if reason is not None:
        assert len(reason.split()) > 4, "a reason is a sentence"
        with pytest.raises(UnsupportedError):
            method.check(base, 1)
        pytest.skip(reason)
    return method, base


def test_detaching_leaves_the_base_bit_for_bit(pair: tuple[Method, Base], tmp_path: Path) -> None:
    method, base = pair
    before, pictures = weights(base), drawn(base)
    adapter, _, _ = taught(base, method, tmp_path)
    assert not np.array_equal(drawn(base), pictures), "it must have learned something that shows"
    adapter.detach()
    adapter.detach()
    after = weights(base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert np.array_equal(drawn(base), pictures)
    assert not any(p.requires_grad for module in base.components().values() for p in module.parameters())


def test_strength_nought_is_the_base(pair: tuple[Method, Base], tmp_path: Path) -> None:
    method, base = pair
    pictures = drawn(base)
    adapter, _, _ = taught(base, method, tmp_path)
    with adapter:
        taught_pictures = drawn(base)
        adapter.strength = 0.0
        assert np.array_equal(drawn(base), pictures)
        adapter.strength = 1.0
        assert np.array_equal(drawn(base), taught_pictures)
        with adapter.disabled():
            assert np.array_equal(drawn(base), pictures)


def test_loss_falls(pair: tuple[Method, Base], tmp_path: Path) -> None:
    method, base = pair
    if not method.trains:
        pytest.skip(f"{method.title} trains nothing before sampling")
    recipe = fast(method).override({"steps": 30, "batch_size": 4})
    jobs = stack([concept(tmp_path)], [recipe])
    with method.attach(base, jobs) as adapter:
        training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))

        def fixed_loss() -> float:
            done, training.done = training.done, 0  # the same pictures, noise and levels each time
            with torch.no_grad():
                loss = float(training._passed(training._batches()[0])[1].sum())
            training.done = done
            return loss

        before = fixed_loss()
        for _ in training:
            pass
        assert fixed_loss() < before


def test_saved_and_restored_draws_the_same(pair: tuple[Method, Base], tmp_path: Path) -> None:
    method, base = pair
    adapter, _, recipe = taught(base, method, tmp_path)
    with adapter:
        pictures = drawn(base)
        artifact = Artifact(
            method.name,
            base.family,
            "sks",
            "dog",
            adapter.state(0),
            recipe.model_dump(mode="json"),
            base.name,
            declared=method.kind,
        )
    with method.restore(base, [artifact]):
        assert np.array_equal(drawn(base), pictures)


def test_what_is_left_is_of_the_kind_that_is_declared(pair: tuple[Method, Base], tmp_path: Path) -> None:
    """The native file is read by what is known of the kind: its tensors, their types and shapes are checked."""
    method, base = pair
    assert method.kind in (*kinds.ALL, kinds.OWN)
    if (marked := kinds.of(method.name)) != kinds.OWN:
        assert method.kind == marked, "files that name this method are of another kind"
    with method.attach(base, stack([concept(tmp_path)], [fast(method)])) as adapter:
        left = Artifact(method.name, base.family, "sks", "dog", adapter.state(0), declared=method.kind)
    again = formats.read(formats.write(left, tmp_path / "left.safetensors"))
    assert (again.method, again.kind) == (method.name, method.kind)
    assert again.tensors.keys() == left.tensors.keys()


def test_attaching_alone_changes_nothing(pair: tuple[Method, Base], tmp_path: Path) -> None:
    method, base = pair
    if not method.trains or method.name == "textual_inversion":
        pytest.skip("acts from the start: its token stands for the pictures or the noun")
    pictures = drawn(base)
    with method.attach(base, stack([concept(tmp_path)], [fast(method)])):
        assert np.allclose(drawn(base).astype(int), pictures.astype(int), atol=1)
