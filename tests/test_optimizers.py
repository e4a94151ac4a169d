"""Optimizers: ours against torch's own, everybody else's by name, and what cannot work said in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from likewise import methods, optimizers
from likewise.cache import Cache
from likewise.errors import RecipeError
from likewise.method import Group
from likewise.recipe import Rate, TrainingRecipe
from likewise.stack import Stack
from likewise.train import Training
from tests.bases import concept, stack, tiny

NAMES = get_args(TrainingRecipe.model_fields["optimizer"].annotation)
FOREIGN = [name for name in NAMES if name not in ("adamw", "adamw8bit")]
SHAPES = [(4, 6), (6,)]


def recipe(**settings: object) -> TrainingRecipe:
    return TrainingRecipe().override({"learning_rate": 0.1, "weight_decay": 0.02, **settings})


def parameters(slots: int = 1, seed: int = 0) -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(slots, *shape, generator=random)) for shape in SHAPES]


def gradients(step: int, slots: int = 1) -> list[Tensor]:
    random = torch.Generator().manual_seed(100 + step)
    return [torch.randn(slots, *shape, generator=random) for shape in SHAPES]


def group(values: list[nn.Parameter], *rates: float | str, name: str = "all", decay: bool = True) -> Group:
    return Group(name, tuple(values), tuple(Rate.parse(rate) for rate in rates), decay)


def step(built: optimizers.SlotAdamW | optimizers.ForeignOptimizer, number: int, rates: list[float]) -> None:
    for one in built.groups:
        slots = one.parameters[0].shape[0]
        for parameter, gradient in zip(one.parameters, gradients(number, slots), strict=True):
            parameter.grad = gradient
    built.gradients()
    built.step({one.name: rates for one in built.groups})


@pytest.mark.parametrize("decay", [True, False])
def test_ours_is_torchs_adamw(decay: bool) -> None:
    ours, theirs = parameters(), parameters()
    built = optimizers.build([group(ours, 0.1, decay=decay)], [recipe()], stacked=True)
    oracle = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.02 if decay else 0.0)
    for number in range(5):
        step(built, number, [0.1 / (number + 1)])
        for parameter, gradient in zip(theirs, gradients(number), strict=True):
            parameter.grad = gradient
        oracle.param_groups[0]["lr"] = 0.1 / (number + 1)
        oracle.step()
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)


def test_each_slot_has_a_rate_and_a_decay_of_its_own() -> None:
    together = parameters(slots=3)
    start = [value.detach().clone() for value in together]
    recipes = [recipe(), recipe(weight_decay=0.5), recipe()]
    built = optimizers.build([group(together, 0.1, 0.01, 0.0)], recipes, stacked=True)
    for number in range(4):
        step(built, number, [0.1, 0.01, 0.0])
    for slot, (rate, own) in enumerate(zip((0.1, 0.01), recipes[:2], strict=True)):
        alone = [nn.Parameter(value[slot : slot + 1].clone()) for value in start]
        oracle = torch.optim.AdamW(alone, lr=rate, weight_decay=own.weight_decay)
        for number in range(4):
            for parameter, gradient in zip(alone, gradients(number, 3), strict=True):
                parameter.grad = gradient[slot : slot + 1]
            oracle.step()
        for one, two in zip(together, alone, strict=True):
            assert torch.allclose(one[slot], two[0], rtol=1e-5, atol=1e-7)
    assert all(torch.equal(one[2], two[2]) for one, two in zip(together, start, strict=True))


def test_every_optimizer_of_torch_can_be_named_but_those_that_cannot_work() -> None:
    known = {
        name.lower()
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and kind is not torch.optim.Optimizer
    }
    # One wants the loss several times a step, one sparse gradients, one matrices alone.
    assert known - {"lbfgs", "sparseadam", "muon"} == set(NAMES) - {"adamw8bit", "prodigy"}


@pytest.mark.parametrize("name", FOREIGN)
def test_others_step_at_the_rate_they_are_given_and_go_on_bit_for_bit(name: str) -> None:
    values = parameters()
    built = optimizers.build([group(values, 0.1)], [recipe(optimizer=name)], stacked=True)
    assert type(built.optimizer).__name__.lower() == name
    for number in range(3):
        step(built, number, [0.1])
    assert built.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
    assert built.optimizer.param_groups[0]["weight_decay"] == 0.02
    saved = {key: value.clone() for key, value in built.state().items()}
    copies = [nn.Parameter(value.detach().clone()) for value in values]
    for number in range(3, 6):
        step(built, number, [0.05])
    assert any(not torch.equal(one, two) for one, two in zip(values, copies, strict=True)), "it stands still"
    again = optimizers.build([group(copies, 0.1)], [recipe(optimizer=name)], stacked=True)
    again.load(saved)
    for number in range(3, 6):
        step(again, number, [0.05])
    assert all(torch.equal(one, two) for one, two in zip(values, copies, strict=True))


def test_prodigy_finds_a_rate(tmp_path: Path) -> None:
    """A hundred steps towards a point: the rate that it estimates grows by far more than a hundred from 1e-6."""
    (value,) = values = [nn.Parameter(torch.zeros(1, 8))]
    built = optimizers.build([group(values, 1)], [recipe(optimizer="prodigy", weight_decay=0)], stacked=True)
    goal = torch.linspace(-1, 1, 8)
    for _ in range(100):
        value.grad = 2 * (value.detach() - goal)
        built.gradients()
        built.step({"all": [1.0]})
    assert built.optimizer.param_groups[0]["d"] > 1e-3
    assert float((value - goal).norm().detach()) < 0.5 * float(goal.norm())


def test_prodigy_teaches_and_says_nothing_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"steps": 3, "rank": 2, "optimizer": "prodigy", "learning_rate": 1, "warmup": 1}
    jobs = stack([concept(tmp_path)], [methods.get("lora").recipe().override(settings)])
    base = tiny()
    with methods.get("lora").attach(base, jobs) as adapter:
        before = adapter.state(0)
        steps = list(Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")))
        after = adapter.state(0)
    assert [step.number for step in steps] == [1, 2, 3]
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert capsys.readouterr().out == ""


def test_prodigy_has_one_rate_for_all() -> None:
    def two(first: float | str, second: float | str) -> list[Group]:
        return [group(parameters(), first, name="backbone"), group(parameters(), second, name="text")]

    prodigy = recipe(optimizer="prodigy", learning_rate=1)
    with pytest.raises(RecipeError, match="one rate"):
        optimizers.build(two(1, 0.5), [prodigy], stacked=True)
    for second in (1, 0):
        step(optimizers.build(two(1, second), [prodigy], stacked=True), 0, [1.0])


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [("adamw8bit", "needs a CUDA GPU", "optimizer=adamw"), ("prodigy", "prodigyopt is not", "pip install")],
)
def test_what_cannot_work_here_is_said(
    name: str, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(RecipeError, match=said) as caught:
        optimizers.build([group(parameters(), 0.1)], [recipe(optimizer=name)], stacked=True)
    assert hint in str(caught.value.hint)


def test_others_take_one_job(tmp_path: Path) -> None:
    job = methods.get("lora").recipe().override({"optimizer": "radam"})
    with pytest.raises(RecipeError, match="no learning rate per job"):
        Stack(stack([concept(tmp_path)], [job]).jobs * 2)


def test_unstacked_tensors_are_updated_as_torch_does_it() -> None:
    """Tensors of every form, among them one that nothing reached."""
    shapes = [(5, 4, 3), (70,), (3, 2), (1,), ()]
    random = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    built = optimizers.build([group(ours, 0.1)], [recipe()], stacked=False)
    oracle = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.02, foreach=False)
    for _ in range(3):
        for one, two in list(zip(ours, theirs, strict=True))[1:]:
            one.grad = torch.randn(one.shape, generator=random)
            two.grad = one.grad.clone()
        assert len(built.gradients()) == len(shapes) - 1
        built.step({"all": [0.1]})
        oracle.step()
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-7)


def test_a_state_that_is_taken_back_goes_on_bit_for_bit_and_is_named_by_parameter() -> None:
    """As runs that were begun by earlier versions have it on the disk."""
    values = parameters(slots=2)
    built = optimizers.build([group(values, 0.1, 0.2)], [recipe(), recipe()], stacked=True)
    for number in range(3):
        step(built, number, [0.1, 0.2])
    saved = {name: value.clone() for name, value in built.state().items()}
    wanted = {
        f"all.{n}.{name}": (2, *shape) for n, shape in enumerate(SHAPES) for name in ("first", "second")
    }
    assert {name: tuple(value.shape) for name, value in saved.items()} == {"step": ()} | wanted
    copies = [nn.Parameter(value.detach().clone()) for value in values]
    again = optimizers.build([group(copies, 0.1, 0.2)], [recipe(), recipe()], stacked=True)
    again.load(saved)
    for number in range(3, 6):
        step(built, number, [0.1, 0.2])
        step(again, number, [0.1, 0.2])
    assert all(torch.equal(one, two) for one, two in zip(values, copies, strict=True))


def test_the_update_takes_no_memory_beside_what_it_updates() -> None:
    """What was computed on the way once doubled the optimizer's share of a whole model."""
    ours = [nn.Parameter(torch.randn(1000, 50)) for _ in range(3)]
    built = optimizers.build([group(ours, 0.1)], [recipe()], stacked=False)
    for parameter in ours:
        parameter.grad = torch.randn_like(parameter)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        built.step({"all": [0.1]})
    assert sum(max(0, event.self_cpu_memory_usage) for event in seen.events()) < 4 * 50_000
