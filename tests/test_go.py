"""go.py as a person meets it: real processes in a copy of the root, with a pip that only notes its call.

Nothing is installed here; that go.py's real installation works is seen in CI, which starts with it.
"""

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GO = Path(__file__).parents[1] / "go.py"

FAKE_PIP = """
import os, sys, time

def main():
    with open(os.environ["PIP_CALLS"], "a") as calls:
        print(*sys.argv[1:], file=calls)
    print(os.environ.get("PIP_SAYS", "Successfully installed nothing"), flush=True)
    if os.environ.get("PIP_HANGS"):
        open(os.environ["PIP_HANGS"], "w").close()
        time.sleep(60)
    return int(os.environ.get("PIP_EXITS", "0"))

if __name__ == "__main__":
    sys.exit(main())
"""

FAKE_LIKEWISE = """
import os, sys

print("likewise", *sys.argv[1:], "in", os.path.basename(os.environ["VIRTUAL_ENV"]))
sys.exit(int(os.environ.get("LIKEWISE_EXITS", "0")))
"""

FAKE_PYTEST = """
import os, sys

print("pytest", *sys.argv[1:], "threads", os.environ["OMP_NUM_THREADS"])
sys.exit(5)
"""


class Checkout:
    """A copy of go.py beside a small pyproject, and the calls that its pip got."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.variables: dict[str, str] = {}
        (root / "go.py").write_bytes(GO.read_bytes())
        (root / "pyproject.toml").write_text("[project]\nname = 'likewise'\n")
        (root / "constraints.txt").write_text("torch==2.13.0\n")

    def make_venv(self) -> None:
        """A real environment, but for pip, likewise and pytest."""
        venv.create(self.venv, with_pip=False, symlinks=os.name != "nt")
        packages = next(self.venv.rglob("site-packages"))
        for name, code in ("pip", FAKE_PIP), ("likewise", FAKE_LIKEWISE), ("pytest", FAKE_PYTEST):
            packages.joinpath(f"{name}.py").write_text(code)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in ("CI", "LIKEWISE_TORCH", "PYTHONPATH")}
        return {**kept, "PIP_CALLS": str(self.root / "calls"), **self.variables}

    def go(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "go.py", *arguments],
            cwd=self.root,
            env={**self.environment(), **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    def calls(self) -> list[str]:
        """pip's command lines, oldest first."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def note(self) -> dict[str, Any]:
        return json.loads((self.venv / "go.json").read_text())


@pytest.fixture
def bare(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def checkout(bare: Checkout) -> Checkout:
    bare.make_venv()
    return bare


@pytest.fixture
def go(tmp_path: Path) -> ModuleType:
    """go.py as a module, but for a root that holds no .venv yet."""
    spec = importlib.util.spec_from_file_location("go_under_test", GO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ROOT = str(tmp_path)
    return module


# Words ------------------------------------------------------------------------------------------------------


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


# Installing, once -------------------------------------------------------------------------------------------


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


# Installing, when it goes wrong -----------------------------------------------------------------------------


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


# Which torch ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "build"),
    [
        ({}, None),
        ({"LIKEWISE_TORCH": " CPU "}, "cpu"),
        ({"LIKEWISE_TORCH": "cu130"}, "cu130"),
        ({"LIKEWISE_TORCH": "cpu", "CI": "true"}, None),
    ],
)
def test_the_build_of_torch_is_asked_for_by_name(
    go: ModuleType, variables: dict[str, str], build: str | None
) -> None:
    assert go.torch_build(variables) == build


def test_a_build_of_torch_without_uv_gets_a_sentence(checkout: Checkout) -> None:
    result = checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=str(checkout.root))
    assert result.returncode == 1
    assert "LIKEWISE_TORCH=cpu needs uv" in result.stderr
    assert checkout.calls() == []


def test_a_wrong_call_leaves_a_ready_environment_ready(checkout: Checkout) -> None:
    checkout.go("demo")
    assert checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=str(checkout.root)).returncode == 1
    assert checkout.go("demo").stderr == ""
    assert len(checkout.calls()) == 1


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for uv is a script with a first line")
def test_uv_gets_the_build_of_torch_and_keeps_it(checkout: Checkout) -> None:
    uv = checkout.root / "uv"
    uv.write_text(f"#!{sys.executable}\n{textwrap.dedent(FAKE_PIP)}")
    uv.chmod(0o755)
    path = f"{checkout.root}{os.pathsep}{os.environ['PATH']}"
    assert checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=path).returncode == 0
    checkout.go("demo", LIKEWISE_TORCH="cpu", PATH=path)
    checkout.go("demo", PATH=path)
    [call] = checkout.calls()
    assert "--torch-backend cpu --reinstall-package torch -c constraints.txt -e ." in call

    checkout.go("test", PATH=path)
    assert "--torch-backend cpu -c constraints.txt -e .[dev]" in checkout.calls()[1]
