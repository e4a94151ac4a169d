#!/usr/bin/env python3
"""Sets likewise up in .venv and runs it, with nothing installed but Python: `python3 go.py demo`.

Standard library only, and written for old Pythons as well, so that the wrong one is answered with a sentence.
Its own words go to standard error: standard output belongs to the command that it runs.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from subprocess import DEVNULL, PIPE, STDOUT

ROOT = os.path.dirname(os.path.abspath(__file__))
OLDEST = (3, 11)
NEWEST = (3, 14)  # the last one that the pinned packages offer files for; newer ones are tried last
HEARTBEAT = 15  # seconds between two lines of progress while packages are installed
ROOM = 3 * 10**9  # bytes; the CPU build with the tools for testing takes half of this
# A process per processor, four at most: each holds torch. xdist counts them itself, as with --pdb it steps aside.
SPREAD = ["-n", "logical", "--maxprocesses", "4", "--dist", "worksteal"]

HELP = """\
usage: python3 go.py COMMAND [ARGUMENTS]      (on Windows: py go.py COMMAND)

  demo [ARGUMENTS]   teach the bundled concept by every method and write a report
  studio [ARGUMENTS] teach, watch, compare and choose on a page in the browser
  run ARGUMENTS      any likewise command, as in: python3 go.py run --help
  test [ARGUMENTS]   run the tests, in several processes; ARGUMENTS go to pytest (-n 0: in one)
  check              lint, types, and who may import whom

The first command makes .venv and installs what is pinned in constraints.txt; later ones start at once.
On Linux without an NVIDIA device torch comes without CUDA, which spares several GB. LIKEWISE_TORCH=auto, cpu, cu130
or the like picks another build, LIKEWISE_TORCH=pip the one that the package index names first.
"""

NEED_PYTHON = """\
likewise needs Python {oldest} or newer; this is Python {found}, and no newer one was found on the PATH.
  Debian, Ubuntu   sudo apt install python3 python3-venv   (or python{oldest} python{oldest}-venv)
  Fedora           sudo dnf install python{oldest}
  macOS            brew install python@{newest}, or the installer from python.org
  Windows          winget install Python.Python.{newest}"""

NEED_VENV = """\
{python} cannot make virtual environments: its module venv or ensurepip is missing.
  Debian, Ubuntu   sudo apt install python3-venv   (or python{version}-venv)
  elsewhere        install the package that holds Python's venv and ensurepip, or python.org's Python"""

NEED_UV = """\
LIKEWISE_TORCH={torch} needs uv, which is not on the PATH and could not be installed:
{reason}
Install it (pipx install uv, or pip install uv), or set LIKEWISE_TORCH=pip to let pip pick the build."""

UV = "uv>=0.9,<1"  # picks builds of torch; kept out of constraints.txt, as likewise does without it
# What no command on the way to a first step or a report imports, and what other interpreters are meant to read.
NEVER_IMPORTED = (
    r"[\\/](tests?|testing|f2py|_inductor|_dynamo|onnx|ao|_export|pipelines|modular_pipelines|sympy|mpmath|networkx"
    r"|pandas|statsmodels|pip|setuptools|mypy|mypyc|lycoris|peft|hypothesis|_pytest|pygments|formulaic|patsy|narwhals)[\\/]"
    r"|transformers[\\/](models[\\/](?!clip|auto|dinov2|__init__)|trainer|cli|data|exporters|kernels)"
)

# What the end of a failed installation's log may say, and what helps.
ADVICE = [
    (r"no space left|disk quota|errno 28", "The disk is full: free about 2 GB, with CUDA 8 GB."),
    (
        r"proxyerror|connect to proxy|tunnel connection",
        "A proxy stands in the way: set HTTPS_PROXY=http://HOST:PORT, or unset a wrong one.",
    ),
    (
        r"certificate verify|sslerror|invalid peer certificate",
        "A certificate is not trusted: behind a company's proxy, set PIP_CERT to the file of its own.",
    ),
    (
        r"name resolution|getaddrinfo|connectionerror|connecttimeout|readtimeout|timed out|dns error"
        r"|connection (broken|refused|reset|aborted)|network is unreachable|error sending request",
        "The package registry was not reached: check the network (and HTTPS_PROXY), then run this again.",
    ),
    (
        r"no matching distribution|could not find a version|no solution found|requires a different python",
        "A pinned package has no file for this Python or system: try Python 3.11 to 3.13, 64 bit.",
    ),
    (r"permission denied|access is denied|read-only", "The folder cannot be written: check who owns it."),
]


class Stop(Exception):
    """A sentence for the person who ran this, instead of a traceback."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def main(arguments: list) -> int:
    """Run one command; the exit code is the command's own, 2 for a wrong call, 1 if the setting up failed."""
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(HELP, end="")
            return 0
        command, rest = arguments[0], arguments[1:]
        if command not in COMMANDS:
            raise Stop(f"there is no command {command!r}\n\n{HELP.rstrip()}", code=2)
        return COMMANDS[command](rest)
    except Stop as stop:
        say(str(stop))
        return stop.code
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    except Exception as error:
        expected = isinstance(error, OSError)  # a full disk, a folder that cannot be written
        say(str(error) if expected else f"go.py itself failed, with {type(error).__name__}: {error}")
        return 1


def say(sentence: str) -> None:
    print("go: " + sentence, file=sys.stderr, flush=True)


# The commands -------------------------------------------------------------------------------------------


def demo(arguments: list) -> int:
    return call([prepare(ROOT, []), "-m", "likewise", "demo", *arguments])


def studio(arguments: list) -> int:
    return call([prepare(ROOT, ["studio"]), "-m", "likewise", "studio", "--open", *arguments])


def run(arguments: list) -> int:
    return call([prepare(ROOT, []), "-m", "likewise", *arguments])


def test(arguments: list) -> int:
    return call([prepare(ROOT, ["dev"]), "-m", "pytest", *SPREAD, *arguments], OMP_NUM_THREADS="1")


def check(arguments: list) -> int:
    if arguments:
        raise Stop("check takes no arguments", code=2)
    python = prepare(ROOT, ["dev"])
    import_rules = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    failed = 0
    for name, command in (
        ("lint", ["-m", "ruff", "check", "."]),
        ("types", ["-m", "mypy"]),
        ("import rules", ["-c", import_rules, "--no-logo"]),
    ):
        started = time.monotonic()
        code = call([python, *command])
        failed += code != 0
        say("{}: {}, {:.1f} s".format(name, "failed" if code else "fine", time.monotonic() - started))
    return min(failed, 1)


COMMANDS = {"demo": demo, "studio": studio, "run": run, "test": test, "check": check}


def call(command: list, **variables: str) -> int:
    """Run `command` in the root with .venv active. Ctrl-C reaches it too, so it decides how to end."""
    process = subprocess.Popen(command, cwd=ROOT, env=dict(environment(ROOT), **variables))
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code  # ended by a signal: as a shell reports it
        except KeyboardInterrupt:
            continue


def environment(root: str) -> dict:
    venv = os.path.join(root, ".venv")
    path = os.path.dirname(python_of(root)) + os.pathsep + os.environ.get("PATH", "")
    env = dict(os.environ, VIRTUAL_ENV=venv, PATH=path)
    env.pop("PYTHONHOME", None)
    return env


# The environment ----------------------------------------------------------------------------------------


def prepare(root: str, extras: list) -> str:
    """The Python of a .venv that holds likewise with `extras`; made, completed or repaired where needed."""
    asked = torch_build(os.environ)
    state = read_state(root)
    if is_ready(root, state, extras, asked):
        return python_of(root)
    started = time.monotonic()
    state = make_venv(root, state)
    extras = sorted({*extras, *state.get("extras", [])})
    had = state.get("torch")
    torch = asked or had or ("cpu" if without_nvidia() else "pip")
    uv = None if torch == "pip" else find_uv(root, torch, must=asked is not None)
    # `ready` goes before the installation starts and comes back after it ended well, so that one that was
    # interrupted is never taken for a whole one.
    state = dict(state, root=root, extras=extras, torch=had, ready=None)
    write_state(root, state)
    again = asked is not None and torch != had
    picked = install(root, extras, uv, torch, again, must=asked is not None)
    compile_modules(root)
    write_state(root, dict(state, torch=torch if picked else None, ready=fingerprint(root)))
    say(f"ready after {time.monotonic() - started:.0f} s")
    return python_of(root)


def is_ready(root: str, state: dict, extras: list, torch: "str | None") -> bool:
    """True when nothing has to be installed, also for the build `torch`. Starts no process: it costs next to nothing."""
    return (
        state.get("ready") is not None
        and state.get("root") == root
        and set(extras) <= set(state.get("extras", []))
        and torch in (None, "pip", state.get("torch"))
        and os.path.exists(python_of(root))
        and state["ready"] == fingerprint(root)
    )


def fingerprint(root: str) -> str:
    """Changes with what is asked for (pyproject, constraints) and with the Python that .venv holds."""
    digest = hashlib.sha256()
    for parts in (["pyproject.toml"], ["constraints.txt"], [".venv", "pyvenv.cfg"]):
        path = os.path.join(root, *parts)
        if os.path.exists(path):
            with open(path, "rb") as file:
                digest.update(file.read())
        digest.update(b"\0")
    return digest.hexdigest()


def read_state(root: str) -> dict:
    """What go.py noted in .venv: ours, ready, extras, torch, root. Empty where there is none."""
    try:
        with open(os.path.join(root, ".venv", "go.json"), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write_state(root: str, state: dict) -> None:
    path = os.path.join(root, ".venv", "go.json")
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(state, file, indent=1)
    os.replace(path + ".tmp", path)


def python_of(root: str) -> str:
    parts = ["Scripts", "python.exe"] if os.name == "nt" else ["bin", "python"]
    return os.path.join(root, ".venv", *parts)


def make_venv(root: str, state: dict) -> dict:
    """Make .venv unless a sound one is there. Only one that go.py made itself is ever thrown away."""
    venv = os.path.join(root, ".venv")
    repair = os.path.isdir(venv) and bool(os.listdir(venv))
    if repair:
        version = version_of([python_of(root)], "import pip")
        sound = version is not None and version >= OLDEST
        moved = state.get("root", root) != root  # its scripts name the old folder
        if sound and not (state.get("ours") and (moved or was_cut_short(root, state))):
            return state
        if not state.get("ours"):
            raise Stop(f"{venv} holds no Python {dotted(OLDEST)} or newer with pip: move it away")
    python, version = find_python()
    if version_of(python, "import venv, ensurepip") is None:
        raise Stop(NEED_VENV.format(python=" ".join(python), version=dotted(version[:2])))
    say("{} .venv with Python {}".format("repairing" if repair else "making", dotted(version)))
    os.makedirs(venv, exist_ok=True)
    state = {"ours": True, "extras": state.get("extras", []), "torch": state.get("torch")}
    write_state(root, state)  # first of all, and it stays: a .venv that is left half made is known to be ours
    for path in [os.path.join(venv, name) for name in os.listdir(venv) if name != "go.json"]:
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
    made = subprocess.run([*python, "-m", "venv", venv], stdout=PIPE, stderr=STDOUT, cwd=root)
    if made.returncode:
        output = made.stdout.decode("utf-8", "replace")
        raise Stop("making .venv failed:\n" + tail(output) + "\n" + advice(output))
    return state


def was_cut_short(root: str, state: dict) -> bool:
    """Whether the last installation ended while it replaced packages: pip does not mend those."""
    log = read_log(root)
    begun, ended = "Installing collected packages" in log, "Successfully installed" in log
    return state.get("ready") is None and begun and not ended


def find_python() -> tuple:
    """A command that starts a fitting Python, and its version: the running one, or one on the PATH."""
    running = tuple(sys.version_info[:3])
    # Not an activated .venv's own Python, which may be about to be thrown away, but the one behind it.
    itself = [getattr(sys, "_base_executable", None) or sys.executable]
    if OLDEST <= running[:2] <= NEWEST:
        return itself, running
    versions = [f"3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    candidates = [["python" + version] for version in versions] + [["python3"], ["python"]]
    if os.name == "nt":
        candidates = [["py", "-" + version] for version in versions] + candidates
    for candidate in candidates:
        version = version_of(candidate)
        if version and OLDEST <= version[:2] <= NEWEST:
            return candidate, version
    if running >= OLDEST:
        say(f"Python {dotted(running[:2])} is newer than the ones this was tried with; going on")
        return itself, running
    raise Stop(NEED_PYTHON.format(oldest=dotted(OLDEST), newest="3.13", found=dotted(running)))


def version_of(python: list, statement: str = "pass") -> "tuple | None":
    """The version of the Python that a command starts; None if it does not start or cannot do `statement`."""
    code = statement + "; import sys; print('%d.%d.%d' % sys.version_info[:3])"
    try:
        answer = subprocess.run([*python, "-c", code], stdout=PIPE, stderr=DEVNULL, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(rb"(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in match.groups()) if match and answer.returncode == 0 else None


def dotted(version: tuple) -> str:
    return ".".join(str(part) for part in version)


def torch_build(variables: dict) -> "str | None":
    """The build of torch that LIKEWISE_TORCH asks for; "pip" in CI, which takes what the index gives; None if unsaid."""
    if variables.get("CI"):
        return "pip"
    torch = variables.get("LIKEWISE_TORCH", "").strip().lower()
    if torch and not re.match(r"[a-z0-9.]+$", torch):
        raise Stop(
            f"LIKEWISE_TORCH={torch} is no build of torch: use cpu, auto, pip, or one like cu130", code=2
        )
    return torch or None


def without_nvidia() -> bool:
    """Whether CUDA would be downloaded in vain. Elsewhere than on Linux the plain index has no CUDA in it."""
    signs = ("/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg")
    return (
        sys.platform == "linux"
        and not any(os.path.exists(sign) for sign in signs)
        and shutil.which("nvidia-smi") is None
    )


# The installation ---------------------------------------------------------------------------------------


def install(root: str, extras: list, uv: "str | None", torch: str, again: bool, must: bool) -> bool:
    """Install likewise, editable, with the pinned versions; whether uv picked `torch`, as pip picks by itself.

    The output goes to .venv/install.log. With `must`, no other build will do, and with `again` the present one goes.
    """
    target = ".[{}]".format(",".join(extras)) if extras else "."
    what = ["-c", "constraints.txt", "-e", target]
    free = shutil.disk_usage(root).free
    if free < ROOM:
        say(f"only {free / 1e9:.1f} GB are free; likewise takes about 1.5 GB, with CUDA 8 GB")
    say(f"installing likewise{target[1:]}; the log is .venv/install.log")
    if uv is not None:
        pick = ["--python", python_of(root), "--torch-backend", torch]
        pick += ["--reinstall-package", "torch"] if again else []
        # Without a word of the person the small build is tried, not waited for.
        patience = {} if must else {"UV_HTTP_TIMEOUT": "30", "UV_HTTP_RETRIES": "1"}
        if logged([uv, "pip", "install", *pick, *what], root, **patience) == 0:
            return True
        if must:
            fail(root)
    if torch != "pip":
        say(f"torch without CUDA cannot be had: {reason(root)}")
        say("taking the plain index instead, whose torch may come with CUDA, several GB")
    # Not compiled by pip, which is slow at it: see `compile_modules`.
    if logged([python_of(root), "-m", "pip", "install", "--no-compile", "--no-input", *what], root):
        fail(root)
    return False


def find_uv(root: str, torch: str, must: bool) -> "str | None":
    """uv, which picks a build of torch: one on the PATH or in .venv, else the package index's. None: it cannot be had."""
    path = environment(root)["PATH"]
    if shutil.which("uv", path=path) is None:
        logged([python_of(root), "-m", "pip", "install", "--no-compile", "--no-input", UV], root)
    uv = shutil.which("uv", path=path)
    if uv is None and must:
        raise Stop(NEED_UV.format(torch=torch, reason=tail(read_log(root))))
    return uv


def fail(root: str) -> None:
    log = read_log(root)
    raise Stop("the installation failed; its log ends with\n" + tail(log) + "\n" + advice(log))


def reason(root: str) -> str:
    """The last line of the log that says something, short."""
    lines = [line.strip() for line in read_log(root).splitlines() if line.strip()]
    return (
        re.sub(r"^(error|caused? by|cause): *", "", lines[-1], flags=re.I)[:100]
        if lines
        else "uv said nothing"
    )


def compile_modules(root: str) -> None:
    """Write the bytecode of what commands import, on all processors: a first start, or one that may not write, spares it."""
    packages = os.path.join(root, ".venv", "Lib" if os.name == "nt" else "lib")
    places = [packages, os.path.join(root, "src")]
    command = [python_of(root), "-m", "compileall", "-q", "-j", "0", "-x", NEVER_IMPORTED, *places]
    subprocess.run(
        command, cwd=root, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
    )  # what fails starts slower


def logged(command: list, root: str, **variables: str) -> int:
    """Run `command` with its output in the log and a line of progress now and then; its exit code."""
    env = dict(
        environment(root), PYTHONNOUSERSITE="1", PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1", **variables
    )
    started = time.monotonic()
    with open(log_path(root), "wb") as log:
        process = subprocess.Popen(command, cwd=root, env=env, stdin=DEVNULL, stdout=log, stderr=STDOUT)
        while True:
            try:
                return process.wait(timeout=HEARTBEAT)
            except subprocess.TimeoutExpired:
                say(f"{time.monotonic() - started:4.0f} s  {last_step(read_log(root))}")
            except BaseException:
                process.terminate()
                process.wait()
                raise


def log_path(root: str) -> str:
    return os.path.join(root, ".venv", "install.log")


def read_log(root: str) -> str:
    try:
        with open(log_path(root), "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_step(log: str) -> str:
    """What pip or uv is doing, in a few words: the last line of its log that begins with one of its verbs."""
    for line in reversed(log.splitlines()):
        match = re.match(r"\s*((?:Collecting|Downloading|Building|Installing|Prepar\w+)\b[^:;,(]*)", line)
        if match:
            return re.sub(r"-(cp|py)\d.*|\.(whl|tar).*", "", match.group(1).strip())[:70]
    return "waiting for the package registry"


def tail(log: str) -> str:
    return "\n".join("  " + line.rstrip() for line in log.rstrip().splitlines()[-15:])


def advice(log: str) -> str:
    end = "\n".join(log.splitlines()[-40:]).lower()
    for pattern, sentence in ADVICE:
        if re.search(pattern, end):
            return sentence
    return "Check the network, the proxy (HTTPS_PROXY) and the room on the disk, then run this again."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
