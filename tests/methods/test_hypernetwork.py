"""Hypernetwork: the web UI's own construction, rebuilt here from torch's layers, is the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.concept import Concept
from likewise.errors import FormatError, RecipeError, UnsupportedError
from likewise.families.sd import StableDiffusion
from likewise.method import Adapter
from likewise.methods.hypernetwork import (
    ACTIVATIONS,
    METHOD,
    Activation,
    HypernetworkAdapter,
    HypernetworkRecipe,
)
from likewise.picture import Example
from likewise.stack import Job, Stack
from tests.methods.web_ui import TORCH_LAYERS, web_ui

CONCEPT = Concept("toy", "sks", "toy", (Example(Path("none.png")),))


@pytest.fixture
def base() -> StableDiffusion:
    return StableDiffusion.tiny()


def attach(base: Base, *settings: dict[str, Any]) -> HypernetworkAdapter:
    recipes = [HypernetworkRecipe(**one) for one in settings]
    return METHOD.attach(base, Stack(tuple(Job(CONCEPT, recipe) for recipe in recipes)))


def scramble(adapter: HypernetworkAdapter, slot: int, seed: int) -> None:
    """Values large enough to be seen, biases and norms included; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for group in adapter.groups():
        for p in group.parameters:
            p.data[slot] = torch.randn(p.shape[1:], generator=generator) * 0.3


def answer(base: Base, rows: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noisy = torch.randn(rows, *base.latent_shape(64), generator=generator)
    given = base.encode_text(["a sks toy", "a red dog", "a mug", "snow", "a cat", "a table"][:rows])
    return base.denoise(noisy, torch.arange(rows) * 100 + 50, given)


def kept(adapter: Adapter, recipe: HypernetworkRecipe, slot: int = 0) -> Artifact:
    return Artifact("hypernetwork", "sd", "sks", "toy", adapter.state(slot), recipe.model_dump(mode="json"))


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"structure": (1, 1)},
    {"structure": (1, 1.5, 1.5, 1), "activation": "mish"},
    {"activation": "swish", "activate_output": True},
    {"structure": (1, 2, 2, 1), "activation": "relu", "dropout": (0, 0.3, 0, 0)},
    {"structure": (1, 2, 2, 1), "dropout": (0, 0.3, 0.3, 0)},
    {"activation": "leakyrelu", "layer_norm": True},
    {"structure": (1, 2, 1), "layer_norm": True},
    {"activation": "elu", "layer_norm": True, "dropout": (0, 0.5, 0), "activate_output": True},
    {"activation": "sigmoid", "activate_output": True},
    *({"activation": name} for name in TORCH_LAYERS),
]


def test_every_activation_is_compared_with_torchs() -> None:
    """All of torch's that act on single numbers, without parameters or chance, by the web UI's names for them."""
    assert TORCH_LAYERS.keys() | {"linear"} == ACTIVATIONS.keys() == set(get_args(Activation))
    found = {
        name.lower()
        for name, kind in vars(nn.modules.activation).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.endswith(".activation")
    }
    others = "glu multiheadattention prelu rrelu softmax softmax2d softmin logsoftmax threshold"
    assert found - set(others.split()) == ACTIVATIONS.keys() - {"linear", "swish"} | {"hardswish"}


@pytest.mark.parametrize("settings", LAYOUTS, ids=str)
def test_names_and_values_are_the_web_uis(base: StableDiffusion, settings: dict[str, Any]) -> None:
    with torch.no_grad(), attach(base, settings) as adapter:
        scramble(adapter, 0, 1)
        state = adapter.state(0)
        width = next(site.width for site in base.sites() if site.kind == "cross")
        for part in ("key", "value"):
            prefix = f"hypernetwork.{width}.{part}.linear."
            oracle = web_ui(width, settings)
            mine = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            assert set(mine) == set(oracle.state_dict())
            oracle.load_state_dict(mine)  # also says whether the weights are [out, in]
            context = torch.randn(2, 7, width, generator=torch.Generator().manual_seed(3))
            site = next(s for s in base.sites() if s.width == width and s.part == part)
            expected = nn.functional.linear(context + oracle(context), site.module.weight, site.module.bias)
            torch.testing.assert_close(site.module(context), expected, rtol=1e-5, atol=1e-5)


def test_every_site_of_a_width_uses_its_own_part_of_one_pair(base: StableDiffusion) -> None:
    plain = {site.path: site.module(torch.ones(1, 3, site.width)) for site in base.sites()}
    with attach(base, {"sizes": "all"}) as adapter:
        scramble(adapter, 0, 1)
        for key, p in adapter.networks.items():
            if key[1] == "value":
                for q in p.parameters():
                    q.data.zero_()
        for site in base.sites():
            same = torch.equal(site.module(torch.ones(1, 3, site.width)), plain[site.path])
            assert same is (site.part == "value"), site.path


def test_strength_zero_is_the_base_and_detaching_leaves_no_trace(base: StableDiffusion) -> None:
    before, weights = answer(base), {k: v.clone() for k, v in base.backbone.state_dict().items()}
    adapter = attach(base, {"sizes": "all"})
    scramble(adapter, 0, 1)
    changed = answer(base)
    assert not torch.allclose(changed, before, atol=1e-3)
    with adapter.disabled():
        assert torch.equal(answer(base), before)
    assert torch.equal(answer(base), changed)
    adapter.detach()
    adapter.detach()
    assert torch.equal(answer(base), before)
    after = base.backbone.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[key], value) for key, value in weights.items())
    assert not any(site.module._forward_pre_hooks for site in base.sites())


def test_strength_zero_hands_over_the_very_same_input(base: StableDiffusion) -> None:
    seen: list[Tensor] = []
    adapter = attach(base, {})
    site = next(site for site in base.sites() if site.kind == "cross")
    site.module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    context = torch.randn(1, 3, site.width)
    adapter.strength = 0.0
    site.module(context)
    adapter.strength = 1.0
    site.module(context)
    assert seen[0] is context
    assert seen[1] is not context


def test_strength_scales_what_is_added(base: StableDiffusion) -> None:
    site = next(site for site in base.sites() if site.kind == "cross")
    context = torch.randn(1, 3, site.width)
    plain = site.module(context)
    with attach(base, {"activation": "relu"}) as adapter:
        scramble(adapter, 0, 1)
        full = site.module(context) - plain
        adapter.strength = 0.25
        torch.testing.assert_close(site.module(context) - plain, 0.25 * full, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter_and_nothing_else(base: StableDiffusion) -> None:
    settings = {"sizes": "all", "activation": "swish", "layer_norm": True}
    with attach(base, settings, settings) as adapter:
        scramble(adapter, 0, 1)
        scramble(adapter, 1, 2)
        answer(base, rows=4).square().mean().backward()
        for group in adapter.groups():
            for p in group.parameters:
                assert p.grad is not None
                assert all(bool(p.grad[slot].abs().sum() > 0) for slot in range(2))
    assert all(p.grad is None for p in base.backbone.parameters())


def test_a_stack_of_three_is_three_separate_hypernetworks(base: StableDiffusion) -> None:
    shape = {"activation": "mish", "structure": (1, 1.5, 1), "layer_norm": True, "sizes": "all"}
    jobs = [
        {**shape, "seed": seed, "learning_rate": rate}
        for seed, rate in ((3, 1e-4), (4, 1e-5), (5, "1e-3:9, 1e-4"))
    ]
    with attach(base, *jobs) as adapter:
        fresh = [adapter.state(slot) for slot in range(3)]
        assert [rate.at(0) for rate in adapter.groups()[0].rates] == [1e-4, 1e-5, 1e-3]
        for slot in range(3):
            scramble(adapter, slot, slot)
        together = answer(base, rows=6)
        states = [adapter.state(slot) for slot in range(3)]
    plain = answer(base, rows=6)
    for slot, job in enumerate(jobs):
        with attach(base, job) as alone:
            begun = alone.state(0)
            assert all(torch.equal(begun[key], fresh[slot][key]) for key in begun)
            scramble(alone, 0, slot)
            mine = alone.state(0)
            assert all(torch.equal(mine[key], states[slot][key]) for key in mine)
            rows = slice(2 * slot, 2 * slot + 2)
            expected = answer(base, rows=6)[rows]
            assert not torch.allclose(expected, plain[rows], atol=1e-3)
            torch.testing.assert_close(together[rows], expected, rtol=0, atol=1e-6)
    assert not torch.equal(
        fresh[0]["hypernetwork.32.key.linear.0.weight"], fresh[1]["hypernetwork.32.key.linear.0.weight"]
    )


def test_restoring_gives_the_same_answers(base: StableDiffusion) -> None:
    settings = {"activation": "elu", "layer_norm": True, "dropout": (0, 0.3, 0), "sizes": "all"}
    with torch.no_grad(), attach(base, settings, settings) as adapter:
        scramble(adapter, 0, 1)
        scramble(adapter, 1, 2)
        expected = answer(base, rows=4)
        artifacts = [kept(adapter, HypernetworkRecipe(**settings), slot) for slot in range(2)]
    with torch.no_grad(), METHOD.restore(base, artifacts):
        assert torch.equal(answer(base, rows=4), expected)
    with torch.no_grad(), METHOD.restore(base, artifacts[1:]) as second:
        torch.testing.assert_close(answer(base, rows=4)[2:], expected[2:], rtol=0, atol=1e-6)
        assert all(torch.equal(v, artifacts[1].tensors[k]) for k, v in second.state(0).items())


def test_restoring_says_what_is_wrong(base: StableDiffusion) -> None:
    recipe = HypernetworkRecipe()
    with attach(base, {}) as adapter:
        good = kept(adapter, recipe)
    key = next(iter(good.tensors))
    fewer = {k: v for k, v in good.tensors.items() if k != key}
    foreign = {k.replace(".32.", ".768."): v for k, v in good.tensors.items()}
    cases = [
        (FormatError, "no tensor", fewer, {}),
        (FormatError, "has shape", {**good.tensors, key: torch.zeros(3, 3)}, {}),
        (FormatError, "no tensor", good.tensors, {"activation": "relu", "layer_norm": True}),
        (
            FormatError,
            "too many",
            {**good.tensors, "hypernetwork.32.key.linear.2.weight": torch.ones(32)},
            {},
        ),
        (FormatError, "not a hypernetwork", {"something.else": torch.zeros(1)}, {}),
        (FormatError, "not a hypernetwork", {}, {}),
        (UnsupportedError, "width 768", foreign, {}),
    ]
    for error, message, tensors, settings in cases:
        with pytest.raises(error, match=message):
            METHOD.restore(base, [Artifact("hypernetwork", "sd", "sks", "toy", tensors, settings)])
    assert not any(site.module._forward_pre_hooks for site in base.sites())


def test_dropout_acts_in_training_alone(base: StableDiffusion) -> None:
    with attach(base, {"structure": (1, 4, 1), "dropout": (0, 0.5, 0), "sizes": "all"}) as adapter:
        scramble(adapter, 0, 1)
        with torch.no_grad():
            assert torch.equal(answer(base), answer(base))
        torch.manual_seed(0)
        one, two = answer(base), answer(base)
        assert not torch.allclose(one, two, atol=1e-4)
        torch.manual_seed(0)
        assert torch.equal(answer(base), one)
        adapter.training = False
        assert torch.equal(answer(base), answer(base))


def test_starts_are_the_web_uis(base: StableDiffusion) -> None:
    def start(**settings: Any) -> dict[str, Tensor]:
        with attach(base, {"structure": (1, 16, 1), "layer_norm": True, **settings}) as adapter:
            state = adapter.state(0)
        assert all(bool((v == 0).all()) for k, v in state.items() if k.endswith("bias"))
        return {k.removeprefix("hypernetwork.32.key.linear."): v for k, v in state.items() if ".key." in k}

    normal = start()
    assert normal["0.weight"].std().item() == pytest.approx(0.01, rel=0.05)
    assert normal["1.weight"].std().item() == pytest.approx(0.01, rel=0.15)  # the layer norm's
    assert abs(normal["1.weight"].mean().item()) < 0.002
    # 32 -> 512 features, by the formulas of Glorot & Bengio 2010 and He et al. 2015
    cases = [
        ("xavier_uniform", "linear", (2 / 544) ** 0.5),
        ("xavier_normal", "linear", (2 / 544) ** 0.5),
        ("kaiming_uniform", "relu", (2 / 32) ** 0.5),
        ("kaiming_normal", "tanh", (2 / 32) ** 0.5),
        ("kaiming_normal", "leakyrelu", (2 / 32) ** 0.5),
    ]
    for init, activation, spread in cases:
        drawn = start(init=init, activation=activation)["0.weight"]
        assert drawn.shape == (512, 32)
        assert drawn.std().item() == pytest.approx(spread, rel=0.05), init
        bounded = drawn.abs().max().item() <= spread * 3**0.5 + 1e-6
        assert bounded is init.endswith("uniform")


def test_sizes_choose_widths(base: StableDiffusion) -> None:
    def widths(sizes: Any) -> set[int]:
        with attach(base, {"sizes": sizes}) as adapter:
            return {width for width, _ in adapter.networks}

    offered = {site.width for site in base.sites()}
    assert len(offered) > 1
    assert widths("all") == offered
    assert widths("cross") == {site.width for site in base.sites() if site.kind == "cross"}
    assert widths((16,)) == {16}
    with pytest.raises(RecipeError, match=r"no attention of width 768.*16, 32"):
        widths((16, 768))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({32: "refiner", 16: "joint"}, {32}),
        ({32: "self", 16: "joint"}, {16}),
        ({32: "self", 16: "self"}, {16, 32}),
    ],
)
def test_cross_falls_back_where_text_is_never_alone(
    base: StableDiffusion, monkeypatch: pytest.MonkeyPatch, kinds: dict[int, Any], expected: set[int]
) -> None:
    sites = [replace(site, kind=kinds[site.width]) for site in base.sites()]
    monkeypatch.setattr(base, "sites", lambda: sites)
    with attach(base, {}) as adapter:
        assert {width for width, _ in adapter.networks} == expected


def test_recipes_refuse_what_cannot_be_built(base: StableDiffusion) -> None:
    recipe = HypernetworkRecipe()
    cases = [
        ("structure=[2, 1]", "begin and end with 1"),
        ("structure=[1]", "begin and end with 1"),
        ("structure=[1, 0, 1]", "above 0"),
        ("activation=prelu", "activation"),
        ("dropout=[0, 0.3]", "it needs 3 numbers"),
        ("dropout=[0, 0.3, 0.3]", "begin and end with 0"),
        ("dropout=[0, 1.0, 0]", "below 1"),
        ("sizes=[]", "a list of widths"),
        ("steps=-1", "steps"),
    ]
    for pair, message in cases:
        with pytest.raises(RecipeError, match=message):
            recipe.override([pair])
    read = recipe.override(["structure=[1, 1.5, 1]", "dropout=[0, 0.1, 0]", "sizes=[16]", "activation=mish"])
    assert (read.structure, read.dropout, read.sizes) == ((1, 1.5, 1), (0, 0.1, 0), (16,))
    with pytest.raises(RecipeError, match="layer empty at width 16"):
        attach(base, {"structure": (1, 0.01, 1), "sizes": "all"})


@pytest.mark.parametrize(
    "other",
    [
        {"structure": (1, 1)},
        {"activation": "relu"},
        {"activate_output": True},
        {"layer_norm": True},
        {"sizes": "all"},
        {"dropout": (0, 0.1, 0)},
    ],
    ids=str,
)
def test_jobs_of_one_stack_have_one_shape(base: StableDiffusion, other: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=f"must share {next(iter(other))}"):
        attach(base, {}, other)
    assert not any(site.module._forward_pre_hooks for site in base.sites())


def test_half_precision_contexts_come_out_as_they_went_in(base: StableDiffusion) -> None:
    site = next(site for site in base.sites() if site.kind == "cross")
    context = torch.randn(2, 3, site.width)
    with attach(base, {}) as adapter:
        scramble(adapter, 0, 1)
        exact = site.module(context)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = site.module(context.bfloat16())
        assert rounded.dtype == torch.bfloat16
        assert (
            torch.nn.functional.cosine_similarity(rounded.float().flatten(), exact.flatten(), dim=0) > 0.999
        )
