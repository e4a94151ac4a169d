"""Runs: folders that survive being killed, and say what they hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likewise import methods, records
from likewise.cache import Cache
from likewise.errors import Interrupted, RecipeError, RunError
from likewise.events import Finished, Sampled, Warned
from likewise.run import Run, plan, teach
from likewise.sampling import artifacts, sample
from likewise.stack import Job
from tests.bases import concept, pictures, tiny

CHILD = """
import os, sys
os.environ["OMP_NUM_THREADS"] = "1"
import torch; torch.set_num_threads(1)
from pathlib import Path
from likewise.run import Run
for event in Run.open(Path(sys.argv[1])).start():
    print(type(event).__name__, getattr(event, "step", ""), flush=True)
"""


def lora_run(folder: Path, out: Path, **settings: object) -> Run:
    recipe = (
        methods.get("lora").recipe().override({"steps": 12, "rank": 2, "checkpoint_every": 3, **settings})
    )
    return Run("tiny:sd", "lora", (Job(concept(folder), recipe),), out, cache=Cache(folder / "cache"))


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
    killed._write_plan()
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

    def stop_at_four() -> None:
        for event in broken.start(base=tiny()):
            if getattr(event, "step", 0) == 4:
                broken.stop()

    with pytest.raises(Interrupted, match="step 4 of 12"):
        stop_at_four()
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
    assert (run.folder / "events.jsonl").stat().st_size == before


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    list(lora_run(tmp_path, tmp_path / "run", steps=2).start(base=tiny()))
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match="holds another run"):
        list(lora_run(tmp_path, tmp_path / "run", steps=3).start(base=tiny()))


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


def test_class_pictures_are_drawn_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name in ("one", "two"):
        recipe = methods.get("dreambooth").recipe().override({"steps": 2, "prior_count": 3})
        run = Run("tiny:sd", "dreambooth", (Job(concept(tmp_path), recipe),), tmp_path / name, cache=cache)
        list(run.start(base=tiny()))
        drawn = sorted(cache.folder.glob("*/*/gallery.json"))
        assert len(drawn) == 1
    assert len(json.loads(drawn[0].read_text())) == 3


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


def test_a_stack_of_jobs_leaves_a_file_each(tmp_path: Path) -> None:
    recipe = methods.get("lora").recipe().override({"steps": 2, "rank": 2})
    jobs = tuple(
        Job(concept(tmp_path, token, "dog", n), recipe.override({"seed": n})) for n, token in enumerate("xyz")
    )
    run = Run("tiny:sd", "lora", jobs, tmp_path / "run", cache=Cache(tmp_path / "cache"))
    *_, last = run.start(base=tiny())
    assert isinstance(last, Finished)
    assert [a.token for a in artifacts(run.folder)] == ["x", "y", "z"]
    assert len(last.result["files"]) == 3


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
    again, _ = plan(
        photos, noun="dog", base="tiny:sd", out=tmp_path / "x", recipe_file=tmp_path / "run" / "run.toml"
    )
    assert again.jobs[0].recipe.steps == 2


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
