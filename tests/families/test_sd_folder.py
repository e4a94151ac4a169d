"""Stable Diffusion from diffusers folders of every spelling, and the vision twin of a folder."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from likewise import families
from likewise.base import Sampler
from likewise.errors import BaseError
from likewise.families._advice import advice, read_advice
from likewise.families._clip import ClipTwin, half_of, hub_twin, plain_tokenizer
from likewise.families.sd import StableDiffusion
from likewise.preprocessing import pixels
from likewise.tower import TextTower
from tests.families.miniatures import PROMPTS, Hostile, answer, save_folder

STEM = "diffusion_pytorch_model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A velocity miniature as plain diffusers saves it."""
    base = StableDiffusion.tiny_variants()["sd2"](5)
    return save_folder(base, tmp_path_factory.mktemp("folder") / "model")


def test_a_folder_saved_by_diffusers_loads_exactly(folder):
    source, base = StableDiffusion.tiny_variants()["sd2"](5), families.load(str(folder), precision="fp32")
    assert base.name == str(folder)
    assert base.resolution == 64
    assert base.objective.prediction == "v_prediction"
    assert torch.equal(answer(source), answer(base))
    assert source.fingerprint() == base.fingerprint()


def test_plain_diffusers_draws_the_same_picture(folder):
    base = families.load(str(folder), precision="fp32")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *base.latent_shape(64), generator=torch.Generator().manual_seed(11))
    pipeline.scheduler = base.scheduler(4)
    theirs = pipeline(
        PROMPTS[0], latents=noise, num_inference_steps=4, guidance_scale=3.0, output_type="latent"
    ).images
    with torch.no_grad():
        ours = base._denoise_rows([PROMPTS[0]], [11], Sampler(steps=4, guidance=3.0), 64, 1)
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_half_precision_variants_load_as_fp32(tmp_path):
    base = StableDiffusion.tiny(6)
    expected = answer(base)
    for module in base.components().values():
        module.half()
    save_folder(base, tmp_path / "m", variant="fp16")
    assert (tmp_path / "m/unet/diffusion_pytorch_model.fp16.safetensors").is_file()
    loaded = families.load(str(tmp_path / "m"))
    assert loaded.backbone.dtype == torch.float32
    torch.testing.assert_close(answer(loaded), expected, atol=5e-3, rtol=0)


def as_bin(folder: Path, part: str, stem: str) -> Path:
    weights = next((folder / part).glob("*.safetensors"))
    target = folder / part / f"{stem}.bin"
    torch.save(load_file(weights), target)
    weights.unlink()
    return target


def test_pickled_folders_load_if_they_hold_tensors_only(tmp_path):
    base = StableDiffusion.tiny(8)
    save_folder(base, tmp_path / "m")
    for part, stem in (("unet", STEM), ("vae", STEM), ("text_encoder", "pytorch_model")):
        as_bin(tmp_path / "m", part, stem)
    assert torch.equal(answer(families.load(str(tmp_path / "m"))), answer(base))


def test_a_hostile_folder_is_refused_and_nothing_runs(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    target = as_bin(tmp_path / "m", "vae", STEM)
    torch.save({"x": Hostile(f"touch {tmp_path}/ran")}, target)
    with pytest.raises(BaseError, match=r"(posix|nt)\.system"):
        families.load(str(tmp_path / "m"))
    assert not (tmp_path / "ran").exists()


def test_incomplete_folders_say_what_is_missing(folder, tmp_path):
    copy = tmp_path / "m"
    shutil.copytree(folder, copy)
    unet = load_file(copy / "unet" / f"{STEM}.safetensors")
    save_file({**unet, "conv_in.bias": torch.zeros(3)}, copy / "unet" / f"{STEM}.safetensors")
    with pytest.raises(BaseError, match=r"conv_in\.bias is "):
        families.load(str(copy))
    save_file({k: v for k, v in unet.items() if k != "conv_in.bias"}, copy / "unet" / f"{STEM}.safetensors")
    with pytest.raises(BaseError, match=r"lacks 1 tensors \(conv_in.bias"):
        families.load(str(copy))
    (copy / "unet" / f"{STEM}.safetensors").unlink()
    with pytest.raises(BaseError, match="holds no weights"):
        families.load(str(copy))
    shutil.rmtree(copy / "vae")
    with pytest.raises(BaseError, match="lacks vae"):
        families.load(str(copy))


def test_inpainting_models_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    unet = UNet2DConditionModel.from_config(
        json.loads((folder / "unet/config.json").read_text()), in_channels=9
    )
    unet.save_pretrained(tmp_path / "m/unet")
    with pytest.raises(BaseError, match="maps 9 to 4 channels, but its latents have 4"):
        families.load(str(tmp_path / "m"))


def test_advice_is_read_from_the_folder(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m/likewise.toml").write_text(
        'reserved_tokens = ["zwx"]\nguidance = 3\n[recipe.lora]\nlearning_rate = 1e-3\nsteps = 300\n'
    )
    loaded = families.load(str(tmp_path / "m"))
    assert loaded.reserved_tokens == ("zwx",)
    assert loaded.settled(None).guidance == 3.0
    assert loaded.settled(Sampler(guidance=1.5)).guidance == 1.5
    assert loaded.advice == {"lora": {"learning_rate": 1e-3, "steps": 300}}
    assert families.load(str(folder)).advice == {}
    assert families.load(str(folder)).judges == {}


def test_a_base_names_who_judges_it(folder, tmp_path):
    """Red when `[judge]` is not read, or a miniature names nobody."""
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m/likewise.toml").write_text('[judge]\npictures = "dinov2"\nprompts = "clip"\n')
    assert families.load(str(tmp_path / "m")).judges == {"pictures": "dinov2", "prompts": "clip"}
    embedded = {"pictures": "judge", "prompts": "judge"}
    assert families.load("pocket").judges == embedded
    assert [families.load(f"tiny:{name}").judges for name in ("sd", "sd2", "sdxl")] == [embedded] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[judge]\npictures = "resnet"\nprompts = "clip"\n', "judge.pictures = 'resnet' is no network"),
        ('[judge]\npictures = ["clip"]\nprompts = "clip"\n', "is no network that can judge"),
        ('[judge]\nfaces = "clip"\n', "there is no key judge.faces"),
        ('[judge]\npictures = "clip"\n', "judge.prompts is missing beside judge.pictures"),
        ('judge = "clip"\n', "judge = 'clip' is no table"),
        ("guidence = 7\n", "there is no key guidence"),
        ("recipe = 3\n", "recipe holds no table"),
        ("[recipe]\nsteps = 3\n", "recipe holds no table"),
    ],
)
def test_advice_that_is_not_understood_is_refused_in_one_line(tmp_path, text, message):
    """Red for each row when its own check in `read_advice` is taken out."""
    (tmp_path / "likewise.toml").write_text(text)
    with pytest.raises(BaseError, match=re.escape(message)) as caught:
        read_advice(tmp_path / "likewise.toml")
    assert "\n" not in caught.value.message
    assert caught.value.hint


BANK = '[development.use.place]\nforest = "a {} in a forest"\n[test.use.place]\nbeach = "a {} on a beach"\n'


@pytest.mark.parametrize("inline", [True, False])
def test_a_base_may_bring_its_own_prompts(folder, tmp_path, inline):
    shutil.copytree(folder, tmp_path / "m")
    if inline:
        (tmp_path / "m/likewise.toml").write_text(BANK.replace("[", "[prompts."))
    else:
        (tmp_path / "m/likewise.toml").write_text('[prompts]\nbank = "mine.toml"\n')
        (tmp_path / "m/mine.toml").write_text(BANK)
    loaded = families.load(str(tmp_path / "m"))
    assert loaded.prompts == {
        "development": {"use": {"place": {"forest": "a {} in a forest"}}},
        "test": {"use": {"place": {"beach": "a {} on a beach"}}},
    }
    assert families.load(str(folder)).prompts == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("guidances = 3", "there is no key guidances"),
        ("[recipes.lora]", "there is no key recipes"),
        ("recipe.lora = 3", "no table for each method"),
        ("prompts = 3", "prompts = 3 is no table"),
        ('[prompts]\nbank = "none.toml"', r"none\.toml"),
        ('[prompts]\nbank = "../m.toml"', r"is no \.toml file beside it"),
        ("[prompts]\nbank = 3", r"bank = 3 is no \.toml file"),
        ('[prompts]\nbank = "m.toml"\n[prompts.test.use]', "names a bank and holds prompts"),
    ],
)
def test_advice_that_nothing_reads_is_refused(tmp_path, text, message):
    (tmp_path / "likewise.toml").write_text(text)
    with pytest.raises(BaseError, match=message):
        advice(tmp_path)


# --- the vision twin ---------------------------------------------------------------------------


def test_the_twin_of_a_cut_tower_agrees_with_the_whole_model():
    tokenizer = plain_tokenizer()
    torch.manual_seed(0)
    text = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    whole = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    cut = CLIPTextModel(CLIPTextConfig(**{**text, "num_hidden_layers": 2})).eval()
    cut.load_state_dict({k: v for k, v in whole.text_model.state_dict().items() if "layers.2" not in k})
    tower = TextTower(tokenizer, cut, 77)
    twin = ClipTwin(tower, lambda: half_of(whole, 2))
    tokens = tower.tokenize(PROMPTS)
    mine = twin.text_features(tower.encode(tokens, output_hidden_states=True), tokens)
    with torch.no_grad():
        theirs = whole.get_text_features(input_ids=tokens.ids).pooler_output
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    picture = Image.effect_noise((48, 40), 80).convert("RGB")
    with torch.no_grad():
        x = pixels([picture], resize=32, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3)
        seen = whole.get_image_features(pixel_values=x).pooler_output
    twin.half.__dict__.update(mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.testing.assert_close(twin.image_features([picture]), seen, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_steering_reaches_the_towers_own_weights(kind):
    tower = StableDiffusion.tiny_variants()[kind](1).towers[0]
    target = tower.twin.image_features([Image.new("RGB", (40, 40), "red")])
    assert target.shape == (1, tower.twin.width)
    tower.encoder.requires_grad_(True)
    tokens = tower.tokenize(PROMPTS)
    features = tower.twin.text_features(tower.encode(tokens, output_hidden_states=True), tokens)
    (features @ target.T).sum().backward()
    name = "layers.0.self_attn.q_proj.weight"
    found = [p.grad for path, p in tower.encoder.named_parameters() if path.endswith(name)]
    assert found[0].abs().max() > 0


def test_a_folder_brings_its_twin(tmp_path):
    base = StableDiffusion.tiny(2)
    copy, half = save_folder(base, tmp_path / "m"), base.towers[0].twin.half
    words = load_file(copy / "text_encoder/model.safetensors")
    save_file(
        {**words, "text_projection.weight": half.text_projection}, copy / "text_encoder/model.safetensors"
    )
    settings = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (copy / "image_encoder/preprocessor_config.json").write_text(json.dumps(settings))
    loaded = families.load(str(copy)).towers[0]
    assert loaded.twin.half.mean == (0.5,) * 3
    assert loaded.twin.half.std == (0.25,) * 3
    assert torch.equal(loaded.twin.half.text_projection, half.text_projection)
    flat = Image.new("RGB", (40, 60), (255, 0, 255))
    with torch.no_grad():
        pixels = torch.tensor([2.0, -2.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
        expected = half.vision(pixels).image_embeds
    torch.testing.assert_close(loaded.twin.image_features([flat]), expected, atol=1e-5, rtol=1e-4)
    pipeline = StableDiffusionPipeline.from_pretrained(
        copy, safety_checker=None
    )  # the extra tensor is no trouble
    assert torch.equal(pipeline.text_encoder.get_input_embeddings().weight, loaded.table.weight)


def test_a_missing_twin_is_explained(folder, monkeypatch):
    with pytest.raises(BaseError, match="32 wide"):
        families.load(str(folder)).towers[0].twin.image_features([Image.new("RGB", (8, 8))])

    def fail(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr("transformers.CLIPModel.from_pretrained", fail)
    with pytest.raises(BaseError, match=r"laion/CLIP-ViT-H-14.*offline.*hf download"):
        hub_twin(CLIPTextConfig(hidden_size=1024, num_hidden_layers=23, num_attention_heads=16))
