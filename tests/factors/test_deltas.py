"""Deltas: what each factorisation adds to a weight, against LyCORIS' own forward pass and PEFT's DoRA."""

import copy

import pytest
import torch
from torch import Tensor, nn

from likewise.errors import FormatError
from likewise.factors import deltas as _deltas
from likewise.formats._flat import SUFFIXES

lycoris = pytest.importorskip("lycoris.modules", reason="lycoris-lora is in the dev extra")

LAYERS = {
    "linear": lambda: nn.Linear(24, 32),
    "conv1": lambda: nn.Conv2d(24, 32, 1),
    "conv3": lambda: nn.Conv2d(24, 32, 3, padding=1),
    "strided": lambda: nn.Conv2d(24, 32, 3, stride=2, padding=1),
}
CASES = {
    "lora": (lycoris.LoConModule, {}),
    "lora-tucker": (lycoris.LoConModule, {"use_tucker": True}),
    "lora-rs": (lycoris.LoConModule, {"rs_lora": True}),
    "lora-dora": (lycoris.LoConModule, {"weight_decompose": True}),
    "lora-dora-columns": (lycoris.LoConModule, {"weight_decompose": True, "wd_on_out": False}),
    "loha": (lycoris.LohaModule, {}),
    "loha-tucker": (lycoris.LohaModule, {"use_tucker": True}),
    "loha-dora": (lycoris.LohaModule, {"weight_decompose": True}),
    "lokr": (lycoris.LokrModule, {}),
    "lokr-both": (lycoris.LokrModule, {"decompose_both": True, "lora_dim": 1, "factor": 4}),
    "lokr-tucker": (lycoris.LokrModule, {"use_tucker": True, "lora_dim": 1}),
    "lokr-full": (lycoris.LokrModule, {"full_matrix": True}),
    "lokr-unfactored": (lycoris.LokrModule, {"lora_dim": 64}),
    "oft": (lycoris.DiagOFTModule, {}),
    "oft-rescaled": (lycoris.DiagOFTModule, {"rescaled": True}),
    "oft-bounded": (lycoris.DiagOFTModule, {"constraint": 0.01}),
    "boft": (lycoris.ButterflyOFTModule, {}),
    "boft-rescaled": (lycoris.ButterflyOFTModule, {"rescaled": True}),
    "glora": (lycoris.GLoRAModule, {}),
    "ia3": (lycoris.IA3Module, {}),
    "ia3-input": (lycoris.IA3Module, {"train_on_input": True}),
    "full": (lycoris.FullModule, {}),
}


def taught(case: str, layer: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """A LyCORIS module with random values around `layer`, and its tensors by our suffixes."""
    kind, options = CASES[case]
    module = kind("lora_unet_x", layer, **{"multiplier": 1.0, "lora_dim": 4, "alpha": 2.0, **options})
    module.apply_to()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    custom = getattr(module, "custom_state_dict", lambda: None)() or {}
    named = custom or {k: v for k, v in module.state_dict().items() if k in kind.weight_list}
    return module.eval(), {SUFFIXES.get(name, name): t.detach().clone() for name, t in named.items()}


def applied(layer: nn.Module, x: Tensor, change: Tensor, bias: Tensor | None) -> Tensor:
    """The layer's output with its weight changed."""
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.weight.add_(change)
        if bias is not None:
            changed.bias.add_(bias)
        return changed(x)


@pytest.mark.parametrize("shape", LAYERS)
@pytest.mark.parametrize("case", CASES)
def test_the_change_is_what_lycoris_does_in_its_forward_pass(case, shape):
    torch.manual_seed(0)
    layer = LAYERS[shape]()
    plain = copy.deepcopy(layer)
    module, tensors = taught(case, layer)
    x = torch.randn(3, 24) if shape == "linear" else torch.randn(3, 24, 6, 6)
    with torch.no_grad():
        theirs = module(x)
    change = _deltas.weight_change(tensors, plain.weight.detach())
    ours = applied(plain, x, change, _deltas.bias_change(tensors))
    assert change.shape == plain.weight.shape
    assert float((theirs - plain(x).detach()).abs().max()) > 1e-3, "the oracle changes nothing"
    assert torch.allclose(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_without_a_weight_the_change_is_the_same_or_asked_for(case):
    torch.manual_seed(0)
    layer = nn.Conv2d(24, 32, 3, padding=1)
    weight = layer.weight.detach().clone()
    _, tensors = taught(case, layer)
    assert _deltas.algorithm(tensors) == case.partition("-")[0]
    if _deltas.needs_weight(tensors):
        with pytest.raises(FormatError, match="changes a weight"):
            _deltas.weight_change(tensors)
    else:
        found = _deltas.weight_change(tensors)
        assert torch.equal(found.reshape(weight.shape), _deltas.weight_change(tensors, weight))


def test_norms_and_biases_are_added():
    from lycoris.modules.norms import NormModule

    layer = nn.LayerNorm(8)
    module = NormModule("lora_unet_x", layer)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    tensors = {name: getattr(module, name).detach() for name in ("w_norm", "b_norm")}
    assert _deltas.algorithm(tensors) == "norm"
    x = torch.randn(2, 8)
    module.apply_to()
    with torch.no_grad():
        theirs = module(x)
    weight, bias = 1 + _deltas.weight_change(tensors), _deltas.bias_change(tensors)
    assert torch.allclose(nn.functional.layer_norm(x, (8,), weight, bias), theirs, atol=1e-6)


def test_glora_in_the_old_order_of_factors_is_the_same():
    torch.manual_seed(0)
    weight = torch.randn(32, 24)
    a1, a2, b1, b2 = torch.randn(24, 4), torch.randn(4, 24), torch.randn(32, 4), torch.randn(4, 24)
    new = {"a1": a1, "a2": a2, "b1": b1, "b2": b2, "alpha": torch.tensor(2.0)}
    old = {"a1": a2, "a2": a1, "b1": b2, "b2": b1, "alpha": torch.tensor(2.0)}
    wanted = 0.5 * (weight @ a1 @ a2 + b1 @ b2)
    for tensors in (new, old):
        assert _deltas.rank(tensors) == 4
        assert torch.allclose(_deltas.weight_change(tensors, weight), wanted, atol=1e-4)


def test_dora_is_pefts_where_magnitudes_are_per_output():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(24, 32, bias=False))
    weight, x = net[0].weight.detach().clone(), torch.randn(3, 24)
    model = get_peft_model(net, LoraConfig(r=4, lora_alpha=2, target_modules=["0"], use_dora=True))
    own = model.base_model.model[0]
    with torch.no_grad():
        own.lora_B["default"].weight.normal_()
        own.lora_magnitude_vector["default"].weight.add_(torch.rand(32))
        theirs = model.eval()(x)
    tensors = {
        "down": own.lora_A["default"].weight.detach(),
        "up": own.lora_B["default"].weight.detach(),
        "alpha": torch.tensor(2.0),
        "dora_scale": own.lora_magnitude_vector["default"].weight.detach(),
    }
    assert torch.allclose(x @ (weight + _deltas.weight_change(tensors, weight)).T, theirs, atol=1e-5)


def test_a_missing_alpha_is_the_rank():
    down, up = torch.randn(4, 24), torch.randn(32, 4)
    assert torch.equal(_deltas.weight_change({"down": down, "up": up}), up @ down)
    half = _deltas.weight_change({"down": down, "up": up, "alpha": torch.tensor(2.0)})
    assert torch.allclose(half, up @ down / 2)


@pytest.mark.parametrize(
    "tensors",
    [
        {"down": torch.ones(4, 24), "up": torch.ones(32, 5)},
        {"down": torch.ones(4, 24)},
        {"hada_w1_a": torch.ones(32, 4), "hada_w1_b": torch.ones(4, 24), "hada_w2_a": torch.ones(32, 4)},
        {"lokr_w1": torch.ones(4, 4), "lokr_w2_a": torch.ones(8, 2), "lokr_w2_b": torch.ones(3, 6)},
        {"oft_blocks": torch.ones(5, 3, 3), "alpha": torch.tensor(0.0)},
        {"oft_blocks": torch.ones(2, 5, 3, 3)},
        {"a1": torch.ones(24, 4), "a2": torch.ones(4, 24), "b1": torch.ones(32, 4), "b2": torch.ones(3, 24)},
        {"weight": torch.ones(7), "on_input": torch.tensor(1)},
        {"diff": torch.ones(3, 3)},
    ],
)
def test_factors_that_do_not_fit_are_refused_in_one_line(tensors):
    with pytest.raises(FormatError, match="do not fit"):
        _deltas.weight_change(tensors, torch.zeros(32, 24))


def test_unknown_tensors_are_refused():
    with pytest.raises(FormatError, match=r"called blur, zoom are of no factorisation"):
        _deltas.algorithm({"zoom": torch.ones(1), "blur": torch.ones(1)})
