"""The community survey: which methods people publish and download, counted with errors.

It reads public counters of a model-sharing site. Popularity is not quality: nothing here ranks methods.
"""

from __future__ import annotations

from likewise.errors import SurveyError


def missing(package: str) -> SurveyError:
    """The error for a package of the extra `survey` that is not installed."""
    return SurveyError(f"the survey needs {package}", "pip install 'likewise[survey]' brings it")
