"""The bar that a terminal shows while something is taught."""

from __future__ import annotations

import pytest

from likewise.cli import progress
from likewise.events import Stepped


@pytest.mark.parametrize(("width", "count"), [(140, 5), (50, 2), (20, 1)])
def test_a_bar_tells_as_much_as_there_is_room_for(
    width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, time left, loss, speed and memory; a narrow terminal loses the last of them first."""
    monkeypatch.setenv("COLUMNS", str(width))
    bar = progress.Bar("teaching")
    bar.step(Stepped(5, 10, (0.5,), {}, 0.1, 500_000_000))
    (task,) = bar._progress.tasks
    assert (task.completed, task.total) == (5, 10)
    facts = task.fields["detail"].strip().split("  ")
    assert len(facts) == count
    for fact, (begin, end) in zip(
        facts, [("5/10", ""), ("", "s left"), ("loss 0.5", ""), ("", "steps/s"), ("500 MB", "")], strict=False
    ):
        assert fact.startswith(begin)
        assert fact.endswith(end)
