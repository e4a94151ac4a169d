"""Snapshots: weights come back bit for bit, from memory or from beside it, and modules that rest work as before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from likewise import methods, snapshot
from likewise.cache import Cache, home
from likewise.errors import StorageError
from likewise.snapshot import Resting, Snapshot, narrowest
from likewise.train import Training
from tests.bases import VARIANTS, concept, stack, tiny
from tests.disks import limited


def bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LARGE", 0)


NUMBERS = st.one_of(st.floats(width=16), st.floats(width=32), st.just(-0.0), st.integers(-9, 9).map(float))


@given(st.lists(NUMBERS, min_size=1, max_size=6), st.booleans())
def test_every_number_comes_back(numbers: list[float], aside: bool) -> None:
    """Also those that are none, the smallest and the largest, zeros of both signs."""
    before = torch.tensor(numbers, dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "LARGE", 0)
        kept = Snapshot({"a": before, "b": before.view(-1, 1)}.items(), aside=aside)
    assert torch.equal(bits(kept["a"]), bits(before))
    assert torch.equal(bits(kept["b"]), bits(before.view(-1, 1)))
    kept.close()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_was_saved_narrow_is_kept_narrow(dtype: torch.dtype) -> None:
    value = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(dtype).float()
    assert narrowest(value).itemsize == dtype.itemsize
    assert narrowest(value).data_ptr() != value.data_ptr()


def test_a_file_beside_the_memory_has_no_name_and_needs_room(everything_is_large: None) -> None:
    value = torch.randn(100_000)
    kept = Snapshot([("a", value)], aside=True)
    assert not list(home().glob(".snapshot-*"))
    assert torch.equal(kept["a"], value)
    with limited(1000), pytest.raises(StorageError, match="no space is left"):
        Snapshot([("a", value)], aside=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_modules_that_rest_answer_as_before(variant: str, everything_is_large: None) -> None:
    base = tiny(variant)
    parts = [module for name, module in base.components().items() if name != "backbone"]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def answers() -> list[Tensor]:
        with torch.no_grad():
            mean, spread = base.encode_images(pixels)
            states = base.encode_text(["a dog"])
            return [mean, spread, base.decode(mean), states.states]  # type: ignore[attr-defined]

    def held(modules: list[torch.nn.Module]) -> int:
        """Numbers in memory, beyond the one that every parameter has."""
        return sum(p.untyped_storage().nbytes() // 4 - 1 for module in modules for p in module.parameters())

    before, fingerprint = answers(), base.fingerprint()
    rested = Resting(parts)
    assert held(parts) == 0
    assert all(torch.equal(one, two) for one, two in zip(answers(), before, strict=True))
    assert held(parts) == 0
    rested.wake()
    rested.wake()
    assert base.fingerprint() == fingerprint
    assert all(torch.equal(one, two) for one, two in zip(answers(), before, strict=True))


@pytest.mark.parametrize("prior", ["none", "predicted"])
@pytest.mark.parametrize("text_rate", [None, 1e-4])
def test_dreambooth_learns_the_same_beside_the_memory(
    prior: str, text_rate: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small base everything is in memory; both ways must give the same weights, pictures and base."""
    method = methods.get("dreambooth")
    settings = {"steps": 3, "learning_rate": 1e-3, "prior": prior, "text_rate": text_rate}
    jobs = stack([concept(tmp_path)], [method.recipe().override(settings)])
    found = []
    for large in (1 << 28, 0):
        monkeypatch.setattr(snapshot, "LARGE", large)
        base = tiny()
        before = base.fingerprint()
        with method.attach(base, jobs) as adapter:
            for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
                pass
            pictures = [image.tobytes() for image in base.sample(["a sks dog"], [0])]
            with adapter.disabled():
                pictures += [image.tobytes() for image in base.sample(["a sks dog"], [0])]
            found.append((adapter.state(0), pictures))
        assert base.fingerprint() == before
        assert [image.tobytes() for image in base.sample(["a sks dog"], [0])] == pictures[1:]
    (ours, drawn), (theirs, again) = found
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert drawn == again


def test_what_is_written_needs_no_second_copy(tmp_path: Path) -> None:
    method = methods.get("dreambooth")
    base = tiny()
    with method.attach(base, stack([concept(tmp_path)], [method.recipe()])) as adapter:
        shared = adapter.shared(0)
        assert {value.data_ptr() for value in shared.values()} == {
            p.data_ptr() for p in base.backbone.parameters()
        }
        assert all(torch.equal(value, shared[name]) for name, value in adapter.state(0).items())
