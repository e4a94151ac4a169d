"""kohya's LoRA layout: plain diffusers as its reader, and the oddities of files by other programs."""

import pytest
import torch
from diffusers import FluxPipeline, SD3Transformer2DModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.weights import read_header, read_tensors
from tests.formats.adapters import FULL, change_error, components, fused_error, lora, same
from tests.formats.whole_models import VERSIONS, pipeline

QUERY = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q"
PATH = "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"


def pair(name, rank=2, wide=8, high=6, alpha=1.0, kernel=()):
    """A layer's tensors as a file has them."""
    one = [1] * len(kernel)
    found = {
        f"{name}.lora_down.weight": torch.randn(rank, wide, *kernel),
        f"{name}.lora_up.weight": torch.randn(high, rank, *one),
    }
    return found if alpha is None else {**found, f"{name}.alpha": torch.tensor(alpha)}


def read(tmp_path, tensors, metadata=None):
    save_file(tensors, tmp_path / "cat.safetensors", metadata)
    return formats.read(tmp_path / "cat.safetensors")


def one_layer(path, rank=2, high=6, wide=8, alpha=2.0, family="sd", kernel=()):
    tensors = {
        f"{path}.down": torch.randn(rank, wide, *kernel),
        f"{path}.up": torch.randn(high, rank),
        f"{path}.alpha": torch.tensor(alpha),
    }
    return Artifact("lora", family, "sks", "dog", tensors)


# --- readers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_diffusers_changes_the_weights_as_the_artifact_says(tmp_path, version):
    pipe = pipeline(version)
    family = "sdxl" if version == "sdxl" else "sd"
    artifact = lora(components(pipe), family)
    path = formats.write(artifact, tmp_path / "x.safetensors", "kohya", FULL)
    assert fused_error(pipe, path, artifact) <= 1e-5
    again = formats.read(path)
    assert change_error(artifact, again) <= 1e-6
    assert (again.family, again.token, again.noun, again.base) == (family, "sks", "dog", "some base")


def test_diffusers_takes_a_file_with_flux_layers_put_together(tmp_path):
    double, single = "backbone.transformer_blocks.0", "backbone.single_transformer_blocks.0"
    shapes = {
        f"{double}.attn.to_q": (3072, 3072),
        f"{double}.attn.to_v": (3072, 3072),  # to_k is missing, and stays zero
        f"{double}.attn.to_add_out": (3072, 3072),
        f"{single}.attn.to_k": (3072, 3072),
        f"{single}.proj_mlp": (12288, 3072),
        f"{single}.norm.linear": (9216, 3072),
        "text.text_model.encoder.layers.0.mlp.fc1": (3072, 768),
    }
    tensors = {}
    for n, (path, (high, wide)) in enumerate(shapes.items()):
        tensors |= one_layer(path, 1 + n % 2, high, wide, alpha=0.5).tensors
    artifact = Artifact("lora", "flux", "sks", "dog", tensors)
    path = formats.write(artifact, tmp_path / "x.safetensors", "kohya", FULL)
    theirs = FluxPipeline.lora_state_dict(read_tensors(path))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    starts = {"backbone": "transformer", "text": "text_encoder"}
    for own, factors in group(tensors).items():
        part, _, rest = own.partition(".")
        name = f"{starts[part]}.{rest}"
        old = part == "text"
        up = theirs[f"{name}.lora_linear_layer.up.weight" if old else f"{name}.lora_B.weight"]
        down = theirs[f"{name}.lora_linear_layer.down.weight" if old else f"{name}.lora_A.weight"]
        assert torch.allclose(up @ down, weight_change(factors), atol=1e-5), own
    assert float(theirs["transformer.transformer_blocks.0.attn.to_k.lora_B.weight"].abs().max()) == 0


# --- names and shapes that are written -----------------------------------------------------------


def test_names_and_shapes_are_as_published(tmp_path):
    pipe = pipeline("sd1")
    path = formats.write(lora(components(pipe)), tmp_path / "x.safetensors", "kohya")
    header = read_header(path)
    proj = "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert header.shapes[f"{proj}.lora_down.weight"][2:] == (1, 1)
    assert header.shapes[f"{proj}.lora_up.weight"][2:] == (1, 1)
    assert header.shapes[f"{proj}.alpha"] == ()
    assert f"lora_unet_{QUERY}.lora_up.weight" in header.shapes
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in header.shapes
    assert "lora_unet_up_blocks_0_upsamplers_0_conv.lora_down.weight" in header.shapes
    assert set(header.dtypes.values()) == {"F16"}
    assert header.metadata["ss_network_module"] == "networks.lora"
    bare = formats.write(
        lora(components(pipe)), tmp_path / "bare.safetensors", "kohya", Saving(metadata=False)
    )
    assert read_header(bare).metadata == {}


def test_sdxl_has_published_block_names_and_two_towers(tmp_path):
    artifact = lora(components(pipeline("sdxl")), "sdxl")
    names = read_header(formats.write(artifact, tmp_path / "x.safetensors", "kohya")).shapes
    assert "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_up.weight" in names
    assert "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha" in names
    assert "lora_te2_text_model_encoder_layers_9_mlp_fc1.alpha" in names
    assert not any("down_blocks" in name or name.startswith("lora_te_") for name in names)


def test_one_alpha_serves_all_layers_as_diffusers_takes_no_other(tmp_path):
    alphas = {PATH: 4.0, PATH.replace("to_q", "to_k"): 4.0, PATH.replace("attn2", "attn1"): 1.0}
    tensors = {}
    for path, alpha in alphas.items():
        tensors |= one_layer(path, alpha=alpha).tensors
    artifact = Artifact("lora", "sd", "sks", "dog", tensors)
    again = formats.read(formats.write(artifact, tmp_path / "x.safetensors", "kohya", FULL))
    assert {float(own["alpha"]) for own in group(again.tensors).values()} == {4.0}
    assert change_error(artifact, again) <= 1e-6
    kept = {name: t for name, t in tensors.items() if "attn2" in name}
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in kept.items())


def test_an_alpha_that_half_precision_would_change_stays_whole(tmp_path):
    for alpha, dtype in ((2.0, "F16"), (0.1, "F32"), (4097.0, "F32")):
        artifact = one_layer(PATH, alpha=alpha)
        path = formats.write(artifact, tmp_path / "x.safetensors", "kohya")
        assert read_header(path).dtypes[f"lora_unet_{QUERY}.alpha"] == dtype
        assert float(formats.read(path).tensors[f"{PATH}.alpha"]) == pytest.approx(alpha, rel=1e-7)


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1.0, 3e5])
def test_half_precision_keeps_factors_of_very_unequal_size(tmp_path, scale):
    artifact = one_layer(PATH)
    tensors = {**artifact.tensors, f"{PATH}.up": artifact.tensors[f"{PATH}.up"] * scale}
    artifact = Artifact("lora", "sd", "sks", "dog", tensors)
    again = formats.read(formats.write(artifact, tmp_path / "x.safetensors", "kohya"))
    wanted = weight_change(group(tensors)[PATH])
    assert change_error(artifact, again) <= 2e-3 * float(wanted.abs().max())


def test_what_half_precision_cannot_keep_is_not_written(tmp_path):
    tensors = dict(one_layer(PATH, rank=2).tensors)
    tensors[f"{PATH}.down"] *= torch.tensor([[1e6], [1e-9]])
    tensors[f"{PATH}.up"] *= torch.tensor([[1e-12, 1e6]])
    artifact = Artifact("lora", "sd", "sks", "dog", tensors)
    with pytest.raises(FormatError, match="float16 has no numbers as large as") as caught:
        formats.write(artifact, tmp_path / "x.safetensors", "kohya")
    assert caught.value.hint == "save it in float32"
    assert list(tmp_path.iterdir()) == []
    assert same(artifact, formats.read(formats.write(artifact, tmp_path / "y.safetensors", "kohya", FULL)))


def test_only_loras_of_families_with_names_fit(tmp_path):
    with pytest.raises(FormatError, match="holds lora, not dreambooth"):
        formats.write(Artifact("dreambooth", "sd", "sks", "dog", {}), tmp_path / "x", "kohya")
    with pytest.raises(FormatError, match="no names for the layers of pixels"):
        formats.write(one_layer("backbone.x", family="pixels"), tmp_path / "x", "kohya")
    with pytest.raises(FormatError, match="no part called text_2"):
        formats.write(one_layer("text_2.text_model.encoder.layers.0.mlp.fc1"), tmp_path / "x", "kohya")


# --- files of other programs -------------------------------------------------------------------


def test_a_missing_alpha_is_the_rank(tmp_path):
    artifact = read(tmp_path, pair(f"lora_unet_{QUERY}", rank=4, alpha=None))
    assert float(artifact.tensors[f"{PATH}.alpha"]) == 4
    assert artifact.token == "cat"


def test_other_spellings_of_the_same_layers(tmp_path):
    tower = "text_model_encoder_layers_0_mlp_fc1"
    wanted = "text.text_model.encoder.layers.0.mlp.fc1"
    for start in (f"lora_te_{tower}", f"lora_te1_{tower}", "lora_te_encoder_layers_0_mlp_fc1"):
        artifact = read(tmp_path, pair(f"lora_unet_{QUERY}", wide=768) | pair(start))
        assert set(group(artifact.tensors)) == {PATH.replace("attn2.to_q", "attn2.to_q"), wanted}
    deep = "transformer_blocks_1_attn1_to_q"
    for start in ("lora_unet_input_blocks_4_1_", "lora_unet_down_blocks_1_attentions_0_"):
        artifact = read(tmp_path, pair(start + deep))
        assert set(group(artifact.tensors)) == {
            "backbone.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"
        }
        assert artifact.family == "sdxl"
    onetrainer = read(tmp_path, pair("lora_transformer_single_transformer_blocks_0_attn_to_q"))
    assert set(group(onetrainer.tensors)) == {"backbone.single_transformer_blocks.0.attn.to_q"}
    assert onetrainer.family == "flux"


def test_1x1_convolutions_may_be_flat_or_not(tmp_path):
    projection = "lora_unet_down_blocks_0_attentions_0_proj_in"
    path = "backbone.down_blocks.0.attentions.0.proj_in"
    context = f"lora_unet_{QUERY[:-1]}k"
    for wide, dims in ((768, 4), (1024, 2)):
        for kernel in ((), (1, 1)):
            tensors = pair(context, wide=wide) | pair(projection, kernel=kernel)
            found = group(read(tmp_path, tensors).tensors)[path]
            assert (found["down"].dim(), found["up"].dim()) == (dims, 2)
    found = read(tmp_path, pair("lora_unet_down_blocks_0_resnets_0_conv_shortcut")).tensors
    assert found["backbone.down_blocks.0.resnets.0.conv_shortcut.down"].dim() == 4
    found = read(tmp_path, pair(f"lora_unet_{QUERY}", kernel=(1, 1))).tensors
    assert found[f"{PATH}.down"].dim() == 2


def test_embeddings_that_ride_along_are_left_out_and_told(tmp_path):
    bundled = {"bundle_emb.mycat.string_to_param.*": torch.ones(2, 768)}
    artifact = read(tmp_path, pair(f"lora_unet_{QUERY}") | bundled)
    assert set(group(artifact.tensors)) == {PATH}
    assert artifact.notes["left out"] == "bundled embeddings: mycat"


def test_pickled_files_are_read_as_well(tmp_path):
    tensors = pair(f"lora_unet_{QUERY}")
    torch.save({"state_dict": tensors}, tmp_path / "old.pt")
    artifact = formats.read(tmp_path / "old.pt")
    assert torch.equal(artifact.tensors[f"{PATH}.down"], tensors[f"lora_unet_{QUERY}.lora_down.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_up.weight": None}, "only half of a low-rank pair"),
        ({"lora_up.weight": torch.ones(6, 3)}, "do not fit together"),
        ({"lora_up.weight": torch.ones(6)}, "do not fit together"),
        ({"lora_down.weight": torch.ones(2, 8, 3)}, "do not fit together"),
        ({"lora_down.weight": torch.ones(0, 8), "lora_up.weight": torch.ones(6, 0)}, "do not fit together"),
        ({"lora_up.weight": torch.ones(6, 2, 3, 3)}, "shapes that no reader takes"),
        ({"alpha": torch.ones(2)}, "shapes that no reader takes"),
        ({"lora_up.weight": torch.full((6, 2), torch.nan)}, "not finite"),
        ({"alpha": torch.tensor(torch.inf)}, "not finite"),
        ({"lora_down.weight": torch.ones(2, 8, dtype=torch.int32)}, "no tensor of real numbers"),
        ({"blur": torch.ones(1)}, "called 'blur'"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, message):
    tensors = pair(f"lora_unet_{QUERY}")
    for suffix, tensor in change.items():
        tensors[f"lora_unet_{QUERY}.{suffix}"] = tensor
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path, {name: t for name, t in tensors.items() if t is not None})
    assert "\n" not in str(caught.value)


def test_a_layer_named_twice_is_refused(tmp_path):
    tensors = pair("lora_te_text_model_encoder_layers_0_mlp_fc1") | pair(
        "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    )
    with pytest.raises(FormatError, match="twice"):
        read(tmp_path, tensors)


def test_a_fused_layer_of_odd_height_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"has 25 rows, not 8 \+ 8 \+ 8"):
        read(tmp_path, pair("lora_unet_double_blocks_0_img_attn_qkv", high=25))


# --- layers that the makers keep as one ----------------------------------------------------------


def tiny_sd3() -> nn.Module:
    return SD3Transformer2DModel(
        sample_size=8, num_layers=2, attention_head_dim=8, num_attention_heads=4, caption_projection_dim=32,
        joint_attention_dim=64, pooled_projection_dim=64, pos_embed_max_size=16, dual_attention_layers=(0,),
    )  # fmt: skip


def test_sd3_layers_are_stacked_in_the_makers_order(tmp_path):
    model = tiny_sd3()
    tensors = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            high, wide = module.weight.shape
            tensors |= one_layer(f"backbone.{path}", 2, high, wide, family="sd3").tensors
    artifact = Artifact("lora", "sd3", "sks", "dog", tensors)
    path = formats.write(artifact, tmp_path / "x.safetensors", "kohya", FULL)
    file = read_tensors(path)
    changes = {own: weight_change(factors) for own, factors in group(tensors).items()}

    def written(name):
        up, down = file[f"lora_unet_{name}.lora_up.weight"], file[f"lora_unet_{name}.lora_down.weight"]
        return up @ down * float(file[f"lora_unet_{name}.alpha"]) / down.shape[0]

    first, last = "backbone.transformer_blocks.0", "backbone.transformer_blocks.1"
    stacks = {
        "joint_blocks_0_x_block_attn_qkv": [f"{first}.attn.{part}" for part in ("to_q", "to_k", "to_v")],
        "joint_blocks_0_x_block_attn2_qkv": [f"{first}.attn2.{part}" for part in ("to_q", "to_k", "to_v")],
        "joint_blocks_1_context_block_attn_qkv": [
            f"{last}.attn.{part}" for part in ("add_q_proj", "add_k_proj", "add_v_proj")
        ],
        "joint_blocks_0_x_block_mlp_fc2": [f"{first}.ff.net.2"],
    }
    for name, paths in stacks.items():
        assert torch.allclose(written(name), torch.cat([changes[own] for own in paths]), atol=1e-5)
    shift, scale = changes[f"{last}.norm1_context.linear"].chunk(2)
    turned = written("joint_blocks_1_context_block_adaLN_modulation_1")
    assert torch.allclose(turned, torch.cat([scale, shift]), atol=1e-5)
    plain = written("joint_blocks_0_context_block_adaLN_modulation_1")
    assert torch.allclose(plain, changes[f"{first}.norm1_context.linear"], atol=1e-5)
    assert change_error(artifact, formats.read(path)) <= 1e-5


def test_a_fused_file_comes_back_without_growing(tmp_path):
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = pair(name, rank=4, wide=8, high=24, alpha=3.0)
    artifact = read(tmp_path, tensors)
    assert len(group(artifact.tensors)) == 3
    again = read_tensors(formats.write(artifact, tmp_path / "x.safetensors", "kohya", FULL))
    assert torch.equal(again[f"{name}.lora_down.weight"], tensors[f"{name}.lora_down.weight"])
    assert torch.allclose(
        again[f"{name}.lora_up.weight"], tensors[f"{name}.lora_up.weight"] * 3 / 4, atol=1e-6
    )


# --- round trips -------------------------------------------------------------------------------

PATHS = {
    "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0": (),
    "backbone.down_blocks.0.resnets.0.conv1": (3, 3),
    "backbone.up_blocks.1.resnets.2.conv_shortcut": (1, 1),
    "backbone.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (),
    "backbone.up_blocks.0.upsamplers.0.conv": (3, 3),
    "backbone.time_embedding.linear_1": (),
    "text.text_model.encoder.layers.11.self_attn.out_proj": (),
}
LAYERS = st.fixed_dictionaries(
    {},
    optional={
        path: st.tuples(
            st.integers(1, 6),
            st.integers(1, 9),
            st.integers(1, 9),
            st.sampled_from([0.1, 1, 3.0, 8.0, 200.5]),
        )
        for path in PATHS
    },
).filter(bool)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    layers=LAYERS,
    layout=st.sampled_from(["kohya", "diffusers", "peft", "native"]),
    family=st.sampled_from(["sd", "sdxl"]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    seed=st.integers(0, 9),
)
def test_any_lora_survives_any_layout(tmp_path_factory, layers, layout, family, dtype, seed):
    torch.manual_seed(seed)
    tensors = {}
    for path, (rank, high, wide, alpha) in layers.items():
        tensors |= one_layer(path, rank, high, wide, alpha, kernel=PATHS[path]).tensors
    artifact = Artifact("lora", family, "sks", "dog", tensors)
    path = tmp_path_factory.mktemp("trip") / "x.safetensors"
    again = formats.read(formats.write(artifact, path, layout, Saving(dtype)))
    assert again.token == "sks"
    sizes = max(float(weight_change(own).abs().max()) for own in group(tensors).values())
    allowed = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}[dtype]
    assert change_error(artifact, again) <= allowed * max(1.0, sizes)
    if dtype == "float32" and layout in ("peft", "native"):
        assert same(artifact, again)
