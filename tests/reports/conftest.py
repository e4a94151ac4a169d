"""A finished comparison's folder with three trainings of each condition, made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.folders import made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "mugs")
