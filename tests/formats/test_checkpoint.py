"""Single-file checkpoints, against diffusers' own conversion and its `from_single_file`."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from likewise import families, formats
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.configs import configs
from likewise.checkpoints.single_file import single_tensors, version_of, write_file
from likewise.errors import FormatError
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.formats.checkpoint import facts_of
from likewise.naming import single_file as spelling
from likewise.weights import read_header
from likewise.weights.pending import Pending
from tests.families.miniatures import save_folder
from tests.formats import whole_models

LEVELS = {"sd1": 4, "sdxl": 3}


@pytest.fixture(scope="module", params=whole_models.VERSIONS)
def saved(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """A version's name, its folder as diffusers saved it, and our single file of it."""
    home = tmp_path_factory.mktemp(request.param)
    folder = whole_models.folder(request.param, home / "folder")
    file = convert(open_checkpoint(folder), home / "model.safetensors")
    return request.param, folder, file


def convert(whole: Checkpoint, path: Path) -> Path:
    return write_file(whole, path, facts_of(whole, "Miniature"))


def published(version: str) -> dict[str, torch.nn.Module]:
    """The networks of Stable Diffusion 1.5 or XL as diffusers builds them, without memory."""
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        clip = CLIPTextModel(CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
        ))  # fmt: skip
        if version == "sd1":
            return {
                "backbone": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
                "vae": vae,
                "text": clip,
            }
        unet = UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), attention_head_dim=[5, 10, 20],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 10], cross_attention_dim=2048, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
        big = CLIPTextModelWithProjection(CLIPTextConfig(
            hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
            projection_dim=1280, hidden_act="gelu",
        ))  # fmt: skip
        return {"backbone": unet, "vae": vae, "text": clip, "text_2": big}


def whole_of(version: str, networks: dict[str, torch.nn.Module]) -> Checkpoint:
    tensors = {
        spelling.canonical(part, name): Pending("F32", tuple(tensor.shape), lambda: torch.empty(0))
        for part, network in networks.items()
        for name, tensor in network.state_dict().items()
        if "position_ids" not in name
    }
    return Checkpoint(version, tensors, Path("nowhere"))


def shapes_of(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if "position_ids" not in name}


@pytest.mark.parametrize("version", ["sd1", "sdxl"])
def test_full_size_names_and_shapes_are_those_that_diffusers_converts(version):
    """diffusers reads our names of the published models back to exactly its own, nothing missing, nothing beside."""
    networks = published(version)
    whole = whole_of(version, networks)
    made = {name: torch.empty(one.shape, device="meta") for name, one in single_tensors(whole).items()}
    counts = [sum(name.startswith(prefix) for name in made) for prefix in (spelling.UNET, spelling.VAE)]
    towers = {part: spelling.TOWERS[version][part] for part in networks if part.startswith("text")}
    positions = [name for name in made if name.endswith("position_ids")]
    assert len(positions) == 1
    assert made[positions[0]].shape == (1, 77)
    clip = {n.removeprefix(towers["text"]): t for n, t in made.items() if n.startswith(towers["text"])}
    assert counts == [{"sd1": 686, "sdxl": 1680}[version], 248]
    assert len(clip) == 197
    found = configs(whole)
    unet = convert_ldm_unet_checkpoint(dict(made), found["unet"])
    assert shapes_of(unet) == shapes_of(networks["backbone"].state_dict())
    vae = convert_ldm_vae_checkpoint(dict(made), found["vae"])
    assert shapes_of(vae) == shapes_of(networks["vae"].state_dict())
    plain = {n.removeprefix("text_model."): t for n, t in networks["text"].state_dict().items()}
    assert shapes_of({n.removeprefix("text_model."): t for n, t in clip.items()}) == shapes_of(plain)
    if version == "sdxl":
        big = networks["text_2"]
        assert shapes_of(convert_open_clip_checkpoint(big, made, towers["text_2"])) == shapes_of(
            big.state_dict()
        )


@pytest.mark.parametrize("version", ["sd1", "sdxl"])
def test_configurations_of_the_published_models_follow_from_shapes(version):
    networks = published(version)
    found = configs(whole_of(version, networks))
    for part, folder in (("backbone", "unet"), ("vae", "vae")):
        theirs = networks[part].config
        for key, value in found[folder].items():
            if key.startswith("_") or (folder, key) in {("vae", "scaling_factor"), ("vae", "sample_size")}:
                continue
            meant = theirs[key]
            levels = len(theirs["block_out_channels"])
            both = [list(v) if isinstance(v, list | tuple) else v for v in (value, meant)]
            if isinstance(both[0], list) != isinstance(both[1], list):
                both = [v if isinstance(v, list) else [v] * levels for v in both]
            assert both[0] == both[1], key
    for part in [name for name in networks if name.startswith("text")]:
        theirs = networks[part].config
        mine = found[spelling.FOLDERS[part]]
        sizes = [
            key for key in mine if key.endswith("_size") or key.startswith("num_") or key == "hidden_act"
        ]
        assert {key: mine[key] for key in sizes} == {key: getattr(theirs, key) for key in sizes}


def test_a_file_is_read_by_diffusers_to_the_same_weights(saved):
    version, folder, file = saved
    kind = StableDiffusionXLPipeline if version == "sdxl" else StableDiffusionPipeline
    theirs = kind.from_single_file(str(file), config=str(folder), local_files_only=True)
    want = whole_models.weights(folder)
    for name in sorted({name.partition(".")[0] for name in want}):
        state = getattr(theirs, name).state_dict()
        state = {n.removeprefix("text_model."): t for n, t in state.items() if "position_ids" not in n}
        expected = {n.partition(".")[2]: t for n, t in want.items() if n.partition(".")[0] == name}
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[n], expected[n]) for n in state), name


def test_a_file_comes_back_exactly(saved, tmp_path):
    version, folder, file = saved
    whole, again = open_checkpoint(folder), open_checkpoint(file)
    assert (again.version, again.velocity, again.notes) == (version, version == "sd2", ())
    assert again.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(one.load(), again.tensors[name].load()) for name, one in whole.tensors.items())
    twice = convert(again, tmp_path / "model.safetensors")
    assert twice.read_bytes() == file.read_bytes()


def test_metadata_say_what_it_is_and_can_be_left_out(saved, tmp_path):
    version, folder, file = saved
    facts = read_header(file).metadata
    names = {
        "sd1": "stable-diffusion-v1",
        "sd2": "stable-diffusion-v2-768-v",
        "sdxl": "stable-diffusion-xl-v1-base",
    }
    assert facts["modelspec.architecture"] == names[version]
    assert facts["modelspec.title"] == "Miniature"
    assert len(facts["modelspec.hash_sha256"]) == 66
    assert ("v_pred" in read_header(file).shapes) == (version == "sd2")
    bare = write_file(open_checkpoint(folder), tmp_path / "a.safetensors", {})
    assert read_header(bare).metadata == {}


def test_our_own_family_reads_it_back(saved):
    _, folder, file = saved
    for tokenizer in folder.glob("tokenizer*"):
        shutil.copytree(tokenizer, file.parent / tokenizer.name, dirs_exist_ok=True)
    one, other = (families.load(str(path)) for path in (folder, file))
    assert one.fingerprint() == other.fingerprint()
    assert one.objective.prediction == other.objective.prediction


def taught(folder: Path, text: bool = False) -> Artifact:
    """What DreamBooth might leave behind on the model in `folder`."""
    whole = open_checkpoint(folder)
    kept = ("backbone.", "text.") if text else ("backbone.",)
    tensors = {name: one.load() + 0.5 for name, one in whole.tensors.items() if name.startswith(kept)}
    return Artifact("dreambooth", "sd", "sks", "dog", tensors, base=str(folder))


def test_a_taught_model_is_completed_from_its_base(saved, tmp_path):
    version, folder, file = saved
    artifact = taught(folder, text=version == "sd1")
    for base in (folder, file):
        saving = Saving("float32", base=base)
        made = formats.write(artifact, tmp_path / "dog.safetensors", "checkpoint", saving)
        again, before = formats.read(made), open_checkpoint(folder)
        assert again.method == "dreambooth"
        assert again.family == ("sdxl" if version == "sdxl" else "sd")
        assert again.token == "sks"
        for name, tensor in again.tensors.items():
            want = artifact.tensors.get(name)
            assert torch.equal(tensor, before.tensors[name].load() if want is None else want), name
        assert "/" not in read_header(made).metadata["likewise.base"]
    half = formats.write(artifact, tmp_path / "half.safetensors", "checkpoint", Saving(base=folder))
    assert set(read_header(half).dtypes.values()) <= {"F16", "I64", "F32"}
    assert read_header(half).dtypes["first_stage_model.decoder.conv_in.weight"] == "F16"


def test_a_taught_model_without_its_base_is_refused_in_words(saved, tmp_path):
    _, folder, _ = saved
    with pytest.raises(
        FormatError, match=r"also needs the parts that were not taught.*name the file or folder"
    ):
        formats.write(taught(folder), tmp_path / "a.safetensors", "checkpoint", Saving())
    strange = Artifact("dreambooth", "sd", "sks", "dog", {"backbone.conv_in.weight": torch.zeros(1, 2, 3, 3)})
    with pytest.raises(FormatError, match=r"conv_in\.weight has the shape"):
        formats.write(strange, tmp_path / "a.safetensors", "checkpoint", Saving(base=folder))
    with pytest.raises(FormatError, match="holds dreambooth, not lora"):
        formats.write(
            Artifact("lora", "sd", "sks", "", {}),
            tmp_path / "a.safetensors",
            "checkpoint",
            Saving(base=folder),
        )
    assert list(tmp_path.iterdir()) == []


def test_averaged_weights_are_dropped_or_taken(saved, tmp_path):
    _, _, file = saved
    tensors = load_file(file)
    unet = {name: tensor for name, tensor in tensors.items() if name.startswith(spelling.UNET)}
    averages = {"model_ema." + name[len("model.") :].replace(".", ""): t + 1 for name, t in unet.items()}
    extra = {"betas": torch.zeros(3), "model_ema.decay": torch.tensor(0.99), "alphas_cumprod": torch.ones(3)}
    path = tmp_path / "ema.safetensors"
    save_file({**tensors, **averages, **extra}, path)
    name = "backbone.mid_block.resnets.0.conv1.weight"
    plain = open_checkpoint(path)
    assert plain.tensors.keys() == open_checkpoint(file).tensors.keys()
    assert torch.equal(
        plain.tensors[name].load() + 1, open_checkpoint(path, averaged=True).tensors[name].load()
    )
    with pytest.raises(FormatError, match="has no averaged weights"):
        open_checkpoint(file, averaged=True)


def test_pickled_checkpoints_and_those_without_the_text_model_level(saved, tmp_path):
    _, _, file = saved
    flat = {name.replace("transformer.text_model.", "transformer."): t for name, t in load_file(file).items()}
    torch.save({"state_dict": flat, "global_step": 875000}, tmp_path / "model.ckpt")
    again, whole = open_checkpoint(tmp_path / "model.ckpt"), open_checkpoint(file)
    assert again.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(one.load(), again.tensors[name].load()) for name, one in whole.tensors.items())


@pytest.mark.parametrize(
    ("metadata", "yaml", "velocity", "noted"),
    [
        ({"modelspec.prediction_type": "epsilon"}, None, False, False),
        ({"modelspec.prediction_type": "v"}, None, True, False),
        ({}, 'params:\n  parameterization: "v"', True, False),
        ({}, "params:\n  linear_start: 0.00085", False, False),
        ({}, None, True, True),
    ],
)
def test_sd_2_predicts_what_it_says_or_what_is_usual(tmp_path, metadata, yaml, velocity, noted):
    folder = whole_models.folder("sd2", tmp_path / "folder")
    tensors = {
        name: one.load() for name, one in single_tensors(open_checkpoint(folder)).items() if name != "v_pred"
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata)
    if yaml is not None:
        (tmp_path / "model.yaml").write_text(yaml)
    found = open_checkpoint(tmp_path / "model.safetensors")
    assert (found.velocity, bool(found.notes)) == (velocity, noted)


def test_sd_2_files_made_without_the_last_layer_keep_all_that_they_have(tmp_path):
    """Published ones have 24 layers of which 23 are used; some programs write the 23 alone."""
    layer = "cond_stage_model.model.transformer.resblocks"
    with torch.device("meta"):
        tower = CLIPTextModel(CLIPTextConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=23,
                                             num_attention_heads=1))  # fmt: skip
    networks = {**published("sd1"), "text": tower}
    names = single_tensors(whole_of("sd2", networks))
    assert f"{layer}.23.ln_1.weight" in names
    from likewise.checkpoints.single_file import _open_clip

    prefix = "cond_stage_model.model."
    inner = {name.removeprefix(prefix): one for name, one in names.items() if name.startswith(prefix)}
    cut = {name: one for name, one in inner.items() if ".23." not in name}
    assert _open_clip(inner, "sd2").keys() == _open_clip(cut, "sd2").keys()
    assert "text_model.encoder.layers.22.mlp.fc1.weight" in _open_clip(cut, "sd2")


def test_what_single_files_cannot_say_is_refused(tmp_path):
    """A miniature with four heads would be read as one with eight."""
    folder = save_folder(StableDiffusion.tiny(), tmp_path / "folder")
    with pytest.raises(
        FormatError, match=r"attention_head_dim = \[4, 4\], but programs take .* \[8, 8\].*diffusers folder"
    ):
        convert(open_checkpoint(folder), tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_half_precision_refuses_what_would_become_infinite(saved, tmp_path):
    _, folder, _ = saved
    artifact = taught(folder)
    artifact.tensors["backbone.conv_in.bias"][0] = 1e6  # type: ignore[index]
    with pytest.raises(FormatError, match=r"too large for half precision.*bfloat16"):
        formats.write(artifact, tmp_path / "a.safetensors", "checkpoint", Saving(base=folder))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("model.diffusion_model.strange.weight", (2,), "strange tensor strange.weight"),
        ("first_stage_model.encoder.mid.attn_1.strange.weight", (2,), "strange layer 'strange'"),
    ],
)
def test_strange_tensors_are_named(saved, tmp_path, name, shape, said):
    _, _, file = saved
    save_file({**load_file(file), name: torch.zeros(shape)}, tmp_path / "a.safetensors")
    with pytest.raises(FormatError, match=said):
        formats.read(tmp_path / "a.safetensors")


def test_parts_of_a_checkpoint_are_no_whole_one(saved):
    _, _, file = saved
    shapes = read_header(file).shapes
    assert version_of(shapes) == saved[0]
    for prefix in (spelling.UNET, spelling.VAE, *spelling.TOWERS[saved[0]].values()):
        assert (
            version_of({name: shape for name, shape in shapes.items() if not name.startswith(prefix)}) is None
        )
