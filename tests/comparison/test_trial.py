"""One trial: trainings that share a batch, what each costs, and what is left where one goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from likewise import formats, memory
from likewise.comparison import trial as module
from likewise.comparison.comparison import Comparison
from likewise.comparison.trial import reason
from likewise.errors import CapacityError, Interrupted, RunError
from likewise.events import Event, Noted, Progress
from likewise.memory import check
from tests.bases import pictures
from tests.comparison.plans import Done, attached, planned, rows_of, steps, stop_after
from tests.metrics.judges import panel

pytestmark = pytest.mark.usefixtures("told_at_once")


BIG = "big=lora,rank=3"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("trial") / "owls", 8)


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """LoRA of two ranks, three trainings each, of which the first is alone."""
    out = tmp_path_factory.mktemp("trial") / "out"
    comparison = small(source, out, conditions=[BIG], replicates=3)
    return Done(source, out, list(comparison.start(judges=panel())))


def small(source: Path, out: Path, **changes: Any) -> Comparison:
    return planned(source, out, **{"steps": 2, "seeds": 1, **changes})


def notes(folder: Path, trial: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "trials" / trial / "trial.json").read_text(encoding="utf-8"))
    return found


def tensors(folder: Path, trial: str) -> dict[str, torch.Tensor]:
    return dict(formats.read(folder / notes(folder, trial)["file"]).tensors)


def told(events: list[Event]) -> list[str]:
    return [e.inner.text for e in events if isinstance(e, Progress) and isinstance(e.inner, Noted)]


def test_the_first_training_of_each_is_alone_and_the_others_share_one(done: Done) -> None:
    assert attached(done.events) == ["lora-0", "big-0", "lora-1"]
    homes = {
        name: notes(done.folder, name)["file"].split("/")[1] for name in done.rows() if name[-1].isdigit()
    }
    alone = {"lora-0": "lora-0", "big-0": "big-0"}
    assert homes == alone | dict.fromkeys(("lora-1", "big-1", "lora-2", "big-2"), "lora-1")


def test_costs_of_a_stack_are_divided_and_say_so(done: Done) -> None:
    rows = done.rows()
    result = json.loads(
        (done.folder / "trials" / "lora-1" / "run" / "result.json").read_text(encoding="utf-8")
    )
    for name in ("lora-1", "big-1", "lora-2", "big-2"):
        assert rows[name].cost["shared"] == 4
        assert rows[name].cost["seconds"] == pytest.approx(result["seconds"] / 4, abs=1e-3)
        assert rows[name].cost["peak_bytes"] is rows[name].cost["added_bytes"] is None
        assert rows[name].steps == 2
    assert rows["lora-0"].cost["shared"] is None
    assert float(rows["lora-0"].cost["peak_bytes"] or 0) > 0
    assert float(rows["big-2"].cost["bytes"] or 0) > float(rows["lora-2"].cost["bytes"] or 0)


def test_files_of_a_stack_are_those_of_separate_runs(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as training in a stack promises it: a part in ten thousand."""
    monkeypatch.setattr(module, "TOGETHER", 1)
    list(small(done.source, tmp_path / "out", conditions=[BIG], replicates=2).start(judges=panel()))
    for name in ("lora-1", "big-1"):
        assert notes(tmp_path / "out", name)["file"].startswith(f"trials/{name}/")
        together, alone = tensors(done.folder, name), tensors(tmp_path / "out", name)
        assert together.keys() == alone.keys()
        whole = torch.cat([value.float().flatten() for value in alone.values()])
        apart = torch.cat([(together[key].float() - alone[key].float()).flatten() for key in alone])
        assert float(apart.norm() / whole.norm()) < 2e-3, "kept in half precision"


def test_the_seeds_of_replicates_differ_and_their_folds_too(done: Done) -> None:
    rows = done.rows()
    for name in ("lora", "big"):
        own = [rows[f"{name}-{number}"] for number in range(3)]
        assert [row.seed for row in own] == [0, 1, 2]
        assert [row.recipe["seed"] for row in own] == [0, 1, 2]
        assert [row.fold for row in own] == [0, 1, 2]
    first, second = tensors(done.folder, "lora-0"), tensors(done.folder, "lora-1")
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_what_shares_a_batch_is_taught_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that was taught with an earlier one is not taken into the batch of a later one again."""
    monkeypatch.setattr(module, "TOGETHER", 2)
    comparison = small(source, tmp_path / "out", conditions=[BIG], replicates=2)
    comparison.alone = False
    events = list(comparison.start(judges=panel()))
    assert attached(events) == ["lora-0", "big-0"]
    assert {row.status for name, row in rows_of(comparison.folder).items() if name != "description"} == {
        "done"
    }


def test_a_stack_that_does_not_fit_in_memory_is_halved(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_memory(base: Any, adapter: Any, stack: Any, title: str) -> Any:
        if len(stack) > 2:
            raise CapacityError(f"{title} needs more memory")
        return check(base, adapter, stack, title)

    monkeypatch.setattr(memory, "check", small_memory)
    comparison = small(source, tmp_path / "out", replicates=4)
    events = list(comparison.start(judges=panel()))
    rows = rows_of(comparison.folder)
    assert [rows[f"lora-{number}"].cost["shared"] for number in range(4)] == [None, None, 2, 2]
    assert told(events) == ["LoRA (2): it is taught alone, as more failed: LoRA needs more memory"]


def test_jobs_that_do_not_go_together_are_taught_apart(source: Path, tmp_path: Path) -> None:
    wide = "wide=lora,targets=all,rank=2"
    comparison = small(source, tmp_path / "out", conditions=[wide], replicates=3)
    list(comparison.start(judges=panel()))
    rows = rows_of(comparison.folder)
    assert {row.status for name, row in rows.items() if name != "description"} == {"done"}
    assert [rows[name].cost["shared"] for name in ("lora-1", "lora-2", "wide-1", "wide-2")] == [2, 2, 2, 2]


def test_one_that_diverges_takes_no_other_with_it(source: Path, tmp_path: Path) -> None:
    wild = "wild=lora,rank=2,learning_rate=1e30,clip=0"
    comparison = small(source, tmp_path / "out", conditions=[wild], replicates=2)
    comparison.alone = False
    list(comparison.start(judges=panel()))
    rows = rows_of(comparison.folder)
    assert [rows[name].status for name in ("lora-0", "wild-0", "lora-1", "wild-1")] == [
        "done",
        "failed",
        "done",
        "failed",
    ]
    assert "not finite" in str(rows["wild-0"].reason)


def stopped_after(comparison: Comparison, step: int) -> None:
    with pytest.raises(Interrupted):
        stop_after(comparison, step)


def test_a_stack_that_was_begun_goes_on_as_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half that was begun is not given up for the whole, which fitted no better before."""
    comparison = small(source, tmp_path / "out", replicates=4)
    comparison.alone = False
    with monkeypatch.context() as patch:
        patch.setattr(module, "TOGETHER", 2)
        stopped_after(comparison, 1)
    events = list(comparison.start(judges=panel()))
    assert steps(events, "lora-0") == [2]
    assert [rows_of(comparison.folder)[f"lora-{n}"].cost["shared"] for n in range(4)] == [2, 2, 2, 2]


def test_a_stack_that_is_no_longer_the_same_begins_anew(source: Path, tmp_path: Path) -> None:
    def made(rank: int) -> Comparison:
        comparison = small(source, tmp_path / "out", conditions=[f"big=lora,rank={rank}"])
        comparison.alone = False
        return comparison

    stopped_after(made(3), 1)
    events = list(made(4).start(judges=panel()))
    assert steps(events, "lora-0") == [1, 2]
    assert rows_of(tmp_path / "out")["big-0"].status == "done"


def test_killed_while_files_are_noted_nothing_is_taught_again(done: Done, tmp_path: Path) -> None:
    """The first of a stack is noted last, so what it lacks tells that some of the others may lack it too."""
    folder = Path(shutil.copytree(done.folder, tmp_path / "out"))
    for name in ("lora-1", "big-1"):
        kept = ("digest", "jobs", "sample_seconds")
        left = {key: value for key, value in notes(folder, name).items() if key in kept}
        (folder / "trials" / name / "trial.json").write_text(json.dumps(left), encoding="utf-8")
    results = folder / "results.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines()[:4]
    results.write_text("\n".join(lines) + "\n", encoding="utf-8")
    again = small(done.source, folder, conditions=[BIG], replicates=3)
    assert [trial.name for trial in again.pending()] == ["lora-1", "big-1", "lora-2", "big-2"]
    assert steps(list(again.start(judges=panel()))) == []
    assert rows_of(folder) == done.rows()


def test_errors_are_told_in_one_line() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60)
    assert reason(told.value).startswith("out of memory")
    assert reason(ZeroDivisionError("one over nothing\nand more")) == "ZeroDivisionError: one over nothing"
    assert reason(KeyError()) == "KeyError"
    assert reason(RunError("this is\nbroken", "mend it")) == "this is broken (mend it)"
