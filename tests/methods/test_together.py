"""Unlike methods in one batch: each adapter acts on the rows of its own slots and on no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from likewise import methods
from likewise.base import Sampler
from likewise.errors import RecipeError
from likewise.stack import Span
from tests.bases import concept, stack, tiny

STACKABLE = [name for name in methods.names() if methods.get(name).stackable]
PROMPTS = ["a sks dog", "a photo of a cat"]


def test_a_span_counts_rows() -> None:
    assert Span(1, 2, 4).rows(8) == slice(2, 6)
    assert Span(0, 3, 3).whole
    with pytest.raises(RecipeError, match="7 rows"):
        Span(1, 2, 4).rows(7)


@pytest.mark.parametrize("name", STACKABLE)
@pytest.mark.parametrize("variant", ["sd1", "sdxl"])
def test_an_adapter_acts_on_its_own_rows_alone(name: str, variant: str, tmp_path: Path) -> None:
    base, method = tiny(variant), methods.get(name)
    sampler = Sampler(steps=2, guidance=3.0)

    def drawn(slots: int) -> np.ndarray:
        found = base.sample(PROMPTS * slots, [1, 2] * slots, sampler, slots=slots)
        return np.stack([np.asarray(picture, dtype=int) for picture in found])

    def same(one: np.ndarray, two: np.ndarray) -> bool:
        return bool(np.abs(one - two).max() <= 1)  # a batch of another size rounds otherwise

    plain = drawn(1)
    jobs = stack(
        [concept(tmp_path)],
        [method.recipe().override({"gradient_rate": 1e-2} if name == "aesthetic" else {})],
    )
    with method.attach(base, jobs) as adapter:
        with torch.no_grad():
            for group in adapter.groups():
                for parameter in group.parameters:
                    parameter.add_(0.3)
        alone = drawn(1)
        assert not same(alone, plain)
        adapter.place(Span(1, 1, 3))
        together = drawn(3)
        assert same(together[2:4], alone)
        assert same(together[:2], plain)
        assert same(together[4:], plain)
        with pytest.raises(RecipeError, match="a span of 2"):
            adapter.place(Span(0, 2, 3))
    assert np.array_equal(drawn(1), plain)
