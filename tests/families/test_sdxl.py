"""SDXL: equal to diffusers' own pipeline on the miniature, told how pictures were cut, and honest about what it is not."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from likewise import families, formats, methods
from likewise.artifact import Artifact
from likewise.base import Sampler
from likewise.cache import Cache
from likewise.checkpoints.folder import open_folder
from likewise.checkpoints.single_file import write_file
from likewise.errors import BaseError, FormatError
from likewise.families._clip import plain_tokenizer
from likewise.families._unet import STABLE_DIFFUSION_BETAS
from likewise.families.sdxl import Parts, StableDiffusionXL, TextAndFrames
from likewise.formats import Saving
from likewise.materials import frame
from likewise.train import Training
from tests.bases import concept, stack

PROMPTS = ["a photo of sks dog", "a red cat on the beach"]
KINDS = sorted(StableDiffusionXL.tiny_variants())


def miniature(kind: str = "sdxl", seed: int = 3) -> StableDiffusionXL:
    return StableDiffusionXL.tiny_variants()[kind](seed)


def pipeline(base: StableDiffusionXL, **options: Any) -> StableDiffusionXLPipeline:
    one, two = base.towers
    made = StableDiffusionXLPipeline(
        vae=base.vae, unet=base.backbone, scheduler=base.scheduler(4), add_watermarker=False,
        text_encoder=one.encoder, text_encoder_2=two.encoder, tokenizer=one.tokenizer, tokenizer_2=two.tokenizer,
        **options,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def answer(base: StableDiffusionXL) -> torch.Tensor:
    noise = torch.randn(2, *base.latent_shape(64), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return base.denoise(noise, torch.tensor([10, 800]), base.encode_text(PROMPTS))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("negative", "zeros"), [("", True), ("", False), ("a mug", True)])
def test_it_draws_what_diffusers_draws_to_the_last_bit(kind: str, negative: str, zeros: bool) -> None:
    base = miniature(kind)
    base.zeros = zeros
    noise = torch.randn(1, *base.latent_shape(64), generator=torch.Generator().manual_seed(11))
    theirs = pipeline(base, force_zeros_for_empty_prompt=zeros)(
        PROMPTS[0], negative_prompt=negative or None, latents=noise, num_inference_steps=4, guidance_scale=3.0,
        output_type="latent", height=64, width=64,
    ).images  # fmt: skip
    sampler = base.settled(Sampler(steps=4, guidance=3.0, negative=negative))
    with torch.no_grad():
        ours = base._denoise_rows([PROMPTS[0]], [11], sampler, 64, 1)
    assert theirs.abs().max() > 0.5
    assert torch.equal(ours, theirs)


def test_the_miniature_of_velocity_has_no_signal_at_the_last_level() -> None:
    base = miniature("sdxl_v")
    assert base.objective.prediction == "v_prediction"
    assert float(base.objective.alphas_cumprod[-1]) < 1e-6  # type: ignore[attr-defined]
    assert base.scheduler(4).timesteps.tolist()[0] == 999


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_saved_by_diffusers_loads_exactly(kind: str, tmp_path: Path) -> None:
    source = miniature(kind)
    pipeline(source, force_zeros_for_empty_prompt=False).save_pretrained(tmp_path / "m")
    base = families.load(str(tmp_path / "m"), precision="fp32")
    assert isinstance(base, StableDiffusionXL)
    assert not base.zeros
    assert source.fingerprint() == base.fingerprint()
    assert torch.equal(answer(source), answer(base))
    assert [tower.tokenizer.pad_token for tower in base.towers] == ["<|endoftext|>", "!"]


def test_a_folder_without_its_first_tower_is_refused(tmp_path: Path) -> None:
    pipeline(miniature()).save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "text_encoder").rename(tmp_path / "elsewhere")
    with pytest.raises(BaseError, match="lacks text_encoder"):
        families.load(str(tmp_path / "m"))


def test_the_unet_is_told_how_each_picture_was_cut(tmp_path: Path) -> None:
    assert frame(Image.new("RGB", (144, 72)), 64) == (72, 144, 0, 32, 64, 64)
    assert frame(Image.new("RGB", (64, 64)), 64) == (64, 64, 0, 0, 64, 64)
    base, told = miniature(), []
    method = methods.get("lora")
    jobs = stack([concept(tmp_path)], [method.recipe().override(["steps=1", "prior=predicted"])])
    base.backbone.register_forward_pre_hook(
        lambda _m, _a, k: told.append(k["added_cond_kwargs"]["time_ids"].tolist()), with_kwargs=True
    )
    with method.attach(base, jobs) as adapter:
        for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            pass
    cut = [64.0, 72.0, 0.0, 4.0, 64.0, 64.0]  # pictures of 72 x 64 pixels
    assert told == [[cut], [cut, cut]], "the prior's expectation, then the step itself"
    told.clear()
    next(base.sample(["a dog"], [1], Sampler(steps=1, guidance=1.0)))
    assert told == [[[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]]


def test_conditioning_picks_and_joins_its_frames() -> None:
    given = miniature().encode_text(PROMPTS)
    assert isinstance(given, TextAndFrames)
    framed = given.framed(torch.tensor([[1.0] * 6, [2.0] * 6]))
    picked = framed.pick([1, 0, 1])
    assert picked.frames is not None
    assert picked.frames[:, 0].tolist() == [2, 1, 2]
    assert torch.equal(picked.pooled, given.pooled[[1, 0, 1]])
    assert TextAndFrames.join([framed, framed.pick([0])]).frames is not None
    assert TextAndFrames.join([framed, given]).frames is None


def test_presets_match_what_kohya_and_diffusers_train_on_the_real_sizes() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            cross_attention_dim=2048, block_out_channels=(320, 640, 1280), attention_head_dim=(5, 10, 20),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
            transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
        one = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12))
        two = CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=20)
        )
    assert sum(p.numel() for p in unet.parameters()) == 2_567_463_684

    def found(preset: str, part: str, module: torch.nn.Module) -> list[torch.nn.Module]:
        pattern = StableDiffusionXL.target_sets[preset][part]
        paths = [
            (StableDiffusionXL.canonical(None, part, path), m)  # type: ignore[arg-type]
            for path, m in module.named_modules()
        ]
        return [m for path, m in paths if re.fullmatch(pattern, path)]

    attention = found("attention", "backbone", unet)
    assert len(attention) == 560
    assert sum(m.in_features + m.out_features for m in attention) == 1_451_520  # type: ignore[operator, misc]
    assert len(found("transformer", "backbone", unet)) == 722
    assert len(found("transformer", "text", one)) == 12 * 6
    assert len(found("transformer", "text_2", two)) == 32 * 6


def test_textual_inversion_has_a_vector_for_each_tower(tmp_path: Path) -> None:
    base, method = miniature(), methods.get("textual_inversion")
    jobs = stack([concept(tmp_path)], [method.recipe().override(["steps=3", "vectors=2"])])
    with method.attach(base, jobs) as adapter:
        before = adapter.state(0)
        for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            pass
        after = adapter.state(0)
    assert {key: tuple(value.shape) for key, value in after.items()} == {
        "vectors": (2, 32),
        "vectors_2": (2, 40),
    }
    assert all(not torch.equal(before[key], after[key]) for key in after)
    assert not any(tower.words for tower in base.towers)


def test_an_embedding_of_one_tower_is_refused(tmp_path: Path) -> None:
    method = methods.get("textual_inversion")
    jobs = stack([concept(tmp_path)], [method.recipe()])
    with method.attach(families.load("tiny:sd"), jobs) as adapter:
        taught = adapter.state(0)
    with pytest.raises(FormatError, match=r"vectors; tiny:sdxl wants vectors and vectors_2"):
        method.restore(miniature(), [Artifact("textual_inversion", "sdxl", "sks", "dog", taught)])


def test_aesthetic_embeddings_pull_both_towers(tmp_path: Path) -> None:
    base, method = miniature(), methods.get("aesthetic")
    jobs = stack([concept(tmp_path)], [method.recipe().override(["gradient_rate=1e-2"])])
    plain = base.encode_prompts(PROMPTS)
    with method.attach(base, jobs) as adapter:
        assert sorted(adapter.state(0)) == ["aesthetic.mean", "aesthetic.mean_2"]
        pulled = base.encode_prompts(PROMPTS)
    for rows in (
        lambda given: given.states[..., :32],
        lambda given: given.states[..., 32:],
        lambda given: given.pooled,
    ):
        assert not torch.allclose(rows(plain), rows(pulled), atol=1e-2)


def test_a_lora_of_all_three_networks_trains_them(tmp_path: Path) -> None:
    base, method = miniature(), methods.get("lora")
    jobs = stack([concept(tmp_path)], [method.recipe().override(["steps=2", "text_rate=1e-3", "rank=2"])])
    with method.attach(base, jobs) as adapter:
        for _ in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache")):
            pass
        taught = adapter.state(0)
    for part in ("backbone", "text", "text_2"):
        ups = [value for key, value in taught.items() if key.startswith(f"{part}.") and key.endswith(".up")]
        assert ups
        # The last layer of a tower moves nothing that the states before it show; the second tower's is pooled.
        assert sum(bool(up.abs().sum()) for up in ups) >= len(ups) // 2


def test_half_precision_weights_stay_so_and_answer_as_wide_ones(tmp_path: Path) -> None:
    pipeline(miniature()).to(torch.float16).save_pretrained(tmp_path / "m")
    narrow, wide = (
        families.load(str(tmp_path / "m"), precision="fp32", weights=weights)
        for weights in ("file", "float32")
    )
    assert narrow.backbone.conv_in.weight.dtype == torch.float16
    assert narrow.fingerprint() == wide.fingerprint()
    assert torch.equal(answer(narrow), answer(wide))  # type: ignore[arg-type]
    method = methods.get("lora")
    jobs = stack(
        [concept(tmp_path)], [method.recipe().override(["steps=3", "text_rate=1e-4", "precision=fp32"])]
    )
    losses = []
    for base in (narrow, wide):
        with method.attach(base, jobs) as adapter:
            assert {p.dtype for group in adapter.groups() for p in group.parameters} == {torch.float32}
            losses.append(
                [s.losses[0] for s in Training(base, adapter, jobs, cache=Cache(tmp_path / "cache"))]
            )
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def kept(base: StableDiffusionXL, method: str, folder: Path, **settings: object) -> Artifact:
    """What `method` leaves behind after a few steps that show."""
    chosen = methods.get(method)
    recipe = chosen.recipe().override({"steps": 6, "learning_rate": 1e-2, "keep": "fp32", **settings})
    jobs = stack([concept(folder)], [recipe])
    with chosen.attach(base, jobs) as adapter:
        for _ in Training(base, adapter, jobs, cache=Cache(folder / "cache")):
            pass
        return Artifact(method, "sdxl", "sks", "dog", adapter.state(0), recipe.model_dump(mode="json"))


def latents(base: StableDiffusionXL, made: StableDiffusionXLPipeline) -> tuple[torch.Tensor, torch.Tensor]:
    """What we and diffusers make of one prompt and noise."""
    noise = torch.randn(1, *base.latent_shape(64), generator=torch.Generator().manual_seed(11))
    theirs = made(
        PROMPTS[0], latents=noise, num_inference_steps=4, guidance_scale=3.0, output_type="latent", height=64, width=64
    ).images  # fmt: skip
    with torch.no_grad():
        ours = base._denoise_rows([PROMPTS[0]], [11], base.settled(Sampler(steps=4, guidance=3.0)), 64, 1)
    return ours, theirs


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_diffusers_draws_with_our_lora_what_we_draw(layout: str, tmp_path: Path) -> None:
    base = miniature()
    taught = kept(base, "lora", tmp_path, text_rate=1e-2, rank=2)
    file = formats.write(taught, tmp_path / "taught.safetensors", layout, Saving("float32"))
    theirs = copy.deepcopy(base)
    made = pipeline(theirs)
    made.load_lora_weights(file, adapter_name="sks")
    with methods.get("lora").restore(base, [formats.read(file)]):
        ours, other = latents(base, made)
    plain, _ = latents(base, pipeline(base))
    assert (ours - plain).abs().max() > 0.1
    torch.testing.assert_close(ours, other, atol=1e-4, rtol=1e-4)


def test_diffusers_draws_with_our_embedding_what_we_draw(tmp_path: Path) -> None:
    base = miniature()
    taught = kept(base, "textual_inversion", tmp_path, vectors=2)
    file = formats.write(taught, tmp_path / "taught.safetensors", "embedding", Saving("float32"))
    made, tensors = pipeline(copy.deepcopy(base)), load_file(file)
    for key, tower in (("clip_l", ""), ("clip_g", "_2")):
        encoder, tokenizer = (getattr(made, f"{part}{tower}") for part in ("text_encoder", "tokenizer"))
        made.load_textual_inversion(tensors[key], token="sks", text_encoder=encoder, tokenizer=tokenizer)
    with methods.get("textual_inversion").restore(base, [formats.read(file)]):
        ours, theirs = latents(base, made)
    plain, _ = latents(base, pipeline(base))
    assert (ours - plain).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_an_aesthetic_embedding_of_two_towers_has_no_place_in_the_web_ui(tmp_path: Path) -> None:
    taught = Artifact(
        "aesthetic", "sdxl", "sks", "s", {f"aesthetic.mean{n}": torch.ones(1, 24) for n in ("", "_2")}
    )
    assert (
        formats.read(formats.write(taught, tmp_path / "a.safetensors")).tensors.keys()
        == taught.tensors.keys()
    )
    with pytest.raises(FormatError, match="one text tower"):
        formats.write(taught, tmp_path / "a.pt", "webui_aesthetic")


def published_like(velocity: bool) -> StableDiffusionXL:
    """A small model with the head and group counts that single files take for granted."""
    torch.manual_seed(4)
    tokenizers = plain_tokenizer(), plain_tokenizer()
    tokenizers[1].pad_token = "!"
    ids = {f"{kind}_token_id": getattr(tokenizers[0], f"{kind}_token_id") for kind in ("bos", "eos")}
    texts = [
        CLIPTextConfig(
            vocab_size=len(tokenizers[0]), hidden_size=width, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=width // 64, projection_dim=common, hidden_act=act, **ids,
        )
        for width, common, act in ((64, 64, "quick_gelu"), (128, 96, "gelu"))
    ]  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=(64, 128), layers_per_block=2, cross_attention_dim=192,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), transformer_layers_per_block=(1, 2),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=96 + 48,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=2, latent_channels=4, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    schedule = {
        **STABLE_DIFFUSION_BETAS,
        "num_train_timesteps": 1000,
        "prediction_type": "v_prediction" if velocity else "epsilon",
        "rescale_betas_zero_snr": velocity,
    }
    encoders = CLIPTextModel(texts[0]), CLIPTextModelWithProjection(texts[1])
    return StableDiffusionXL("x", Parts(unet, vae, encoders, tokenizers, schedule, [lambda: None] * 2))


@pytest.mark.parametrize(
    "velocity", [False, True], ids=["like Illustrious and Pony", "like NoobAI's velocity"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
def test_a_single_file_is_the_model_that_its_folder_is(
    velocity: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    base = published_like(velocity)
    pipeline(base).to(dtype).save_pretrained(tmp_path / "m")
    file = write_file(open_folder(tmp_path / "m"), tmp_path / "m.safetensors", {})
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(tmp_path / "m" / name, tmp_path / name)
    folder, single = (families.load(str(path), precision="fp32") for path in (tmp_path / "m", file))
    assert isinstance(single, StableDiffusionXL)
    assert single.fingerprint() == folder.fingerprint()
    assert torch.equal(answer(single), answer(folder))  # type: ignore[arg-type]
    assert single.objective.prediction == ("v_prediction" if velocity else "epsilon")
    assert (float(single.objective.alphas_cumprod[-1]) < 1e-6) == velocity  # type: ignore[attr-defined]
    assert single.resolution == 128 * 2
    with safe_open(file, "pt") as tensors:
        assert ("v_pred" in tensors.keys(), "ztsnr" in tensors.keys()) == (velocity, velocity)  # noqa: SIM118


def test_a_single_file_takes_the_first_tokenizer_for_both_towers(tmp_path: Path) -> None:
    pipeline(published_like(False)).save_pretrained(tmp_path / "m")
    file = write_file(open_folder(tmp_path / "m"), tmp_path / "m.safetensors", {})
    shutil.copytree(tmp_path / "m" / "tokenizer", tmp_path / "tokenizer")
    base = families.load(str(file), precision="fp32")
    assert [tower.tokenizer.pad_token for tower in base.towers] == ["<|endoftext|>", "!"]
    assert torch.equal(answer(base), answer(families.load(str(tmp_path / "m"), precision="fp32")))  # type: ignore[arg-type]
