"""Metrics: one file each; the folder's listing is the registry.

A file with a `METRIC` is a metric, a file with a `load` is a way to look at pictures (`features`). Metrics
are pure functions of what was seen, so they can be tested with numbers.
"""

from __future__ import annotations

import importlib
import pkgutil

from likewise.errors import RecipeError
from likewise.metrics.score import Metric


def names() -> list[str]:
    """Every metric's name, in the order of a table: fidelity first, then prompt, then the rest."""
    return [metric.name for metric in _metrics()]


def get(name: str) -> Metric:
    """The metric called `name`; raises `RecipeError` with the known names."""
    for metric in _metrics():
        if metric.name == name:
            return metric
    raise RecipeError(f"there is no metric {name!r}", f"metrics: {', '.join(names())}")


def _metrics() -> list[Metric]:
    files = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{file}") for file in files]
    metrics: list[Metric] = [module.METRIC for module in modules if hasattr(module, "METRIC")]
    return sorted(metrics, key=lambda metric: (metric.place, metric.name))
