"""Local: pages served on this machine, to the person who started them and to nobody else. No torch.

`guard` is the one middleware that every route stands behind, `pictures` gives files by id, `server` listens and stops. It
knows no page; those import it.
"""

from __future__ import annotations

from likewise.errors import ServingError

HOST, PORT = "127.0.0.1", 8713
"""Where a page is served unless another place is named."""


def missing(package: str) -> ServingError:
    """The error for a package of the extra `studio` that is not installed."""
    return ServingError(f"pages on this machine need {package}", "pip install 'likewise[studio]' brings it")
