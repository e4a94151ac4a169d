"""The backbone is taught by one worker or several, interrupted or not, and comes out the same."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from workshop.all import main as build_all
from workshop.common import Average, Course
from workshop.compose import Composer
from workshop.team import MEET, gather


def trainer(made: Path, *words: str) -> Any:
    """A backbone's trainer on the smoke run's folder, without a checkpoint."""
    from workshop import train_backbone

    (made / "backbone.pt").unlink(missing_ok=True)
    args = train_backbone.arguments(["--smoke", "--samples", "16", "--rate", "1e-3", *words])
    return train_backbone.Trainer(args)


@pytest.mark.parametrize("source", ["pool", "fresh"])
def test_a_resumed_backbone_is_the_uninterrupted_one(made: Path, source: str) -> None:
    def train(first: Any, steps: int) -> dict[str, torch.Tensor]:
        for _ in range(steps):
            first.learn()
        first.save()
        return torch.load(made / "backbone.pt")["model"]

    words = ["--fresh"] if source == "fresh" else []
    whole = train(trainer(made, *words), 2)
    half = trainer(made, *words)
    train(half, 1)
    again = type(half)(half.args)
    assert again.step == 1
    assert all(torch.equal(whole[name], tensor) for name, tensor in train(again, 1).items())


def differ(team: Any) -> None:
    """Each worker changes its weights in its own way and writes them after they met."""
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1 * (1 + team.rank), weight_decay=0.0)
    weight.grad = torch.tensor([1.0, 2.0, 4.0]) * (1 + team.rank)
    optimizer.step()
    team.meet([weight], optimizer)
    torch.save([weight.data, optimizer.state[weight]["exp_avg"]], f"{team.rank}.pt")


def test_workers_go_on_from_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gather(2, tmp_path, differ)
    first, second = (torch.load(f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(
        first[0], torch.full((3,), -0.15)
    )  # steps of 0.1 and 0.2, whatever the gradient
    torch.testing.assert_close(first[1], torch.tensor([1.0, 2.0, 4.0]) * 0.15)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def halfway(args: Any, team: Any) -> None:
    """Learn until the workers meet, and keep what each of them holds then."""
    from workshop import train_backbone

    torch.set_num_threads(1)
    worker = train_backbone.Trainer(args, team)
    for _ in range(MEET):
        worker.learn()
    torch.save(worker.unet.state_dict(), args.folder / f"worker-{team.rank}.pt")
    if team.leads:
        worker.save()


def test_two_workers_hold_the_same_and_resume_exactly(made: Path) -> None:
    from workshop import train_backbone

    point, steps = made / "backbone.pt", MEET + 2
    words = ["--smoke", "--samples", str(2 * 4 * steps), "--workers", "2", "--threads", "1"]
    point.unlink(missing_ok=True)
    train_backbone.main(words)
    whole = torch.load(point)
    assert (whole["step"], whole["samples"]) == (steps, 8 * steps)
    point.unlink()
    gather(2, made, functools.partial(halfway, train_backbone.arguments(words)))
    first, second = (torch.load(made / f"worker-{rank}.pt") for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    train_backbone.main(words)
    again = torch.load(point)
    assert again["step"] == steps
    assert all(torch.equal(tensor, again["model"][name]) for name, tensor in whole["model"].items())


@pytest.mark.parametrize(
    "other",
    [["--workers", "2", "--threads", "1"], ["--samples", "24"], ["--batch", "2"], ["--strange", "0.5"]],
)
def test_a_backbone_goes_on_only_with_what_it_was_begun_with(made: Path, other: list[str]) -> None:
    from workshop import train_backbone

    first = trainer(made)
    first.save()
    with pytest.raises(SystemExit, match=r"backbone\.pt was begun with .*; give the same"):
        train_backbone.Trainer(
            train_backbone.arguments(["--smoke", "--samples", "16", "--rate", "1e-3", *other])
        )
    with pytest.raises(SystemExit):
        train_backbone.arguments(["--smoke", "--workers", "2", "--minutes", "1"])


def test_arguments_that_do_not_go_together_are_refused_before_anything_is_done() -> None:
    from workshop import train_backbone

    with pytest.raises(SystemExit, match="2"):
        train_backbone.arguments(["--smoke", "--hold-out"])
    with pytest.raises(SystemExit, match="2"):
        build_all(["--smoke", "--workers", "2", "--minutes", "9"])


def test_pictures_come_from_one_upload_to_any_device(made: Path) -> None:
    known = Composer(made, variants=4, device="meta")
    batch = known.batch(24, 5)
    tensors = [batch.pixels, batch.cover, *batch.labels.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert batch.pixels.shape == (24, 3, 64, 64)


def test_losses_stay_on_the_device_of_their_pictures(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise.metrics._judge import LabelNet
    from workshop import pool, train_backbone, train_judge, train_vae

    for module in (train_backbone, train_judge, train_vae):  # torch has no autocast for shapes without values
        monkeypatch.setattr(module, "autocast", lambda device: contextlib.nullcontext())
    known = Composer(made, variants=4, device="meta")
    batch, vae = known.batch(8, 5), train_vae.build().to("meta")
    lesson = pool.lesson(vae, lambda captions: torch.empty(len(captions), 48, 256, device="meta"), batch)
    alphas = torch.empty(1000, device="meta")
    network = LabelNet({head: len(names) for head, names in train_judge.classes(known.world).items()}).to(
        "meta"
    )
    losses = [
        train_vae.step_loss(vae, batch.pixels),
        train_judge.step_loss(network, vae, batch),
        train_backbone.loss_of(train_backbone.build().to("meta"), lesson, alphas, None),
    ]
    assert [loss.device.type for loss in losses] == ["meta"] * 3
    assert all(loss.requires_grad for loss in losses)


def test_a_backbone_learns_in_bfloat16(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workshop import train_backbone

    plain = trainer(made).learn()
    monkeypatch.setattr(train_backbone, "autocast", lambda device: torch.autocast("cpu", torch.bfloat16))
    mixed = trainer(made).learn()
    assert mixed.dtype == torch.float32
    assert mixed != plain
    assert abs(mixed - plain) < 0.05


def test_a_course_by_time_ends_and_goes_on_with_the_time_it_had() -> None:
    course = Course(10)
    assert [course.share(step) for step in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert course.state() == {}
    timed = Course(10, minutes=1.0)
    timed.resume({"seconds": 45.0})
    assert 0.75 <= timed.share(0) < 0.8
    timed.resume({"seconds": 60.0})
    assert timed.share(0) >= 1


def test_a_rate_falls_as_its_form_says() -> None:
    rates = {
        form: [Course(100, form=form).rate(step, 2.0, 10, 0.1) for step in (0, 50, 100)]
        for form in Course.FORMS
    }
    assert rates["steady"] == pytest.approx([0.2, 2.0, 2.0])
    assert rates["fall"] == pytest.approx([0.2, 1.1, 0.2])
    assert rates["cosine"] == pytest.approx([0.2, 1.1, 0.2])
    early = {form: Course(100, form=form).rate(20, 2.0, 10, 0.1) for form in Course.FORMS}
    assert early["steady"] > early["cosine"] > early["fall"]


def test_an_average_that_looks_rarely_makes_up_for_it() -> None:
    module = torch.nn.Linear(3, 2)
    often, rarely = Average(module, 0.9), Average(module, 0.9, every=5)
    often.step = rarely.step = 1000  # past the warm-up
    with torch.no_grad():
        module.weight.add_(1.0)
    for _ in range(5):
        often.update(module)
        rarely.update(module)
    torch.testing.assert_close(often.state["weight"], rarely.state["weight"])
