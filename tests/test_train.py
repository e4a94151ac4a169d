"""The loop: stacking is exact, resuming is exact, bad numbers stop it, every option acts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor

from likewise import methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.errors import RecipeError, UnsupportedError
from likewise.method import Adapter
from likewise.stack import Job, Stack, stream
from likewise.train import Training
from tests.bases import concept, stack, tiny
from tests.stacks import STACKABLE, jobs_of


def trained(
    method: str, jobs: Stack, folder: Path
) -> tuple[list[dict[str, Tensor]], list[tuple[float, ...]]]:
    base = tiny()
    with methods.get(method).attach(base, jobs) as adapter:
        losses = [step.losses for step in Training(base, adapter, jobs, cache=Cache(folder / "cache"))]
        return [adapter.state(slot) for slot in range(len(jobs))], losses


def apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The relative difference of two states, all tensors together."""
    difference, whole = (
        torch.cat([value.float().flatten() for value in values])
        for values in ([one[name] - two[name] for name in two], two.values())
    )
    return float(difference.norm() / whole.norm())


@pytest.mark.parametrize("method", STACKABLE)
def test_stacked_equals_separate(method: str, tmp_path: Path) -> None:
    jobs = jobs_of(method, tmp_path)
    together, losses = trained(method, jobs, tmp_path)
    for slot, job in enumerate(jobs.jobs):
        (alone,), own_losses = trained(method, Stack((job,)), tmp_path)
        assert alone.keys() == together[slot].keys()
        assert apart(together[slot], alone) <= 1e-4
        assert [step[slot] for step in losses] == pytest.approx([step[0] for step in own_losses], rel=1e-4)


@pytest.mark.parametrize("prior", ["pictures", "predicted"])
def test_stacked_equals_separate_with_a_prior(prior: str, tmp_path: Path) -> None:
    jobs = jobs_of("lora", tmp_path, steps=5, prior=prior, prior_weight=0.7)
    pictures = [example.open() for example in jobs.jobs[0].concept.examples]

    def run(part: Stack) -> list[dict[str, Tensor]]:
        base = tiny()
        with methods.get("lora").attach(base, part) as adapter:
            class_pictures = [pictures] * len(part) if prior == "pictures" else []
            training = Training(
                base, adapter, part, cache=Cache(tmp_path / "c"), class_pictures=class_pictures
            )
            for _ in training:
                pass
            return [adapter.state(slot) for slot in range(len(part))]

    together = run(jobs)
    for slot, job in enumerate(jobs.jobs):
        alone = run(Stack((job,)))[0]
        for name, value in alone.items():
            assert torch.allclose(together[slot][name], value, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("method", STACKABLE)
def test_a_shorter_job_stands_still_once_it_is_done(method: str, tmp_path: Path) -> None:
    short, long, _ = jobs_of(method, tmp_path, steps=4).jobs
    jobs = Stack((short, type(long)(long.concept, long.recipe.override({"steps": 9}))))
    base = tiny()
    with methods.get(method).attach(base, jobs) as adapter:
        for step in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            if step.number == 4:
                done, other = adapter.state(0), adapter.state(1)
        last = adapter.state(0)
        assert all(torch.equal(last[name], value) for name, value in done.items())
        assert apart(adapter.state(1), other) > 0, "the longer one goes on"
    (alone,), _ = trained(method, Stack((short,)), tmp_path)
    assert apart(last, alone) <= 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema": 0.9},
        {"optimizer": "adafactor"},
        {"optimizer": "prodigy", "learning_rate": 1.0},
        {"optimizer": "sgd"},
        {"flip": True},
    ],
)
def test_a_reloaded_loop_continues_bit_for_bit(settings: dict[str, object], tmp_path: Path) -> None:
    plain = jobs_of("lora", tmp_path, steps=8).jobs[0]
    job = Stack((type(plain)(plain.concept, plain.recipe.override(settings)),))

    def fresh() -> tuple[Adapter, Training]:
        base = tiny()
        adapter = methods.get("lora").attach(base, job)
        return adapter, Training(base, adapter, job, cache=Cache(tmp_path / "cache"))

    adapter, training = fresh()
    for step in training:
        if step.number == 3:
            saved = {name: value.clone() for name, value in training.state().items()}
    whole = {**adapter.state(0), **{f"average {n}": p for n, p in enumerate(training.average)}}

    adapter, training = fresh()
    training.load(saved)
    assert training.done == 3
    assert [step.number for step in training] == [4, 5, 6, 7, 8]
    again = {**adapter.state(0), **{f"average {n}": p for n, p in enumerate(training.average)}}
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"learning_rate": "4e-3:2, 2e-3:3, 1e-3"}, [4e-3, 4e-3, 2e-3, 1e-3, 1e-3]),
        ({"learning_rate": 4e-3, "warmup": 3}, [1e-3, 2e-3, 3e-3, 4e-3, 4e-3]),
        (
            {"learning_rate": 4e-3, "warmup": 1, "schedule": "cosine"},
            [2e-3, 4e-3, 3.41421e-3, 2e-3, 5.8579e-4],
        ),
    ],
    ids=["piecewise", "warmup", "cosine"],
)
def test_each_step_has_the_rate_that_was_written(
    settings: dict[str, object], rates: list[float], tmp_path: Path
) -> None:
    """As told, and as it acts: sgd moves a parameter by the rate times its gradient."""
    first = jobs_of("lora", tmp_path).jobs[0]
    wanted = {"steps": 5, "optimizer": "sgd", "weight_decay": 0, "warmup": 0, "schedule": "constant"}
    job = Stack((type(first)(first.concept, first.recipe.override({**wanted, **settings})),))
    base = tiny()
    with methods.get("lora").attach(base, job) as adapter:
        training = Training(base, adapter, job, cache=Cache(tmp_path / "cache"))
        before = [p.detach().clone() for p in training.parameters]
        for step, rate in zip(training, rates, strict=True):
            assert step.rates["backbone"][0] == pytest.approx(rate, rel=1e-4)
            for parameter, old in zip(training.parameters, before, strict=True):
                assert torch.allclose(parameter.detach(), old - rate * parameter.grad, atol=1e-7)
                old.copy_(parameter.detach())


def test_the_average_over_steps_is_diffusers_and_is_what_is_shown_and_kept(tmp_path: Path) -> None:
    first = jobs_of("lora", tmp_path, steps=12).jobs[0]
    job = Stack((type(first)(first.concept, first.recipe.override({"ema": 0.5})),))
    base = tiny()
    with methods.get("lora").attach(base, job) as adapter:
        training = Training(base, adapter, job, cache=Cache(tmp_path / "cache"))
        theirs = EMAModel(training.parameters, decay=0.5)
        for _ in training:
            theirs.step(training.parameters)
        last = adapter.state(0)
        with training.averaged():
            shown = adapter.state(0)
        assert all(torch.equal(value, last[name]) for name, value in adapter.state(0).items())
        wanted = [p.clone() for p in theirs.shadow_params]
        with training.averaged():
            pairs = zip(training.parameters, wanted, strict=True)
            assert all(torch.allclose(p, w, atol=1e-7) for p, w in pairs)
    assert apart(last, shown) > 1e-3, "the average must not be the last"


def test_a_short_training_is_not_lost_in_its_average(tmp_path: Path) -> None:
    """At a fixed decay of 0.9999 the average of 20 steps would hold 0.1 % of what was learned."""
    first = jobs_of("lora", tmp_path, steps=20, dropout=0.0).jobs[0]
    job = Stack((type(first)(first.concept, first.recipe.override({"ema": 0.9999})),))
    base = tiny()
    with methods.get("lora").attach(base, job) as adapter:
        training = Training(base, adapter, job, cache=Cache(tmp_path / "cache"))
        for _ in training:
            pass
        ups = [p for p in training.parameters if p.shape[-1] == 2]  # zero at the start
        last = torch.cat([p.detach().flatten() for p in ups])
        with training.averaged():
            kept = torch.cat([p.detach().flatten() for p in ups])
    assert 0.6 < float(kept.norm() / last.norm()) < 1.0


def test_the_average_of_a_job_that_is_done_stands_still(tmp_path: Path) -> None:
    short, long, _ = jobs_of("lora", tmp_path, steps=4, ema=0.7).jobs
    jobs = Stack((short, type(long)(long.concept, long.recipe.override({"steps": 9}))))

    def kept(part: Stack) -> dict[str, Tensor]:
        base = tiny()
        with methods.get("lora").attach(base, part) as adapter:
            training = Training(base, adapter, part, cache=Cache(tmp_path / "cache"))
            for _ in training:
                pass
            with training.averaged():
                return adapter.state(0)

    assert apart(kept(jobs), kept(Stack((short,)))) <= 1e-4


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "hypernetwork", "dreambooth"])
@pytest.mark.parametrize("prior", ["none", "pictures", "predicted"])
def test_accumulated_batches_are_one_large_batch(method: str, prior: str, tmp_path: Path) -> None:
    """Up to rounding: the same rows are drawn, and the mean of the parts' gradients is that of the whole."""
    one = concept(tmp_path)
    shown = [example.open() for example in one.examples]
    found = []
    for settings in (
        {"batch_size": 6},
        {"batch_size": 2, "accumulate": 3},
        {"batch_size": 1, "accumulate": 6},
    ):
        wanted = {"steps": 3, "learning_rate": 1e-3, "optimizer": "sgd", "prior": prior, **settings}
        job = Stack((Job(one, methods.get(method).recipe().override(wanted)),))
        base = tiny()
        with methods.get(method).attach(base, job) as adapter:
            given = [shown] if prior == "pictures" else []
            training = Training(base, adapter, job, cache=Cache(tmp_path / "cache"), class_pictures=given)
            steps = list(training)
            found.append((adapter.state(0), [s.losses[0] for s in steps], [s.norms[0] for s in steps]))
    for state, losses, norms in found[1:]:
        assert losses == pytest.approx(found[0][1], rel=1e-4)
        assert norms == pytest.approx(found[0][2], rel=1e-3)
        assert apart(state, found[0][0]) < 1e-5


def test_accumulation_sees_other_dropout_in_each_batch_and_resumes_exactly(tmp_path: Path) -> None:
    plain = jobs_of("lora", tmp_path, steps=4, dropout=0.5, batch_size=1, accumulate=2).jobs[0]

    def fresh() -> Training:
        base = tiny()
        adapter = methods.get("lora").attach(base, Stack((plain,)))
        return Training(base, adapter, Stack((plain,)), cache=Cache(tmp_path / "cache"))

    whole = fresh()
    for step in whole:
        if step.number == 2:
            saved = {name: value.clone() for name, value in whole.state().items()}
    again = fresh()
    again.load(saved)
    for _ in again:
        pass
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters, again.parameters, strict=True))
    with again._seeded(0):
        one = torch.rand(3)
    with again._seeded(1):
        assert not torch.equal(one, torch.rand(3))


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ("snr_gamma", 0.1),
        ("noise_offset", 0.1),
        ("clip", 1e-3),
        ("weight_decay", 0.5),
        ("warmup", 3),
        ("schedule", "cosine"),
        ("learning_rate", "1e-3:2, 1e-5"),
        ("batch_size", 3),
        ("accumulate", 2),
        ("epochs", 1),
        ("seed", 99),
        ("flip", True),
        ("resolution", 32),
        ("prior_weight", 0.0),
    ],
)
def test_every_option_acts(setting: str, other: object, tmp_path: Path) -> None:
    """Change one option and the outcome must change."""
    settings = {"prior": "predicted"} if setting == "prior_weight" else {}
    first = Stack((jobs_of("lora", tmp_path, steps=5, **settings).jobs[0],))
    changed = Stack(
        (type(first.jobs[0])(first.jobs[0].concept, first.jobs[0].recipe.override({setting: other})),)
    )
    (plain,), _ = trained("lora", first, tmp_path)
    (moved,), _ = trained("lora", changed, tmp_path)
    assert any(not torch.equal(plain[name], moved[name]) for name in plain)


def test_jobs_that_cannot_share_a_batch_are_refused(tmp_path: Path) -> None:
    one, two, _ = jobs_of("lora", tmp_path).jobs
    with pytest.raises(RecipeError, match="batch_size"):
        Stack((one, type(two)(two.concept, two.recipe.override({"batch_size": 5}))))
    prodigy = [type(job)(job.concept, job.recipe.override({"optimizer": "prodigy"})) for job in (one, two)]
    with pytest.raises(RecipeError, match="no learning rate per job"):
        Stack(tuple(prodigy))


def test_each_epoch_sees_every_picture_as_often_as_it_repeats(tmp_path: Path) -> None:
    jobs = Stack((jobs_of("lora", tmp_path).jobs[0],))
    base = tiny()
    with methods.get("lora").attach(base, jobs) as adapter:
        own = Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")).own[0]
    seen = [n for step in range(4) for n in own.order(jobs.jobs[0].recipe, step, "own")]
    assert sorted(seen[:4]) == sorted(seen[4:]) == [0, 1, 2, 3]
    assert seen[:4] != seen[4:] or len(set(seen)) == 1


def test_streams_differ_by_seed_purpose_and_step() -> None:
    drawn = {
        float(torch.rand(1, generator=stream(*key)))
        for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    }
    assert len(drawn) == 4


@pytest.mark.parametrize("variant", ["sd1", "sdxl"])
def test_checkpointing_computes_again_and_changes_no_number(variant: str, tmp_path: Path) -> None:
    base, losses, calls = tiny(variant), [], []
    block = base.backbone.up_blocks[-1].resnets[-1]  # type: ignore[union-attr, index]
    block.register_forward_pre_hook(lambda *_: calls.append(1))
    method, counts = methods.get("lora"), []
    for again in (False, True):
        recipe = method.recipe().override({"steps": 3, "dropout": 0.5, "checkpointing": again})
        jobs = stack([concept(tmp_path)], [recipe])
        calls.clear()
        with method.attach(base, jobs) as adapter:
            losses.append([s.losses for s in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))])
        counts.append(len(calls))
    assert losses[0] == losses[1]
    assert counts == [3, 6]


def test_a_base_that_cannot_compute_again_says_so(tmp_path: Path) -> None:
    base = tiny()
    with pytest.raises(UnsupportedError, match="leave checkpointing off"):
        Base.recompute(base, True)
    Base.recompute(base, False)
