"""Going on with a comparison: after a stop, after `kill -9`, with pictures lost, with other wishes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from likewise import journal
from likewise.base import Sampler
from likewise.comparison import comparison as module
from likewise.comparison import concluding
from likewise.comparison.comparison import Comparison
from likewise.errors import Interrupted, RunError
from likewise.events import Stepped, Stopped
from likewise.gallery import Gallery
from tests.bases import pictures
from tests.comparison.plans import Done, done_anew, pixels, planned, rows_of, steps, stop_after
from tests.metrics.judges import panel

pytestmark = pytest.mark.usefixtures("told_at_once")


def made(source: Path, out: Path, **changes: Any) -> Comparison:
    """LoRA, two trainings, a checkpoint after every step."""
    return planned(source, out, **{"replicates": 2, "seeds": 1, "checkpoint_every": 1, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    root = tmp_path_factory.mktemp("resuming")
    source = pictures(root / "owls", 6)
    return Done(source, root / "out", list(made(source, root / "out").start(judges=panel())))


@pytest.fixture
def again(done: Done, tmp_path: Path) -> Path:
    """A copy of the finished folder."""
    return Path(shutil.copytree(done.folder, tmp_path / "again"))


def verdict(folder: Path, *, costs: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    for one in found["standings"] if not costs else ():
        del one["cost"]
    return found


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("this is not needed")

    for name in names:
        monkeypatch.setattr(module, name, never)


def test_a_second_start_does_nothing_and_loads_no_judge(
    done: Done, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in again.rglob("*.json*") if path.name != "events.jsonl"}
    forbid(monkeypatch, "panel", "score", "Here")
    comparison = made(done.source, again)
    assert comparison.pending() == []
    assert done_anew(list(comparison.start())) == []
    assert {path: path.read_bytes() for path in before} == before


def test_the_verdict_is_written_again_where_it_is_lost(
    done: Done, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (again / "verdict.json").unlink()
    forbid(monkeypatch, "panel", "score")
    list(made(done.source, again).start())
    assert (again / "verdict.json").read_bytes() == (done.folder / "verdict.json").read_bytes()


def test_scores_of_other_metrics_are_made_again(done: Done, again: Path) -> None:
    path = again / "trials" / "lora-1" / "scores.json"
    book = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(book | {"cards": book["cards"] | {"fidelity": "of old"}}), encoding="utf-8")
    with pytest.raises(RunError, match="start the comparison again"):
        concluding.conclude(again)
    assert done_anew(list(made(done.source, again).start(judges=panel()))) == []
    assert json.loads(path.read_text(encoding="utf-8")) == book
    assert (again / "verdict.json").read_bytes() == (done.folder / "verdict.json").read_bytes()


def test_what_is_no_longer_compared_leaves_the_verdict(
    done: Done, again: Path, caplog: pytest.LogCaptureFixture
) -> None:
    list(made(done.source, again, conditions="big=lora,rank=3").start(judges=panel()))
    assert {one["name"] for one in verdict(again)["standings"]} == {"base", "lora", "big"}
    former = {name: (row.digest, row.cost) for name, row in done.rows().items()}
    assert former.items() <= {name: (row.digest, row.cost) for name, row in rows_of(again).items()}.items()
    list(made(done.source, again).start(judges=panel()))
    assert "results of big are not asked for now and leave the verdict" in caplog.text
    assert {one["name"] for one in verdict(again)["standings"]} == {"base", "lora"}
    assert list(rows_of(again)) == list(done.rows())


def test_a_deleted_gallery_is_drawn_again_without_training(done: Done, again: Path) -> None:
    shutil.rmtree(again / "trials" / "lora-1" / "gallery")
    comparison = made(done.source, again)
    assert [trial.name for trial in comparison.pending()] == ["lora-1"]
    assert steps(list(comparison.start(judges=panel()))) == []
    assert pixels(again, "lora-1") == pixels(done.folder, "lora-1")
    row, former = rows_of(again)["lora-1"], done.rows()["lora-1"]
    assert row.cost["seconds"] == former.cost["seconds"]
    assert verdict(again, costs=False) == verdict(done.folder, costs=False)


def test_one_lost_picture_is_noticed(done: Done, again: Path) -> None:
    (again / "trials" / "base" / "gallery" / "0001.png").unlink()
    assert done_anew(list(made(done.source, again).start(judges=panel()))) == ["base"]
    assert pixels(again, "base") == pixels(done.folder, "base")


def test_a_torn_tail_of_results_costs_no_training(done: Done, again: Path) -> None:
    path = again / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:80]]), encoding="utf-8")
    comparison = made(done.source, again)
    assert [trial.name for trial in comparison.pending()] == ["lora-1"]
    assert steps(list(comparison.start(judges=panel()))) == []
    assert rows_of(again) == done.rows(), "costs were noted beside the run"
    assert (again / "verdict.json").read_bytes() == (done.folder / "verdict.json").read_bytes()


def test_another_recipe_replaces_no_result(done: Done, again: Path) -> None:
    before = {path: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    comparison = made(done.source, again, recipes={"lora": {"rank": 1}})
    with pytest.raises(
        RunError, match="holds LoRA as it was asked for before: rank was 2 and is now 1"
    ) as told:
        list(comparison.start(judges=panel()))
    assert "--out" in str(told.value.hint)
    assert "--condition NAME=lora,KEY=VALUE" in str(told.value.hint)
    assert {path: path.read_bytes() for path in again.rglob("*") if path.is_file()} == before


def test_what_was_not_recorded_is_told_by_what_is_left(done: Done, again: Path) -> None:
    (again / "captions").mkdir()
    source = Path(shutil.copytree(done.source, again / "captions" / "owls"))
    next(source.glob("*.png")).with_suffix(".txt").write_text("an owl on a branch", encoding="utf-8")
    with pytest.raises(RunError, match="other captions or repeats"):
        list(made(source, again).start(judges=panel()))
    book = json.loads((again / "comparison.json").read_text(encoding="utf-8"))
    (again / "comparison.json").write_text(json.dumps(book | {"version": "0.0.1"}), encoding="utf-8")
    with pytest.raises(RunError, match=r"made by likewise 0\.0\.1"):
        list(made(source, again).start(judges=panel()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": (5,)}, r"seeds\[0\] was 0 and is now 5"),
        ({"replicates": 3}, "replicates was 2 and is now 3"),
        ({"prompts": ("a {} at sea", "a {} somewhere")}, r"prompts\[0\]\.id was \"a-on-a-beach\""),
        ({"sampler": Sampler(2, 1.0)}, "sampler.steps was 1 and is now 2"),
        ({"margin": 0.1}, "margin was 0.08 and is now 0.1"),
        ({"hold_out": 1}, r"held_out\[0\]"),
        ({"base": "tiny:sdxl"}, "base was"),
    ],
)
def test_a_folder_of_another_protocol_is_left_alone(
    done: Done, again: Path, change: dict[str, Any], said: str
) -> None:
    before = (again / "results.jsonl").read_bytes()
    with pytest.raises(RunError, match=said):
        list(made(done.source, again, **change).start(judges=panel()))
    assert (again / "results.jsonl").read_bytes() == before


def test_a_protocol_that_was_changed_by_hand_is_refused(done: Done, again: Path) -> None:
    path = again / "protocol.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("margin = 0.08", "margin = 0.01"), encoding="utf-8"
    )
    with pytest.raises(RunError, match=r"changed after it was frozen.*margin was 0\.01"):
        list(made(done.source, again).start(judges=panel()))


def test_asked_to_stop_it_saves_and_goes_on_later(done: Done, tmp_path: Path) -> None:
    comparison = made(done.source, tmp_path / "out")
    with pytest.raises(Interrupted) as told:
        stop_after(comparison, 1)
    assert told.value.hint == "start the comparison again to go on"
    assert list(rows_of(comparison.folder)) == ["base", "description"]
    goes_on = made(done.source, tmp_path / "out")
    assert [trial.name for trial in goes_on.pending()] == ["lora-0", "lora-1"]
    assert steps(list(goes_on.start(judges=panel())), "lora-0") == [2, 3], "the first step was kept"
    assert pixels(goes_on.folder, "lora-0") == pixels(done.folder, "lora-0")
    assert verdict(goes_on.folder, costs=False) == verdict(done.folder, costs=False)


@pytest.mark.parametrize("when", ["drawing", "scoring"])
def test_a_stop_after_the_last_step_is_heeded(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """While the last pictures are drawn, or when they just have been."""
    comparison = made(done.source, tmp_path / "out", replicates=1, sampler=Sampler(1, 1.0, batch=3))
    count = len(comparison.protocol.drawings("sks owl", "owl", exact=True))
    last = 3 if when == "drawing" else count
    add = Gallery.add

    def add_and_stop(gallery: Gallery, image: Any, prompt: str, *rest: Any) -> Any:
        if (
            gallery.folder.parent.name == "lora-0"
            and gallery.folder.name == "gallery"
            and len(gallery) == last - 1
        ):
            comparison.stop()
        return add(gallery, image, prompt, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", add_and_stop)
        with pytest.raises(Interrupted, match="the comparison was stopped"):
            list(comparison.start(judges=panel()))
    assert isinstance(journal.last(comparison.folder), Stopped), "the journal says how it ended"
    assert len(Gallery(comparison.folder / "trials" / "lora-0" / "gallery")) == last
    assert not (comparison.folder / "trials" / "base" / "scores.json").exists()
    assert done_anew(list(comparison.start(judges=panel()))) == (["lora-0"] if when == "drawing" else [])
    assert verdict(comparison.folder)["standings"]


def test_drawing_class_pictures_stops_with_the_comparison(done: Done, tmp_path: Path) -> None:
    comparison = made(
        done.source, tmp_path / "out", methods="dreambooth", recipes={}, replicates=1, prior_count=17, steps=1
    )

    def stop_at_once() -> None:
        for event in comparison.start(judges=panel()):
            if done_anew([event]) == ["dreambooth-0"]:
                comparison.stop()

    with pytest.raises(Interrupted, match="16 of 17 class pictures"):
        stop_at_once()
    list(comparison.start(judges=panel()))
    assert rows_of(comparison.folder)["dreambooth-0"].status == "done"


KILLED = """
import os, signal, sys
from pathlib import Path
from likewise.events import Progress, Stepped, TrialEnded
from tests.comparison.test_resuming import made
from tests.metrics.judges import panel


for event in made(Path(sys.argv[1]), Path(sys.argv[2])).start(judges=panel()):
    stepped = isinstance(event, Progress) and isinstance(event.inner, Stepped)
    if sys.argv[3] == "step" and stepped and (event.trial, event.inner.step) == ("lora-1", 3):
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[3] == "trial" and isinstance(event, TrialEnded) and event.trial == "lora-0":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 on this system")
@pytest.mark.parametrize("when", ["step", "trial"])
def test_killed_it_goes_on_and_does_nothing_twice(done: Done, tmp_path: Path, when: str) -> None:
    out, root = tmp_path / "out", Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = [sys.executable, "-c", KILLED, str(done.source), str(out), when]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    comparison = made(done.source, out)
    assert [trial.name for trial in comparison.pending()] == ["lora-1"]
    events = list(comparison.start(judges=panel()))
    assert done_anew(events) == ["lora-1"]
    assert steps(events) == ([3] if when == "step" else [1, 2, 3]), "the step that was not kept, no other"
    taken = [e.step for e in journal.events(out / "trials" / "lora-0" / "run") if isinstance(e, Stepped)]
    assert taken == [1, 2, 3]
    for name in ("base", "lora-0", "lora-1"):
        assert pixels(out, name) == pixels(done.folder, name)
        scored = [(folder / "trials" / name / "scores.json").read_bytes() for folder in (out, done.folder)]
        assert scored[0] == scored[1]
    assert verdict(out, costs=False) == verdict(done.folder, costs=False)
    before = (out / "verdict.json").read_bytes()
    assert done_anew(list(made(done.source, out).start(judges=panel()))) == []
    assert (out / "verdict.json").read_bytes() == before
