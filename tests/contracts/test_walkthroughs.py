"""CONTRIBUTING.md's method, family and layout, taken from the page: each is one file, and no other is told of it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from likewise import families, formats, methods
from likewise.artifact import Artifact
from likewise.base import Base
from likewise.comparison.support import programs
from likewise.errors import FormatError
from likewise.inspection import inspect
from likewise.kinds import DIRECTION
from likewise.method import Method
from likewise.operations import placing
from likewise.operations.merging import merge
from likewise.operations.placing import Wish
from tests.bases import tiny
from tests.contracts import test_method_contract as contract

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"[Ss]ave this\s+as\s+`src/likewise/(methods|families|formats)/(\w+)\.py`.*?```python\n(.*?)```",
    re.DOTALL,
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
    """A folder with the files, and with the entry points by which `likewise` finds method and family, on Python's path.

    The layout's file counts as one of `likewise.formats`.
    """
    folder = tmp_path_factory.mktemp("outside")
    packages, points = [], []
    for package, name, code in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        (folder / package).mkdir()
        (folder / package / f"{name}.py").write_text(code, encoding="utf-8")
        packages.append(package)
        if what := {"methods": "METHOD", "families": "FAMILY"}.get(package):
            points.append(f"[likewise.{package}]\n{name} = {name}:{what}\n")
    assert packages == ["methods", "families", "formats"], (
        "the page no longer says where to save its examples"
    )
    about = folder / "outside-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("".join(points), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for place in (folder / "methods", folder / "families", folder):
            patch.syspath_prepend(place)
        patch.setattr(formats, "__path__", [*formats.__path__, str(folder / "formats")])
        yield folder
    for name in ("ia3", "pixels", "likewise.formats.mean_features"):
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


@pytest.mark.usefixtures("outside")
def test_the_example_of_a_layout_is_read_written_and_known_everywhere(tmp_path: Path) -> None:
    made = Artifact(
        "aesthetic", "sd", "mood", "", {"aesthetic.mean": torch.randn(1, 768)}, precision="float32"
    )
    path = placing.save(made, "mood", Wish("mean_features", tmp_path))
    again = formats.read(path)
    assert again.kind == DIRECTION
    assert torch.equal(again.tensors["aesthetic.mean"], made.tensors["aesthetic.mean"])
    found = inspect(path)
    assert (found.kind, found.layout, found.portability["ComfyUI"]) == (
        "aesthetic embedding", "mean_features", "refuses it",
    )  # fmt: skip
    assert "a gallery of moods" in {row["name"] for row in programs("aesthetic")}
    lora = Artifact("lora", "sd", "dog", "", {})
    with pytest.raises(FormatError, match="holds aesthetic, not lora"):
        formats.write(lora, tmp_path / "dog.safetensors", "mean_features")


@pytest.mark.usefixtures("outside")
def test_what_the_example_of_a_method_leaves_is_inspected_and_refused_by_name(tmp_path: Path) -> None:
    left = Artifact("ia3", "sd", "sks", "dog", {"a.scale": torch.zeros(4)}, declared=methods.get("ia3").kind)
    path = formats.write(left, tmp_path / "left.safetensors")
    assert (inspect(path).kind, inspect(path).portability["likewise"]) == ("ia3", "exact")
    with pytest.raises(FormatError, match="what ia3 taught is no change of weights"):
        merge([(formats.read(path), 1.0)])


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["mypy", "ruff check", "ruff format --check"])
def test_the_examples_pass_the_checks_on_types_and_style(tool: str, outside: Path) -> None:
    name, *arguments = tool.split()
    pytest.importorskip(name, reason=f"{name} comes with the dev extra")
    settings = "--config-file" if name == "mypy" else "--config"
    command = [sys.executable, "-m", name, *arguments, settings, str(ROOT / "pyproject.toml")]
    files = [str(path) for path in sorted(outside.glob("*/*.py"))]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
