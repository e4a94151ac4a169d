"""LyCORIS of SD 3 and Flux: LyCORIS itself on diffusers' transformers, and what their makers keep as one layer."""

import copy

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.factors.rows import apart, sides
from likewise.formats._modules import group
from likewise.naming import flat
from likewise.naming.transformer import to_original
from likewise.weights import read_tensors, write_tensors
from tests.formats.adapters import FULL, from_kohya, same

lycoris = pytest.importorskip("lycoris", reason="lycoris-lora is in the dev extra")

ALGORITHMS = ["loha", "lokr", "locon", "full", "glora", "ia3", "diag-oft"]


def transformer(family: str) -> nn.Module:
    """A transformer with one block of each kind."""
    torch.manual_seed(0)
    if family == "sd3":
        return SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=64, pos_embed_max_size=8,
            dual_attention_layers=(0,),
        ).eval()  # fmt: skip
    return FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).eval()  # fmt: skip


def drawn(model: nn.Module) -> torch.Tensor:
    """What the transformer makes of the same noise."""
    source = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source)

    with torch.no_grad():
        if isinstance(model, SD3Transformer2DModel):
            return model(random(1, 4, 8, 8), random(1, 3, 32), random(1, 64), torch.tensor([3.0])).sample
        where = torch.zeros(6, 3)
        return model(
            random(1, 6, 4),
            random(1, 3, 32),
            random(1, 32),
            torch.tensor([0.3]),
            where,
            where[:3],
            torch.ones(1),
        ).sample


def changed(model: nn.Module, artifact: Artifact) -> nn.Module:
    """A copy with the changes added to its weights."""
    copied = copy.deepcopy(model)
    for path, own in group(artifact.tensors).items():
        module = copied.get_submodule(path.removeprefix("backbone."))
        with torch.no_grad():
            module.weight.add_(weight_change(own, module.weight))
            if "diff_b" in own:
                module.bias.add_(own["diff_b"])
    return copied


@pytest.mark.parametrize("family", ["sd3", "flux"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_lycoris_on_a_transformer_is_read_and_written(tmp_path, family, algorithm):
    model = transformer(family)
    plain, pristine = drawn(model), copy.deepcopy(model)
    lycoris.LycorisNetwork.apply_preset(
        {"target_module": ["Attention", "FeedForward", "FluxSingleTransformerBlock"]}
    )
    network = lycoris.create_lycoris(model, linear_dim=4, linear_alpha=2, algo=algorithm, factor=4)
    network.apply_to()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    theirs = drawn(model.eval())
    assert not torch.allclose(theirs, plain, atol=1e-3)
    path = write_tensors(tmp_path / "theirs.safetensors", network.state_dict())
    artifact = formats.read(path)
    assert artifact.method == ("lora" if algorithm == "locon" else "lycoris")
    assert torch.allclose(drawn(changed(pristine, artifact)), theirs, atol=1e-5, rtol=1e-5)
    ours = formats.write(
        Artifact("lycoris", family, "sks", "", artifact.tensors), tmp_path / "ours", "lycoris", FULL
    )
    assert read_tensors(ours).keys() == read_tensors(path).keys()
    if algorithm != "ia3":  # LyCORIS 4.1.3 cannot read its own
        again, _ = lycoris.create_lycoris_from_weights(1.0, None, pristine, read_tensors(ours))
        again.apply_to()
        assert torch.allclose(drawn(pristine.eval()), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("family", "model"), [("flux", FluxTransformer2DModel), ("sd3", SD3Transformer2DModel)]
)
def test_every_layer_of_a_full_size_transformer_is_told_from_its_flat_name(family, model):
    options = {"guidance_embeds": True} if family == "flux" else {"dual_attention_layers": tuple(range(13))}
    with torch.device("meta"):
        live = model(**options)
    for path, module in live.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            assert from_kohya("lycoris_" + flat.flatten(path), family).paths == (f"backbone.{path}",)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(shape[0]))


def stacked(kind: str, width: int) -> dict[str, torch.Tensor]:
    """A change of three layers of `width` that are kept as one."""
    rows = 3 * width
    alpha = torch.tensor(1.5)
    if kind == "loha":
        halves = {f"hada_w{n}_a": random(rows, 2) for n in (1, 2)}
        return {**halves, **{f"hada_w{n}_b": random(2, width) for n in (1, 2)}, "alpha": alpha}
    if kind == "lokr":
        return {
            "lokr_w1": random(6, 2),
            "lokr_w2_a": random(width // 2, 2),
            "lokr_w2_b": random(2, width // 2),
            "alpha": alpha,
        }
    if kind == "full":
        return {"diff": random(rows, width), "diff_b": random(rows)}
    pair = {"up": random(rows, 2), "down": random(2, width), "alpha": alpha}
    return pair if kind == "lora" else {**pair, "dora_scale": random(rows, 1).abs()}


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "full", "dora"])
@given(half=st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_what_is_kept_as_one_falls_apart_exactly(kind, half):
    width = 2 * half
    own, base = stacked(kind, width), random(3 * width, width)
    assert sides({name: tuple(tensor.shape) for name, tensor in own.items()}) == (3 * width, width)
    parts = apart(own, to_original("flux", "transformer_blocks.0.attn.to_q"))
    found = torch.cat([weight_change(part, rows) for part, rows in zip(parts, base.chunk(3), strict=True)])
    assert torch.allclose(found, weight_change(own, base), atol=1e-5, rtol=1e-5)


def test_halves_that_makers_keep_the_other_way_round_change_places():
    own = {"diff": random(16, 8)}
    (turned,) = apart(own, to_original("flux", "norm_out.linear"))
    assert torch.equal(turned["diff"], torch.cat(own["diff"].chunk(2)[::-1]))


def test_a_file_in_the_makers_names_is_read_and_written_in_lycoris_own(tmp_path):
    tensors = {f"lora_unet_double_blocks_0_img_attn_qkv.{n}": t for n, t in stacked("loha", 8).items()}
    tensors["lora_unet_single_blocks_0_linear2.diff"] = random(8, 40)
    artifact = formats.read(write_tensors(tmp_path / "x.safetensors", tensors))
    assert (artifact.method, artifact.family) == ("lycoris", "flux")
    assert {path.rpartition(".")[2] for path in group(artifact.tensors)} == {
        "to_q",
        "to_k",
        "to_v",
        "proj_out",
    }
    ours = formats.write(artifact, tmp_path / "y.safetensors", "lycoris", FULL)
    assert all(
        name.startswith(("lycoris_transformer_blocks_0_attn_to_", "lycoris_single_"))
        for name in read_tensors(ours)
    )
    assert same(artifact, formats.read(ours))
    told = formats.get("lycoris").portability(formats.examine(ours))
    assert "exact" in told["ComfyUI"]
    assert not {"Forge", "AUTOMATIC1111"} & set(told)
    assert "Forge" in formats.get("lycoris").portability(formats.examine(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"oft_blocks": random(3, 8, 8), "rescale": random(24, 1)}, "by oft"),
        ({"lokr_w1": random(4, 2), "lokr_w2": random(6, 4)}, "blocks of 6 rows"),
        ({"lora_up.weight": random(24, 2), "lora_down.weight": random(2, 8), "dora_scale": random(1, 8)}, "by DoRA"),
        ({"diff": random(20, 8)}, "in 20 rows, and has 24"),
        ({f"{n}.weight": random(8, 8) for n in ("a1", "a2", "b1", "b2")}, "by glora"),
    ],
)  # fmt: skip
def test_what_does_not_fall_apart_is_refused_in_words(tmp_path, own, message):
    tensors = {f"lora_unet_double_blocks_0_img_attn_qkv.{name}": tensor for name, tensor in own.items()}
    with pytest.raises(FormatError, match=message):
        formats.read(write_tensors(tmp_path / "x.safetensors", tensors))
