"""The shape of the code: short files and functions, who may import whom, and what does without torch."""

import ast
import os
import re
import runpy
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "likewise"
FILES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# `--help`, `report` and `inspect` answer at once, and on a machine without torch.
TORCH_FREE = [
    "errors",
    "events",
    "journal",
    "records",
    "recipe",
    "concept",
    "intake",
    "cli",
    "comparison.results",
    "formats",
    "inspection",
    "survey",
    "survey.statistics",
    "reports.comparison",
    "reports.page",
    "reports.survey",
    "wording",
    "kinds",
    "methods",
    "comparison.banks",
    "comparison.concluding",
    "comparison.design",
    "comparison.folds",
    "comparison.kinds",
    "comparison.split",
    "comparison.protocol_file",
    "statistics.preference",
    "comparison.voting",
    "comparison.votes",
    "local",
    "local.guard",
    "local.pictures",
    "local.server",
    "comparison.gates",
    "statistics.simulation",
    "comparison.verdicts",
    "comparison.costs",
    "comparison.recommending",
    "comparison.concluded",
    "comparison.answering",
    "comparison.evidence",
]

# Started before anything else in a fresh Python: torch is as good as not installed there.
WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch was imported", name="torch")

sys.meta_path.insert(0, NoTorch())
"""


def relative(path: Path) -> str:
    return path.relative_to(SOURCE if path.is_relative_to(SOURCE) else ROOT).as_posix()


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own that finds the package in src."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=relative)
def test_files_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{relative(path)} has {lines} lines: find the second file in it"


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=relative)
def test_functions_are_short(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = {f.name: n for f in functions if (n := length(f)) > LONGEST_FUNCTION}
    assert not long, f"functions of more than {LONGEST_FUNCTION} lines in {relative(path)}: {long}"


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first decorator to the last line of the body."""
    first = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or first) - first + 1


def plugins(folder: str) -> set[str]:
    """The names of the methods or families that are there, as their files name them."""
    return {path.stem for path in (SOURCE / folder).glob("*.py") if not path.stem.startswith("_")}


@pytest.mark.parametrize("name", ["train.py", "base.py"])
def test_the_shared_files_name_no_family_and_no_method(name: str) -> None:
    path = SOURCE / name
    names = plugins("families") | plugins("methods") | {"sd", "sdxl", "flux", "dreambooth", "lora"}
    spelled = "|".join(name.replace("_", "[ _-]?") for name in sorted(names, key=len, reverse=True))
    found = re.findall(rf"(?<![a-z0-9])(?:{spelled})(?![a-z0-9])", code_of(path).lower())
    assert not found, f"{name} knows {sorted(set(found))}: what differs belongs in families/ or methods/"


def test_no_two_modules_know_each_other() -> None:
    """Not even for types: what both need belongs below them. A package's front may know its rooms, and they it."""
    modules = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in FILES}
    known = {name: imported(path) & modules.keys() for name, path in modules.items()}
    pairs = {tuple(sorted((one, other))) for one in known for other in known[one] if one in known[other]}
    assert not pairs, f"these import one another: {sorted(pairs)}"


def imported(path: Path) -> set[str]:
    """Every module that may be meant by an import, wherever it stands."""
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    return {
        name for n in nodes for name in (n.module or "", *(f"{n.module}.{alias.name}" for alias in n.names))
    }


SPELLED = {
    "kinds.py": "the mark of a kind is the name of the method that first left it",
    "factors/deltas.py": "factorisations by LyCORIS' names, which stand in files; a method may have such a name",
    "factors/rows.py": "likewise",
    "elsewhere.py": "the options of other programs",
    "comparison/answering.py": "the methods that published tables compare",
    "comparison/sizes.py": "the sizes of files on published models, which are too large to be built here",
    "survey/importing.py": "the words of other people's tables",
    "survey/statistics/members.py": "the rows of the survey's table, which counts the types of a site",
}
"""Modules outside `methods/` in which a method's name stands as a word, and what else it is a word for there."""


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_methods_and_kinds_spell_the_name_of_a_method(path: Path) -> None:
    """What differs between methods is a field of `Method`, what differs between their files one of `Kind`."""
    if path.parent.name == "methods" or relative(path) in SPELLED:
        return
    found = spelled(path, plugins("methods") | {"lycoris"}) - {
        path.stem
    }  # a layout may be called like a kind
    assert not found, (
        f"{relative(path)} spells {sorted(found)}: ask for `artifact.kind`, or for a method's fields"
    )


def test_every_module_that_may_spell_a_method_does() -> None:
    assert all(spelled(SOURCE / name, plugins("methods")) for name in SPELLED)


def spelled(path: Path, names: set[str]) -> set[str]:
    """Those of `names` that stand in the code as a text or as a module that is imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("likewise.methods"):
            found |= {(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("likewise.methods.") for alias in node.names}
    return found & names


def code_of(path: Path) -> str:
    """The file without comments and docstrings, which may explain by example."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(ast.fix_missing_locations(tree))


@pytest.mark.parametrize("name", TORCH_FREE)
def test_imports_without_torch(name: str) -> None:
    result = python(f"{WITHOUT_TORCH}\nimport likewise.{name}")
    assert result.returncode == 0, f"likewise.{name} needs torch to be imported:\n{result.stderr}"


def test_the_torch_blocker_blocks() -> None:
    result = python(f"{WITHOUT_TORCH}\nimport torch")
    assert result.returncode != 0
    assert "torch was imported" in result.stderr


def test_the_tests_reach_no_network() -> None:
    with pytest.raises(OSError, match=r"may not reach 'example\.org'"):
        socket.create_connection(("example.org", 443), timeout=1)
    with pytest.raises(OSError, match=r"may not reach '192\.0\.2\.1'"):
        socket.socket().connect(("192.0.2.1", 443))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'version: "{version}"' in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f'__version__ = "{version}"' in (SOURCE / "__init__.py").read_text(encoding="utf-8")


def test_imports_keep_to_the_layers() -> None:
    pytest.importorskip("importlinter", reason="import-linter comes with the dev extra")
    result = python(
        "import sys; from importlinter.cli import lint_imports_command\n"
        "sys.argv = ['lint-imports', '--no-logo', '--no-cache']; lint_imports_command()"
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_picture_of_the_layers_is_that_of_the_code() -> None:
    drawing = runpy.run_path(str(ROOT / "docs" / "layers.py"))
    picture = (ROOT / "docs" / "layers.svg").read_text(encoding="utf-8")
    assert drawing["drawn"]() == picture, "draw it anew: python docs/layers.py"
