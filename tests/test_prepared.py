"""What a step computes: nothing twice, nothing that nobody needs, and it waits for nothing. Counted, not timed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from likewise import methods
from likewise.base import Base
from likewise.batches import AHEAD
from likewise.cache import Cache
from likewise.packed import packed
from likewise.recipe import Recipe
from likewise.stack import Job, Stack
from likewise.train import Training
from tests.bases import concept, tiny

VIEWS = {"view", "transpose", "t", "permute", "slice", "select", "unsqueeze", "expand", "as_strided", "detach",
         "split", "split_with_sizes", "alias", "squeeze"}  # fmt: skip
WAITS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "unique2", "masked_select"}
"""Operators whose answer the host must have before it goes on."""


class Counted(TorchDispatchMode):
    """Operators that were computed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    @property
    def computed(self) -> int:
        return sum(count for name, count in self.found.items() if name not in VIEWS)


def stacked(folder: Path, method: str = "lora", slots: int = 1, **settings: object) -> Stack:
    recipe: Recipe = (
        methods.get(method).recipe().override({"steps": 40, "batch_size": 1, "prior": "none", **settings})
    )
    one = concept(folder)
    return Stack(tuple(Job(one, recipe.override({"seed": n})) for n in range(slots)))


def counted(folder: Path, base: Base, jobs: Stack, method: str = "lora", steps: int = 1) -> Counted:
    """The operators of `steps` steps, from the second of a block on."""
    with methods.get(method).attach(base, jobs) as adapter:
        training = iter(Training(base, adapter, jobs, cache=Cache(folder / "cache")))
        next(training)
        with Counted() as seen:
            for _ in range(steps):
                next(training)
    return seen


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize(
    "settings", [{}, {"clip": 0.0, "ema": 0.9, "snr_gamma": 5.0}, {"prior": "predicted"}]
)
def test_the_loop_waits_for_nothing(method: str, settings: dict[str, object], tmp_path: Path) -> None:
    """Of a block of steps that is drawn: what draws it reads numbers of this side, which no device is asked for."""
    seen = counted(tmp_path, tiny(), stacked(tmp_path, method, **settings), method, steps=AHEAD - 1)
    assert not {name: count for name, count in seen.found.items() if name in WAITS}


def test_losses_are_read_when_somebody_asks(tmp_path: Path) -> None:
    jobs, base = stacked(tmp_path), tiny()
    with methods.get("lora").attach(base, jobs) as adapter:
        step = next(iter(Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))))
        with Counted() as seen:
            assert step.losses[0] > 0
    assert sum(seen.found[name] for name in WAITS)


def test_more_slots_are_no_more_operators(tmp_path: Path) -> None:
    """A stack costs what is computed, not what is called: eight slots launch next to what one does."""
    one, eight = (counted(tmp_path, tiny(), stacked(tmp_path, slots=k)).computed for k in (1, 8))
    assert eight <= 1.1 * one


def test_layers_of_one_attention_share_a_product_and_the_optimizer_is_one_operator(tmp_path: Path) -> None:
    base = tiny()
    seen = counted(tmp_path, base, stacked(tmp_path, rank=2)).found
    layers = base.targets("attention", "backbone")
    attentions = len(layers) // 4
    selves = attentions // 2
    products = 2 * selves + 3 * selves  # q+k+v and out; q, k+v and out
    assert seen["baddbmm"] == len(layers), "every layer adds its change in one operator"
    forward = products
    backward = 2 * len(layers) + products + (products - selves)  # what reads the text passes no gradient on
    first = sum(
        not path.endswith(("to_q", "to_k", "to_v")) for path in layers
    )  # of no matter but for the count below
    assert first == attentions
    assert seen["bmm"] <= forward + backward
    assert seen["_fused_adamw_"] == 1


@pytest.mark.parametrize("variant", ["sd1", "sd2", "sdxl"])
def test_what_depends_on_the_prompt_or_the_level_alone_is_not_computed_in_a_step(
    variant: str, tmp_path: Path
) -> None:
    base, calls = tiny(variant), Counter[str]()
    names = {module: name for name, module in base.backbone.named_modules()}
    answers = base.of_levels(torch.zeros(1, dtype=torch.long))
    layers = [site.module for site in base.sites() if site.kind == "cross"]
    assert layers
    assert len(answers) >= 2
    own = {type(m): type(m).forward for m in (*layers, *answers)}
    watched = {*layers, *answers}
    jobs = stacked(tmp_path)

    def watch(kind: type[nn.Module]) -> Any:
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if self in watched:
                calls[names[self]] += 1
            return own[kind](self, *args, **kwargs)

        return forward

    with methods.get("lora").attach(base, jobs) as adapter:
        training = iter(Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")))
        next(training)
        try:
            for kind in own:
                kind.forward = watch(kind)  # type: ignore[method-assign]
            next(training)
            assert not calls
            base.encode_text(["a dog"])
            list(base.sample(["a dog"], [0]))
            assert len(calls) == len(watched), "everybody else finds the layers as they are"
        finally:
            for kind, forward in own.items():
                kind.forward = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", ["sd1", "sdxl"])
def test_what_is_ready_is_what_would_be_computed(variant: str, precision: Any, tmp_path: Path) -> None:
    base, jobs = tiny(variant), stacked(tmp_path, slots=2)
    base.precision = precision
    with methods.get("lora").attach(base, jobs) as adapter:
        training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))
        batch = training._batches()[0]
        with torch.no_grad():
            plain = training._errors(batch)
            with training._prepared.answering(batch):
                ready = training._errors(batch)
                with training._prepared.resting():
                    rested = training._errors(batch)
    near = 1e-5 if precision == "fp32" else 0.03
    assert torch.allclose(ready, plain, rtol=near)
    assert torch.allclose(rested, plain, rtol=near)
    assert not any("forward" in vars(m) for m in base.backbone.modules())


def test_layers_that_are_changed_below_their_answer_are_computed(tmp_path: Path) -> None:
    """A hypernetwork changes what keys and values are made of, and DreamBooth the layers themselves."""
    for method in ("hypernetwork", "dreambooth"):
        base, jobs = tiny(), stacked(tmp_path, method)
        with methods.get(method).attach(base, jobs) as adapter:
            training = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))
            assert not training._prepared._prompted.modules
            paced = base.backbone.time_embedding in training._prepared._paced
            assert paced == (method == "hypernetwork")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(12, 20), (2, 5, 12)),
        (nn.Linear(12, 20, bias=False), (7, 12)),
        (nn.Conv2d(6, 10, 3, padding=1), (2, 6, 8, 8)),
        (nn.Conv2d(6, 10, 1), (1, 6, 5, 7)),
        (nn.Conv2d(6, 10, 3, stride=2, padding=1, bias=False), (2, 6, 8, 8)),
        (nn.Conv2d(6, 10, 3, dilation=2, padding=2), (2, 6, 9, 9)),
        (nn.Conv2d(6, 10, 3, padding=4), (1, 6, 5, 5)),
    ],
)
def test_a_packed_layer_computes_the_same_both_ways(
    layer: nn.Module, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    layer.requires_grad_(False)
    made = packed(layer, dtype)
    if made is None:
        pytest.skip("this torch lays out nothing in this precision")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = layer(x)
    slope = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    right = torch.autograd.grad(wanted, x, slope)[0]
    for _ in range(2):  # the first call lays out
        answer = made(x)
        found = torch.autograd.grad(answer, x, slope.to(dtype))[0]
        near = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
        assert answer.dtype == dtype
        assert torch.allclose(answer.float(), wanted, **near)
        assert torch.allclose(found.float(), right, **near)


def test_what_cannot_be_packed_is_left_alone() -> None:
    assert packed(nn.Conv2d(4, 4, 3, groups=2), torch.float32) is None
    assert packed(nn.Conv2d(4, 4, 3, padding="same"), torch.float32) is None
    assert packed(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), torch.float32) is None
    assert packed(nn.Embedding(4, 4), torch.float32) is None
