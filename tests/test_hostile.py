"""The hostile series: no command stumbles over a file, runs anything in it, half writes or promises what is not so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise.cli import app
from likewise.inspection import UNREAD
from tests import hostile

FEWEST = 91
"""Files of the series that the first reading of hostile files was tried with."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile")
    assert len(hostile.make(home)) >= FEWEST
    return home


def call(*words: object) -> Result:
    """One clear end: success, or an error in a line with at most a hint below it."""
    result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)
    assert "this is a bug" not in result.output, (words, result.output)
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    if result.exit_code:
        lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
        assert lines[0].startswith("error: "), (words, result.stderr)
        assert [line[:6] for line in lines[1:]] in ([], ["hint: "]), (words, result.stderr)
        assert result.stdout == ""
    return result


def exact(result: Result) -> bool:
    """Whether the answer of `inspect --json` promises anything."""
    if result.exit_code:
        return False
    return any(how.startswith("exact") for how in json.loads(result.stdout)["portability"].values())


def test_nothing_is_promised_that_does_not_hold(series: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIKEWISE_TRACEBACK", raising=False)
    promised = 0
    for number, path in enumerate(sorted(series.iterdir())):
        quick, whole = call("inspect", path, "--json"), call("inspect", path, "--json", "--hash")
        layout = json.loads(quick.stdout)["layout"] if quick.exit_code == 0 else ""
        out = tmp_path / str(number)
        out.mkdir()
        done = call("convert", path, *(["--to", layout] if layout else []), "--out", out / "made")
        left = list(out.iterdir())
        assert bool(left) == (done.exit_code == 0), f"{path.name}: half written: {left}"
        if done.exit_code:
            assert not exact(whole), f"{path.name}: called exact, and not converted: {done.stderr}"
            assert not exact(quick) or UNREAD in json.loads(quick.stdout)["notes"], path.name
        else:
            assert exact(whole), f"{path.name}: converted, and not called exact: {whole.stdout}"
            promised += 1
        call("check", path)
    assert promised >= 15, "some of them are sound"
    assert not (series / "ran").exists(), "something in a file was run"


@pytest.mark.slow
def test_other_commands_end_as_clearly(series: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(sorted(series.iterdir())):
        call("merge", path, "--out", f"merged-{number}.safetensors")
        call("diff", path, path)
        call("resize", path, "--rank", "1", "--out", f"resized-{number}.safetensors")
    assert not (series / "ran").exists(), "something in a file was run"


@pytest.mark.parametrize(
    "name", ["code.pt", "code beside.pt", "code beside (old).ckpt", "pickled command.bin"]
)
@pytest.mark.parametrize("command", ["inspect", "convert", "merge"])
def test_a_pickle_with_code_is_refused_without_torch(
    command: str, name: str, series: Path, tmp_path: Path
) -> None:
    """Importing torch takes seconds, and nothing of it is needed to see that a file asks for a function."""
    code = (
        "import sys\nfrom likewise.cli import main\nsys.argv = ['likewise', *sys.argv[1:]]\ncode = main()\n"
        "heavy = {'torch', 'safetensors', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, str(series / name)], cwd=tmp_path, capture_output=True,
        encoding="utf-8", env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "is refused: it asks for" in done.stderr
    assert "nothing of it was run" in done.stderr
    assert not (series / "ran").exists()


def test_weights_among_pictures_are_told_where_to_go(series: Path) -> None:
    for name in ("with right.safetensors", "code.pt", "peft"):
        result = call("check", series / name)
        assert result.exit_code == 3
        assert "holds weights, not pictures" in result.stderr
        assert "likewise inspect" in result.stderr
