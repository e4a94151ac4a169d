"""A comparison that was run once for a file of tests, with methods that an outside package would add."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from likewise import methods
from tests.bases import pictures
from tests.comparison.made import OUTSIDE, Done, planned
from tests.metrics.judges import panel


@pytest.fixture(scope="module")
def outside_methods() -> Iterator[None]:
    """The three as an outside package would add them."""
    get, names = methods.get, methods.names
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "get", lambda name: OUTSIDE.get(name) or get(name))
        patch.setattr(methods, "names", lambda: sorted([*names(), *OUTSIDE]))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, outside_methods: None) -> Done:
    root = tmp_path_factory.mktemp("comparison")
    source = pictures(root / "owls", 5)
    comparison = planned(source, root / "out")
    assert comparison.loaded is not None
    base, fingerprint = comparison.loaded, comparison.loaded.fingerprint()
    return Done(source, root / "out", list(comparison.start(judges=panel())), base, fingerprint)
