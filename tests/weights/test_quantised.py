"""Quantised weights: scales are applied wherever a file is read, and all other kinds are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from likewise import families, formats
from likewise.checkpoints import open_checkpoint
from likewise.errors import BaseError, Error, FormatError
from likewise.factors.nearest import Size
from likewise.formats import Saving
from likewise.inspection import inspect
from likewise.operations.difference import diff
from likewise.operations.extracting import extract
from likewise.operations.merging import merge_into
from likewise.operations.subjects import open_subject, write_subject
from likewise.weights import read_tensors
from tests.formats import whole_models
from tests.operations.changes import LINEAR, lora, random

E4M3 = torch.float8_e4m3fn
COARSE = 0.07
"""Three bits of mantissa round by a sixteenth at most, and subnormal numbers by a little more."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model in full precision as one file, its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("model")
    source = whole_models.folder("sd1", folder / "folder")
    (folder / "tokenizer").symlink_to(source / "tokenizer")
    return write_subject(
        open_checkpoint(source), folder / "plain.safetensors", "checkpoint", Saving("float32")
    )


def coded(name: str, weight: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    """A layer's weight as codes with its scale, in the spelling of one program."""
    layer = name.removesuffix(".weight")
    rows = weight.abs().amax(1) / 448 if kind == "rows" else weight.abs().max() / 448
    codes = (weight / (rows[:, None] if kind == "rows" else rows)).to(E4M3)
    spelled = {"scale_weight": "scale_weight"}.get(kind, "weight_scale")
    found = {name: codes, f"{layer}.{spelled}": rows[:, None] if kind == "rows" else rows.reshape(())}
    if kind == "scale_weight":
        found[f"{layer}.scale_input"] = torch.tensor(3.0)
    if kind == "described":
        text = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
        found |= {f"{layer}.comfy_quant": text, f"{layer}.input_scale": torch.tensor(2.0)}
    return found


def quantised(plain: Path, kind: str, path: Path) -> Path:
    """The model with every weight of attention as codes."""
    tensors = {}
    for name, tensor in load_file(plain).items():
        attention = name.startswith("model.diffusion_model.") and ".attn" in name and tensor.dim() == 2
        tensors |= coded(name, tensor, kind) if attention else {name: tensor}
    if kind == "scale_weight":
        tensors["model.diffusion_model.scaled_fp8"] = torch.zeros(2)
    save_file(tensors, path)
    (path.parent / "tokenizer").symlink_to(plain.parent / "tokenizer")
    return path


@pytest.fixture(params=["weight_scale", "scale_weight", "rows", "described"])
def small(request: pytest.FixtureRequest, plain: Path, tmp_path: Path) -> Path:
    return quantised(plain, request.param, tmp_path / "small.safetensors")


def test_every_way_to_read_it_applies_the_scales(small: Path, plain: Path) -> None:
    wanted, found = load_file(plain), read_tensors(small)
    assert found.keys() == wanted.keys()
    whole, true = open_checkpoint(small), open_checkpoint(plain)
    assert whole.tensors.keys() == true.tensors.keys()
    base, truth = (families.load(str(path), device="cpu") for path in (small, plain))
    for part, module in truth.components().items():
        for name, value in base.components()[part].state_dict().items():
            assert float((value - module.state_dict()[name]).norm()) <= COARSE * float(value.norm()) + 1e-6
    for name, one in true.tensors.items():
        near = whole.tensors[name].load().float()
        assert float((near - one.load()).norm()) <= COARSE * float(near.norm()) + 1e-6, name
    notes = " ".join(inspect(small).notes)
    assert "are codes of 8 bits with a scale, which is applied" in notes
    assert inspect(small).portability == {"likewise": "exact"}


def test_operations_work_on_what_the_codes_mean(small: Path, plain: Path, tmp_path: Path) -> None:
    merged = merge_into(open_checkpoint(small), [(lora(1, paths=(LINEAR,)), 1.0)])
    path = write_subject(merged, tmp_path / "merged.safetensors", "checkpoint", Saving())
    again, truth = open_checkpoint(path), open_checkpoint(plain)
    both = merge_into(truth, [(lora(1, paths=(LINEAR,)), 1.0)])
    assert diff(again, both).total <= COARSE
    assert not any("scale" in name for name in load_file(path))
    half = write_subject(open_subject(small), tmp_path / "half.safetensors", "checkpoint", Saving("float16"))
    assert diff(open_checkpoint(half), truth).total <= COARSE
    found, _ = extract(open_checkpoint(small), merged, Size(8))
    layers = {name.rpartition(".")[0] for name in found.tensors}
    assert layers == {LINEAR}


def test_factors_of_a_lora_may_have_scales(tmp_path: Path) -> None:
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    down, up = random(4, 768), random(320, 4, seed=1)
    tensors = coded(f"{name}.lora_A.weight", down, "weight_scale") | coded(
        f"{name}.lora_B.weight", up, "rows"
    )
    save_file(tensors, tmp_path / "x.safetensors")
    artifact = formats.read(tmp_path / "x.safetensors")
    found = artifact.tensors[f"{LINEAR}.down"]
    assert float((found - down).norm()) <= COARSE * float(down.norm())
    assert artifact.precision == "float32"


LAYER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"
OTHERS = {
    "weight_scale_inv": torch.ones(1, 1),
    "weight_scale_2": torch.ones(()),
    "weight.absmax": torch.ones(4),
    "weight.quant_map": torch.ones(16),
    "weight.nested_absmax": torch.ones(1),
    "weight.quant_state.bitsandbytes__nf4": torch.ones(9, dtype=torch.uint8),
    "SCB": torch.ones(32),
    "qweight": torch.ones(4, 4, dtype=torch.int32),
    "qzeros": torch.ones(4, 4, dtype=torch.int32),
    "g_idx": torch.ones(4, dtype=torch.int32),
    "wscales": torch.ones(4),
    "weight._data": torch.ones(4, dtype=torch.int8),
    "pre_quant_scale": torch.ones(4),
    "comfy_quant": torch.tensor(list(b'{"format": "nvfp4"}'), dtype=torch.uint8),
}


@pytest.mark.parametrize("companion", OTHERS)
def test_other_kinds_are_refused_in_one_line_by_all(companion: str, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({**load_file(plain), f"{LAYER}.{companion}": OTHERS[companion]}, path)
    for act in (inspect, open_checkpoint, read_tensors, open_subject, lambda p: families.load(str(p))):
        with pytest.raises(Error, match="kind that is not read here") as caught:
            act(path)
        assert isinstance(caught.value, FormatError | BaseError)
        assert companion in caught.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{LAYER}.weight_scale": torch.ones(())}, "F32 with a scale of F32"),
        (
            {f"{LAYER}.weight": torch.ones(32, 64).to(E4M3), f"{LAYER}.weight_scale": torch.ones(7)},
            r"is \(7,\)",
        ),
        (
            {f"{LAYER}.weight": torch.ones(32, 64).to(E4M3), f"{LAYER}.weight_scale": torch.ones(4, 8)},
            "not read",
        ),
        ({"nowhere.weight_scale": torch.ones(())}, "but no nowhere.weight"),
        ({f"{LAYER}.weight": torch.ones(32, 64).to(E4M3), "scaled_fp8": torch.zeros(0)}, "has no scale"),
        ({f"{LAYER}.weight": torch.ones(32, 64, dtype=torch.int8)}, "of the type I8"),
    ],
)
def test_scales_that_fit_nothing_are_refused(change: dict, said: str, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({**load_file(plain), **change}, path)
    with pytest.raises(FormatError, match=said):
        open_checkpoint(path)


def test_other_containers_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(100))
    with pytest.raises(FormatError, match="is a GGUF file, whose weights are quantised in blocks"):
        inspect(tmp_path / "x.gguf")
