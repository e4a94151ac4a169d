"""likewise: teach a text-to-image model something new by every method, and see which one to use.

    import likewise
    likewise.teach("photos/", noun="dog", method="lora")
    likewise.compare("photos/", noun="dog")

Names are imported when they are first used, so that `import likewise` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from likewise.artifact import Artifact as Artifact
    from likewise.base import Base as Base
    from likewise.base import Sampler as Sampler
    from likewise.comparison import compare as compare
    from likewise.concept import Concept as Concept
    from likewise.errors import Error as Error
    from likewise.families import load as load
    from likewise.gallery import Gallery as Gallery
    from likewise.method import Adapter as Adapter
    from likewise.method import Method as Method
    from likewise.recipe import Recipe as Recipe
    from likewise.run import Run as Run
    from likewise.run import teach as teach
    from likewise.sampling import sample as sample
    from likewise.stack import Job as Job
    from likewise.stack import Stack as Stack
    from likewise.train import Training as Training

_HOMES = {
    "Adapter": "method",
    "Artifact": "artifact",
    "Base": "base",
    "Concept": "concept",
    "Error": "errors",
    "Gallery": "gallery",
    "Job": "stack",
    "Method": "method",
    "Recipe": "recipe",
    "Run": "run",
    "Sampler": "base",
    "Stack": "stack",
    "Training": "train",
    "compare": "comparison",
    "load": "families",
    "sample": "sampling",
    "teach": "run",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"likewise.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'likewise' has no attribute {name!r}")
