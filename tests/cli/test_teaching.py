"""`teach`, stopped and resumed, and `compare` and `demo`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from likewise import cli
from likewise.cli.app import split
from tests.bases import pictures
from tests.cli.commands import QUICK, Call, environment, finished_run
from tests.metrics.judges import panel

POCKET = Path(cli.__file__).parents[1] / "pocket"


def test_settings_are_told_from_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("steps=4").mkdir()
    paths, settings = split(["photos", "steps=4", "rank=8", "lora.rank=2", "2024=x", "a/b=c"])
    assert paths == [Path("photos"), Path("steps=4"), Path("2024=x"), Path("a/b=c")]
    assert settings == ["rank=8", "lora.rank=2"]


def test_teach_prints_the_folder_and_everything_else_aside(call: Call) -> None:
    result = call("teach", pictures(Path("photos")), "--noun", "dog", "--token", "sks", *QUICK)
    assert result.exit_code == 0
    folder = Path(result.stdout.strip())
    assert folder.parent == Path("runs")
    assert (folder / "result.json").is_file()
    assert "step 1/2" in result.stderr
    assert "step 2/2" in result.stderr
    assert "likewise sample 'a sks dog in the snow' --with runs/" in result.stderr
    listed = call("runs").stdout.splitlines()[1].split()
    assert listed[:5] == [str(folder), "lora", "photos", "sks", "done"]
    assert json.loads(call("runs", "--json").stdout)[0]["steps"] == 2


def test_seeds_and_further_concepts_share_a_batch_and_each_file_is_named(call: Call) -> None:
    cats, dogs = pictures(Path("cats")), pictures(Path("dogs"), seed=1)
    words = ["--noun", "cat", "--token", "sks", "--seeds", "2", "--also", f"{dogs}=dog:ohwx", *QUICK]
    result = call("teach", cats, *words)
    assert result.exit_code == 0, result.output
    folder = Path(result.stdout.strip())
    assert re.fullmatch(r"[-\d]+-cats-dogs-lora-1", folder.name)
    assert "teaching 'sks cat', 'ohwx dog' with 2 seeds each by lora" in result.stderr
    names = ["cats-lora-0", "cats-lora-1", "dogs-lora-2", "dogs-lora-3"]
    each = [f"{one}, seed {seed}" for one in ("sks cat", "ohwx dog") for seed in (0, 1)]
    for called, name in zip(each, names, strict=True):
        assert f"\n  {called}: {name}.safetensors\n" in result.stderr
        assert (folder / f"{name}.safetensors").is_file()
    listed = call("runs").stdout.splitlines()[1]
    assert re.search(r"lora +cats, dogs +sks, ohwx +done +4 +2 ", listed)
    drawn = call("sample", "a sks cat and a ohwx dog", "--with", folder, "-n", "1", "--steps", "1")
    assert drawn.exit_code == 0, drawn.output
    assert "taught 'sks' with 2 seeds, and cats-lora-0.safetensors is taken" in drawn.stderr
    assert "taught 'ohwx' with 2 seeds, and dogs-lora-2.safetensors is taken" in drawn.stderr
    more = call("teach", "--more-steps", "1", folder)
    assert "taught: 3 steps" in more.stderr


@pytest.mark.parametrize("text", ["dogs", "dogs=", "=dog", "dogs=dog:"])
def test_further_pictures_need_a_noun(text: str, call: Call) -> None:
    result = call("teach", pictures(Path("cats")), "--noun", "cat", "--also", text, *QUICK)
    assert result.exit_code == 2
    assert "write FOLDER=NOUN or FOLDER=NOUN:TOKEN" in result.stderr


def test_a_method_that_cannot_be_stacked_says_to_start_one_run_each(call: Call) -> None:
    words = ["--noun", "cat", "--method", "dreambooth", "--seeds", "2", *QUICK]
    result = call("teach", pictures(Path("cats")), *words)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "error: DreamBooth changes the whole model, so 2 cannot be taught at once\nhint: start one run for each\n"
    )


def test_a_finished_folder_takes_no_other_job_for_its_own(call: Call) -> None:
    folder = finished_run(call)
    words = ["teach", "photos", "--noun", "dog", "--token", "sks", *QUICK, "--out", folder]
    same = call(*words)
    assert (same.exit_code, same.stdout) == (0, f"{folder}\n")
    assert "\ntaught before: 2 steps" in same.stderr
    other = call(*words, "rank=1")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "holds another run" in other.stderr


def test_settings_files_previews_and_out_arrive_where_they_act(call: Call) -> None:
    from likewise.run import Run

    Path("mine.toml").write_text("rank = 3\nlearning_rate = 0.01\n")
    more = ["--recipe", "mine.toml", "rank=5", "--out", "here", "--preview", "a {} at night"]
    assert finished_run(call, *more) == Path("here")
    run = Run.open(Path("here"))
    assert run.jobs[0].recipe.rank == 5  # type: ignore[attr-defined]
    assert run.jobs[0].recipe.learning_rate == 0.01
    assert run.previews == ("a {} at night",)
    assert list(Path("here/samples").glob("step*/0000.png"))


def test_a_kohya_folder_says_noun_and_token_itself(call: Call) -> None:
    from likewise.run import Run

    result = call("teach", pictures(Path("set/3_ohwx dog")).parent, *QUICK)
    assert result.exit_code == 0, result.output
    concept = Run.open(Path(result.stdout.strip())).jobs[0].concept
    assert (concept.token, concept.noun) == ("ohwx", "dog")


def test_what_is_left_out_of_the_pictures_is_said(call: Call) -> None:
    folder = pictures(Path("photos"))
    (folder / "broken.jpg").write_text("no picture")
    result = call("teach", folder, "--noun", "dog", "--token", "sks", *QUICK)
    assert re.search(r"^warning: broken\.jpg: not a picture", result.stderr, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_once_saves_and_resume_finishes(tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    words = ["teach", "photos", "--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--out", "mine"]
    command = [sys.executable, "-m", "likewise", *words, "steps=100000", "checkpoint_every=0"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert out == ""
    assert "stopping as soon as" in errors
    assert "go on: likewise teach --resume mine" in errors
    assert (tmp_path / "mine" / "checkpoint" / "state.safetensors").is_file()
    again = subprocess.Popen(
        [sys.executable, "-m", "likewise", "teach", "--resume", "mine"],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert again.stderr is not None
    for line in again.stderr:
        if line.startswith("step "):
            break
    assert int(line.split()[1].split("/")[0]) > 1
    again.send_signal(signal.SIGINT)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=240)
    assert again.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c_at_the_very_start_is_not_lost(tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    words = ["teach", "photos", "--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--out", "mine"]
    process = subprocess.Popen(
        [sys.executable, "-m", "likewise", *words, "steps=100000", "checkpoint_every=0"],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line == "starting\n":
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert "stopped after step 1 of 100000, saved" in errors
    assert not (tmp_path / "mine" / "stop-asked").exists()


def test_compare_on_a_miniature_gives_a_page_and_a_table(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from likewise.comparison import comparison

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(comparison, "panel", lambda judges: panel())  # a judge, though one that knows nothing
    pictures(Path("photos"), 4)
    Path("prompts.txt").write_text("# places\na {} at night\n\na {} on a beach\n")
    words = ["--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--methods", "lora,textual-inversion"]
    words += [
        "--prompts",
        "prompts.txt",
        "--pictures-per-prompt",
        "1",
        "--sample-steps",
        "2",
        "steps=2",
        "lora.rank=2",
    ]
    result = call("compare", "photos", *words, "--out", "mine", "--open")
    assert result.exit_code == 0, result.output
    assert result.stdout == "mine/report.html\n"
    assert opened == [Path("mine/report.html").resolve().as_uri()]
    assert "LoRA: done" in result.stderr
    assert re.search(r"^Textual Inversion  +\S", result.stderr, re.MULTILINE)
    again = call("compare", "photos", *words, "--out", "mine")
    assert "0 trials to do, 4 done before" in again.stderr
    summary = json.loads(call("report", "mine", "--json").stdout)["summary"]
    done = {row["trial"]: row["status"] for row in summary["trials"]}
    assert done["lora-0"] == done["textual_inversion-0"] == "done"
    book = json.loads(Path("mine/comparison.json").read_text())
    own = [prompt["text"] for prompt in book["prompts"] if prompt["role"] == "use"]
    assert own == ["a {} at night", "a {} on a beach"]
    assert book["seeds"] == [0]
    assert book["sampler"]["steps"] == 2
    rows = [json.loads(line) for line in Path("mine/results.jsonl").read_text().splitlines()]
    assert next(row for row in rows if row["condition"] == "lora")["recipe"]["rank"] == 2
    page = Path("mine/report.html")
    page.unlink()
    assert call("report", "mine").stdout == "mine/report.html\n"
    assert page.is_file()


@pytest.mark.skipif(not (POCKET / "model" / "model_index.json").is_file(), reason="no pocket model")
def test_demo_compares_every_method_on_the_bundled_concept(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise import methods
    from likewise.cli import comparing
    from likewise.comparison.comparison import Comparison

    prepared: list[Comparison] = []
    monkeypatch.setattr(comparing, "perform", lambda comparison, show: prepared.append(comparison))
    result = call("demo", "steps=7", "lora.rank=2")
    assert result.exit_code == 0, result.output
    (found,) = prepared
    assert (found.base, found.concept.noun) == ("pocket", "house")
    assert [one.name for one in found.conditions if one.taught] == methods.names()
    lora = next(one for one in found.conditions if one.name == "lora")
    assert lora.given == {"steps": 7, "rank": 2}
    assert found.folds[0].held_out


def test_a_comparison_in_which_nothing_was_taught_is_no_success(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise.comparison import comparison

    monkeypatch.setattr(comparison, "panel", lambda judges: panel())
    pictures(Path("photos"), 4)
    Path("prompts.txt").write_text("a {} at night\n")
    words = ["--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--methods", "lora,textual-inversion"]
    words += [
        "--prompts",
        "prompts.txt",
        "--pictures-per-prompt",
        "1",
        "--sample-steps",
        "1",
        "--out",
        "mine",
        "steps=2",
    ]
    wrong = ["lora.learning_rate=1e30", "lora.clip=0"]
    partly = call("compare", "photos", *words, *wrong)
    assert (partly.exit_code, partly.stdout) == (0, "mine/report.html\n")
    assert re.search(r"^warning: LoRA, failed: .+ is not finite", partly.stderr, re.MULTILINE)
    words[words.index("lora,textual-inversion")] = "lora"
    nothing = call("compare", "photos", *words, *wrong)
    assert (nothing.exit_code, nothing.stdout) == (1, "mine/report.html\n")
    assert "error: nothing could be taught or drawn\n" in nothing.stderr


def test_settings_of_a_comparison_are_for_all_or_for_one() -> None:
    from likewise.cli.comparing import _for_all

    assert _for_all(
        ["steps=10", "lora.rank=4", "learning_rate=1e-3", "lora.alpha=none", "textual-inversion.vectors=2"]
    ) == {
        "steps": 10,
        "learning_rate": 1e-3,
        "recipes": {"lora": {"rank": 4, "alpha": "none"}, "textual_inversion": {"vectors": 2}},
    }


def test_a_plan_says_what_a_run_would_take_and_leaves_nothing(call: Call) -> None:
    result = call("teach", pictures(Path("photos")), "--noun", "dog", "--token", "sks", *QUICK, "--plan")
    assert result.exit_code == 0, result.output
    for part in ("the program and the base", "gradients", "the optimizer", "activations", "in all"):
        assert part in result.stdout
    assert "this fits" in result.stderr
    assert "cuda_graph" not in result.stderr
    assert not Path("runs").exists()
    asked = call("teach", "photos", "--noun", "dog", "--token", "sks", *QUICK, "cuda_graph=true", "--plan")
    assert "cuda_graph=true has no effect: this runs on cpu" in asked.stderr


def test_a_queue_teaches_every_job_of_a_file_into_a_folder_of_its_own(call: Call) -> None:
    pictures(Path("photos"))
    one = '[[job]]\npictures = "photos"\nnoun = "dog"\nsteps = 2\n'
    Path("jobs.toml").write_text(f'{one}name = "a"\n{one}name = "b"\nmethod = "hypernetwork"\n')
    result = call("teach", "--queue", "jobs.toml", "--base", "tiny:sd", "--out", "taught")
    assert result.exit_code == 0, result.output
    assert "(2 of 2 jobs)" in result.stderr
    assert {path.parent.name for path in Path("taught").glob("*/result.json")} == {"a", "b"}
    assert call("teach", "photos", "--queue", "jobs.toml").exit_code == 2
