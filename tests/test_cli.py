"""The command line, as a person meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from likewise import cli
from likewise.cli import app, doctor, guard, progress, terminal
from likewise.cli.app import find_run, split
from likewise.errors import CapacityError, ConceptError, Error, Interrupted, RecipeError, RunError
from tests.bases import pictures
from tests.metrics.judges import panel

FILES = ["inspect", "convert", "merge", "extract", "resize", "bake", "diff"]
COMMANDS = [
    "demo", "which", "check", "teach", "sample", "compare", "recommend", "report", "methods", "explain", "runs", *FILES,
    "survey", "examples", "selfcheck", "doctor",
]  # fmt: skip
READING = [
    "which", "check", "recommend", "methods", "explain", "runs", "doctor", "report", "examples", "selfcheck", *FILES,
]  # fmt: skip
MOST_OPTIONS = 15
POCKET = Path(cli.__file__).parents[1] / "pocket"
QUICK = ["--base", "tiny:sd", "steps=2", "checkpoint_every=0"]

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder, in this process; nothing that is raised may get out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIKEWISE_TRACEBACK", raising=False)

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


def environment(**more: str) -> dict[str, str]:
    """A child's: the package from where this process has it, and none of the terminal's wishes."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI", "COLUMNS")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def child(*words: object, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    command = [sys.executable, "-m", "likewise", *map(str, words)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, encoding="utf-8", timeout=280
    )


def finished_run(call: Call, *more: str) -> Path:
    """A run of two steps on a miniature; its folder."""
    result = call("teach", pictures(Path("photos")), "--noun", "dog", "--token", "sks", *QUICK, *more)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.strip())


# ------------------------------------------------------------------------------------------------- help


def test_every_command_has_help_an_example_and_few_options() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == sorted(COMMANDS)
    for name, command in commands.items():
        assert "Example:" in command.help, name
        assert f"likewise {name}" in command.help, name
        options = [option for option in command.params if option.param_type_name == "option"]
        assert len(options) <= MOST_OPTIONS, f"{name} has {len(options)} options: use key=value"
        assert all(option.help for option in options), name
        told = {text for option in options for text in option.opts}
        assert ("--json" in told) == (name in READING), name


def test_commands_are_listed_in_the_order_of_use_and_their_summaries_are_whole(call: Call) -> None:
    lines = call("--help").stdout.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in lines] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), lines


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_name_options_that_exist(name: str) -> None:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    members = getattr(command, "commands", {"": command}).values()  # `survey` is a group of commands
    options = [option for member in members for option in member.params]
    known = {text for option in options for text in (*option.opts, *option.secondary_opts)}
    for line in command.help.splitlines():
        if line.strip().startswith(f"likewise {name}"):
            assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)) <= known, line


def test_help_costs_little_more_than_python_itself(tmp_path: Path) -> None:
    """A ratio, because a busy machine slows both; twenty times `pass` is far less than importing torch."""

    def seconds(*command: str) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], env=environment(), capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    assert seconds("-m", "likewise", "--help") < 20 * seconds("-c", "pass")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["teach", "--help"],
        ["--version"],
        ["runs"],
        ["runs", "--json"],
        ["report", "nowhere"],
        ["check", "photos"],
    ],
    ids=" ".join,
)
def test_no_torch_where_none_is_needed(words: Sequence[str], tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    code = (
        "import sys; from likewise.cli import main; sys.argv[1:] = sys.argv[1:]; code = main();"
        "print(*{'torch', 'diffusers', 'transformers'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr.splitlines()[-1] == ""


def test_help_needs_neither_pillow_nor_pydantic_nor_rich(tmp_path: Path) -> None:
    code = (
        "import sys; from likewise.cli import main; sys.argv = ['likewise', '--help']; main();"
        "print(*{'PIL', 'pydantic', 'rich', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, encoding="utf-8"
    )
    assert done.stderr.strip() == ""


def test_version(call: Call) -> None:
    from likewise import __version__

    assert call("--version").stdout == f"likewise {__version__}\n"


# ---------------------------------------------------------------------------------------------- reading


def test_check_prints_a_row_per_picture_and_says_what_is_wrong(call: Call) -> None:
    folder = pictures(Path("photos"), 5)
    (folder / "[red]broken.jpg").write_text("no picture")
    (folder / "0.txt").write_text("a dog on a sofa")
    result = call("check", folder, "--sheet", "sheet.png")
    assert result.exit_code == 0
    assert re.search(r"^0\.png +72 x 64 +a dog on a sofa$", result.stdout, re.MULTILINE)
    assert re.search(r"^\[red\]broken\.jpg +not a picture", result.stdout, re.MULTILINE)
    assert "5 pictures usable (flat folder), 1 problem." in result.stdout
    assert Path("sheet.png").is_file()
    assert not list(folder.glob("*sheet*"))


def test_check_as_json(call: Call) -> None:
    result = call("check", pictures(Path("photos")), "--json")
    found = json.loads(result.stdout)
    assert len(found["examples"]) == 4
    assert Path(found["contact_sheet"]).is_file()
    assert result.stderr == ""


def test_check_refuses_a_folder_without_pictures(call: Call) -> None:
    Path("empty").mkdir()
    result = call("check", "empty")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: no usable picture")
    assert "\nhint: " in result.stderr
    assert result.stdout == ""


def test_methods_lists_every_method(call: Call) -> None:
    from likewise import methods

    result = call("methods")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == methods.names()
    facts = json.loads(call("methods", "--json").stdout)
    assert [row["name"] for row in facts] == methods.names()
    assert all(row["summary"] and row["paper"] for row in facts)


def test_explain_tells_every_setting_with_its_default(call: Call) -> None:
    from likewise import methods

    for name in methods.names():
        result = call("explain", name)
        fields = methods.get(name).recipe.model_fields
        shown = re.findall(r"^  (\w+)=", result.stdout, re.MULTILINE)
        assert sorted(shown) == sorted(fields), name
        if name != "lora":  # each call builds a miniature of every family
            continue
        facts = json.loads(call("explain", name, "--json").stdout)
        defaults = json.loads(json.dumps({key: field.default for key, field in fields.items()}))
        assert {row["key"]: row["default"] for row in facts["settings"]} == defaults
        assert all(row["meaning"] for row in facts["settings"]), name


def test_explain_says_which_families_cannot_be_taught(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise import methods

    lora = methods.get("lora")
    monkeypatch.setattr(type(lora), "unsupported", lambda self, base: "it has no attention")
    assert "Cannot teach sd: it has no attention" in call("explain", "lora").stdout
    assert json.loads(call("explain", "lora", "--json").stdout)["cannot_teach"]["sd"] == "it has no attention"


def test_runs_without_any_says_how_to_start(call: Call) -> None:
    result = call("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "likewise teach" in result.stderr
    assert json.loads(call("runs", "--json").stdout) == []


def test_report_of_what_is_no_comparison(call: Call) -> None:
    result = call("report", "nowhere")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


# ----------------------------------------------------------------------------------------------- doctor


def test_doctor_tells_the_machine_but_no_secret(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thisisasecret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(doctor, "_probe", lambda: (FOUND, ""))
    result = call("doctor", "--json")
    found = {row["what"]: row for row in json.loads(result.stdout)}
    assert found["Hub token"]["found"] == "set"
    assert "hf_thisisasecret" not in result.output
    assert str(Path.home()) not in result.output
    assert "HF_HUB_OFFLINE" in found["network"]["found"]
    assert found["python"]["state"] == "ok"
    assert found["devices"]["found"] == "cpu"


FOUND = {"torch": "2.13.0", "threads": 1, "devices": ["cpu"], "bf16": False, "best": "cpu"}


def test_doctor_says_what_to_do_where_torch_does_not_import(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda: (None, "does not import: OSError: libc10.so"))
    result = call("doctor")
    assert result.exit_code == 1
    assert re.search(
        r"^bad +torch +does not import: OSError: libc10.so\n +-> install", result.stdout, re.MULTILINE
    )


def test_the_probe_sees_this_torch() -> None:
    import torch

    found, trouble = doctor._probe()
    assert trouble == ""
    assert found is not None
    assert found["torch"] == torch.__version__


def test_a_probe_that_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libc10.so')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    found, trouble = doctor._probe()
    assert found is None
    assert trouble.startswith("does not import: ")


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = doctor._writable("cache", tmp_path)
    assert finding.state == "warn"
    assert "LIKEWISE_HOME" in finding.advice


# -------------------------------------------------------------------------------------- words and errors


def test_settings_are_told_from_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("steps=4").mkdir()
    paths, settings = split(["photos", "steps=4", "rank=8", "lora.rank=2", "2024=x", "a/b=c"])
    assert paths == [Path("photos"), Path("steps=4"), Path("2024=x"), Path("a/b=c")]
    assert settings == ["rank=8", "lora.rank=2"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["explain", "lroa"], 2, "did you mean lora?"),
        (["explian", "lora"], 2, "explain"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "stps=4"], 2, "did you mean steps?"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "steps=many"], 2, "steps = 'many'"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "--method", "dreamboth"], 2, "dreambooth"),
        (["teach", "photos", "--noun", "dog", "--steps", "4"], 2, "steps=..."),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "--recipe", "no.toml"], 2, "no.toml"),
        (["teach", "photos"], 2, "--noun dog"),
        (["teach", "--noun", "dog"], 2, "PICTURES"),
        (["teach", "--resume", "nope", "steps=4"], 2, "--resume"),
        (["teach", "--resume", "nope"], 1, "there is no run or file 'nope'"),
        (["teach", "phots", "--noun", "dog"], 3, "photos"),
        (["teach", "photos", "--noun", "dog", "--base", "pockt"], 1, "pocket"),
        (["teach", "photos", "--noun", "dog", "--token", "two words", "--base", "tiny:sd"], 3, "two words"),
        (["sample", "a dog", "--with", "nope"], 1, "likewise runs"),
        (["sample", "a dog", "--with", "photos:strong"], 2, "'strong'"),
        (["sample", "a dog", "-n", "0"], 2, "-n"),
        (["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "stps=4"], 2, "did you mean steps?"),
        (["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--prompts", "no.txt"], 2, "no.txt"),
        (["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--methods", "lroa"], 2, "lora"),
        (["demo", "photos"], 2, "likewise compare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_the_way_out(call: Call, words: list[str], code: int, said: str) -> None:
    pictures(Path("photos"))
    result = call(*words)
    assert said in result.stderr
    assert result.exit_code == code
    assert result.stdout == ""
    assert "bug" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Error("m", "h"), 1),
        (RunError("m", "h"), 1),
        (RecipeError("m", "h"), 2),
        (ConceptError("m", "h"), 3),
    ],
)
def test_errors_have_a_line_a_hint_and_a_code(
    error: Error, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.report(error) == code
    assert capsys.readouterr() == ("", "error: m\nhint: h\n")


def test_being_stopped_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.report(CapacityError("DreamBooth needs more memory", "--method lora")) == 3
    assert capsys.readouterr().err == "error: DreamBooth needs more memory\nhint: --method lora\n"
    assert guard.report(Interrupted("stopped after step 3", "likewise teach --resume x")) == 130
    assert capsys.readouterr().err == "stopped after step 3\ngo on: likewise teach --resume x\n"


def test_a_bug_is_one_line_and_its_traceback_is_kept(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from likewise import records

    def broken(root: Path) -> list[object]:
        raise ZeroDivisionError("division by zero\nand more")

    monkeypatch.setattr(records, "runs", broken)
    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "home"))
    result = call("runs")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ZeroDivisionError: division by zero\n")
    assert "likewise doctor --json" in result.stderr
    assert "ZeroDivisionError" in (tmp_path / "home" / "log.txt").read_text()
    monkeypatch.setenv("LIKEWISE_TRACEBACK", "1")
    shown = CliRunner().invoke(app, ["runs"])
    assert "Traceback" in shown.stderr


def test_a_bug_in_a_run_leaves_its_traceback_in_the_folder(tmp_path: Path) -> None:
    def fail() -> None:
        with guard.tracebacks_in(tmp_path / "run"):
            raise KeyError("x")

    with pytest.raises(KeyError) as caught:
        fail()
    assert "KeyError: 'x'" in (tmp_path / "run" / "log.txt").read_text()
    assert "log.txt" in caught.value.__notes__[0]


def test_a_full_disk_and_too_little_memory_are_no_bugs(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.report_unexpected(OSError(28, "No space left on device", "/big/file")) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "error: no space is left on the disk for /big/file",
        "hint: free some, then run the same again",
    ]
    assert guard.report_unexpected(MemoryError()) == 1
    assert "batch_size=1" in capsys.readouterr().err


def test_own_warnings_are_lines_and_others_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    guard.listen()
    guard.listen()
    logging.getLogger("likewise.somewhere").warning("mind %s", "the gap")
    logging.getLogger("likewise.somewhere").info("not this")
    assert capsys.readouterr().err == "warning: mind the gap\n"


def test_others_are_silent_in_a_process_of_its_own(tmp_path: Path) -> None:
    code = (
        "import logging, warnings; from likewise.cli import guard; guard.listen();"
        "logging.getLogger('diffusers.x').warning('noise'); warnings.warn('noise', FutureWarning)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, encoding="utf-8"
    )
    assert done.stderr == ""


def test_downloads_show_their_bars_unless_somebody_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "HF_HUB_DISABLE_PROGRESS_BARS"
    monkeypatch.setattr(guard, "_OURS", set())
    monkeypatch.setenv(name, "yes")
    guard.listen()
    guard.let_downloads_show()
    assert os.environ[name] == "yes"
    monkeypatch.delenv(name)
    guard.listen()
    assert os.environ[name] == "1"
    guard.let_downloads_show()
    assert name not in os.environ


def test_nobody_reading_on_is_no_error(tmp_path: Path) -> None:
    command = (
        f"{sys.executable} -m likewise --help | head -n 1; {sys.executable} -m likewise runs --json | true"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, encoding="utf-8"
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Usage")


# --------------------------------------------------------------------------------- finding runs by name


def test_runs_are_found_by_path_name_and_as_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run in"):
        find_run("latest")
    for age, name in ((100, "2026-01-02-cat-lora-1"), (200, "2026-01-01-dog-lora-1")):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "run.toml").touch()
        os.utime(Path("runs") / name / "run.toml", (1e9 - age, 1e9 - age))
    assert find_run("latest") == Path("runs/2026-01-02-cat-lora-1")
    assert find_run("2026-01-01-dog-lora-1") == Path("runs/2026-01-01-dog-lora-1")
    assert find_run(tmp_path) == tmp_path
    with pytest.raises(RunError) as caught:
        find_run("2026-01-02-cat-lora-2")
    assert "2026-01-02-cat-lora-1" in str(caught.value.hint)


# ------------------------------------------------------------------------------------------ teach, sample


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


def test_sample_prints_files_and_warns_of_a_missing_token(call: Call) -> None:
    run = finished_run(call)
    words = ["--with", f"{run}:0.5", "-n", "2", "--seed", "7", "--steps", "2", "--out", "drawn"]
    result = call("sample", "a sks dog", "a dog", *words)
    assert result.exit_code == 0, result.output
    files = result.stdout.splitlines()
    assert files == [f"drawn/{n:04d}.png" for n in range(4)] + ["drawn/sheet.png"]
    assert all(Path(file).is_file() for file in files)
    assert result.stderr.count("warning: ") == 1
    assert "'a dog' does not say 'sks'" in result.stderr
    rows = json.loads(Path("drawn/gallery.json").read_text())
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        ("a sks dog", 7), ("a sks dog", 8), ("a dog", 7), ("a dog", 8),
    ]  # fmt: skip


def test_sampling_options_reach_the_sampler(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise import sampling
    from likewise.base import Sampler

    seen: dict[str, object] = {}

    def stop_here(prompts: object, **options: object) -> None:
        seen.update(options)
        raise RunError("that will do")

    run = finished_run(call)
    monkeypatch.setattr(sampling, "sample", stop_here)
    words = [
        "--with",
        f"{run}:0.5",
        "--steps",
        "3",
        "--guidance",
        "2.5",
        "--size",
        "64",
        "--negative",
        "cats",
    ]
    call("sample", "a sks dog", *words, "--base", "tiny:sd", "--seed", "4", "-n", "3")
    assert seen["sampler"] == Sampler(steps=3, guidance=2.5, size=64, negative="cats")
    assert list(seen["seeds"]) == [4, 5, 6]  # type: ignore[call-overload]
    assert seen["strengths"] == [0.5]
    assert seen["base"] == "tiny:sd"


def test_words_without_quotes_are_noticed(call: Call) -> None:
    result = call("sample", "a", "red", "dog", "--base", "nope")
    assert "put quotes" in result.stderr


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


def test_the_second_ctrl_c_ends_at_once() -> None:
    asked: list[int] = []

    def press_twice() -> None:
        with guard.stopping(lambda: asked.append(1)):
            signal.raise_signal(signal.SIGINT)
            assert asked == [1]
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert asked == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ------------------------------------------------------------------------------------------- compare, demo


def test_compare_on_a_miniature_gives_a_page_and_a_table(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from likewise.comparison import comparison

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(comparison, "panel", lambda judges: panel())  # a judge, though one that knows nothing
    pictures(Path("photos"), 4)
    Path("prompts.txt").write_text("# places\na {} at night\n\na {} on a beach\n")
    words = ["--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--methods", "lora,textual-inversion"]
    words += ["--prompts", "prompts.txt", "--seeds", "1", "--sample-steps", "2", "steps=2", "lora.rank=2"]
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
    assert done["lora"] == done["textual_inversion"] == "done"
    book = json.loads(Path("mine/comparison.json").read_text())
    assert [prompt["text"] for prompt in book["prompts"]] == ["a {} at night", "a {} on a beach"]
    assert book["seeds"] == [0]
    assert book["sampler"]["steps"] == 2
    rows = [json.loads(line) for line in Path("mine/results.jsonl").read_text().splitlines()]
    assert next(row for row in rows if row["trial"] == "lora")["recipe"]["rank"] == 2
    page = Path("mine/report.html")
    page.unlink()
    assert call("report", "mine").stdout == "mine/report.html\n"
    assert page.is_file()


@pytest.mark.skipif(not (POCKET / "model" / "model_index.json").is_file(), reason="no pocket model")
def test_demo_compares_every_method_on_the_bundled_concept(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise import methods
    from likewise.cli import teaching
    from likewise.comparison.comparison import Comparison

    prepared: list[Comparison] = []
    monkeypatch.setattr(teaching, "_compare", lambda comparison, show: prepared.append(comparison))
    result = call("demo", "steps=7", "lora.rank=2")
    assert result.exit_code == 0, result.output
    (found,) = prepared
    assert (found.base, found.concept.noun) == ("pocket", "cat")
    assert [trial.name for trial in found.plan() if trial.method] == methods.names()
    assert found.recipes["lora"] == {"steps": 7, "rank": 2}
    assert found.concept.held_out


def test_a_comparison_in_which_nothing_was_taught_is_no_success(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise.comparison import comparison

    monkeypatch.setattr(comparison, "panel", lambda judges: panel())
    pictures(Path("photos"), 4)
    Path("prompts.txt").write_text("a {} at night\n")
    words = ["--noun", "dog", "--token", "sks", "--base", "tiny:sd", "--methods", "lora,textual-inversion"]
    words += ["--prompts", "prompts.txt", "--seeds", "1", "--sample-steps", "1", "--out", "mine", "steps=2"]
    wrong = ["lora.learning_rate=1e30", "lora.clip=0"]
    partly = call("compare", "photos", *words, *wrong)
    assert (partly.exit_code, partly.stdout) == (0, "mine/report.html\n")
    assert re.search(r"^warning: LoRA, failed: .+ is not finite", partly.stderr, re.MULTILINE)
    words[words.index("lora,textual-inversion")] = "lora"
    nothing = call("compare", "photos", *words, *wrong)
    assert (nothing.exit_code, nothing.stdout) == (1, "mine/report.html\n")
    assert "error: no method could teach this\n" in nothing.stderr


def test_a_table_on_a_narrow_terminal_becomes_blocks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("cat.png", "small [bold]words[/bold] here", True), ("dog.png", "", None)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for width in (80, 40, 12):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal.table(("file", "note", "usable"), rows)
        out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
        if width == 12:
            assert out == "file: cat.png\nnote: small [bold]words[/bold] here\nusable: yes\n\nfile: dog.png\n"
        else:
            assert out.splitlines()[0].split() == ["file", "note", "usable"]
            assert max(map(len, out.splitlines())) <= width
            assert "[bold]words[/bold]" in out


def test_settings_of_a_comparison_are_for_all_or_for_one() -> None:
    from likewise.cli.teaching import _for_all

    assert _for_all(
        ["steps=10", "lora.rank=4", "learning_rate=1e-3", "lora.alpha=none", "textual-inversion.vectors=2"]
    ) == {
        "steps": 10,
        "learning_rate": 1e-3,
        "recipes": {"lora": {"rank": 4, "alpha": "none"}, "textual_inversion": {"vectors": 2}},
    }


# --------------------------------------------------------------------------------------- how things look


def test_plain_where_there_is_no_terminal_or_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen:
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not terminal.fancy()  # pytest's own stderr
    monkeypatch.setattr(sys, "stderr", Screen())
    assert terminal.fancy()
    for name in ("NO_COLOR", "CI"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not terminal.fancy()
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.fancy()


def test_words_for_sizes_and_times() -> None:
    assert [terminal.size(n) for n in (0, 999, 1500, 123_456, 4_200_000_000)] == [
        "0 B", "999 B", "1.5 kB", "123 kB", "4.2 GB",
    ]  # fmt: skip
    assert [terminal.duration(n) for n in (0.04, 42, 59.9, 185, 7800)] == [
        "0.0 s", "42 s", "60 s", "3 min 05 s", "2 h 10 min",
    ]  # fmt: skip


def test_paths_are_short_and_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert terminal.short(tmp_path / "runs" / "a") == os.path.join("runs", "a")
    assert terminal.short(tmp_path) == "."
    assert terminal.quoted("my runs/a") == "'my runs/a'"


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
    assert "1.0 GB" in lines[-1]


def test_the_mean_loss_has_no_bias_towards_the_first() -> None:
    average = progress.Average()
    assert average.add([4.0]) == 4.0
    for _ in range(2000):
        last = average.add([1.0])
    assert last == pytest.approx(1.0, abs=1e-6)
