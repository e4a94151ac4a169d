"""How a command ends: a line, a hint and a code, whatever was raised, and what Ctrl-C does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from likewise.cli import app, guard
from likewise.errors import CapacityError, ConceptError, Error, Interrupted, RecipeError, RunError
from tests.bases import pictures
from tests.cli.commands import Call, environment


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["explain", "lroa"], 2, "did you mean lora?"),
        (["explian", "lora"], 2, "explain"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "stps=4"], 2, "did you mean steps?"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "steps=many"], 2, "steps = 'many'"),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "--method", "dreamboth"], 2, "dreambooth"),
        (["teach", "photos", "--noun", "dog", "--steps", "4"], 2, "steps=..."),
        (["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "--recipe", "no.toml"], 3, "no.toml"),
        (["teach", "photos"], 2, "--noun dog"),
        (["teach", "--noun", "dog"], 2, "PICTURES"),
        (["teach", "--resume", "nope", "steps=4"], 2, "--resume"),
        (["teach", "--resume", "nope"], 3, "there is no run or file 'nope'"),
        (["teach", "phots", "--noun", "dog"], 3, "photos"),
        (["teach", "photos", "--noun", "dog", "--base", "pockt"], 3, "pocket"),
        (["teach", "photos", "--noun", "dog", "--token", "two words", "--base", "tiny:sd"], 3, "two words"),
        (["sample", "a dog", "--with", "nope"], 3, "likewise runs"),
        (["sample", "a dog", "--with", "photos:strong"], 2, "'strong'"),
        (["sample", "a dog", "-n", "0"], 2, "-n"),
        (["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "stps=4"], 2, "did you mean steps?"),
        (["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--prompts", "no.txt"], 3, "no.txt"),
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
