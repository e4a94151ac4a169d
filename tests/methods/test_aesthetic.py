"""Aesthetic embedding: what is kept, how a prompt is pulled, and that the base never notices."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from likewise.artifact import Artifact
from likewise.base import Base, Sampler
from likewise.concept import Concept
from likewise.errors import FormatError, RecipeError, UnsupportedError
from likewise.families.sd import StableDiffusion
from likewise.methods.aesthetic import METHOD, AestheticAdapter, AestheticRecipe, slerp
from likewise.picture import Example
from likewise.stack import Job, Stack
from likewise.tower import Word

QUICK = {"gradient_rate": 1e-2}


@pytest.fixture
def base() -> StableDiffusion:
    return StableDiffusion.tiny()


def concept(folder: Path, *colours: str) -> Concept:
    found = []
    for colour in colours:
        Image.new("RGB", (40, 48), colour).save(folder / f"{colour}.png")
        found.append(Example(folder / f"{colour}.png"))
    return Concept("mood", "sks", "style", tuple(found))


def attach(base: Base, subject: Concept, *settings: dict[str, Any]) -> AestheticAdapter:
    jobs = tuple(Job(subject, AestheticRecipe(**{**QUICK, **one})) for one in settings)
    return METHOD.attach(base, Stack(jobs))


def restore(base: Base, *means: Tensor, **settings: Any) -> AestheticAdapter:
    recipe = {**QUICK, **settings}
    return METHOD.restore(
        base,
        [Artifact("aesthetic", "sd", "sks", "style", {"aesthetic.mean": mean}, recipe) for mean in means],
    )


def direction(seed: int = 1) -> Tensor:
    return torch.randn(1, 24, generator=torch.Generator().manual_seed(seed)) * 5


def states(base: StableDiffusion, *prompts: str, negative: bool = False) -> Tensor:
    with torch.no_grad():
        given: Any = base.encode_prompts(prompts, negative=negative)
    return given.states


def similarity(base: StableDiffusion, encoder: Any, prompt: str, mean: Tensor) -> float:
    """The cosine by transformers' own means, on a given encoder."""
    tower = base.towers[0]
    ids = tower.tokenize([prompt]).ids
    features = encoder(ids).pooler_output @ tower.twin.half.text_projection.T  # type: ignore[union-attr]
    return torch.nn.functional.cosine_similarity(features, mean).item()


def test_the_mean_of_the_pictures_is_kept_unnormalised(base: StableDiffusion, tmp_path: Path) -> None:
    subject = concept(tmp_path, "red", "blue", "white")
    with attach(base, subject, {}) as adapter:
        assert list(adapter.groups()) == []
        state = adapter.state(0)
    twin = base.towers[0].twin
    assert twin is not None
    rows = torch.cat([twin.image_features([example.open()]) for example in subject.examples])
    assert {key: tuple(value.shape) for key, value in state.items()} == {"aesthetic.mean": (1, 24)}
    assert state["aesthetic.mean"].dtype == torch.float32
    torch.testing.assert_close(state["aesthetic.mean"][0], rows.mean(0))
    unit = torch.nn.functional.normalize(rows, dim=1).mean(0)
    assert not torch.allclose(state["aesthetic.mean"][0], unit, atol=1e-2)


def test_pulling_is_adam_on_a_deep_copy(base: StableDiffusion) -> None:
    """The published procedure, written out on a real deep copy."""
    mean, prompt = direction(), "a photo of a dog"
    with restore(base, mean, gradient_steps=4, gradient_rate=1e-3, weight=1.0) as adapter:
        mine, trail = states(base, prompt), adapter.pulls[0].pull(prompt).similarity
    tower = base.towers[0]
    theirs = copy.deepcopy(tower.encoder).requires_grad_(True)
    ids, target = tower.tokenize([prompt]).ids, mean / mean.norm()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    projection = tower.twin.half.text_projection  # type: ignore[union-attr]
    for _ in range(4):
        features = theirs(ids).pooler_output @ projection.T
        features = features / features.norm(dim=-1, keepdim=True)
        optimizer.zero_grad()
        (-(features @ target.T).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(mine, theirs(ids).last_hidden_state.detach(), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(mine, states(base, prompt), atol=1e-3)
    assert trail[0] == pytest.approx(similarity(base, tower.encoder, prompt, mean), abs=1e-5)
    assert trail[-1] == pytest.approx(similarity(base, theirs, prompt, mean), abs=1e-5)


def test_more_steps_come_closer(base: StableDiffusion) -> None:
    ends = []
    for steps in (1, 3, 9):
        with restore(base, direction(), gradient_steps=steps) as adapter:
            trail = adapter.pulls[0].pull("a dog on the beach").similarity
            assert len(trail) == steps + 1
            assert trail[-1] > trail[0]
            ends.append(trail[-1])
    assert ends == sorted(ends)
    assert ends[2] > ends[0] + 0.1


def test_a_prompt_costs_its_steps_once(base: StableDiffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    tower, calls = base.towers[0], []
    encode = tower.encode
    monkeypatch.setattr(tower, "encode", lambda *a, **k: calls.append(1) or encode(*a, **k))

    def cost(*prompts: str) -> int:
        calls.clear()
        states(base, *prompts)
        return len(calls) - 1  # less the base's own encoding

    with restore(base, direction(), gradient_steps=3) as adapter:
        assert cost("a dog") == 3 + 2
        assert cost("a dog", "a dog") == 0
        assert cost("a dog", "a cat") == 3 + 2
        adapter.strength = 0.5
        assert cost("a cat") == 0


def test_what_stands_still_is_the_very_same_object(base: StableDiffusion) -> None:
    given = base.towers[0].read(["a dog", ""])

    def untouched(adapter: AestheticAdapter, prompts: list[str], negative: bool = False) -> bool:
        return adapter.pulls[0].filter(prompts, given, negative) is given

    for still in ({"weight": 0.0}, {"gradient_steps": 0}, {"gradient_rate": 0.0}):
        with restore(base, direction(), **still) as adapter:
            assert untouched(adapter, ["a dog", "a cat"])
    with restore(base, direction()) as adapter:
        assert not untouched(adapter, ["a dog", ""])
        assert untouched(adapter, ["", "  "])
        assert untouched(adapter, ["a dog", ""], negative=True)
        with adapter.disabled():
            assert untouched(adapter, ["a dog", ""])
        assert not untouched(adapter, ["a dog", ""])
    with restore(base, direction(), steer_negative=True) as adapter:
        assert not untouched(adapter, ["a dog", ""], negative=True)
        assert untouched(adapter, ["", ""], negative=True)


def test_an_empty_prompt_among_others_stays(base: StableDiffusion) -> None:
    plain = states(base, "a dog", "", "a cat")
    with restore(base, direction()):
        pulled = states(base, "a dog", "", "a cat")
    assert torch.equal(pulled[1], plain[1])
    assert all(not torch.allclose(pulled[n], plain[n], atol=1e-2) for n in (0, 2))


def test_the_base_is_left_bit_for_bit(base: StableDiffusion) -> None:
    encoder = base.towers[0].encoder
    before = [(name, p, p.clone()) for name, p in encoder.named_parameters()]
    drawn = next(base.sample(["a dog"], [3], Sampler(steps=2))).tobytes()
    adapter = restore(base, direction(), gradient_steps=20)
    assert next(base.sample(["a dog"], [3], Sampler(steps=2))).tobytes() != drawn
    adapter.detach()
    adapter.detach()
    assert base.towers[0].filters == []
    assert next(base.sample(["a dog"], [3], Sampler(steps=2))).tobytes() == drawn
    after = list(encoder.named_parameters())
    assert [name for name, _ in after] == [name for name, _, _ in before]
    for (_, now), (_, object_before, value) in zip(after, before, strict=True):
        assert now is object_before
        assert torch.equal(now, value)
        assert now.grad is None
        assert not now.requires_grad


def test_a_failure_midway_gives_the_parameters_back(
    base: StableDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = states(base, "a dog")
    with restore(base, direction()), monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda *_a, **_k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            states(base, "a dog")
    assert torch.equal(states(base, "a dog"), plain)
    assert not any(p.requires_grad for p in base.towers[0].encoder.parameters())


def test_weight_and_strength_blend(base: StableDiffusion) -> None:
    plain = states(base, "a dog")
    with restore(base, direction(), weight=1.0) as adapter:
        full = states(base, "a dog")
        torch.testing.assert_close(full, adapter.pulls[0].pull("a dog").output.states)
        adapter.strength = 0.25
        torch.testing.assert_close(states(base, "a dog"), 0.75 * plain + 0.25 * full)
    with restore(base, direction(), weight=0.5) as adapter:
        torch.testing.assert_close(states(base, "a dog"), 0.5 * plain + 0.5 * full)
        adapter.strength = 0.5
        torch.testing.assert_close(states(base, "a dog"), 0.75 * plain + 0.25 * full)
    with restore(base, direction(), weight=0.5, slerp=True):
        arc = states(base, "a dog")
        torch.testing.assert_close(arc, slerp(plain, full, 0.5))
        assert not torch.allclose(arc, 0.5 * plain + 0.5 * full, atol=1e-4)


def test_slerp_is_the_extensions() -> None:
    low, high = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    omega = torch.acos((low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1))
    one, two = torch.sin(0.7 * omega) / torch.sin(omega), torch.sin(0.3 * omega) / torch.sin(omega)
    torch.testing.assert_close(slerp(low, high, 0.3), one.unsqueeze(1) * low + two.unsqueeze(1) * high)
    torch.testing.assert_close(slerp(low, low, 0.3), low)  # the extension divides by zero here
    torch.testing.assert_close(slerp(torch.eye(2)[:1], torch.eye(2)[1:], 0.5), torch.full((1, 2), 0.5**0.5))


def test_words_turn_the_direction(base: StableDiffusion) -> None:
    mean, tower = direction(), base.towers[0]
    pooled = tower.encoder(tower.tokenize(["snow"]).ids).pooler_output
    words = pooled @ tower.twin.half.text_projection.T  # type: ignore[union-attr]
    unit = mean / mean.norm()
    away = unit - words
    cases = [
        ({}, unit),
        ({"text": "snow", "angle": 0.4}, slerp(unit, words, 0.4)),
        ({"text": "snow", "angle": 0.4, "negative_text": True}, slerp(unit, away / away.norm(), 0.4)),
    ]
    seen = []
    for settings, expected in cases:
        with restore(base, mean, **settings) as adapter:
            seen.append(adapter.pulls[0].pull("a dog").similarity[0])
            torch.testing.assert_close(
                adapter.pulls[0]._target(0, 0), expected / expected.norm(), rtol=1e-4, atol=1e-5
            )
    assert len({round(value, 4) for value in seen}) == 3


def test_published_shapes_and_precisions_are_read(base: StableDiffusion) -> None:
    mean = direction()
    with restore(base, mean):
        expected = states(base, "a dog")
    with restore(base, mean[0], slerp=True), restore(base, mean[0]) as flat:
        assert tuple(flat.state(0)["aesthetic.mean"].shape) == (1, 24)
    with restore(base, mean[0]):
        assert torch.equal(states(base, "a dog"), expected)
    with restore(base, mean.half()) as half:
        assert half.state(0)["aesthetic.mean"].dtype == torch.float32
        torch.testing.assert_close(states(base, "a dog"), expected, rtol=0, atol=0.05)
    with restore(base, torch.cat([mean + 1, mean - 1])) as several:
        torch.testing.assert_close(several.state(0)["aesthetic.mean"], mean)
    for wrong in (
        torch.zeros(1, 768),
        torch.zeros(1, 1, 24),
        torch.tensor(1.0),
        torch.full((1, 24), float("nan")),
    ):
        with pytest.raises(FormatError, match="aesthetic embedding"):
            restore(base, wrong)
    with pytest.raises(FormatError, match="no tensor"):
        METHOD.restore(base, [Artifact("aesthetic", "sd", "sks", "style", {"emb_params": mean})])
    assert base.towers[0].filters == []


def test_each_slot_has_its_own_direction(base: StableDiffusion) -> None:
    alone = []
    for seed, settings in ((1, {}), (2, {}), (3, {})):
        with restore(base, direction(seed), **settings):
            alone.append(states(base, "a dog", "a cat"))
    with restore(base, direction(1), direction(2), direction(3)) as adapter:
        assert adapter.slots == 3
        together = states(base, *["a dog", "a cat"] * 3)
        with pytest.raises(RecipeError, match="3 slots"):
            states(base, "a dog", "a cat")
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_attached_and_restored_are_the_same(base: StableDiffusion, tmp_path: Path) -> None:
    settings = {"gradient_steps": 3, "slerp": True, "text": "snow"}
    with attach(base, concept(tmp_path, "red", "green"), settings) as adapter:
        expected, mean = states(base, "a dog"), adapter.state(0)["aesthetic.mean"]
    recipe = AestheticRecipe(**QUICK, **settings).model_dump(mode="json")
    with METHOD.restore(base, [Artifact("aesthetic", "sd", "sks", "s", {"aesthetic.mean": mean}, recipe)]):
        assert torch.equal(states(base, "a dog"), expected)


def test_taught_words_are_read_and_get_no_gradient(base: StableDiffusion) -> None:
    """Two slots spell `sks` differently; the pull must start from each one's own spelling."""
    tower = base.towers[0]
    vectors = torch.nn.Parameter(torch.randn(2, 1, tower.width))
    tower.slots, tower.words = 2, [Word("sks", slot, 1, vectors) for slot in range(2)]
    with restore(base, direction(), gradient_rate=1e-9, weight=1.0):
        pulled = states(base, "a sks", "a sks")
        tower_states = base.encode_text(["a sks", "a sks"]).states
    torch.testing.assert_close(pulled, tower_states, rtol=0, atol=1e-4)
    assert not torch.allclose(pulled[0], pulled[1], atol=1e-2)
    assert vectors.grad is None


def test_it_works_in_inference_mode_and_mixed_precision(base: StableDiffusion) -> None:
    with restore(base, direction()):
        expected = states(base, "a dog")
    with restore(base, direction()), torch.inference_mode():
        assert torch.equal(states(base, "a dog"), expected)
    with restore(base, direction()), torch.autocast("cpu", torch.bfloat16):
        rough = states(base, "a dog")
    torch.testing.assert_close(rough.float(), expected, rtol=0, atol=0.1)


def test_bases_that_cannot_be_pulled_say_so(base: StableDiffusion) -> None:
    assert METHOD.unsupported(base) is None
    with pytest.raises(FormatError, match="no tower for it"):
        METHOD.restore(
            base,
            [
                Artifact(
                    "aesthetic",
                    "sdxl",
                    "sks",
                    "s",
                    {k: direction() for k in ("aesthetic.mean", "aesthetic.mean_2")},
                )
            ],
        )
    base.towers[0].twin = None
    assert "no CLIP text tower" in str(METHOD.unsupported(base))
    with pytest.raises(UnsupportedError, match="no CLIP text tower"):
        restore(base, direction())
    assert base.towers[0].filters == []


def test_recipes_refuse_what_makes_no_sense() -> None:
    for pair in (
        "weight=1.5",
        "weight=-0.1",
        "gradient_steps=-1",
        "gradient_rate=-1.0",
        "angle=2.0",
        "strength=1",
        "steps=3",
    ):
        with pytest.raises(RecipeError, match=pair.split("=")[0]):
            AestheticRecipe().override([pair])
    defaults = AestheticRecipe()
    assert (defaults.gradient_steps, defaults.gradient_rate, defaults.weight) == (5, 1e-4, 0.9)
