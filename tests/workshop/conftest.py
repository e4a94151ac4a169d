"""What every step of the workshop builds, small, for each file of tests that asks for it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The build folder after the one command that runs every step."""
    pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")
    from tests.workshop.artwork import artwork
    from workshop.all import STEPS
    from workshop.all import main as build_all

    root = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        modules = [importlib.import_module(f"workshop.{step}") for step in STEPS]
        patch.setattr("workshop.common.BUILD", root)
        patch.setattr("workshop.fetch.PACKAGES", root)
        rows = artwork(root)
        for module in modules:
            if hasattr(module, "sources"):
                patch.setattr(module, "sources", lambda *_: rows)
        build_all(["--smoke"])
        yield root / "smoke"
