"""Quantiles and tails of Student's t, by scipy. Degrees of freedom need not be whole (Satterthwaite)."""

from __future__ import annotations

from typing import Any


def t_quantile(probability: Any, freedom: Any) -> Any:
    """The value below which Student's t with `freedom` degrees lies with this probability; numbers or arrays."""
    from scipy.special import stdtrit

    return stdtrit(freedom, probability)


def t_tail(value: Any, freedom: Any) -> Any:
    """The probability that Student's t with `freedom` degrees lies above `value`; numbers or arrays."""
    from scipy.special import stdtr

    return stdtr(freedom, -value)
