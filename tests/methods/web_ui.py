"""A hypernetwork as the AUTOMATIC1111 web UI builds it, in plain torch: the oracle of ours."""

from __future__ import annotations

from typing import Any

from torch import nn

TORCH_LAYERS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softsign": nn.Softsign,
    "mish": nn.Mish,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "hardshrink": nn.Hardshrink,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "logsigmoid": nn.LogSigmoid,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softshrink": nn.Softshrink,
    "tanhshrink": nn.Tanhshrink,
}


def web_ui(width: int, settings: dict[str, Any]) -> nn.Sequential:
    """`HypernetworkModule.__init__` of the web UI, as the specification has it."""
    structure = settings.get("structure", (1, 2, 1))
    activation, dropout = settings.get("activation", "linear"), settings.get("dropout")
    linears: list[nn.Module] = []
    for i in range(len(structure) - 1):
        linears.append(nn.Linear(int(width * structure[i]), int(width * structure[i + 1])))
        last = i >= len(structure) - 2
        if activation != "linear" and not (last and not settings.get("activate_output", False)):
            linears.append(TORCH_LAYERS[activation]())
        if settings.get("layer_norm", False):
            linears.append(nn.LayerNorm(int(width * structure[i + 1])))
        if dropout is not None and dropout[i + 1] > 0:
            linears.append(nn.Dropout(p=dropout[i + 1]))
    return nn.Sequential(*linears).eval()
