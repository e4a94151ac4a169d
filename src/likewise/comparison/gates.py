"""Gates: what keeps a condition from being recommended without a word about it. No torch.

Plain numbers go in, a sentence and a remedy come out. A gate that could not be measured is not there: an absent gate was not
passed. Gates are never terms of an average; they stand beside the axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from likewise.comparison.standing import Gate

MARGIN = 0.08
"""Share of the way from floor to ceiling that counts as a difference: about 0.03 of DINO's cosine on the DreamBooth set, the
gap between two published reproductions of one method (DreamBooth is 0.614 in arXiv 2306.07280 and 0.644 in 2405.20271)."""
COPIES = 0.05
"""Share of copies from which a method copies: audits set their line at 1 to 5 % false alarms."""
LAYOUT = 0.5
"""Share of the untaught base's variety below which a method has locked its layouts."""
DRIFT = 0.5
"""Share of what another prompt moves a picture, from which the class has drifted. No publication sets this one."""
CONFIDENCE = 0.95


class Interval(Protocol):
    """A mean and its interval: a `standing.Measured`, a `statistics.crossed.Estimate`, or `Value`."""

    @property
    def value(self) -> float:
        """The mean."""

    @property
    def low(self) -> float | None:
        """None where nothing says how sure the mean is."""

    @property
    def high(self) -> float | None:
        """As `low`."""


@dataclass(frozen=True)
class Value:
    """A number and its interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Anchors:
    """What holds for all conditions of a comparison. Similarities are cosines; None where it is not known."""

    floor: float | None = None
    """Fidelity of the untaught base."""
    ceiling: float | None = None
    """Fidelity of real pictures."""
    real: int = 0
    """Pictures that the line of copies was drawn from."""
    copied: float = 0.0
    """Share of the untaught base's pictures beyond that line."""
    spread: float | None = None
    """How far the untaught base's pictures of different class prompts are from each other (`drift.spread`)."""
    margin: float = MARGIN

    @property
    def scale(self) -> float | None:
        """From floor to ceiling; None where they cannot be told apart."""
        if self.floor is None or self.ceiling is None or self.ceiling <= self.floor:
            return None
        return self.ceiling - self.floor


@dataclass(frozen=True)
class Findings:
    """What was measured of one condition, in the units of the metrics of the same names; None where it was not."""

    copied: int | None = None
    """Pictures beyond the line of copies."""
    pictures: int = 0
    """The number of pictures that were looked at for copies."""
    asked: int | None = None
    """How often a training drew a prompt, whose pictures are alike and no evidence apart. None: as many as pictures."""
    gap: Interval | None = None
    leak: Interval | None = None
    drift: Interval | None = None
    binding: Interval | None = None
    layout: Interval | None = None
    background: Interval | None = None


def gates(found: Findings, anchors: Anchors) -> tuple[Gate, ...]:
    """Every gate that can be judged, fired or not, in the order of a page."""
    judged = (
        _copying(found, anchors),
        _gap(found, anchors),
        _leak(found, anchors),
        _drift(found, anchors),
        _binding(found, anchors),
        _layout(found),
        _background(found, anchors),
    )
    return tuple(gate for gate in judged if gate is not None)


def _copying(found: Findings, anchors: Anchors) -> Gate | None:
    if found.copied is None or not found.pictures:
        return None
    apart = found.asked or found.pictures
    low, _ = wilson(found.copied / found.pictures * apart, apart)
    allowed = max(COPIES, anchors.copied)
    sentence = (
        f"{found.copied} of {found.pictures} pictures are nearer to a training picture than your own pictures are to each "
        f"other: at least {low:.0%} with {CONFIDENCE:.0%} confidence, where {allowed:.0%} may be chance."
    )
    if anchors.real:
        sentence += f" The line comes from {anchors.real} pictures" + (
            ", so it is coarse." if anchors.real < 1 / COPIES else "."
        )
    return Gate("copying", low > allowed, sentence, "fewer steps or more pictures")


def _gap(found: Findings, anchors: Anchors) -> Gate | None:
    if found.gap is None:
        return None
    value, low = found.gap.value, found.gap.low
    fired = low is not None and low > 0
    unit = "of the way from floor to ceiling" if anchors.scale else "of a cosine"
    sentence = (
        f"Its pictures are {_signed(value, anchors)} {unit} more like the pictures that were taught than like those kept "
        f"back, beyond what real pictures show{_between(found.gap, anchors)}."
    )
    return Gate("generalisation", fired, sentence, "fewer steps or a lower rank")


def _leak(found: Findings, anchors: Anchors) -> Gate | None:
    if found.leak is None or anchors.scale is None:
        return None
    fired = _above(found.leak, anchors.margin * anchors.scale)
    sentence = (
        f"Pictures of the class alone come {_signed(found.leak.value, anchors)} closer to the concept than before"
        f"{_between(found.leak, anchors)}; up to {anchors.margin:.2f} gives no warning."
    )
    return Gate("leak", fired, sentence, "class pictures that preserve the prior, or fewer steps")


def _drift(found: Findings, anchors: Anchors) -> Gate | None:
    """It keeps nothing from being recommended: a class that moves may be as good as before, and `leak` says whether it comes
    to look like the concept. No publication gives a line, so this one only decides what is said.
    """
    if found.drift is None or not anchors.spread:
        return None
    share = found.drift.value / anchors.spread
    sentence = (
        f"Pictures of the class alone change by {found.drift.value:.3f} when the concept is taught. That is "
        f"{share:.0%} of the change that another prompt makes; up to {DRIFT:.0%} gives no warning."
    )
    return Gate(
        "drift", share > DRIFT, sentence, "a preserved prior or a lower learning rate", excludes=False
    )


def _binding(found: Findings, anchors: Anchors) -> Gate | None:
    """It keeps nothing from being recommended: a LoRA that is always on is usual, and people switch it off."""
    if found.binding is None or anchors.scale is None:
        return None
    fired = _above(found.binding, anchors.margin * anchors.scale)
    tied = "shows without its word as well" if fired else "shows with its word alone"
    sentence = (
        f"Without the taught word pictures come {_signed(found.binding.value, anchors)} closer to the concept than the "
        f"untaught base's{_between(found.binding, anchors)}; up to {anchors.margin:.2f} gives no warning. "
        f"What was taught {tied}."
    )
    return Gate("binding", fired, sentence, "a preserved prior", excludes=False)


def _layout(found: Findings) -> Gate | None:
    """Pictures of one individual differ less than those of any, so a method is locked only where that is beyond noise."""
    if found.layout is None:
        return None
    value, low, high = found.layout.value, found.layout.low, found.layout.high
    between = "" if low is None or high is None else f" ({low:.0%} to {high:.0%})"
    sentence = (
        f"{value:.0%} of the untaught base's variety between seeds is left{between}; below {LAYOUT:.0%} a method "
        "repeats its layouts."
    )
    fired = value < LAYOUT and (high is None or high < LAYOUT)
    return Gate("layout", fired, sentence, "fewer steps, or pictures that differ more")


def _background(found: Findings, anchors: Anchors) -> Gate | None:
    """In units of its own: 0 is the untaught base, 1 the training pictures' surroundings among themselves."""
    if found.background is None:
        return None
    fired = _above(found.background, anchors.margin)
    sentence = (
        f"What is drawn around the subject has gone {found.background.value:+.2f} of the way from what the untaught base "
        f"draws there to what was around it in the training pictures; up to {anchors.margin:.2f} gives no warning."
    )
    return Gate(
        "background",
        fired,
        sentence,
        "pictures in other places, or captions that name the place where they do not",
    )


def wilson(count: float, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927): two-sided, from 0 to 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, squared = count / total, z * z
    middle = share + squared / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + squared / (4 * total * total))
    return max(0.0, (middle - half) / (1 + squared / total)), min(
        1.0, (middle + half) / (1 + squared / total)
    )


def _above(value: Interval, margin: float) -> bool:
    """Beyond the margin, and not by noise alone."""
    return value.value > margin and (value.low is None or value.low > 0)


def _signed(value: float, anchors: Anchors) -> str:
    return f"{value / (anchors.scale or 1.0):+.2f}"


def _between(value: Interval, anchors: Anchors) -> str:
    if value.low is None or value.high is None:
        return ""
    return f" ({_signed(value.low, anchors)} to {_signed(value.high, anchors)})"
