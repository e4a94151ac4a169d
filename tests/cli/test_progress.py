"""The bar that a terminal shows while something is taught."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from likewise.cli import progress
from likewise.concept import Concept
from likewise.errors import Interrupted
from likewise.events import Noted, Planned, Progress, Stepped, TrialEnded, TrialStarted
from likewise.journal import steps
from likewise.methods.lora import LoRARecipe
from likewise.run import Run
from likewise.stack import Job
from tests.bases import pictures, tiny


@pytest.mark.parametrize(("width", "count"), [(140, 5), (50, 2), (20, 1)])
def test_a_bar_tells_as_much_as_there_is_room_for(
    width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, time left, loss, speed and memory; a narrow terminal loses the last of them first."""
    monkeypatch.setenv("COLUMNS", str(width))
    bar = progress.Bar("teaching")
    bar.step(Stepped(5, 10, (0.5,), {}, 0.1, 500_000_000))
    (task,) = bar._progress.tasks
    assert (task.completed, task.total) == (5, 10)
    facts = task.fields["detail"].strip().split("  ")
    assert len(facts) == count
    for fact, (begin, end) in zip(
        facts, [("5/10", ""), ("", "s left"), ("loss 0.5", ""), ("", "steps/s"), ("500 MB", "")], strict=False
    ):
        assert fact.startswith(begin)
        assert fact.endswith(end)


def test_the_shown_loss_goes_on_after_a_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mean is over all steps, those of earlier starts included, so it does not jump to the loss of one step."""
    concept = Concept.read(pictures(tmp_path / "dog"), token="sks", noun="dog")
    job = Job(concept, LoRARecipe(steps=12, checkpoint_every=1, resolution=64))
    run, base = Run("tiny:sd", "lora", (job,), tmp_path / "run"), tiny()
    begun = run.start(base=base)
    while (event := next(begun)).to_json().get("step") != 8:
        pass
    assert isinstance(event, Stepped)
    run.stop()
    with pytest.raises(Interrupted):
        list(begun)
    capsys.readouterr()
    progress.follow(run.start(base=base), run.folder)
    shown = re.findall(r"step +(\d+)/12 .*loss ([\d.]+)", capsys.readouterr().err)
    mean = progress.Average()
    wanted = {step.step: f"{mean.add(step.losses):.4f}" for step in steps(run.folder)[0]}
    assert shown[0][0] == "9"
    assert [loss for _, loss in shown] == [wanted[int(number)] for number, _ in shown]


def test_a_line_at_least_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    from likewise.events import Stepped

    with progress.Lines("starting") as display:
        for step in range(1, 401):
            display.step(Stepped(step, 400, (0.5, 0.7), {}, 0.001, 10**9))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "starting"
    assert re.match(r"step +1/400 ", lines[1])
    assert len(lines) == 12
    assert "loss 0.6000" in lines[-1]
    assert "1 GB" in lines[-1]


def test_the_mean_loss_has_no_bias_towards_the_first() -> None:
    average = progress.Average()
    assert average.add([4.0]) == 4.0
    for _ in range(2000):
        last = average.add([1.0])
    assert last == pytest.approx(1.0, abs=1e-6)


def test_a_long_drawing_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line when it begins, and one when ten seconds have passed since the last."""
    clock = iter([100.0, 105.0, 111.0, 112.0, 140.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.drawing("drawing 2 pictures") as watch:
        assert capsys.readouterr().err == "", "nothing is drawn yet"
        for done in range(5):
            watch(done, 4)
    assert capsys.readouterr().err.splitlines() == ["drawing 2 pictures", "step 2/4  11 s left"]


def test_trials_side_by_side_keep_their_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    """What ends is not what began last; steps are those of one training, and then of the next."""

    def step(trial: str, number: int) -> Progress:
        return Progress(trial, Stepped(number, 40, (0.5,), {}, 0.1, 10**9))

    def ended(trial: str) -> TrialEnded:
        return TrialEnded(trial, {"status": "done", "cost": {"bytes": 1000}})

    progress.follow_comparison(
        [
            Planned(("a", "b", "c"), ("a", "b", "c")),
            Noted("2 trainings go on at a time."),
            TrialStarted("a", "A", 1, 3), step("a", 1), TrialStarted("b", "B", 2, 3), step("b", 2), step("a", 20),
            ended("a"), step("b", 40), TrialStarted("c", "C", 3, 3), ended("b"), ended("c"),
        ]
    )  # fmt: skip
    lines = [re.sub("(?<=/40)  .*", "", line) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "starting", "3 trials to do", "note: 2 trainings go on at a time.", "1/3 A", "step  1/40", "2/3 B", "step 20/40",
        "1/3 A: done, 1 kB", "2/3 B", "step 40/40", "3/3 C", "2/3 B: done, 1 kB", "3/3 C", "3/3 C: done, 1 kB",
        "scoring",
    ]  # fmt: skip
