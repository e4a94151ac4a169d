"""CONTRIBUTING.md's method and family, taken from the page and run as an outside package would bring them."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from likewise import families, methods
from likewise.base import Base
from likewise.method import Method
from tests.bases import tiny
from tests.contracts import test_method_contract as contract

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"[Ss]ave this\s+as\s+`src/likewise/(methods|families)/(\w+)\.py`.*?```python\n(.*?)```", re.DOTALL
)
CHECKS = [
    contract.test_attaching_alone_changes_nothing,
    contract.test_detaching_leaves_the_base_bit_for_bit,
    contract.test_strength_nought_is_the_base,
    contract.test_loss_falls,
    contract.test_saved_and_restored_draws_the_same,
    contract.test_what_is_left_is_of_the_kind_that_is_declared,
]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with both files and the entry points by which `likewise` finds them, on Python's path."""
    folder = tmp_path_factory.mktemp("outside")
    points = {}
    for kind, name, code in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        points[kind] = f"[likewise.{kind}]\n{name} = {name}:{'METHOD' if kind == 'methods' else 'FAMILY'}\n"
    assert points.keys() == {"methods", "families"}, "the page no longer says where to save its examples"
    about = folder / "outside-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("".join(points.values()), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("ia3", "pixels"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("test_"))
@pytest.mark.parametrize("pair", ["ia3-sd1", "ia3-pixels", "hypernetwork-pixels"])
@pytest.mark.usefixtures("outside")
def test_the_examples_keep_the_contract(
    pair: str, check: Callable[[tuple[Method, Base], Path], None], tmp_path: Path
) -> None:
    name, variant = pair.split("-")
    base = families.get(variant).tiny() if variant in families.names() else tiny(variant)
    check((methods.get(name), base), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["mypy", "ruff check", "ruff format --check"])
def test_the_examples_pass_the_checks_on_types_and_style(tool: str, outside: Path) -> None:
    name, *arguments = tool.split()
    pytest.importorskip(name, reason=f"{name} comes with the dev extra")
    settings = "--config-file" if name == "mypy" else "--config"
    command = [sys.executable, "-m", name, *arguments, settings, str(ROOT / "pyproject.toml")]
    files = [str(path) for path in sorted(outside.glob("*.py"))]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
