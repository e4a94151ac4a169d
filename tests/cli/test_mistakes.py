"""Mistakes that would cost a person pictures or minutes, and folders as people really have them."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise.cli import app, guard
from tests.bases import pictures
from tests.cli.commands import Call
from tests.disks import disk


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder with a blank and letters beyond ASCII in its name."""
    place = tmp_path / "my wörk 犬"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv("LIKEWISE_TRACEBACK", raising=False)

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "bug" not in result.stderr
        return result

    return run


def test_a_contact_sheet_never_takes_the_place_of_a_folder(call: Call) -> None:
    result = call("check", pictures(Path("photos")), "--sheet", "photos")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "directory" in result.stderr
    assert len(list(Path("photos").iterdir())) == 4


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "a dog", "--base", "tiny:sd", "--steps", "1001"],
        ["sample", "a dog", "--base", "tiny:sd", "--seed", "99999999999999999999"],
        ["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--sample-steps", "1001"],
        ["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--methods", ","],
        ["teach", "photos", "--noun", "dog", "--base", "tiny:sd", "seed=99999999999999999999"],
    ],
    ids=lambda words: words[-2] if words[-2].startswith("--") else words[-1],
)
def test_what_cannot_be_meant_is_refused_at_once(call: Call, words: list[str]) -> None:
    pictures(Path("photos"))
    result = call(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert {path.name for path in Path().iterdir()} == {"photos"}, "nothing was begun"


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that even root cannot write")
@pytest.mark.parametrize("command", ["sample", "teach", "compare", "demo"])
def test_where_nothing_can_be_written_is_said_before_anything_is_loaded(call: Call, command: str) -> None:
    words = {"sample": ["a dog"], "demo": []}.get(command, [str(pictures(Path("photos"))), "--noun", "dog"])
    result = call(command, *words, *([] if command == "demo" else ["--base", "nope"]), "--out", "/proc/here")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: /proc cannot be written: " in result.stderr
    assert "hint: name another folder with --out" in result.stderr


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOENT, errno.ENOTDIR])
def test_a_home_that_cannot_be_written_is_no_bug(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.report_unexpected(OSError(number, os.strerror(number), "/home/of/cache")) == 1
    assert "LIKEWISE_HOME" in capsys.readouterr().err


def test_where_pictures_cannot_go_is_said_before_they_are_drawn(call: Call) -> None:
    Path("taken").touch()
    result = call("sample", "a dog", "--base", "tiny:sd", "--out", "taken/here")
    assert result.exit_code == 1
    assert "taken is a file" in result.stderr
    assert "drawing" not in result.stderr


def test_names_that_the_output_cannot_spell_are_printed_all_the_same(tmp_path: Path) -> None:
    """In a process of its own, whose output is a pipe of an old encoding."""
    pictures(tmp_path / "犬")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "likewise", "check", "犬", "--sheet", "犬.png"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    assert "contact sheet: ?.png" in done.stdout


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(call: Call) -> None:
    Path("locked").mkdir(mode=0o555)
    result = call("sample", "a dog", "--base", "tiny:sd", "--out", "locked/here")
    assert result.exit_code == 1
    assert "locked cannot be written" in result.stderr


def test_a_file_that_may_not_be_written_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.report_unexpected(PermissionError(13, "Permission denied", "/theirs/sheets")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: /theirs/sheets: Permission denied\nhint: ")
    assert "LIKEWISE_HOME" in said


def test_a_machine_that_is_full_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert guard.report_unexpected(caught.value) == 1
    assert capsys.readouterr().err.startswith("error: out of memory\n")


def test_the_runs_of_other_programs_do_not_hide_ours(call: Call) -> None:
    Path("runs/other").mkdir(parents=True)
    Path("runs/other/run.toml").write_text("speed = 3", encoding="utf-8")
    assert "unreadable" in call("runs").stdout
    (row,) = json.loads(call("runs", "--json").stdout)
    assert row["status"].startswith("unreadable: ")
    resumed = call("teach", "--resume", "other")
    assert resumed.exit_code == 1
    assert "does not say what to teach" in resumed.stderr


def test_a_zip_of_a_kohya_folder_with_captions_is_understood(call: Call) -> None:
    folder = pictures(Path("10_sks red dog"))
    (folder / "0.txt").write_text("sks red dog auf dem Söfa", encoding="utf-8")
    with zipfile.ZipFile("mine ü.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.as_posix())
    found = json.loads(call("check", "mine ü.zip", "--json").stdout)
    assert (found["token"], found["noun"]) == ("sks", "red dog")
    assert [row["repeats"] for row in found["examples"]] == [10] * 4
    assert found["examples"][0]["caption"] == "sks red dog auf dem Söfa"


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "out.png"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_no_bug_whatever_was_being_written(
    raised: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(raised)), guard.tracebacks_in(tmp_path):
        raise raised
    assert guard.report_unexpected(raised) == 1
    said = capsys.readouterr().err
    assert "no space is left on the disk" in said
    assert "free some, then run the same again" in said
    assert "bug" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_the_hint_works(call: Call) -> None:
    """The whole way: a disk that holds the pictures' run but not its states, some space, and the command in the hint."""
    photos, words = pictures(Path("photos")), ["--base", "tiny:sd", "--out", "D/run", "steps=3", "rank=32"]
    with disk(Path("D"), "100k") as small:
        failed = call("teach", photos, "--noun", "dog", "--token", "sks", *words)
        assert failed.exit_code == 1
        assert failed.stderr.count("error: ") == 1
        assert f"no space is left in {Path('D/run').resolve()}" in " ".join(failed.stderr.split())
        small.remount("size=4m")
        command = failed.stderr[failed.stderr.index("likewise teach --resume") :].split()
        assert call(*command[1:]).exit_code == 0


MISSING = [
    ["teach", "nope", "--noun", "dog"],
    ["teach", "photos", "--noun", "dog", "--also", "nope=cat"],
    ["teach", "photos", "--noun", "dog", "--class-pictures", "nope"],
    ["teach", "photos", "--noun", "dog", "--base", "nope"],
    ["teach", "photos", "--noun", "dog", "--recipe", "nope.toml"],
    ["teach", "--resume", "nope"],
    ["check", "nope"],
    ["compare", "nope", "--noun", "dog"],
    ["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--with", "nope"],
    ["compare", "photos", "--noun", "dog", "--prompts", "nope.txt"],
    ["sample", "a dog", "--with", "nope"],
    ["sample", "a dog", "--with", "latest"],
    ["score", "nope", "--pictures", "photos"],
    ["score", "photos/0.png", "nope", "--pictures", "photos"],
    ["checkpoints", "nope"],
    *([command, "nope"] for command in ("recommend", "recompute", "report", "vote", "inspect", "runs")),
    ["convert", "nope", "--to", "kohya"],
    ["merge", "nope", "nope", "--out", "x.safetensors"],
    ["diff", "nope", "nope"],
    ["explain", "lora", "--base", "nope"],
    ["survey", "stats", "--store", "nope.duckdb"],
    ["survey", "import", "nope"],
]


@pytest.mark.parametrize("words", MISSING, ids=" ".join)
def test_what_is_named_and_is_not_there_ends_alike_everywhere(call: Call, words: list[str]) -> None:
    pictures(Path("photos"))
    result = call(*words)
    assert result.exit_code == 3, result.output
    assert result.stderr.count("error: ") == 1
    assert "hint: " in result.stderr
