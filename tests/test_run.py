"""Runs: folders that survive being killed, and say what they hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from likewise import identity, journal, methods, records
from likewise.cache import Cache
from likewise.devices import arithmetic
from likewise.errors import DrawingError, Interrupted, RecipeError, RunError, TrainingError
from likewise.events import Finished, Loaded, Sampled, Stepped, Warned
from likewise.gallery import Gallery
from likewise.meter import machine
from likewise.planning import Subject, Way, asked
from likewise.run import Run, plan, teach
from likewise.sampling import artifacts, sample
from likewise.stack import Job
from tests.bases import concept, lora_run, pictures, tiny

pytestmark = pytest.mark.usefixtures("told_at_once")

CHILD = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "1"
import torch; torch.set_num_threads(1)
from pathlib import Path
from likewise.run import Run

for event in Run.open(Path(sys.argv[1])).start():
    print(type(event).__name__, getattr(event, "step", ""), flush=True)
"""


def stop_at(run: Run, step: int) -> None:
    for event in run.start(base=tiny()):
        if getattr(event, "step", 0) == step:
            run.stop()


def start_child(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_killed_at_several_points_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    whole = lora_run(tmp_path, tmp_path / "whole")
    for _ in whole.start(base=tiny()):
        pass
    killed = lora_run(tmp_path, tmp_path / "killed")
    killed.folder.mkdir()
    identity.keep(killed.folder, killed._described(tiny().fingerprint()))
    for last_line in ("Attached", "Stepped 5", "Stepped 10"):
        child = start_child(killed.folder)
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip().startswith(last_line):
                break
        else:
            pytest.fail(f"the child ended before {last_line!r}")
        child.kill()
        child.wait()
    child = start_child(killed.folder)
    assert child.wait(timeout=240) == 0
    name = records.read_result(whole.folder)["files"][0]  # type: ignore[index]
    one, two = load_file(whole.folder / name), load_file(killed.folder / name)
    assert one.keys() == two.keys()
    assert all((one[key] == two[key]).all() for key in one)


def test_asking_to_stop_saves_and_a_resumed_run_equals_an_unbroken_one(tmp_path: Path) -> None:
    whole, broken = lora_run(tmp_path, tmp_path / "a"), lora_run(tmp_path, tmp_path / "b")
    list(whole.start(base=tiny()))
    with pytest.raises(Interrupted, match="step 4 of 12"):
        stop_at(broken, 4)
    assert not (broken.folder / "lock").exists()
    *_, last = Run.open(broken.folder).start(base=tiny())
    assert isinstance(last, Finished)
    one, two = (load_file(next(folder.glob("*.safetensors"))) for folder in (whole.folder, broken.folder))
    assert all((one[name] == two[name]).all() for name in one)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    run = lora_run(tmp_path, tmp_path / "run", steps=2)
    list(run.start(base=tiny()))
    before = (run.folder / "events.jsonl").stat().st_size
    (only,) = run.start(base=tiny())
    assert isinstance(only, Finished)
    precision = arithmetic(torch.device("cpu"), run.jobs[0].recipe.precision)  # type: ignore[attr-defined]
    assert only.result["machine"] == machine("cpu", precision)
    assert (run.folder / "events.jsonl").stat().st_size == before


@pytest.mark.parametrize("lost", ["nothing", "result.json", "checkpoint"])
def test_a_folder_of_another_run_is_refused(tmp_path: Path, lost: str) -> None:
    """Finished or not: otherwise the old result would be told as the new job's."""
    list(lora_run(tmp_path, tmp_path / "run", steps=2, checkpoint_every=1).start(base=tiny()))
    if lost == "checkpoint":
        shutil.rmtree(tmp_path / "run" / lost)
    (tmp_path / "run" / lost).unlink(missing_ok=True)
    before = (tmp_path / "run" / "run.toml").read_bytes()
    with pytest.raises(RunError, match="holds another run"):
        list(lora_run(tmp_path, tmp_path / "run", steps=3, checkpoint_every=1).start(base=tiny()))
    assert (tmp_path / "run" / "run.toml").read_bytes() == before


def test_a_run_that_was_refused_leaves_the_folder_to_its_correction(tmp_path: Path) -> None:
    wrong = lora_run(tmp_path, tmp_path / "run", steps=2)
    long = replace(wrong.jobs[0].concept, token="sks-" * 100)
    wrong = replace(wrong, jobs=(replace(wrong.jobs[0], concept=long),))
    with pytest.raises(TrainingError, match="longer than a prompt"):
        list(wrong.start(base=tiny()))
    drawn = Gallery(wrong.folder / "samples" / "step000000")
    drawn.add(Image.new("RGB", (8, 8)), "a sks dog", 0)
    drawn.save()
    right = replace(lora_run(tmp_path, wrong.folder, steps=2), previews=("a {}",), preview_steps=(2,))
    *_, last = right.start(base=tiny())
    assert isinstance(last, Finished)
    assert Run.open(right.folder).jobs[0].concept.token == right.jobs[0].concept.token
    starts = [event for event in journal.events(right.folder) if isinstance(event, Loaded)]
    assert len(starts) == 1, "the refused start is not this run's"
    assert Gallery(right.folder / "samples" / "step000000").images()[0].size == (64, 64)


def test_pictures_that_changed_do_not_go_on_from_the_old_ones(tmp_path: Path) -> None:
    run = lora_run(tmp_path, tmp_path / "run", steps=4, checkpoint_every=0)
    with pytest.raises(Interrupted, match="step 2 of 4"):
        stop_at(run, 2)
    plan = tomllib.loads((run.folder / "run.toml").read_text(encoding="utf-8"))
    assert plan["pictures"] == [run.jobs[0].concept.digest()]
    picture = run.jobs[0].concept.examples[0].path
    former = picture.read_bytes()
    Image.new("RGB", (72, 64), "red").save(picture)
    with pytest.raises(RunError, match="pictures have changed"):
        list(Run.open(run.folder).start(base=tiny()))
    picture.write_bytes(former)
    del plan["pictures"]  # as an earlier version wrote it
    records.write_plan(run.folder, plan)
    *_, last = run.start(base=tiny())
    assert isinstance(last, Finished)
    picture.unlink()
    (again,) = Run.open(run.folder).start(base=tiny())  # a finished run needs its pictures no more
    assert isinstance(again, Finished)


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_starts(tmp_path: Path) -> None:
    """What the first start took is written into its events; the step that no checkpoint kept is counted once."""
    run = lora_run(tmp_path, tmp_path / "run", steps=4, checkpoint_every=0)
    with pytest.raises(Interrupted):
        stop_at(run, 2)
    events = journal.events(run.folder)
    (run.folder / "events.jsonl").unlink()
    for event in events:
        journal.append(run.folder, replace(event, seconds=1000.0) if isinstance(event, Stepped) else event)
    journal.append(run.folder, Stepped(3, 4, (9.0,), {}, seconds=9e9, memory=0))
    *_, last = run.start(base=tiny())
    assert isinstance(last, Finished)
    assert 2000 < last.result["seconds"] < 2900
    assert last.result["steps"] == len(last.result["losses"]) == 4


def test_a_wish_to_stop_before_the_start_is_kept(tmp_path: Path) -> None:
    run = lora_run(tmp_path, tmp_path / "not" / "yet")
    run.stop()
    with pytest.raises(Interrupted, match="step 1 of 12"):
        list(run.start(base=tiny()))
    assert not records.stop_asked(run.folder), "it was heeded; the next start is another one"


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    run = lora_run(tmp_path, tmp_path / "run")
    run.folder.mkdir()
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (run.folder / "lock").write_text(str(sleeper.pid))
    try:
        with pytest.raises(RunError, match="is being trained"):
            list(run.start(base=tiny()))
    finally:
        sleeper.kill()
        sleeper.wait()
    time.sleep(0.1)
    list(run.start(base=tiny()))  # a lock of the dead is taken over


def test_previews_are_drawn_and_do_not_change_the_outcome(tmp_path: Path) -> None:
    plain = lora_run(tmp_path, tmp_path / "plain", steps=4)
    list(plain.start(base=tiny()))
    seen = lora_run(tmp_path, tmp_path / "seen", steps=4)
    seen = Run(seen.base, seen.method, seen.jobs, seen.folder, ("a {} on a beach",), (2, 4), seen.cache)
    steps = [event.step for event in seen.start(base=tiny()) if isinstance(event, Sampled)]
    assert steps == [0, 2, 4]
    gallery = json.loads((seen.folder / "samples" / "step000002" / "gallery.json").read_text())
    assert gallery[0]["prompt"] == "a sks dog on a beach"
    one, two = (load_file(next(folder.glob("*.safetensors"))) for folder in (plain.folder, seen.folder))
    assert all((one[name] == two[name]).all() for name in one)


def test_a_preview_that_is_not_finite_ends_the_run_with_its_step(tmp_path: Path) -> None:
    run = lora_run(tmp_path, tmp_path / "run", steps=4, learning_rate=1e20, checkpoint_every=0)
    run = replace(run, previews=("a {}",), preview_steps=(1,))
    with pytest.raises(DrawingError, match=r"the preview after step 1: picture 1 of 1 is not finite") as told:
        list(run.start(base=tiny()))
    assert told.value.hint == "lower learning_rate, or set precision=fp32"
    assert [path.parent.name for path in run.folder.rglob("*.png")] == ["step000000"]


def test_class_pictures_are_drawn_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name in ("one", "two"):
        recipe = methods.get("dreambooth").recipe().override({"steps": 2, "prior_count": 3})
        run = Run("tiny:sd", "dreambooth", (Job(concept(tmp_path), recipe),), tmp_path / name, cache=cache)
        list(run.start(base=tiny()))
        drawn = sorted(cache.folder.glob("*/*/gallery.json"))
        assert len(drawn) == 1
    assert len(json.loads(drawn[0].read_text())) == 3


def test_drawing_class_pictures_can_be_stopped_and_goes_on(tmp_path: Path) -> None:
    recipe = methods.get("dreambooth").recipe().override({"steps": 1, "prior_count": 17})
    drawn = []
    for name in ("stopped", "whole"):
        cache = Cache(tmp_path / name / "cache")
        run = Run(
            "tiny:sd", "dreambooth", (Job(concept(tmp_path), recipe),), tmp_path / name / "run", cache=cache
        )
        if name == "stopped":
            run.stop()
            with pytest.raises(Interrupted, match="16 of 17 class pictures"):
                list(run.start(base=tiny()))
        *_, last = run.start(base=tiny())
        assert isinstance(last, Finished)
        drawn.append([path.read_bytes() for path in sorted(cache.folder.glob("*/*/*.png"))])
    assert len(drawn[0]) == 17
    assert drawn[0] == drawn[1]


def test_class_pictures_are_guided_as_the_recipe_says(tmp_path: Path) -> None:
    drawn = []
    for guidance in (1.0, 5.0):
        settings = {"steps": 1, "prior_count": 1, "prior_guidance": guidance}
        recipe, cache = methods.get("dreambooth").recipe().override(settings), Cache(tmp_path / f"{guidance}")
        run = Run(
            "tiny:sd",
            "dreambooth",
            (Job(concept(tmp_path), recipe),),
            tmp_path / f"run{guidance}",
            cache=cache,
        )
        list(run.start(base=tiny()))
        drawn.append(next(cache.folder.glob("*/*/0000.png")).read_bytes())
    assert drawn[0] != drawn[1]


def test_seeds_and_concepts_of_one_stack_give_the_files_of_separate_runs(tmp_path: Path) -> None:
    """As far as stacked training promises it: a part in ten thousand."""
    dogs, cats = pictures(tmp_path / "dogs"), pictures(tmp_path / "cats", seed=1)
    small = {"base": "tiny:sd", "steps": 4, "rank": 2, "keep": "fp32"}
    result = teach(dogs, noun="dog", seeds=2, also=[(cats, "cat", "ohwx")], out=tmp_path / "run", **small)
    assert result["files"] == [
        f"{name}-{n}.safetensors" for n, name in enumerate(["dogs-lora"] * 2 + ["cats-lora"] * 2)
    ]
    assert (
        result["tokens"]
        == [result["token"]] * 2 + ["ohwx"] * 2
        == [a.token for a in artifacts(tmp_path / "run")]
    )
    for slot, (source, noun, seed) in enumerate(
        [(dogs, "dog", 0), (dogs, "dog", 1), (cats, "cat", 0), (cats, "cat", 1)]
    ):
        out, token = tmp_path / f"alone{slot}", result["tokens"][slot]
        alone = teach(source, noun=noun, token=token, seed=seed, out=out, **small)
        one, two = load_file(out / alone["files"][0]), load_file(tmp_path / "run" / result["files"][slot])
        whole, apart = (
            torch.cat([t.flatten() for t in ts]) for ts in (one.values(), (one[n] - two[n] for n in one))
        )
        assert float(apart.norm() / whole.norm()) < 1e-4


def test_a_stopped_stack_goes_on_bit_for_bit_wherever_its_pictures_are(tmp_path: Path) -> None:
    recipe = methods.get("lora").recipe().override({"steps": 6, "rank": 2, "checkpoint_every": 2})
    jobs = tuple(
        Job(concept(tmp_path / "p", token, "dog", n), recipe.override({"seed": n}))
        for n, token in enumerate("xyx")
    )
    whole, broken = (Run("tiny:sd", "lora", jobs, tmp_path / name, ("a {}",), (6,)) for name in "ab")
    list(whole.start(base=tiny()))
    with pytest.raises(Interrupted, match="step 3 of 6"):
        stop_at(broken, 3)
    moved = (tmp_path / "p").rename(tmp_path / "elsewhere")
    list(Run.open(broken.folder, pictures=sorted(moved.iterdir())).start(base=tiny()))
    for name in (f"pictures{n}-lora-{n}.safetensors" for n in range(3)):
        assert (whole.folder / name).read_bytes() == (broken.folder / name).read_bytes()
    drawn = Gallery(broken.folder / "samples" / "step000006")
    assert [picture.prompt for picture in drawn] == ["a x dog", "a y dog", "a x dog"]
    other = replace(broken, jobs=(jobs[0], replace(jobs[1], recipe=recipe.override({"seed": 9})), jobs[2]))
    with pytest.raises(RunError, match="holds another run"):
        list(other.start(base=tiny()))


def test_teach_and_sample_from_python(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "my photos")
    result = teach(photos, noun="dog", base="tiny:sd", token="sks", out=tmp_path / "run", steps=2, rank=2)
    assert result["status"] == "done"
    assert result["steps"] == 2
    assert result["seconds"] > 0
    assert result["peak_bytes"] > 0
    gallery = sample(["a sks dog"], concepts=[tmp_path / "run"], seeds=[5], out=tmp_path / "out")
    assert gallery.images()[0].size == (64, 64)
    (row,) = records.runs(tmp_path)
    assert (row["method"], row["status"], row["token"]) == ("lora", "done", "sks")
    again = asked("lora", tmp_path / "run" / "run.toml", {})
    assert (again["steps"], again["rank"]) == (2, 2)


def test_python_is_told_what_the_command_line_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Noun and token of a kohya folder, what is left out of the pictures, warnings; and a preview may stand alone."""
    photos = pictures(tmp_path / "3_ohwx dog")
    (photos / "broken.jpg").write_text("no picture")
    settings = {"steps": 1, "rank": 2, "learning_rate": 1e-13}
    result = teach(
        str(photos), base="tiny:sd", out=str(tmp_path / "run"), previews="a {} at night", **settings
    )
    said = [record.getMessage() for record in caplog.records if record.name.startswith("likewise.")]
    assert any(text.startswith("broken.jpg: not a picture") for text in said)
    assert any("kept in float32 instead" in text for text in said)
    taught = Run.open(tmp_path / "run")
    assert (result["token"], taught.jobs[0].concept.noun) == ("ohwx", "dog")
    assert taught.previews == ("a {} at night",)
    assert list((tmp_path / "run" / "samples").glob("step*/0000.png"))
    with pytest.raises(RecipeError, match="noun is empty"):
        teach(pictures(tmp_path / "plain"), base="tiny:sd", out=tmp_path / "other")


def test_where_nothing_can_be_written_is_said_before_the_base_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for out in (tmp_path / "taken", tmp_path / "taken" / "here", Path("/proc/here")):
        with pytest.raises(RunError, match=r"is a file|cannot be written"):
            plan([Subject(pictures(tmp_path / "p"), "dog")], Way("lora"), base="no such base", out=out)
    with pytest.raises(RunError, match="is a file"):
        list(lora_run(tmp_path, tmp_path / "taken").start(base=tiny()))


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean rank"):
        teach(pictures(tmp_path / "p"), noun="dog", base="tiny:sd", out=tmp_path / "run", rnak=3)
    assert not (tmp_path / "run").exists()


def test_what_half_precision_cannot_hold_is_kept_in_float32_and_said(tmp_path: Path) -> None:
    """After an hour of training the file's precision is no reason to lose anything."""
    run = lora_run(tmp_path, tmp_path / "run", steps=2, learning_rate=1e-13)
    events = list(run.start(base=tiny()))
    (warned,) = [event.text for event in events if isinstance(event, Warned) and "float32" in event.text]
    assert "kept in float32 instead" in warned
    (path,) = run.folder.glob("*.safetensors")
    kept = load_file(path)
    assert {tensor.dtype for tensor in kept.values() if tensor.ndim > 1} == {torch.float32}
    assert any(0 < tensor.abs().max() < 1e-8 for tensor in kept.values())


def test_equal_commands_leave_equal_bytes(tmp_path: Path) -> None:
    """In processes whose sets have other orders, with a cold cache and a warm one, at another hour and in another folder."""
    photos = pictures(tmp_path / "photos")
    code = (
        "import sys; from likewise import methods, teach\n"
        "for name in methods.names():\n"
        "    settings = {} if name == 'aesthetic' else {'steps': 2, 'prior': 'none'}\n"
        "    settings |= {'method': name, 'out': sys.argv[2] + '/' + name}\n"
        "    teach(sys.argv[1], noun='dog', token='sks', base='tiny:sd', **settings)"
    )
    left = []
    for seed in ("1", "2", "1"):
        out = tmp_path / f"out {len(left)}"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, photos, out], check=True, env=environment, cwd=tmp_path)
        left.append({path.name: path.read_bytes() for path in out.rglob("photos-*.safetensors")})
    assert len(left[0]) == len(methods.names())
    for name, first in left[0].items():
        assert left[1][name] == left[2][name] == first, name
