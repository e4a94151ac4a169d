"""An invented site of known truth, and an empty store, for files that make none of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from likewise.survey import store as stores
from likewise.survey.store import Store
from rehearsal.catalogue import Catalogue, generate


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return generate(900, seed=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stores.open(tmp_path / "survey.duckdb") as opened:
        yield opened
