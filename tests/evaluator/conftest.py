"""The bundled judge and what it sees in the bundled pictures, once for all tests of a file."""

from __future__ import annotations

import pytest

from likewise.metrics.features import Features, load, read
from likewise.metrics.score import Reading
from tests.metrics.drawings import cat, suite


@pytest.fixture(scope="module")
def judge() -> Features:
    return load("judge")


@pytest.fixture(scope="module")
def cats(judge: Features) -> Reading:
    return read(judge, cat())


@pytest.fixture(scope="module")
def men(judge: Features) -> Reading:
    """True pictures of somebody in twelve places, three of each."""
    return read(judge, suite("green-haired-man", "true"))
