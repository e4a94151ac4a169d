"""What is printed of names and texts that somebody else chose: never a control code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from likewise import intake
from likewise.cli import app, terminal
from likewise.files import printable
from tests.bases import pictures
from tests.cli.commands import Call

EVIL = "\x1b[31mred\x07\x9b\u202egnp.exe"
QUICK = ["--base", "tiny:sd", "--token", "sks", "steps=1", "checkpoint_every=0"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder, in this process; whatever it prints must be harmless."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert "Traceback" not in result.output
        assert printable(result.stdout.replace("\n", "")) == result.stdout.replace("\n", "")
        assert printable(result.stderr.replace("\n", "")) == result.stderr.replace("\n", "")
        return result

    return run


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain é 犬 \U0001f468\u200d\U0001f469", "plain é 犬 \U0001f468\u200d\U0001f469"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b\x7f\u2028\u202e", "\\x9b\\x7f\\u2028\\u202e"),
        ("\udcff", "\\xff"),
    ],
)
def test_control_codes_are_spelled_out(text: str, wanted: str) -> None:
    assert printable(text) == wanted


@given(st.text())
def test_nothing_that_is_printed_moves_a_cursor(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable() or all(letter.isprintable() or ord(letter) > 0x9F for letter in safe)
    assert printable(safe) == safe
    safe.encode()


def test_names_captions_nouns_and_mistakes_are_printed_harmless(call: Call) -> None:
    folder = pictures(Path(f"dir{EVIL}"))
    (folder / "0.png").rename(folder / f"a{EVIL}\nwarning: fake.png")
    (folder / f"b{EVIL}.png").write_text("none")
    (folder / f"c{EVIL}.pdf").write_text("none")
    (folder / "1.txt").write_text(f"a sks dog {EVIL}")
    found = call("check", folder, "--noun", "dog")
    assert found.exit_code == 0
    assert "\\x1b[31m" in found.stdout
    assert not any(line.startswith("warning: fake") for line in found.stdout.splitlines())
    json.loads(call("check", folder, "--json").stdout)
    for problem in intake.read(folder).problems:
        assert printable(problem.file + problem.reason) == problem.file + problem.reason
    taught = call("teach", folder, "--noun", "dog", *QUICK, "--out", f"run{EVIL}")
    assert taught.exit_code == 0, taught.output
    call("runs", ".")
    call("sample", f"a dog {EVIL}", "--with", f"run{EVIL}", "-n", "1", "--steps", "1", "--out", f"out{EVIL}")


@pytest.mark.parametrize(
    "words",
    [
        ["teach", f"no{EVIL}", "--noun", "dog"],
        ["teach", "photos", "--noun", f"d{EVIL}"],
        ["teach", "photos", "--noun", "dog", f"steps={EVIL}"],
        ["teach", "photos", "--noun", "dog", f"st{EVIL}=3"],
        ["teach", "photos", "--noun", "dog", "--method", EVIL],
        ["teach", "photos", "--noun", "dog", f"--{EVIL}", "3"],
        ["teach", "photos", "--noun", "dog", "--recipe", f"r{EVIL}.toml"],
        ["sample", "a dog", "-n", EVIL],
        ["sample", "a dog", "--with", EVIL],
        ["sample", "a dog", "--base", EVIL],
        [EVIL],
        ["inspect", EVIL],
        ["check", EVIL],
        ["report", EVIL],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]).encode("unicode_escape").decode()[:40],
)
def test_mistakes_are_printed_harmless(call: Call, words: list[str]) -> None:
    pictures(Path("photos"))
    assert call(*words).exit_code != 0


def test_lines_of_our_own_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.result("one\ntwo\x1b")
    terminal.say("three\nfour", "warning")
    out, err = capsys.readouterr()
    assert out == "one\ntwo\\x1b\n"
    assert err == "warning: three\nfour\n"
