"""go.py as a person meets it: real processes in a copy of the root, with a pip that only notes its call.

Nothing is installed here; that go.py's real installation works is seen in CI, which starts with it.
"""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.go.checkouts import GO, Checkout


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_the_commands_and_installs_nothing(bare: Checkout, arguments: tuple[str, ...]) -> None:
    result = bare.go(*arguments)
    assert result.returncode == 0
    for command in "demo", "run", "test", "check":
        assert f"\n  {command} " in result.stdout
    assert not bare.venv.exists()


def test_an_unknown_command_is_a_wrong_call(bare: Checkout) -> None:
    result = bare.go("fly")
    assert result.returncode == 2
    assert "there is no command 'fly'" in result.stderr
    assert "usage:" in result.stderr
    assert not bare.venv.exists()


def test_check_takes_no_arguments(bare: Checkout) -> None:
    assert bare.go("check", "--fix").returncode == 2


def test_old_pythons_can_read_the_file() -> None:
    ast.parse(GO.read_text(encoding="utf-8"), feature_version=(3, 7))


@pytest.fixture
def alone(go: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """go.py on a machine whose PATH is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return go


def pretend(go: ModuleType, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let go.py, and nothing else, believe that it runs in this version of Python."""
    fake = SimpleNamespace(version_info=version, executable=sys.executable, stderr=sys.stderr)
    monkeypatch.setattr(go, "sys", fake)


def test_a_python_that_is_too_old_gets_a_sentence(
    alone: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(alone, (3, 9, 2), monkeypatch)
    assert alone.main(["demo"]) == 1
    error = capsys.readouterr().err
    assert "needs Python 3.11 or newer; this is Python 3.9.2" in error
    assert "apt install" in error
    assert "Traceback" not in error


def test_an_old_python_finds_a_newer_one(go: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(go, (3, 9, 2), monkeypatch)
    monkeypatch.setattr(go, "version_of", lambda python, *_: (3, 12, 4) if python == ["python3.12"] else None)
    assert go.find_python() == (["python3.12"], (3, 12, 4))


def test_too_new_a_python_is_the_last_resort(alone: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(alone, (3, 99, 0), monkeypatch)
    assert alone.find_python()[1] == (3, 99, 0)


def test_a_python_without_venv_gets_a_sentence(
    go: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(go, "find_python", lambda: (["python3"], (3, 12, 4)))
    monkeypatch.setattr(go, "version_of", lambda *_: None)
    with pytest.raises(go.Stop, match=r"(?s)cannot make virtual environments.*python3\.12-venv"):
        go.make_venv(str(tmp_path), {})
    assert not (tmp_path / ".venv").exists()


def test_the_first_run_installs_and_the_second_does_not(checkout: Checkout) -> None:
    first = checkout.go("demo", "--open", "-n", "2")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "likewise demo --open -n 2 in .venv\n"
    assert "ready after" in first.stderr
    [call] = checkout.calls()
    assert call.startswith("install ")
    assert call.endswith("-c constraints.txt -e .")

    started = time.monotonic()
    second = checkout.go("run", "inspect", "x.safetensors")
    assert time.monotonic() - started < 5  # under a second where nothing else runs
    assert second.stdout == "likewise inspect x.safetensors in .venv\n"
    assert second.stderr == ""
    assert len(checkout.calls()) == 1


def test_exit_codes_pass_through(checkout: Checkout) -> None:
    assert checkout.go("demo", LIKEWISE_EXITS="3").returncode == 3
    assert checkout.go("test").returncode == 5


def test_tests_add_their_tools_and_keep_to_one_thread(go: ModuleType, checkout: Checkout) -> None:
    checkout.go("demo")
    result = checkout.go("test", "-k", "lora", OMP_NUM_THREADS="8")
    assert result.stdout == f"pytest {' '.join(go.SPREAD)} -k lora threads 1\n"
    assert checkout.calls()[1].endswith("-e .[dev]")
    checkout.go("demo")
    assert len(checkout.calls()) == 2, "what holds the tools for testing is good for the demo too"


@pytest.mark.parametrize(("more", "where"), [([], "gw"), (["-n", "0"], "master"), (["--pdb"], "master")])
def test_tests_are_spread_unless_somebody_wants_them_in_one_process(
    go: ModuleType, tmp_path: Path, more: list[str], where: str
) -> None:
    """Asked of the real pytest: which process a test runs in, and that what follows overrides."""
    (tmp_path / "test_where.py").write_text(
        "def test_where(worker_id): open(worker_id, 'w').close()", encoding="utf-8"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", *go.SPREAD, "-p", "no:cacheprovider", *more]
    done = subprocess.run(command, cwd=tmp_path, env=kept, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "master").exists() == (where == "master")
    assert bool(list(tmp_path.glob("gw*"))) == (where == "gw")
