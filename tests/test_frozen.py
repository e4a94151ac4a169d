"""Frozen weights in half precision: the same answers and gradients as a float32 copy of them, in half its memory."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from likewise import frozen
from likewise.frozen import NARROW, PIECE, keep_narrow


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 1, groups=2),
        nn.Flatten(2),
        nn.Linear(16, 12),
        nn.Linear(12, 4, bias=False),
    )


def test_autocast_keeps_no_converted_copy_for_the_gradient_either() -> None:
    narrow = keep_narrow(network().half()).requires_grad_(False)
    wide = copy.deepcopy(network().half()).float().requires_grad_(False)
    kept: list[torch.Tensor] = []
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    shapes = {tuple(p.shape) for p in narrow.parameters() if p.dtype == torch.float16}
    with torch.autocast("cpu", torch.bfloat16):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            answer = narrow(x)
        assert not [t for t in kept if tuple(t.shape) in shapes and t.dtype != torch.float16]
        assert torch.equal(answer, wide(x))
    found = torch.autograd.grad(answer.float().square().sum(), x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        right = torch.autograd.grad(wide(x).float().square().sum(), x)[0]
    torch.testing.assert_close(found, right, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", NARROW)
def test_answers_and_gradients_are_those_of_a_float32_copy(dtype: torch.dtype) -> None:
    narrow = network().to(dtype)
    wide = copy.deepcopy(narrow).float().requires_grad_(False)
    keep_narrow(narrow).requires_grad_(False)
    assert {p.dtype for p in narrow.parameters()} == {dtype, torch.float32}
    answers = []
    for one in (narrow, wide):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        y = one(x)
        y.square().sum().backward()
        answers.append((y.detach(), x.grad))
    assert torch.equal(answers[0][0], answers[1][0])
    torch.testing.assert_close(answers[0][1], answers[1][1], rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in narrow.parameters())


def test_no_wide_copy_is_kept_for_the_gradient() -> None:
    narrow = keep_narrow(network().half()).requires_grad_(False)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        narrow(torch.randn(1, 3, 8, 8, requires_grad=True))
    shapes = {tuple(p.shape) for p in narrow.parameters() if p.dtype == torch.float16}
    assert not [t for t in kept if tuple(t.shape) in shapes and t.dtype == torch.float32]


def test_a_weight_that_learns_gets_its_gradient() -> None:
    layer = nn.Sequential(nn.Linear(4, 4).half())
    keep_narrow(layer)
    layer[0].weight.data = layer[0].weight.data.float()
    layer.requires_grad_(True)
    layer(torch.randn(2, 4)).sum().backward()
    assert layer[0].weight.grad is not None


def test_hooks_still_act() -> None:
    layer = keep_narrow(nn.Sequential(nn.Linear(4, 4).half())).requires_grad_(False)
    layer[0].register_forward_hook(lambda _m, _i, output: output + 1)
    plain = nn.functional.linear(torch.ones(1, 4), layer[0].weight.float(), layer[0].bias)
    assert torch.equal(layer(torch.ones(1, 4)), plain + 1)


def test_embeddings_are_looked_up_in_float32() -> None:
    table = keep_narrow(nn.Sequential(nn.Embedding(5, 4).half()))
    assert table(torch.tensor([1])).dtype == torch.float32
    assert table[0].weight.dtype == torch.float16


def test_mixed_precision_chooses_for_itself() -> None:
    narrow = keep_narrow(network().bfloat16()).requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        assert narrow(torch.randn(1, 3, 8, 8)).dtype == torch.bfloat16


class Made(TorchDispatchMode):
    """Converted copies of tensors of given shapes."""

    def __init__(self, shapes: set[tuple[int, ...]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes, self.count = shapes, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.count += func is torch.ops.aten._to_copy.default and tuple(found.shape) in self.shapes
        return found


@pytest.mark.parametrize(
    ("dtype", "computed"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float16, torch.bfloat16)],
)
def test_weights_are_widened_into_memory_that_is_there(dtype: torch.dtype, computed: torch.dtype) -> None:
    """Red where each layer asks the system for new memory, which takes ten times as long as to fill it."""
    narrow = keep_narrow(network().to(dtype)).requires_grad_(False)
    shapes = {tuple(p.shape) for p in narrow.parameters() if p.dtype == dtype and p.ndim > 1}
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with Made(shapes) as made, torch.autocast("cpu", torch.bfloat16, enabled=computed == torch.bfloat16):
        narrow(x).float().square().sum().backward()
    assert made.count == 0


@pytest.mark.parametrize("laid", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_weight_is_widened_as_torch_does_it(laid: torch.memory_format, dtype: torch.dtype) -> None:
    weight = torch.randn(130, 130, 4, 4, generator=torch.Generator().manual_seed(0)).half()
    weight = weight.contiguous(memory_format=laid)
    assert weight.numel() > PIECE, "then it is done in pieces"
    found = frozen._desk.widened(weight, dtype)
    assert torch.equal(found, weight.to(dtype))
    assert found.stride() == weight.stride()
    gaps = weight[:, ::2]
    assert torch.equal(frozen._desk.widened(gaps, dtype), gaps.to(dtype))


def test_all_weights_of_a_thread_share_their_memory_and_no_other_threads() -> None:
    one, other, larger = torch.ones(6).half(), torch.zeros(4).half(), torch.ones(1 << 20).half()
    frozen._desk.widened(larger, torch.float32)
    first = frozen._desk.widened(one, torch.float32)
    assert frozen._desk.widened(other, torch.float32).data_ptr() == first.data_ptr()
    places: list[int] = []
    thread = threading.Thread(
        target=lambda: places.append(frozen._desk.widened(one, torch.float32).data_ptr())
    )
    thread.start()
    thread.join()
    assert places != [first.data_ptr()]


def test_what_was_drawn_in_inference_mode_keeps_nobody_from_teaching() -> None:
    """Red where the memory was first asked for in that mode, outside of which nobody may write to it."""
    frozen._desk.buffers.clear()
    narrow = keep_narrow(network().half()).requires_grad_(False)
    with torch.inference_mode():
        narrow(torch.randn(1, 3, 8, 8))
    narrow(torch.randn(1, 3, 8, 8, requires_grad=True)).square().sum().backward()
