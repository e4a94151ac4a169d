"""What is installed, when it is done again, and what is never thrown away."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.go.checkouts import FAKE_PIP, Checkout


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", ".venv/pyvenv.cfg"])
def test_a_change_installs_again_with_what_was_there(checkout: Checkout, name: str) -> None:
    checkout.go("test")
    with (checkout.root / name).open("a") as file:
        file.write("\n# changed\n")
    checkout.go("demo")
    assert checkout.calls()[1].endswith("-e .[dev]")


def test_a_damaged_note_only_costs_an_installation(checkout: Checkout) -> None:
    checkout.go("demo")
    (checkout.venv / "go.json").write_text('{"ready": ')
    assert checkout.go("demo").returncode == 0
    assert len(checkout.calls()) == 2


def test_the_note_is_replaced_as_a_whole(go: ModuleType, checkout: Checkout) -> None:
    go.write_state(str(checkout.root), {"ready": "x"})
    assert go.read_state(str(checkout.root)) == {"ready": "x"}
    assert not list(checkout.venv.glob("*.tmp"))


def test_a_failed_installation_shows_the_end_of_its_log(checkout: Checkout) -> None:
    says = "\n".join(f"line {n}" for n in range(40)) + "\nERROR: [Errno 28] No space left on device"
    result = checkout.go("demo", PIP_SAYS=says, PIP_EXITS="1")
    assert result.returncode == 1
    assert "line 39" in result.stderr
    assert "line 26" in result.stderr
    assert "line 25" not in result.stderr
    assert "The disk is full" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert checkout.note()["ready"] is None

    assert checkout.go("demo").returncode == 0
    assert checkout.note()["ready"]


@pytest.mark.parametrize(
    ("log", "word"),
    [
        ("Retrying: NewConnectionError: Temporary failure in name resolution", "network"),
        ("Cannot connect to proxy: ProxyError(...)", "HTTPS_PROXY"),
        ("SSLError(certificate verify failed)", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch==2.13.0", "Python 3.11 to 3.13"),
        ("ERROR: [Errno 13] Permission denied: '/x'", "owns"),
        ("Collecting networkx\nsomething else", "proxy"),
    ],
)
def test_advice_fits_the_log(go: ModuleType, log: str, word: str) -> None:
    assert word in go.advice(log)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way on Windows")
def test_an_interrupted_installation_is_done_again(checkout: Checkout) -> None:
    checkout.variables["PIP_SAYS"] = "Downloading torch-2.13.0-cp311-none-any.whl (200 MB)"
    hangs = checkout.root / "hangs"
    process = subprocess.Popen(
        [sys.executable, "go.py", "demo"],
        cwd=checkout.root,
        env={**checkout.environment(), "PIP_HANGS": str(hangs)},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    while not hangs.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert checkout.note()["ready"] is None
    assert checkout.go("demo").returncode == 0
    assert len(checkout.calls()) == 2


def test_what_was_cut_short_amid_the_packages_is_made_anew(go: ModuleType, checkout: Checkout) -> None:
    root = str(checkout.root)
    Path(go.log_path(root)).write_text("Collecting torch\nInstalling collected packages: torch\n")
    assert go.was_cut_short(root, {"ours": True, "ready": None})
    assert not go.was_cut_short(root, {"ours": True, "ready": "x"})
    for whole in "Collecting torch\n", "Installing collected packages: torch\nSuccessfully installed torch\n":
        Path(go.log_path(root)).write_text(whole)
        assert not go.was_cut_short(root, {"ours": True, "ready": None})


def test_an_environment_of_ours_that_broke_is_made_anew(
    go: ModuleType, bare: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.venv.mkdir()
    (bare.venv / "left over").write_text("")
    go.write_state(str(bare.root), {"ours": True, "extras": ["dev"], "torch": "cpu"})
    note = go.read_state(str(bare.root))

    def make(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert command[1:3] == ["-m", "venv"]
        venv.create(command[-1], symlinks=os.name != "nt")  # the same, but without pip
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(go, "version_of", lambda python, _: None if ".venv" in python[0] else (3, 11, 7))
    monkeypatch.setattr(go.subprocess, "run", make)
    assert go.make_venv(str(bare.root), note) == note
    assert not (bare.venv / "left over").exists()
    assert (bare.venv / "pyvenv.cfg").exists()
    assert go.read_state(str(bare.root))["ours"], "known to be ours even if this is where it stops"


def test_anothers_environment_is_never_thrown_away(bare: Checkout) -> None:
    bare.venv.mkdir()
    (bare.venv / "precious").write_text("")
    result = bare.go("demo")
    assert result.returncode == 1
    assert "move it away" in result.stderr
    assert (bare.venv / "precious").exists()


@pytest.mark.parametrize(
    ("variables", "build"),
    [
        ({}, None),
        ({"LIKEWISE_TORCH": " CPU "}, "cpu"),
        ({"LIKEWISE_TORCH": "cu130"}, "cu130"),
        ({"LIKEWISE_TORCH": "cpu", "CI": "true"}, "pip"),
    ],
)
def test_the_build_of_torch_is_asked_for_by_name(
    go: ModuleType, variables: dict[str, str], build: str | None
) -> None:
    assert go.torch_build(variables) == build


def test_a_build_of_torch_without_uv_gets_a_sentence(checkout: Checkout) -> None:
    result = checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=str(checkout.root), PIP_SAYS="no uv for you")
    assert result.returncode == 1
    assert "LIKEWISE_TORCH=cpu needs uv" in result.stderr
    assert "no uv for you" in result.stderr
    [call] = checkout.calls()
    assert call == "install --no-compile --no-input uv>=0.9,<1", "the index is asked for it first"


def test_a_wrong_call_leaves_a_ready_environment_ready(checkout: Checkout) -> None:
    checkout.go("demo")
    assert checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=str(checkout.root)).returncode == 1
    assert checkout.go("demo").stderr == ""
    assert len(checkout.calls()) == 2


def stand_in_for_uv(folder: Path, exits: int = 0, says: str = "Installed 1 package") -> None:
    uv = folder / "uv"
    code = textwrap.dedent(FAKE_PIP).replace('"PIP_SAYS"', '"UV_SAYS"').replace('"PIP_EXITS"', '"UV_EXITS"')
    code = code.replace('"Successfully installed nothing"', repr(says)).replace('"0"', repr(str(exits)))
    uv.write_text(f"#!{sys.executable}\n{code}")
    uv.chmod(0o755)


needs_scripts = pytest.mark.skipif(
    os.name == "nt", reason="the stand-in for uv is a script with a first line"
)


@needs_scripts
def test_uv_gets_the_build_of_torch_and_keeps_it(checkout: Checkout) -> None:
    stand_in_for_uv(checkout.root)
    path = f"{checkout.root}{os.pathsep}{os.environ['PATH']}"
    assert checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=path).returncode == 0
    checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=path)
    checkout.go("demo", LIKEWISE_TORCH="", PATH=path)
    [call] = checkout.calls()
    assert "--torch-backend cpu --reinstall-package torch -c constraints.txt -e ." in call

    checkout.go("test", LIKEWISE_TORCH="", PATH=path)
    assert "--torch-backend cpu -c constraints.txt -e .[dev]" in checkout.calls()[1]


@needs_scripts
def test_a_build_that_was_asked_for_is_never_another(checkout: Checkout) -> None:
    stand_in_for_uv(checkout.root, exits=1, says="error: no build cu999")
    path = f"{checkout.root}{os.pathsep}{os.environ['PATH']}"
    result = checkout.go("demo", LIKEWISE_TORCH="cu999", PATH=path)
    assert result.returncode == 1
    assert "no build cu999" in result.stderr
    assert len(checkout.calls()) == 1


@needs_scripts
def test_without_nvidia_the_small_torch_is_taken(go: ModuleType, checkout: Checkout, monkeypatch) -> None:
    """uv comes from the index, and picks."""
    uv_lands_in(checkout, monkeypatch, go, exits=0)
    python = go.prepare(str(checkout.root), [])
    assert python == go.python_of(str(checkout.root))
    pip, uv = checkout.calls()
    assert pip.endswith("uv>=0.9,<1")
    assert "--torch-backend cpu -c constraints.txt -e ." in uv
    assert checkout.note()["torch"] == "cpu"


@needs_scripts
def test_where_the_small_torch_cannot_be_had_the_plain_index_is_taken_and_this_is_said(
    go: ModuleType, checkout: Checkout, monkeypatch, capsys
) -> None:
    uv_lands_in(checkout, monkeypatch, go, exits=2)
    go.prepare(str(checkout.root), [])
    _, uv, pip = checkout.calls()
    assert "--torch-backend cpu" in uv
    assert pip == "install --no-compile --no-input -c constraints.txt -e ."
    said = capsys.readouterr().err
    assert "torch without CUDA cannot be had: failed to lookup address" in said
    assert "taking the plain index instead" in said
    assert checkout.note()["torch"] is None
    assert checkout.note()["ready"]


@pytest.mark.parametrize("device", ["/dev/nvidia0", "/dev/dxg"])
def test_with_nvidia_pip_picks(go: ModuleType, monkeypatch, device: str) -> None:
    monkeypatch.setattr(go.sys, "platform", "linux")
    monkeypatch.setattr(go.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(go.os.path, "exists", lambda path: path == device)
    assert not go.without_nvidia()
    monkeypatch.setattr(go.os.path, "exists", lambda path: False)
    assert go.without_nvidia()
    monkeypatch.setattr(go.sys, "platform", "darwin")
    assert not go.without_nvidia()


def uv_lands_in(checkout: Checkout, monkeypatch, go: ModuleType, exits: int) -> None:
    """A machine without NVIDIA and uv, whose pip puts a stand-in for uv into .venv."""
    for name, value in {**checkout.environment(), "PATH": str(checkout.root)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LIKEWISE_TORCH")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(go, "without_nvidia", lambda: True)
    logged = go.logged

    def and_land(command: list[str], root: str, **variables: str) -> int:
        code = logged(command, root, **variables)
        if command[-1].startswith("uv"):
            stand_in_for_uv(
                Path(go.python_of(root)).parent, exits, "error: x\n  cause: failed to lookup address"
            )
        return code

    monkeypatch.setattr(go, "logged", and_land)


def test_what_commands_import_is_compiled_and_what_they_never_import_is_not(
    go: ModuleType, checkout: Checkout
) -> None:
    packages = next(checkout.venv.rglob("site-packages"))
    for name in (
        "torch/nn/linear.py",
        "torch/testing/common.py",
        "transformers/models/clip/a.py",
        "transformers/models/bert/a.py",
    ):
        packages.joinpath(name).parent.mkdir(parents=True)
        packages.joinpath(name).write_text("x = 1\n")
    (packages / "broken.py").write_text("print 'of Python 2'\n")
    assert checkout.go("demo", PYTHONDONTWRITEBYTECODE="1").returncode == 0
    compiled = {str(path.relative_to(packages)).split("__pycache__")[0] for path in packages.rglob("*.pyc")}
    assert {os.path.join("torch", "nn", ""), os.path.join("transformers", "models", "clip", "")} <= compiled
    assert not any("testing" in one or "bert" in one for one in compiled)
