"""Textual Inversion: where vectors start, what holds their length, and that nothing else can move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from likewise import methods
from likewise.artifact import Artifact
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
        assert [group.parameters for group in adapter.groups()] == [(adapter.spelt[0].vectors,)]


def test_a_start_at_zeros_is_one_that_moves(base: StableDiffusion, tmp_path: Path) -> None:
    settings = {"initialiser": "zeros", "vectors": 2, "steps": 2}
    jobs = stack([concept(tmp_path)], [METHOD.recipe().override(settings)])
    with METHOD.attach(base, jobs) as adapter:
        assert not adapter.state(0)["vectors"].any()
        for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            pass
        assert adapter.state(0)["vectors"].any(dim=1).all()


def kept(base: StableDiffusion, recipe: dict[str, object], noun: str = "dog") -> tuple[Tensor, Artifact]:
    """Vectors that were taught in two steps, and the file of them."""
    taught = rows(base, "red cat") + torch.tensor([[1.0], [-1.0]])
    return taught, Artifact("textual_inversion", "sd", "sks", noun, {"vectors": taught}, recipe)


@pytest.mark.parametrize(("initialiser", "start"), [(None, "dog dog"), ("dog cat", "dog cat")])
def test_a_strength_lies_between_the_start_and_what_was_taught(
    initialiser: str | None, start: str, base: StableDiffusion
) -> None:
    taught, artifact = kept(base, {"initialiser": initialiser, "seed": 3})
    prompts = ["a sks dog"]
    plain = base.encode_text(prompts).states
    with METHOD.restore(base, [artifact]) as adapter:
        full = base.encode_text(prompts).states
        for strength in (0.5, -0.5, 2.0):
            adapter.strength = strength
            (word,) = base.towers[0].words
            begun = rows(base, start)
            torch.testing.assert_close(word.vectors[0], begun + strength * (taught - begun))
            assert not torch.equal(base.encode_text(prompts).states, full)
        assert torch.equal(adapter.state(0)["vectors"], taught), "what is kept does not change"
        adapter.strength = 1.0
        assert torch.equal(base.encode_text(prompts).states, full)
        adapter.strength = 0.0
        assert torch.equal(base.encode_text(prompts).states, plain)


def test_a_strength_that_cannot_act_says_so(base: StableDiffusion, caplog: pytest.LogCaptureFixture) -> None:
    """Files of other programs hold vectors and a name, and nothing of where they started."""
    _, artifact = kept(base, {}, noun="")
    with METHOD.restore(base, [artifact]) as adapter:
        full = base.encode_text(["a sks dog"]).states
        adapter.strength = 0.0
        adapter.strength = 1.0
        assert not caplog.records
        adapter.strength = 0.5
        assert torch.equal(base.encode_text(["a sks dog"]).states, full)
    (said,) = caplog.messages
    assert "'sks'" in said
    assert "strength 0.5 does what 1 does" in said


def test_what_is_refused_leaves_no_word_behind(base: StableDiffusion, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no tokens"):
        attach(base, tmp_path, initialiser="   ")
    with pytest.raises(RecipeError, match="initialiser"):
        METHOD.restore(base, [kept(base, {"initialiser": 7})[1]])
    assert not base.towers[0].words


@pytest.mark.parametrize("pulled", [True, False])
def test_lengths_are_pulled_to_the_tables_mean(pulled: bool, base: StableDiffusion, tmp_path: Path) -> None:
    """cloneofsimo's rule: at rate r the length goes min(1, 100 r) of the way, and the direction stays."""
    typical = base.towers[0].table.weight.detach().norm(dim=1).mean()
    with attach(base, tmp_path, norm_pull=pulled) as adapter:
        start = adapter.spelt[0].vectors.detach().clone() * 10
        for rate, share in ((2e-3, 0.2), (1.0, 1.0)):
            with torch.no_grad():
                adapter.spelt[0].vectors.copy_(start)
            adapter.after_step({"vectors": torch.tensor([rate])})
            length = float(start.norm())
            wanted = length + share * (float(typical) - length) if pulled else length
            assert float(adapter.spelt[0].vectors.detach().norm()) == pytest.approx(wanted, rel=1e-5)
            turned = torch.nn.functional.cosine_similarity(adapter.spelt[0].vectors.detach(), start, dim=-1)
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
