"""Standing: what a comparison knows of one condition, in one value. No torch.

Verdicts, recommendations and pages read standings and never the trials behind them, so that limits may change and pages may
be drawn again without a base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Measured:
    """One axis: the mean over replicates and prompts in floor-to-ceiling units, with its 95 % interval."""

    value: float
    low: float | None
    """None where one replicate alone gives no interval."""
    high: float | None
    prompts: int
    replicates: int
    card: str
    """The full recipe's versioned id. Values of different cards are never compared."""
    error: float | None = None
    """Standard error; over prompts alone where there is one replicate, and then it says nothing of training again."""


@dataclass(frozen=True)
class Cost:
    """What one training and one picture cost on the machine of the comparison. None where it is not known."""

    bytes: int | None = None
    """Size of the file as it is shared."""
    seconds: float | None = None
    """Training, with everything that belongs to it."""
    peak_bytes: int | None = None
    """The most memory that training held at once."""
    sample_seconds: float | None = None
    """Drawing one picture, in the fastest of the trials: other work on the machine only slows it."""
    shared: bool = False
    """Whether `seconds` is a share of what several trials cost together."""
    sample_slowest: float | None = None
    """The same in the slowest trial; None where there was one."""


@dataclass(frozen=True)
class Gate:
    """Something that keeps a condition from being recommended without a word about it."""

    name: str
    fired: bool
    sentence: str
    """What was measured, with numbers."""
    remedy: str = ""
    """What to try, as a noun phrase such as `fewer steps`; empty where nothing is known."""
    excludes: bool = True
    """Whether a condition with it is left out of the recommendation; else it is only said beside it."""


@dataclass(frozen=True)
class Standing:
    """One condition: a method with its settings, an anchor, or a file that others taught."""

    name: str
    title: str
    kind: str
    """`method`, `floor`, `description` or `file`."""
    method: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the method's defaults."""
    axes: Mapping[str, Measured] = field(default_factory=dict)
    """`composite`, `fidelity`, `prompt`, `diversity` and every other metric by its name."""
    gates: tuple[Gate, ...] = ()
    cost: Cost = field(default_factory=Cost)
    programs: Mapping[str, str] = field(default_factory=dict)
    """Program -> what to know when it loads the file; `exact` where there is nothing to know."""

    @classmethod
    def described(cls, one: Mapping[str, Any], name: str | None = None, **found: Any) -> Self:
        """The standing of a condition as comparison.json describes it, with what was `found` of it."""
        return cls(
            name or one["name"], one["title"], one["kind"], one.get("method"), one["settings"], **found
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The standing that `to_json` described."""
        parts = dict(data)
        axes = {name: Measured(**axis) for name, axis in parts.pop("axes").items()}
        gates = tuple(Gate(**gate) for gate in parts.pop("gates"))
        return cls(**parts | {"axes": axes, "gates": gates, "cost": Cost(**parts["cost"])})


def titled(titles: Mapping[str, str]) -> dict[str, str]:
    """Name -> title, as people call conditions: with the name behind it where several are called alike."""
    count = Counter(titles.values())
    return {name: f"{title} ({name})" if count[title] > 1 else title for name, title in titles.items()}
