"""The LyCORIS layout: files that LyCORIS itself writes and reads, for every factorisation."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import needs_weight, weight_change
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.naming.flat import to_kohya
from likewise.weights import read_header, read_tensors, write_tensors
from tests.formats.adapters import FULL, same

lycoris = pytest.importorskip("lycoris.modules", reason="lycoris-lora is in the dev extra")

NAMES = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": nn.Linear(24, 32),
    "lora_unet_down_blocks_0_resnets_0_conv1": nn.Conv2d(24, 32, 3, padding=1),
    "lora_te_text_model_encoder_layers_0_mlp_fc1": nn.Linear(24, 32),
}
ALGORITHMS = {
    "locon": {"use_tucker": True},
    "loha": {},
    "loha-tucker": {"use_tucker": True},
    "lokr": {"factor": 4},
    "diag-oft": {},
    "boft": {},
    "glora": {},
    "ia3": {},
    "full": {},
    "dora": {"weight_decompose": True},
}
KINDS = {
    "locon": "LoConModule",
    "loha": "LohaModule",
    "lokr": "LokrModule",
    "diag-oft": "DiagOFTModule",
    "boft": "ButterflyOFTModule",
    "glora": "GLoRAModule",
    "ia3": "IA3Module",
    "full": "FullModule",
    "dora": "LoConModule",
}


def made(name, tmp_path):
    """A file of LyCORIS' tensors, and the layers with its modules on them."""
    kind = getattr(lycoris, KINDS[name.removesuffix("-tucker")])
    tensors, modules = {}, {}
    torch.manual_seed(0)
    for flat, layer in copy.deepcopy(NAMES).items():
        module = kind(flat, layer, multiplier=1.0, lora_dim=4, alpha=2.0, **ALGORITHMS[name])
        module.apply_to()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        saved = module.custom_state_dict() or module.state_dict()
        for suffix, tensor in saved.items():
            if suffix in kind.weight_list:
                tensors[f"{flat}.{suffix}"] = tensor.detach()
        modules[flat] = module.eval()
    return write_tensors(tmp_path / "theirs.safetensors", tensors), modules


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_file_of_lycoris_means_what_lycoris_does(tmp_path, name):
    path, modules = made(name, tmp_path)
    artifact = formats.read(path)
    assert (artifact.method, artifact.family, artifact.token) == ("lycoris", "sd", "theirs")
    found = {to_kohya(own, "sd").name: tensors for own, tensors in group(artifact.tensors).items()}
    assert found.keys() == modules.keys()
    for flat, module in modules.items():
        own = found[flat]
        plain = copy.deepcopy(NAMES[flat])
        x = torch.randn(2, 24, 5, 5) if isinstance(plain, nn.Conv2d) else torch.randn(2, 24)
        with torch.no_grad():
            theirs = module(x)
            plain.weight.add_(weight_change(own, plain.weight))
            if "diff_b" in own:
                plain.bias.add_(own["diff_b"])
            assert torch.allclose(plain(x), theirs, atol=1e-5, rtol=1e-5), flat


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_written_is_the_same_file_again(tmp_path, name):
    path, _ = made(name, tmp_path)
    artifact = formats.read(path)
    again = formats.write(artifact, tmp_path / "ours.safetensors", "lycoris", FULL)
    theirs, ours = read_tensors(path), read_tensors(again)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key].float(), ours[key].float()) for key in theirs)
    assert same(artifact, formats.read(again))
    assert read_header(again).metadata["ss_network_module"] == "lycoris.kohya"
    half = formats.read(formats.write(artifact, tmp_path / "half.safetensors", "lycoris"))
    for path_, own in group(artifact.tensors).items():
        if not needs_weight(own):
            ours_, theirs_ = weight_change(own), weight_change(group(half.tensors)[path_])
            assert float((ours_ - theirs_).norm() / ours_.norm()) < 3e-3


def test_norms_and_the_two_towers_of_sdxl_keep_their_names(tmp_path):
    tensors = {
        "lora_unet_input_blocks_4_1_transformer_blocks_1_norm1.w_norm": torch.ones(8),
        "lora_unet_input_blocks_4_1_transformer_blocks_1_norm1.b_norm": torch.ones(8),
        "lora_te2_text_model_final_layer_norm.w_norm": torch.ones(8),
    }
    artifact = formats.read(write_tensors(tmp_path / "x.safetensors", tensors))
    assert artifact.family == "sdxl"
    assert set(group(artifact.tensors)) == {
        "backbone.down_blocks.1.attentions.0.transformer_blocks.1.norm1",
        "text_2.text_model.final_layer_norm",
    }
    assert artifact.recipe == {"algo": "norm"}
    assert (
        read_tensors(formats.write(artifact, tmp_path / "y.safetensors", "lycoris")).keys() == tensors.keys()
    )


def test_a_dora_says_that_it_does_not_travel(tmp_path):
    path, _ = made("dora", tmp_path)
    assert "different norms" in formats.read(path).notes["portability"]
    assert "different" in formats.get("lycoris").portability(formats.examine(path))["AUTOMATIC1111"]
    plain, _ = made("loha", tmp_path)
    assert formats.read(plain).notes == {}
    assert "different" not in str(formats.get("lycoris").portability(formats.examine(plain)))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_unet_x.hada_w1_a": torch.ones(2, 2), "lora_unet_x.blur": torch.ones(1)}, "called 'blur'"),
        (
            {"lora_unet_x.dora_scale": torch.ones(2, 1), "lora_unet_x.alpha": torch.ones(())},
            "no factorisation",
        ),
        ({"lora_unet_mid_block_resnets_0_conv1.diff": torch.full((2, 2, 3, 3), torch.nan)}, "not finite"),
        (
            {"lora_unet_double_blocks_0_img_attn_qkv.lokr_w1": torch.ones(2, 2)},
            "lacks lokr_w2, which a layer of lokr has",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match=message):
        formats.read(tmp_path / "x.safetensors")


def test_only_its_own_kind_is_written(tmp_path):
    with pytest.raises(FormatError, match="holds lycoris, not lora"):
        formats.write(Artifact("lora", "sd", "sks", "dog", {}), tmp_path / "x", "lycoris")
    with pytest.raises(FormatError, match="no names for the layers of cascade"):
        formats.write(Artifact("lycoris", "cascade", "sks", "dog", {}), tmp_path / "x", "lycoris", Saving())
