"""Probe: what torch says of this machine, as JSON.

Runs as a process of its own, because a broken torch can take its process down.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def look() -> dict[str, Any]:
    """Version, threads, devices and natively computed bf16 of torch."""
    import torch

    from likewise.devices import native_bf16

    devices = [f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    best = torch.device("cuda" if torch.cuda.is_available() else "mps" if "mps" in devices else "cpu")
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "devices": [*devices, "cpu"],
        "bf16": native_bf16(best),
        "best": best.type,
    }


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
