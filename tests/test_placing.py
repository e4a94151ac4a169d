"""Placing: processes and threads from facts of a machine; nothing is timed here."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from likewise import placing
from likewise.placing import Facts, many, one
from tests.bases import tiny

GB = 1e9


@pytest.mark.parametrize(
    ("facts", "tasks", "memory", "workers", "placed", "said"),
    [
        (Facts(2, 0.1), 5, 20 * GB, None, (2, 1), "each in a process with one thread: 2 cores are there."),
        (Facts(2, 1.2), 5, 20 * GB, None, (1, 1), "2 cores are there, one of them busy with other programs."),
        (Facts(2, 9.0), 5, 20 * GB, None, (1, 1), "one of them busy"),
        (Facts(8, 2.6), 3, 20 * GB, None, (3, 1), "8 cores are there, 3 of them busy"),
        (Facts(8, 0.0), 3, 20 * GB, None, (3, 2), "3 trainings go on at a time, each in a process with 2 threads"),
        (Facts(8, 0.0), 8, 7 * GB, None, (3, 2), "memory is free for 3."),
        (Facts(8, 0.0), 8, 1 * GB, None, (1, 8), "memory is free for 1."),
        (Facts(8, 0.0, threads=1), 4, 20 * GB, None, (4, 1), "one thread"),
        (Facts(8, 0.0, threads=4), 9, 20 * GB, None, (2, 4), "4 threads"),
        (Facts(2, 2.0), 1, 1 * GB, 4, (4, 1), "as --workers says."),
        (Facts(8, 7.0), 9, 1 * GB, 2, (2, 4), "as --workers says."),
        (Facts(8, 0.0, threads=1), 9, 1 * GB, 2, (2, 1), "as --workers says."),
    ],
)  # fmt: skip
def test_many_trainings_get_processes(
    facts: Facts, tasks: int, memory: float, workers: int | None, placed: tuple[int, int], said: str
) -> None:
    found = many(facts, tasks, 2 * GB, memory, workers)
    assert (found.workers, found.threads) == placed
    assert said in found.line
    assert found.workers * found.threads <= facts.cores or workers


@pytest.mark.parametrize(
    ("facts", "gain", "threads", "said"),
    [
        (Facts(2, 0.0), 1.6, 2, "Teaching uses 2 threads: 1.6 times as fast as one here."),
        (
            Facts(2, 0.0),
            1.02,
            1,
            "Teaching uses one thread: 2 would hardly be faster (1 times in a short probe).",
        ),
        (Facts(2, 0.0), 0.3, 1, "(0.3 times in a short probe)"),
        (Facts(8, 0.0), None, 8, "Teaching uses 8 threads: 8 cores."),
        (Facts(4, 1.0), 2.5, 3, "3 threads"),
    ],
)
def test_one_training_gets_the_threads_that_it_gains_from(
    facts: Facts, gain: float | None, threads: int, said: str
) -> None:
    asked = []

    def probe(count: int) -> float | None:
        asked.append(count)
        return gain

    found = one(facts, probe)
    assert (found.workers, found.threads) == (1, threads)
    assert said in found.line
    assert asked == [facts.free]


@pytest.mark.parametrize(
    ("facts", "threads", "said"),
    [
        (Facts(1, 0.0), 1, "Teaching uses one thread: one core."),
        (Facts(2, 1.0), 1, "Teaching uses one thread: 2 cores, one of them busy with other programs."),
        (Facts(2, 0.0, threads=1), 1, "Teaching uses one thread, as OMP_NUM_THREADS says."),
        (Facts(2, 2.0, threads=6), 6, "Teaching uses 6 threads, as OMP_NUM_THREADS says."),
    ],
)
def test_no_probe_is_made_where_there_is_no_choice(facts: Facts, threads: int, said: str) -> None:
    found = one(facts, lambda count: pytest.fail("nothing is to be measured"))
    assert (found.threads, found.line) == (threads, said)


@pytest.mark.parametrize(("said", "threads"), [("3", 3), ("4,2", 4), ("", None), ("many", None)])
def test_what_a_person_says_is_read(said: str, threads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    facts = placing.here()
    assert facts.threads == threads
    assert 1 <= facts.free <= facts.cores <= (os.cpu_count() or 1)
    assert facts.busy >= 0


def test_a_probe_leaves_the_threads_and_the_base_as_they_were() -> None:
    base, before = tiny(), torch.get_num_threads()
    kept = base.fingerprint()
    gain = placing.gained(base, 2, 64)(2)
    assert gain is None or gain > 0
    assert torch.get_num_threads() == before
    assert base.fingerprint() == kept
