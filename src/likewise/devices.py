"""Devices: where torch computes on this machine, and in what precision."""

from __future__ import annotations

from typing import Literal

import torch


def best_device() -> str:
    """`cuda`, `mps` or `cpu`, whichever comes first on this machine."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def arithmetic(device: torch.device, wanted: Literal["auto", "fp32", "bf16"]) -> Literal["fp32", "bf16"]:
    """What is computed in: as wanted, and with `auto` bf16 where the hardware has it."""
    if wanted == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return wanted


def native_bf16(device: torch.device) -> bool:
    """Whether this hardware computes in bfloat16, rather than emulates it many times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(probe and probe())
    return False
