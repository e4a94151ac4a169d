"""The evaluator on costs whose right answer is known: row 31 of the sanity set.

A known sleep, a known block of memory and a known number of bytes are added, and the meters must read what was added. No
time is held against a machine: a meter is compared with itself.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from likewise.base import Sampler
from likewise.comparison.concluding import frame
from likewise.comparison.preparing import prepare
from likewise.meter import Meter
from likewise.metrics.features import Features, Panel
from tests.bases import lora_run, pictures, tiny

SLEEP = 1.0
"""Seconds: long beside what a busy machine adds to a sleep."""
HELD = 512 * 2**20
PADDED = 1_000


def metered(asleep: float = 0.0, paused: float = 0.0) -> float:
    """What the meter reads for a little work and these seconds of sleep."""
    with Meter() as meter:
        torch.ones(64, 64) @ torch.ones(64, 64)
        time.sleep(asleep)
        with meter.paused():
            time.sleep(paused)
    return meter.seconds


def test_row_31_a_sleep_adds_its_seconds() -> None:
    """Red when the meter reads processor time (`time.process_time`), in which a sleep costs nothing."""
    assert metered(asleep=SLEEP) - metered() == pytest.approx(SLEEP, rel=0.2)


def test_row_31_a_sleep_while_the_meter_is_paused_adds_nothing() -> None:
    """Red when `paused` adds to what is left out nothing of what it measured."""
    assert metered(paused=SLEEP) - metered() == pytest.approx(0, abs=0.2 * SLEEP)


def test_row_31_memory_that_was_held_and_freed_is_in_the_peak() -> None:
    """Red when the peak is the resident set at the end, or the block is entered without `before`."""
    with Meter() as meter:
        block = torch.ones(HELD, dtype=torch.uint8)
        del block
    assert meter.peak - meter.before == pytest.approx(HELD, rel=0.02)


def test_row_31_a_padded_file_costs_what_it_was_padded_by(tmp_path: Path, judge: Features) -> None:
    """Red when the size of a file is that of its tensors, without the header."""
    base = tiny("sd1")
    run = lora_run(tmp_path, tmp_path / "run", steps=1)
    for _ in run.start(base=base):
        pass
    plain = next((tmp_path / "run").glob("*.safetensors"))
    padded = tmp_path / "padded.safetensors"
    header = int.from_bytes(plain.read_bytes()[:8], "little")
    start, end = 8 + header, plain.read_bytes()
    longer = (header + PADDED).to_bytes(8, "little")
    padded.write_bytes(longer + end[8:start] + b" " * PADDED + end[start:])
    comparison = prepare(
        pictures(tmp_path / "dog", 4),
        noun="dog",
        base=base,
        token="sks",
        out=tmp_path / "comparison",
        methods=[],
        files=[plain, padded],
        prompts=["a {} on a beach"],
        seeds=1,
        replicates=1,
        sampler=Sampler(steps=1),
    )
    for _ in comparison.start(judges=Panel(judge, judge)):
        pass
    costs = [rows[0].cost["bytes"] for rows in frame(comparison.folder).scores.rows.values()]
    assert costs[0] == 0, "nothing was taught to the untaught base"
    assert costs[2] - costs[1] == PADDED
