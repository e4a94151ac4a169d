"""Stable Diffusion from single files, against parts whose tensors are renamed here by a table of our own."""

import pickle
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from likewise import families
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.configs import configs
from likewise.errors import BaseError
from likewise.families._clip import ClipTwin, plain_tokenizer
from likewise.families.sd import StableDiffusion
from likewise.tower import TextTower
from likewise.weights.pending import Pending
from tests.families.miniatures import PROMPTS, Hostile

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
TOP = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
       "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip


def ldm_unet_name(name: str, layers: int) -> str:
    """CompVis's name of a diffusers UNet tensor: an independent table, from the published architecture."""
    stem, kind = name.rsplit(".", 1)
    if stem in TOP:
        return f"{TOP[stem]}.{kind}"
    if found := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", stem):
        place = {"resnets0": 0, "attentions0": 1, "resnets1": 2}[found[1] + found[2]]
        return f"middle_block.{place}.{RESNET.get(found[3], found[3])}.{kind}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", stem)
    where, block, what, n, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    start = block * (layers + 1)
    if what == "downsamplers":
        return f"input_blocks.{start + layers + 1}.0.op.{kind}"
    if what == "upsamplers":
        return f"output_blocks.{start + layers}.UP.conv.{kind}"
    side = f"input_blocks.{start + n + 1}" if where == "down" else f"output_blocks.{start + n}"
    return f"{side}.{0 if what == 'resnets' else 1}.{RESNET.get(rest, rest)}.{kind}"


def ldm_unet(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    renamed = {ldm_unet_name(k, unet.config.layers_per_block): v for k, v in unet.state_dict().items()}
    made = {}
    for name, tensor in renamed.items():
        block = name.split(".UP.")[0]
        attends = any(other.startswith(f"{block}.1.transformer") for other in renamed)
        made["model.diffusion_model." + name.replace(".UP.", ".2." if attends else ".1.")] = tensor
    return made


def ldm_vae(vae: AutoencoderKL) -> dict[str, Tensor]:
    levels, made = len(vae.config.block_out_channels), {}
    for name, tensor in vae.state_dict().items():
        new = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
        new = new.replace("down_blocks", "down").replace("samplers.0", "sample")
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("resnets", "block").replace("conv_shortcut", "nin_shortcut")
        new = new.replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0" in new:
            new = new.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            new = new.replace("to_out.0", "proj_out").replace("to_", "")
            if tensor.ndim == 2:
                tensor = tensor[:, :, None, None]
        made[f"first_stage_model.{new}"] = tensor
    return made


def open_clip(encoder: CLIPTextModel) -> dict[str, Tensor]:
    made, state = {}, {k.removeprefix("text_model."): v for k, v in encoder.state_dict().items()}
    rename = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
              "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}  # fmt: skip
    for n in range(encoder.config.num_hidden_layers):
        here, there = f"encoder.layers.{n}.", f"transformer.resblocks.{n}."
        for kind in ("weight", "bias"):
            parts = [state[f"{here}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            made[f"{there}attn.in_proj_{kind}"] = torch.cat(parts)
            made.update({f"{there}{new}.{kind}": state[f"{here}{old}.{kind}"] for old, new in rename.items()})
    made["token_embedding.weight"] = state["embeddings.token_embedding.weight"]
    made["positional_embedding"] = state["embeddings.position_embedding.weight"]
    made["ln_final.weight"], made["ln_final.bias"] = (
        state[f"final_layer_norm.{k}"] for k in ("weight", "bias")
    )
    made["text_projection"], made["logit_scale"] = torch.randn(64, 64), torch.tensor(1.0)
    return {f"cond_stage_model.model.{k}": v for k, v in made.items()}


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def loose(request) -> dict:
    """A miniature with the head and group counts of the published models, and its single file."""
    torch.manual_seed(1)
    sd2 = request.param == "sd2"
    tokenizer = plain_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(64, 128) if sd2 else (32, 64), layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=64, attention_head_dim=[1, 2] if sd2 else 8, use_linear_projection=sd2,
    ).eval()  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=2, latent_channels=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=1, hidden_act="gelu" if sd2 else "quick_gelu",
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )).eval()  # fmt: skip
    plain = {k.removeprefix("text_model."): v for k, v in text.state_dict().items()}
    words = (
        open_clip(text)
        if sd2
        else {f"cond_stage_model.transformer.text_model.{k}": v for k, v in plain.items()}
    )
    tensors = {**ldm_unet(unet), **ldm_vae(vae), **words}
    return {"sd2": sd2, "unet": unet, "vae": vae, "text": text, "tokenizer": tokenizer, "file": tensors}


def expected(loose: dict) -> tuple[Tensor, Tensor, Tensor]:
    """States, noise and pixels of the parts themselves; SD 2 leaves the last text layer out."""
    tower = TextTower(loose["tokenizer"], loose["text"], 77)
    with torch.no_grad():
        output = loose["text"](tower.tokenize(PROMPTS).ids, output_hidden_states=True)
        states = output.last_hidden_state
        if loose["sd2"]:
            norm = dict(loose["text"].named_modules())[ClipTwin.norm_path(loose["text"])]
            states = norm(output.hidden_states[-2])
        noise = torch.ones(2, 4, 16, 16) * torch.linspace(-1, 1, 16)
        answer = loose["unet"](noise, torch.tensor([7, 700]), encoder_hidden_states=states).sample
        pixels = loose["vae"].decode(noise / 0.18215).sample
    return states, answer, pixels


def check_single(base: StableDiffusion, loose: dict) -> None:
    states, noise, pixels = expected(loose)
    start = torch.ones(2, 4, 16, 16) * torch.linspace(-1, 1, 16)
    with torch.no_grad():
        given = base.encode_text(PROMPTS)
        torch.testing.assert_close(given.states, states, atol=1e-5, rtol=1e-5)
        mine = base.denoise(start, torch.tensor([7, 700]), given)
        torch.testing.assert_close(mine, noise, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(base.decode(start), pixels, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("cross", "linear", "heads", "kind"),
    [(768, False, 8, "sd1"), (1024, True, [5, 10, 20, 20], "sd2")],
    ids=["SD 1.5", "SD 2.1"],
)
def test_sizes_of_the_published_models_are_read_off_the_shapes(cross, linear, heads, kind):
    levels = 4
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=cross, use_linear_projection=linear, attention_head_dim=heads
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        )  # fmt: skip
    assert len(ldm_unet(unet)) == 686
    assert len(ldm_vae(vae)) == 248
    parts = {"backbone": unet, "vae": vae}
    tensors = {
        f"{part}.{name}": Pending("F32", tuple(tensor.shape), lambda: None)
        for part, model in parts.items()
        for name, tensor in model.state_dict().items()
    }
    whole = Checkpoint(kind, tensors, Path("model.safetensors"))
    for name, model in (("unet", unet), ("vae", vae)):
        found = {k: v for k, v in configs(whole)[name].items() if not k.startswith("_")}
        has = {key: list(v) if isinstance(v := model.config[key], tuple) else v for key in found}
        has |= {"transformer_layers_per_block": [1] * levels} if name == "unet" else {}
        assert has == found


def home(tmp_path: Path, loose: dict) -> Path:
    loose["tokenizer"].save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def test_single_files_equal_their_parts(loose, tmp_path):
    file = home(tmp_path, loose) / "model.safetensors"
    ema = {f"model_ema.{k.replace('.', '')}": torch.full_like(v, 9) for k, v in loose["file"].items()}
    extra = {
        "betas": torch.zeros(3),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77),
    }
    save_file({**loose["file"], **ema, **({} if loose["sd2"] else extra)}, file)
    base = families.load(str(file), precision="fp32")
    check_single(base, loose)
    assert base.objective.prediction == ("v_prediction" if loose["sd2"] else "epsilon")
    assert base.resolution == (96 if loose["sd2"] else 64) * 2
    assert bool(base.notes) == loose["sd2"]


def test_single_files_without_the_text_model_level_load(loose, tmp_path):
    if loose["sd2"]:
        pytest.skip("OpenCLIP has no such level")
    file = home(tmp_path, loose) / "model.safetensors"
    save_file(
        {k.replace("transformer.text_model.", "transformer."): v for k, v in loose["file"].items()}, file
    )
    check_single(families.load(str(file), precision="fp32"), loose)


def test_checkpoints_with_a_training_frameworks_leftovers_load(loose, tmp_path, monkeypatch):
    names = [
        "pytorch_lightning",
        "pytorch_lightning.callbacks",
        "pytorch_lightning.callbacks.model_checkpoint",
    ]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    kind = type("ModelCheckpoint", (), {"__module__": names[-1]})
    sys.modules[names[-1]].ModelCheckpoint = kind
    callbacks = {kind: {"best": 1.5}, "one": kind()}
    whole = {
        "state_dict": loose["file"],
        "callbacks": callbacks,
        "global_step": 875000,
        "epoch": np.float64(3),
    }
    torch.save(whole, home(tmp_path, loose) / "model.ckpt")
    monkeypatch.undo()
    base = families.load(str(tmp_path / "model.ckpt"), precision="fp32")
    check_single(base, loose)
    assert base.objective.prediction == "epsilon"  # the step count of the published SD 2 base model
    assert base.notes == ()


def test_hostile_checkpoints_are_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"state_dict": {}, "callbacks": Hostile(f"touch {marker}")}, tmp_path / "zip.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Hostile(f"touch {marker}")))
    for name in ("zip.ckpt", "bare.ckpt"):
        with pytest.raises(BaseError, match=r"asks for (posix|nt)\.system"):
            families.load(str(tmp_path / name))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("metadata", "marks", "yaml", "prediction"),
    [
        ({"modelspec.prediction_type": "epsilon"}, [], None, "epsilon"),
        ({"modelspec.prediction_type": "v"}, [], None, "v_prediction"),
        ({}, ["v_pred", "ztsnr"], None, "v_prediction"),
        ({}, [], 'params:\n  parameterization: "v"', "v_prediction"),
        ({}, [], "params:\n  linear_start: 0.00085", "epsilon"),
    ],
)
def test_the_kind_of_prediction_is_read_where_it_is_said(loose, tmp_path, metadata, marks, yaml, prediction):
    file = home(tmp_path, loose) / "model.safetensors"
    save_file({**loose["file"], **{mark: torch.zeros(0) for mark in marks}}, file, metadata)
    if yaml is not None:
        file.with_suffix(".yaml").write_text(yaml)
    base = StableDiffusion.load(str(file))
    assert base.objective.prediction == prediction
    assert base.notes == ()
    assert (base.objective.alphas_cumprod[-1] < 1e-6) == ("ztsnr" in marks)


def test_a_single_file_without_a_tokenizer_says_where_to_put_one(loose, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    save_file(loose["file"], tmp_path / "model.safetensors")
    with pytest.raises(BaseError, match=r"offline.*put one in .*tokenizer"):
        families.load(str(tmp_path / "model.safetensors"))


def test_other_files_are_not_taken_for_a_base(tmp_path):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    with pytest.raises(BaseError, match="looks like a LoRA"):
        families.load(str(tmp_path / "lora.safetensors"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BaseError, match="not a checkpoint"):
        families.load(str(tmp_path / "notes.txt"))
