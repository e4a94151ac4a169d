"""Textual Inversion: where vectors start, what holds their length, and that nothing else can move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from likewise import methods
from likewise.cache import Cache
from likewise.errors import RecipeError
from likewise.families.sd import StableDiffusion
from likewise.methods.textual_inversion import TextualInversionAdapter
from likewise.train import Training
from tests.bases import concept, stack

METHOD = methods.get("textual_inversion")


@pytest.fixture
def base() -> StableDiffusion:
    return StableDiffusion.tiny()


def attach(base: StableDiffusion, folder: Path, **settings: object) -> TextualInversionAdapter:
    adapter = METHOD.attach(base, stack([concept(folder)], [METHOD.recipe().override(settings)]))
    assert isinstance(adapter, TextualInversionAdapter)
    return adapter


def rows(base: StableDiffusion, text: str) -> Tensor:
    tower = base.towers[0]
    return tower.table.weight.detach()[tower.ids(text)]


def test_vectors_start_at_the_noun_or_at_words_given_cycled(base: StableDiffusion, tmp_path: Path) -> None:
    with attach(base, tmp_path, vectors=2) as adapter:
        assert torch.equal(adapter.state(0)["vectors"], rows(base, "dog").expand(2, -1))
    with attach(base, tmp_path, vectors=3, initialiser="red cat") as adapter:
        assert torch.equal(adapter.state(0)["vectors"], rows(base, "red cat red"))


def test_random_starts_follow_the_seed_and_have_the_tables_spread(
    base: StableDiffusion, tmp_path: Path
) -> None:
    drawn = {}
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        with attach(base, tmp_path, vectors=16, initialiser="random", seed=seed) as adapter:
            drawn[name] = adapter.state(0)["vectors"]
    assert torch.equal(drawn["one"], drawn["again"])
    assert not torch.equal(drawn["one"], drawn["two"])
    assert float(drawn["one"].std() / base.towers[0].table.weight.std()) == pytest.approx(1, abs=0.2)


def test_one_to_sixteen_vectors(base: StableDiffusion, tmp_path: Path) -> None:
    for count in (0, 17):
        with pytest.raises(RecipeError, match="vectors"):
            METHOD.recipe().override({"vectors": count})
    with attach(base, tmp_path, vectors=16) as adapter:
        tokens = base.towers[0].tokenize(["a sks dog"])
        assert tokens.vector[tokens.word >= 0].tolist() == list(range(16))
        assert [group.parameters for group in adapter.groups()] == [(adapter.vectors,)]


def test_an_initialiser_without_tokens_is_refused(base: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no tokens"):
        attach(base, tmp_path, initialiser="   ")


@pytest.mark.parametrize("pulled", [True, False])
def test_lengths_are_pulled_to_the_tables_mean(pulled: bool, base: StableDiffusion, tmp_path: Path) -> None:
    """cloneofsimo's rule: at rate r the length goes min(1, 100 r) of the way, and the direction stays."""
    typical = base.towers[0].table.weight.detach().norm(dim=1).mean()
    with attach(base, tmp_path, norm_pull=pulled) as adapter:
        start = adapter.vectors.detach().clone() * 10
        for rate, share in ((2e-3, 0.2), (1.0, 1.0)):
            with torch.no_grad():
                adapter.vectors.copy_(start)
            adapter.after_step({"vectors": torch.tensor([rate])})
            length = float(start.norm())
            wanted = length + share * (float(typical) - length) if pulled else length
            assert float(adapter.vectors.detach().norm()) == pytest.approx(wanted, rel=1e-5)
            turned = torch.nn.functional.cosine_similarity(adapter.vectors.detach(), start, dim=-1)
            assert float(turned) == pytest.approx(1, abs=1e-6)


def test_while_it_trains_no_row_of_the_table_moves(base: StableDiffusion, tmp_path: Path) -> None:
    jobs = stack([concept(tmp_path)], [METHOD.recipe().override({"steps": 3, "weight_decay": 0.1})])
    table = base.towers[0].table.weight
    before = table.detach().clone()
    with METHOD.attach(base, jobs) as adapter:
        start = adapter.state(0)["vectors"]
        for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            assert torch.equal(table, before)
            assert table.grad is None
        assert not torch.equal(adapter.state(0)["vectors"], start)
