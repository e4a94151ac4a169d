"""Baking: plain programs draw with what was taught, and are told how far a whole model can stand for single prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import TABLE, Checkpoint
from likewise.cli import app
from likewise.errors import FormatError
from likewise.factors.nearest import Size
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving, write
from likewise.operations.baking import bake, bake_lora, bake_prompts, bake_word, misses
from likewise.operations.subjects import write_subject
from tests.formats import whole_models
from tests.formats.words import embedding, pipeline
from tests.operations.changes import lora

PROMPTS = ["a photo of a dog", "a cat"]


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(whole_models.folder("sd1", tmp_path_factory.mktemp("models") / "sd1"))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A miniature with the picture half of its CLIP, which aesthetic embeddings need."""
    folder, half = tmp_path_factory.mktemp("models") / "seeing", _half()
    pipeline().save_pretrained(folder)
    half.vision.save_pretrained(folder / "image_encoder")
    file = folder / "text_encoder" / "model.safetensors"
    save_file({**load_file(file), "text_projection.weight": half.text_projection.contiguous()}, file)
    return open_checkpoint(folder)


def _half() -> Any:
    twin: Any = StableDiffusion.tiny().towers[0].twin
    return twin.half


def mood(**settings: Any) -> Artifact:
    mean = torch.randn(1, 24, generator=torch.Generator().manual_seed(1)) * 5
    return Artifact(
        "aesthetic", "sd", "mood", "style", {"aesthetic.mean": mean}, {"gradient_rate": 1e-2, **settings}
    )


def states(folder: Path, prompt: str, given: Artifact | None = None) -> torch.Tensor:
    """Text states by plain diffusers, which loads `given` in its own way."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    if given is not None:
        pipe.load_textual_inversion({given.token: given.tensors["vectors"]}, token=given.token)
    with torch.no_grad():
        return pipe.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)[0]


@pytest.mark.parametrize("count", [1, 2])
def test_a_new_word_is_read_by_plain_diffusers_as_the_embedding_itself(
    sd1: Checkpoint, tmp_path: Path, count: int
) -> None:
    taught = embedding(count, 64, "zork")
    folder = write_subject(bake_word(sd1, taught), tmp_path / "baked", "diffusers_folder", Saving())
    assert torch.equal(states(folder, "a Zork dog"), states(sd1.origin, "a Zork dog", taught))
    assert torch.equal(states(folder, "a zorkel"), states(sd1.origin, "a zorkel")), "inside of another word"


def test_a_new_word_has_a_row_in_both_towers_of_xl(tmp_path: Path) -> None:
    model = open_checkpoint(whole_models.folder("sdxl", tmp_path / "sdxl"))
    second = torch.randn(1, whole_models.WIDE)
    taught = embedding(1, 64, "zork", family="sdxl", tensors={"vectors_2": second})
    folder = write_subject(bake_word(model, taught), tmp_path / "baked", "diffusers_folder", Saving())
    pipe = StableDiffusionXLPipeline.from_pretrained(folder)
    for tokenizer, tower, wanted in (
        (pipe.tokenizer, pipe.text_encoder, taught.tensors["vectors"]),
        (pipe.tokenizer_2, pipe.text_encoder_2, second),
    ):
        ids = tokenizer("zork", add_special_tokens=False).input_ids
        assert torch.equal(tower.get_input_embeddings().weight[ids], wanted)
        assert tower.config.eos_token_id == tokenizer.eos_token_id, (
            "or the pooled state is taken at the new word"
        )


def test_in_a_checkpoint_words_are_replaced(sd1: Checkpoint, tmp_path: Path) -> None:
    taught = embedding(2, 64, "zork")
    file = write_subject(
        bake_word(sd1, taught, ["dog", "CAT"]), tmp_path / "x.safetensors", "checkpoint", Saving()
    )
    found, rows = (
        open_checkpoint(file),
        whole_models.tokenizer(False)("dog cat", add_special_tokens=False).input_ids,
    )
    for name, one in sd1.tensors.items():
        expected = one.load()
        if name == f"text.{TABLE}":
            expected[rows] = taught.tensors["vectors"]
        assert torch.equal(found.tensors[name].load(), expected), name


def test_words_that_have_no_place_are_refused(sd1: Checkpoint, tmp_path: Path) -> None:
    taught = embedding(1, 64, "zork")
    baked = bake_word(sd1, taught)
    with pytest.raises(FormatError, match="no tokenizer to explain zork"):
        write_subject(baked, tmp_path / "x.safetensors", "checkpoint", Saving())
    again = open_checkpoint(write_subject(baked, tmp_path / "baked", "diffusers_folder", Saving()))
    with pytest.raises(FormatError, match="no tokenizer to explain zork"):
        write_subject(again, tmp_path / "x.safetensors", "checkpoint", Saving())
    for model in (baked, again):
        with pytest.raises(FormatError, match="'zork' already"):
            bake_word(model, taught)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked"]


@pytest.mark.parametrize(
    ("taught", "words", "said"),
    [
        (embedding(2, 64), ["dog"], "1 words cannot stand for 2 vectors"),
        (embedding(1, 64), ["elephant"], "no single token"),
        (embedding(1, 32), [], "width 32"),
        (embedding(1, 64, tensors={"vectors_2": torch.zeros(1, 128)}), [], "not for the text encoders"),
        (lora(), [], "in weights already"),
    ],
)
def test_what_makes_no_sense_is_refused(
    sd1: Checkpoint, taught: Artifact, words: list[str], said: str
) -> None:
    with pytest.raises(FormatError, match=said):
        bake_word(sd1, taught, words)
    with pytest.raises(FormatError, match=r"no LoRA|in weights already"):
        bake_lora(sd1, taught, ["a dog"], Size(4))


def test_one_prompt_is_baked_as_the_embedding_pulls_it(seeing: Checkpoint, tmp_path: Path) -> None:
    """At full weight the baked tower is the moved one; what plain diffusers reads is what our adapter gives."""
    taught = mood(weight=1.0)
    baked = bake_prompts(seeing, taught, PROMPTS[:1])
    assert misses(seeing, taught, baked, PROMPTS[:1])[PROMPTS[0]] < 1e-4
    folder = write_subject(baked, tmp_path / "baked", "diffusers_folder", Saving())
    assert not torch.allclose(states(folder, PROMPTS[0]), states(seeing.origin, PROMPTS[0]), atol=1e-3)
    changed = {name for name, one in baked.tensors.items() if one is not seeing.tensors[name]}
    assert changed, "the tower"
    assert all(name.startswith("text.text_model.") for name in changed)


def test_several_prompts_share_one_tower(seeing: Checkpoint) -> None:
    taught = mood(weight=1.0)
    alone = [bake_prompts(seeing, taught, [prompt]) for prompt in PROMPTS]
    both = bake_prompts(seeing, taught, PROMPTS)
    name = "text.text_model.encoder.layers.0.mlp.fc1.weight"
    mean = sum(one.tensors[name].load() for one in alone) / 2
    assert torch.allclose(both.tensors[name].load(), mean, atol=1e-6)
    half = bake_prompts(seeing, replace(taught, recipe={**taught.recipe, "weight": 0.5}), PROMPTS[:1])
    before, full = seeing.tensors[name].load(), alone[0].tensors[name].load()
    assert torch.allclose(half.tensors[name].load(), (before + full) / 2, atol=1e-6)
    missed = misses(seeing, taught, both, PROMPTS)
    assert all(0.01 < share < 1 for share in missed.values()), missed


def test_a_lora_of_it_says_what_it_misses(seeing: Checkpoint) -> None:
    taught = mood()
    made, cut = bake_lora(seeing, taught, PROMPTS[:1], Size(32))
    assert (made.method, made.token, made.noun) == ("lora", "mood", "style")
    assert cut.error < 1e-3
    assert any("layer_norm" in name for name in cut.left_out)
    full, small = (
        misses(seeing, taught, one, PROMPTS[:1])[PROMPTS[0]]
        for one in (made, bake_lora(seeing, taught, PROMPTS[:1], Size(1))[0])
    )
    assert 0 < full < small < 1
    with pytest.raises(FormatError, match="for prompts"):
        bake_prompts(seeing, taught, [" "])


def test_whoever_bakes_is_told_of_the_negative_prompt(seeing: Checkpoint, tmp_path: Path) -> None:
    file = write(mood(), tmp_path / "mood.pt", "webui_aesthetic")
    words = ["bake", str(file), "--into", str(seeing.origin), "--prompt", PROMPTS[0]]
    for more in ([], ["--rank", "2"]):
        out = str(tmp_path / f"made{len(more)}")
        told = CliRunner().invoke(app, [*words, *more, "--out", out], prog_name="likewise")
        assert told.exit_code == 0, told.output
        assert "of the pull is missed" in told.stderr
        assert "the negative prompt" in told.stderr
    with pytest.raises(FormatError, match="every prompt alike"):
        bake(seeing, embedding(1, 32), PROMPTS[:1])
    with pytest.raises(FormatError, match="stands for no words"):
        bake(seeing, mood(), PROMPTS[:1], ["dog"])
