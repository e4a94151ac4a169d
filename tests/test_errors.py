"""Errors: whole on their way between processes."""

from __future__ import annotations

import pickle

import pytest

from likewise.errors import Error, Interrupted, RunError, StorageError, TrainingError


@pytest.mark.parametrize(
    "error",
    [
        RunError("it is gone", "look elsewhere"),
        RunError.missing("it is not there"),
        StorageError("no space is left", "free some", "go on"),
        TrainingError("not a number", "lower the rate", (1, 3)),
        Interrupted("stopped"),
    ],
)
def test_an_error_is_the_same_in_another_process(error: Error) -> None:
    sent = pickle.loads(pickle.dumps(error))
    assert type(sent) is type(error)
    assert (str(sent), vars(sent)) == (str(error), vars(error))
