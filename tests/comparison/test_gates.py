"""Gates on numbers whose right answer is known. Each fires on its own fault and on no other's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from likewise.comparison.gates import COPIES, DRIFT, LAYOUT, MARGIN, Anchors, Findings, Value, gates, wilson
from likewise.comparison.standing import Gate, Measured

ANCHORS = Anchors(floor=0.4, ceiling=0.8, real=9, spread=0.2)
SOUND = Findings(
    copied=0,
    pictures=40,
    gap=Value(0.01, -0.01, 0.03),
    leak=Value(0.01, -0.01, 0.03),
    drift=Value(0.04, 0.03, 0.05),
    binding=Value(0.01, -0.01, 0.03),
    layout=Value(0.9, 0.8, 1.0),
    background=Value(0.02, -0.05, 0.09),
)
FAULTS = {
    "copying": {"copied": 12},
    "generalisation": {"gap": Value(0.05, 0.02, 0.08)},
    "leak": {"leak": Value(0.08, 0.05, 0.11)},
    "drift": {"drift": Value(0.15, 0.1, 0.2)},
    "binding": {"binding": Value(0.2, 0.15, 0.25)},
    "layout": {"layout": Value(0.3, 0.1, 0.45)},
    "background": {"background": Value(0.3, 0.2, 0.4)},
}


def fired(found: Findings, anchors: Anchors = ANCHORS) -> list[str]:
    return [gate.name for gate in gates(found, anchors) if gate.fired]


def named(name: str, found: Findings, anchors: Anchors = ANCHORS) -> Gate:
    return next(gate for gate in gates(found, anchors) if gate.name == name)


def test_a_sound_condition_passes_every_gate() -> None:
    """Red when any gate's threshold is set to 0."""
    assert fired(SOUND) == []
    assert [gate.name for gate in gates(SOUND, ANCHORS)] == list(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fires_its_own_gate_with_numbers_and_a_remedy(name: str) -> None:
    """Red when the gate's comparison is turned round, or reads another field."""
    gate = named(name, replace(SOUND, **FAULTS[name]))  # type: ignore[arg-type]
    assert fired(replace(SOUND, **FAULTS[name])) == [name]  # type: ignore[arg-type]
    assert any(letter.isdigit() for letter in gate.sentence)
    assert gate.sentence.endswith(".")
    assert gate.remedy
    assert gate.excludes is (name not in ("drift", "binding"))


def test_what_was_not_measured_is_no_gate() -> None:
    """Red when a missing measurement counts as 0, which would pass."""
    assert gates(Findings(), ANCHORS) == ()
    without = Anchors()
    assert [gate.name for gate in gates(SOUND, without)] == [
        "copying",
        "generalisation",
        "layout",
        "background",
    ]
    alike = Anchors(floor=0.8, ceiling=0.8, spread=0.2)
    assert "leak" not in [gate.name for gate in gates(SOUND, alike)], "no units to say it in"


def test_copies_are_counted_beyond_chance() -> None:
    """Red when the share itself, and not its lower bound, is held against the line; or the base's own share is left out."""
    assert fired(replace(SOUND, copied=1, pictures=4)) == [], "one of four is no evidence"
    assert fired(replace(SOUND, copied=10, pictures=40)) == ["copying"]
    assert fired(replace(SOUND, copied=10, pictures=40), replace(ANCHORS, copied=0.25)) == [], "as the base"
    assert fired(replace(SOUND, copied=10, pictures=40, asked=10)) == ["copying"]
    assert fired(replace(SOUND, copied=4, pictures=40, asked=10)) == [], "all of one prompt of ten"
    assert "coarse" in named("copying", SOUND).sentence
    assert "coarse" not in named("copying", SOUND, replace(ANCHORS, real=60)).sentence


def test_a_gap_must_be_sure() -> None:
    """Red when the mean decides, or an interval that is not known counts as sure."""
    assert fired(replace(SOUND, gap=Value(0.2, -0.01, 0.4))) == []
    assert fired(replace(SOUND, gap=Value(0.2))) == []


def test_leaks_are_judged_in_floor_to_ceiling_units() -> None:
    """Red when the margin is compared with a cosine: 0.06 of one is 0.15 of the way from 0.4 to 0.8."""
    assert fired(replace(SOUND, leak=Value(0.06, 0.05, 0.07))) == ["leak"]
    wide = replace(ANCHORS, floor=0.0, ceiling=1.0)
    assert fired(replace(SOUND, leak=Value(0.06, 0.05, 0.07), binding=None), wide) == []
    assert "+0.15" in named("leak", replace(SOUND, leak=Value(0.06, 0.05, 0.07))).sentence
    assert fired(replace(SOUND, leak=Value(0.2, -0.1, 0.5))) == [], "noise"


def test_a_narrower_margin_is_heeded() -> None:
    """Red when the constant is used in place of what the comparison was given."""
    assert fired(SOUND, replace(ANCHORS, margin=0.01)) == [], "not sure"
    sure = replace(SOUND, leak=Value(0.02, 0.01, 0.03))
    assert fired(sure) == []
    assert fired(sure, replace(ANCHORS, margin=0.01)) == ["leak"]


def test_measured_axes_are_intervals() -> None:
    """Red when a gate asks for more than value, low and high."""
    axis = Measured(0.05, 0.02, 0.08, prompts=12, replicates=3, card="gap-v1")
    assert fired(replace(SOUND, gap=axis)) == ["generalisation"]


def test_constants_are_those_of_the_protocol() -> None:
    """Red when one is changed without its source."""
    assert (MARGIN, COPIES, LAYOUT, DRIFT) == (0.08, 0.05, 0.5, 0.5)


def test_wilson_agrees_with_a_published_table() -> None:
    """Newcombe (1998, Statistics in Medicine 17), method 3. Red when z is one-sided or the middle is not shrunk."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_less_variety_by_noise_alone_is_no_lock() -> None:
    """Red when the interval is not looked at: pictures of one individual differ less than those of any."""
    assert fired(replace(SOUND, layout=Value(0.42, 0.26, 0.57))) == []
    assert fired(replace(SOUND, layout=Value(0.42, 0.36, 0.48))) == ["layout"]
    assert (
        "42% of the untaught base's variety between seeds is left (36% to 48%)"
        in named("layout", replace(SOUND, layout=Value(0.42, 0.36, 0.48))).sentence
    )
