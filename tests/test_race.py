"""What the race against diffusers' script compares with."""

from __future__ import annotations

from pathlib import Path

import pytest

import likewise
from likewise import methods
from likewise.planning import settle

race = pytest.importorskip("benchmarks.peers.race")


def test_the_base_advises_nothing_in_a_race() -> None:
    base = likewise.load("pocket")
    plain = methods.get("lora").recipe().override(race.SETTINGS)
    assert base.advice["lora"], "then this shows nothing"
    assert settle(base, "lora", race.unadvised(base)) == plain
    assert plain.batch_size == 1
    assert plain.prior == "none"


def test_what_is_too_short_to_time_has_no_share() -> None:
    times = {(side, steps): [(2.0, 2.0)] for side in race.SIDES for steps in (50, 200)}
    for row in race.rows(times, flops=10**9, ceiling=1e11):
        assert row["share of the product"] is None


def test_both_sides_are_given_the_same_model_and_settings(tmp_path: Path) -> None:
    theirs, ours = (
        race.command(side, 8, tmp_path, tmp_path / "out", model=tmp_path / "sd15") for side in race.SIDES
    )
    assert theirs[theirs.index("--pretrained_model_name_or_path") + 1] == str(tmp_path / "sd15")
    assert ours[ours.index("--base") + 1] == str(tmp_path / "sd15")
    assert theirs[theirs.index("--resolution") + 1] == str(race.SETTINGS["resolution"])
    assert "--base" not in race.command("likewise", 8, tmp_path, tmp_path / "out", model=race.POCKET)
