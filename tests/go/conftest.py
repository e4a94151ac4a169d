"""A checkout with and without its environment, and go.py as a module."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.go.checkouts import GO, Checkout


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
