"""Stable Diffusion: the registry, what `Base` promises, and schedules. Files have tests of their own."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from likewise import families
from likewise.base import Sampler
from likewise.errors import BaseError, RecipeError
from likewise.families._clip import PLAIN_WORDS
from likewise.families.sd import StableDiffusion, TextStates, _tiny_parts
from likewise.tower import Word
from tests.families.miniatures import PROMPTS, answer


@pytest.fixture(scope="module")
def tiny() -> StableDiffusion:
    return StableDiffusion.tiny()


def picture_array(pictures) -> np.ndarray:
    return np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])


# --- the registry ------------------------------------------------------------------------------


def test_registry_knows_the_family_and_hides_private_files():
    assert "sd" in families.names()
    assert not any(name.startswith("_") for name in families.names())
    assert families.get("sd") is StableDiffusion


def test_unknown_names_come_with_the_nearest(tmp_path):
    (tmp_path / "my-model").mkdir()
    with pytest.raises(BaseError, match="did you mean sd"):
        families.get("sdd")
    with pytest.raises(BaseError, match=r"did you mean .*my-model\?"):
        families.load(str(tmp_path / "my-modle"))
    with pytest.raises(BaseError, match="did you mean pocket"):
        families.load("pokcet")
    with pytest.raises(BaseError, match=r"single \.safetensors or \.ckpt"):
        families.load("qqqqqqqq")


def test_tiny_sources_take_seed_variant_and_precision():
    one, same, other = (families.load(name) for name in ("tiny:sd:1", "tiny:sd:1", "tiny:sd:2"))
    assert one.name == "tiny:sd:1"
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert families.load("tiny:sd2", precision="bf16").precision == "bf16"
    assert families.load("tiny:sd2", precision="fp32").objective.prediction == "v_prediction"
    with pytest.raises(BaseError, match="tiny:FAMILY:SEED"):
        families.load("tiny:sd:x")


def test_hub_failure_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host\nand more lines")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", fail)
    with pytest.raises(BaseError) as caught:
        families.load("owner/name")
    assert "no route to host" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_of_another_family_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "KandinskyPipeline"}))
    with pytest.raises(BaseError, match=r"KandinskyPipeline.*StableDiffusionPipeline"):
        families.load(str(tmp_path))


# --- what Base promises ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_miniatures_are_frozen_finite_and_repeatable(kind):
    base = StableDiffusion.tiny_variants()[kind](4)
    again = StableDiffusion.tiny_variants()[kind](4)
    assert base.fingerprint() == again.fingerprint()
    for module in base.components().values():
        assert not module.training
        assert all(not p.requires_grad and p.dtype == torch.float32 for p in module.parameters())
    out = answer(base)
    assert out.shape == (2, 4, 8, 8)
    assert torch.isfinite(out).all()
    assert out.abs().mean() > 1e-3
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_making_a_miniature_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    StableDiffusion.tiny(7)
    assert torch.equal(before, torch.get_rng_state())


def test_latents_are_shifted_and_scaled_as_the_config_says():
    base = StableDiffusion.tiny()
    base.vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        mean, std = base.encode_images(pixels)
        raw = base.vae.encode(pixels).latent_dist
        assert mean.shape == std.shape == (2, *base.latent_shape(64))
        torch.testing.assert_close(mean, (raw.mean - 0.25) * 0.5)
        torch.testing.assert_close(std, raw.std * 0.5)
        torch.testing.assert_close(base.decode(mean), base.vae.decode(raw.mean).sample)


def test_conditioning_picks_and_joins(tiny):
    given = tiny.encode_text(PROMPTS)
    assert isinstance(given, TextStates)
    assert given.states.shape == (2, 77, 32)
    assert torch.equal(given.pick([1, 0, 1]).states, given.states[[1, 0, 1]])
    joined = TextStates.join([given.pick([1]), given])
    assert torch.equal(joined.states, given.states[[1, 0, 1]])


def test_a_row_does_not_depend_on_its_neighbours(tiny):
    both = answer(tiny)
    alone = answer(tiny, PROMPTS[:1])
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=0)


def test_sampling_is_the_same_in_any_batch(tiny):
    prompts, seeds = [*PROMPTS, "a mug", "snow"], [1, 2, 3, 4]
    one, four = (
        picture_array(tiny.sample(prompts, seeds, Sampler(steps=3, batch=batch))) for batch in (1, 4)
    )
    assert one.shape == (4, 64, 64, 3)
    assert np.abs(one - four).max() <= 1
    assert np.abs(one[0] - one[1]).max() > 8


def test_slots_are_slot_major_when_words_differ_by_slot():
    base = StableDiffusion.tiny()
    tower = base.towers[0]
    vectors = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
    prompts, seeds, sampler = ["a sks dog", "a sks cat"], [5, 6], Sampler(steps=3, batch=2)
    alone = []
    for slot in range(2):
        tower.words, tower.slots = [Word("sks", 0, 1, vectors[slot : slot + 1])], 1
        alone.append(picture_array(base.sample(prompts, seeds, sampler)))
    tower.words, tower.slots = [Word("sks", slot, 1, vectors) for slot in range(2)], 2
    together = picture_array(base.sample(prompts * 2, seeds * 2, sampler, slots=2))
    assert np.abs(together - np.concatenate(alone)).max() <= 1
    assert np.abs(alone[0] - alone[1]).max() > 1


def test_sites_come_in_execution_order(tiny):
    sites = tiny.sites()
    seen: list[str] = []
    hooks = [
        site.module.register_forward_hook(lambda *_, path=site.path: seen.append(path)) for site in sites
    ]
    answer(tiny)
    for hook in hooks:
        hook.remove()
    assert seen == [site.path for site in sites]
    assert len(sites) == 16
    for site in sites:
        assert site.width == site.module.in_features == (32 if site.kind == "cross" else site.width)
        assert (".attn2." in site.path) == (site.kind == "cross")
        assert site.path.endswith("to_k" if site.part == "key" else "to_v")
        assert tiny.targets("attention", "backbone")[site.path] is site.module


def test_presets_match_what_kohya_and_diffusers_train_on_the_real_sizes():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)  # SD 1.5
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12))

    def count(preset: str) -> tuple[int, int]:
        patterns = StableDiffusion.target_sets[preset]
        live = [StableDiffusion.canonical(None, "text", path) for path, _ in text.named_modules()]
        return (
            sum(bool(re.fullmatch(patterns["backbone"], path)) for path, _ in unet.named_modules()),
            sum(bool(re.fullmatch(patterns["text"], path)) for path in live),
        )

    assert count("attention") == (128, 48)
    assert count("transformer") == (192, 72)  # kohya's 264
    convolutions = 22 * 3 + 14 + 3 + 3  # resnets, their shortcuts, down, up
    assert count("all") == (192 + convolutions, 72)


def test_text_paths_have_the_published_spelling(tiny):
    assert next(iter(tiny.targets("attention", "text"))).startswith(
        "text.text_model.encoder.layers.0.self_attn."
    )
    assert tiny.canonical("text", "text_model.encoder.x") == "text_model.encoder.x"
    assert tiny.canonical("backbone", "encoder.x") == "encoder.x"
    with pytest.raises(RecipeError, match="attention, transformer, all"):
        tiny.targets("nothing", "text")


def test_plain_words_are_single_tokens(tiny):
    tower = tiny.towers[0]
    assert all(len(tower.pieces(word)) == 1 for word in PLAIN_WORDS)
    assert len(tower.pieces("zebra")) == 5
    assert tower.tokenize(["a dog"]).ids.shape == (1, 77)


# --- schedules ---------------------------------------------------------------------------------


def with_schedule(**changes) -> StableDiffusion:
    parts = _tiny_parts(velocity=False)
    return StableDiffusion("test", replace(parts, schedule={**parts.schedule, **changes}))


def test_betas_and_prediction_are_the_folders_own():
    base = with_schedule(
        beta_start=0.001, beta_end=0.02, beta_schedule="linear", prediction_type="v_prediction"
    )
    betas = torch.linspace(0.001, 0.02, 1000)
    torch.testing.assert_close(base.objective.alphas_cumprod, torch.cumprod(1 - betas, 0))
    assert base.objective.prediction == "v_prediction"
    assert base.scheduler(4).config.prediction_type == "v_prediction"
    assert base.scheduler(4) is not base.scheduler(4)


def test_spacing_is_trailing_only_when_asked_or_needed():
    assert with_schedule().scheduler(4).timesteps.tolist() == [999, 749, 500, 250]
    trailing = [999, 749, 499, 249]
    assert with_schedule(timestep_spacing="trailing").scheduler(4).timesteps.tolist() == trailing
    zero = with_schedule(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert zero.scheduler(4).timesteps.tolist() == trailing
    assert zero.objective.alphas_cumprod[-1] < 1e-6


def test_foreign_schedules_are_refused():
    with pytest.raises(BaseError, match="FlowMatchEulerDiscreteScheduler"):
        with_schedule(_class_name="FlowMatchEulerDiscreteScheduler")
    with pytest.raises(RecipeError, match="sample"):
        with_schedule(prediction_type="sample")
