"""diffusers folders, opened by the installed diffusers and checked for what older versions of transformers need."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from likewise import families, formats
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import DTYPES
from likewise.checkpoints.folder import write_folder
from likewise.checkpoints.single_file import write_file
from likewise.errors import FormatError
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.formats.checkpoint import artifact_of, facts_of
from likewise.operations.merging import merge_into
from likewise.operations.subjects import write_subject
from likewise.weights import read_header
from tests.families.miniatures import save_folder
from tests.formats import whole_models
from tests.operations.changes import lora

PROMPT = "a photo of sks dog!"


@pytest.fixture(scope="module", params=whole_models.VERSIONS)
def made(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """A version's name, its folder as diffusers saved it, and ours, written from a single file of it."""
    home = tmp_path_factory.mktemp(request.param)
    folder = whole_models.folder(request.param, home / "theirs")
    whole = open_checkpoint(folder)
    file = write_file(whole, home / "model.safetensors", facts_of(whole, "Miniature"))
    shutil.copytree(folder / "tokenizer", home / "tokenizer")
    return request.param, folder, write_folder(open_checkpoint(file), home / "ours")


def load(version: str, folder: Path) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    kind = StableDiffusionXLPipeline if version == "sdxl" else StableDiffusionPipeline
    return kind.from_pretrained(folder)


def latents(pipeline: StableDiffusionPipeline | StableDiffusionXLPipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "latent"}
    return pipeline(PROMPT, generator=generator, **options).images


def test_folder_to_file_to_folder_is_exact(made):
    _, theirs, ours = made
    before, after = whole_models.weights(theirs), whole_models.weights(ours)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_diffusers_draws_the_same_from_it(made):
    """Weights, tokenizers, heads, activations and schedule all went through the single file."""
    version, theirs, ours = made
    assert torch.equal(latents(load(version, theirs)), latents(load(version, ours)))


def test_older_transformers_find_what_they_need(made):
    """4.48 wants the level `text_model.` and a tokenizer in two files (checked with 4.48.3 and diffusers 0.33.1)."""
    version, _, ours = made
    for tail in ("", "_2") if version == "sdxl" else ("",):
        names = read_header(ours / f"text_encoder{tail}" / "model.safetensors").shapes
        assert all(name.startswith(("text_model.", "text_projection.")) for name in names)
        assert (ours / f"tokenizer{tail}" / "vocab.json").is_file()
        assert (ours / f"tokenizer{tail}" / "merges.txt").read_text().startswith("#version")
        config = json.loads((ours / f"tokenizer{tail}" / "tokenizer_config.json").read_text())
        assert config["pad_token"] == ("!" if tail or version == "sd2" else "<|endoftext|>")
    for file in ours.glob("*/*.safetensors"):
        assert read_header(file).metadata == {"format": "pt"}


def test_the_base_loader_of_this_program_opens_it(made):
    _, theirs, ours = made
    assert families.load(str(ours)).fingerprint() == families.load(str(theirs)).fingerprint()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_a_folder_is_converted_to_another_precision_with_all_its_other_files(tmp_path, dtype):
    """From any miniature, as a folder keeps its configuration; the picture half goes along."""
    source = save_folder(StableDiffusion.tiny(), tmp_path / "source")
    (source / "likewise.toml").write_text('reserved_tokens = ["sks"]\n[prompts]\nbank = "own.toml"\n')
    (source / "own.toml").write_text("[test.use.place]\n")
    made = write_folder(open_checkpoint(source).cast(dtype), tmp_path / "made")
    for file in [
        *made.glob("unet/*.safetensors"),
        *made.glob("vae/*.safetensors"),
        *made.glob("text_*/*.safetensors"),
    ]:
        assert set(read_header(file).dtypes.values()) == {DTYPES[dtype]}
    kept = [
        path.relative_to(source) for path in source.rglob("*") if path.suffix in (".json", ".toml", ".txt")
    ]
    assert kept
    assert all((made / path).read_bytes() == (source / path).read_bytes() for path in kept)
    before, after = (load_file(next(folder.glob("image_encoder/*.safetensors"))) for folder in (source, made))
    assert all(torch.equal(before[name], after[name]) for name in before)
    want = StableDiffusion.load(str(source)).fingerprint()
    assert (StableDiffusion.load(str(made)).fingerprint() == want) == (dtype == "float32")


def test_a_tokenizer_in_the_newer_file_alone_gets_the_older_ones(tmp_path):
    source = save_folder(StableDiffusion.tiny(), tmp_path / "source")
    words = CLIPTokenizer.from_pretrained(source / "tokenizer")
    for name in ("vocab.json", "merges.txt"):
        (source / "tokenizer" / name).unlink(missing_ok=True)
    made = write_folder(open_checkpoint(source), tmp_path / "made") / "tokenizer"
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copyfile(made / name, alone / name)
    again = CLIPTokenizer.from_pretrained(alone)
    assert again(PROMPT)["input_ids"] == words(PROMPT)["input_ids"]


def test_half_precision_variants_shards_and_pickled_folders_are_read(tmp_path):
    source = save_folder(StableDiffusion.tiny(), tmp_path / "source")
    want = {name: one.load() for name, one in open_checkpoint(source).tensors.items()}
    weights = source / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    index = {name: f"part{n % 2}.safetensors" for n, name in enumerate(sorted(tensors))}
    for part in set(index.values()):
        save_file({name: tensors[name] for name in tensors if index[name] == part}, source / "unet" / part)
    table = source / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    table.write_text(json.dumps({"weight_map": index}))
    vae = source / "vae" / "diffusion_pytorch_model"
    vae.with_suffix(".safetensors").rename(vae.with_suffix(".fp16.safetensors"))
    text = source / "text_encoder" / "model.safetensors"
    torch.save(load_file(text), source / "text_encoder" / "pytorch_model.bin")
    text.unlink()
    found = open_checkpoint(source).tensors
    assert found.keys() == want.keys()
    assert all(torch.equal(one.load(), want[name]) for name, one in found.items())
    made = write_folder(open_checkpoint(source), tmp_path / "made")
    assert sorted(path.name for path in (made / "unet").iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors"
    ]  # fmt: skip
    table.write_text(json.dumps({"weight_map": {"x": "../secret.safetensors"}}))
    with pytest.raises(FormatError, match="points outside its folder"):
        open_checkpoint(source)


def test_the_oldest_spelling_of_the_vae_is_read(made, tmp_path):
    _, theirs, _ = made
    source = shutil.copytree(theirs, tmp_path / "source")
    file = source / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(file).items():
        for new, before in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        tensors[name] = (
            tensor[:, :, None, None].contiguous() if "attentions" in name and tensor.ndim == 2 else tensor
        )
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, file)
    want, found = open_checkpoint(theirs).part("vae"), open_checkpoint(source).part("vae")
    assert found.keys() == want.keys()
    assert all(torch.equal(one.load(), want[name].load()) for name, one in found.items())


def test_a_taught_model_is_written_over_a_copy_of_its_base(tmp_path):
    source = save_folder(StableDiffusion.tiny(), tmp_path / "source")
    weight = open_checkpoint(source).tensors["backbone.conv_in.weight"].load() + 1
    artifact = Artifact("dreambooth", "sd", "sks", "dog", {"backbone.conv_in.weight": weight})
    made = formats.write(artifact, tmp_path / "dog", "diffusers-folder", Saving("float32", base=source))
    again = formats.read(made)
    assert torch.equal(again.tensors["backbone.conv_in.weight"], weight)
    assert again.tensors["text.text_model.final_layer_norm.bias"].dtype == torch.float32
    base = families.load(str(made))
    assert torch.equal(base.backbone.conv_in.weight, weight)


def test_what_is_no_such_folder_is_said(tmp_path):
    with pytest.raises(FormatError, match="is no diffusers model"):
        open_checkpoint(tmp_path)
    source = save_folder(StableDiffusion.tiny(), tmp_path / "source")
    index = json.loads((source / "model_index.json").read_text())
    (source / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))
    with pytest.raises(FormatError, match="holds a FluxPipeline"):
        open_checkpoint(source)
    (source / "model_index.json").write_text("[1, 2]")
    with pytest.raises(FormatError, match="is not a table"):
        open_checkpoint(source)
    (source / "model_index.json").write_text(json.dumps(index))
    (source / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FormatError, match="vae holds no weights"):
        open_checkpoint(source)


def test_a_single_file_without_a_tokenizer_leaves_no_half_folder(made, tmp_path):
    _, theirs, _ = made
    whole = open_checkpoint(theirs)
    file = write_file(whole, tmp_path / "model.safetensors", {})
    with pytest.raises(FormatError, match=r"no tokenizer of its own.*put one in .*tokenizer"):
        write_folder(open_checkpoint(file), tmp_path / "made")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    with pytest.raises(FormatError, match="the tokenizer has 1 words, the text encoder"):
        write_folder(open_checkpoint(file), tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """Folders that likewise writes in half precision, by every way to write one; and the bundled model."""
    home = tmp_path_factory.mktemp("written")
    theirs = home / "theirs"
    whole_models.pipeline("sd1").to(torch.float16).save_pretrained(theirs)
    assert json.loads((theirs / "text_encoder" / "config.json").read_text())["dtype"] == "float16"
    copied = write_subject(open_checkpoint(theirs), home / "copied", "diffusers_folder", Saving())
    file = write_subject(open_checkpoint(theirs), home / "x.safetensors", "checkpoint", Saving())
    shutil.copytree(theirs / "tokenizer", home / "tokenizer")
    unpacked = write_subject(open_checkpoint(file), home / "unpacked", "diffusers_folder", Saving())
    merged = merge_into(open_checkpoint(copied), [(lora(1), 1.0)])
    taught = artifact_of(open_checkpoint(copied))
    return {
        "copied": copied,
        "unpacked": unpacked,
        "merged": write_subject(merged, home / "merged", "diffusers_folder", Saving()),
        "full": write_subject(merged, home / "full", "diffusers_folder", Saving("float32")),
        "taught": formats.write(taught, home / "taught", "diffusers_folder", Saving("float16", base=theirs)),
        "pocket": families.POCKET,
    }


@pytest.mark.parametrize("options", [{}, {"dtype": torch.float16}, {"dtype": torch.float32}], ids=str)
@pytest.mark.parametrize("name", ["copied", "unpacked", "merged", "full", "taught", "pocket"])
def test_any_diffusers_program_draws_with_it(written, name, options):
    """Without a precision, transformers would load what a folder says or has, and diffusers loads float32."""
    pipe = StableDiffusionPipeline.from_pretrained(written[name], **options)
    pipe.set_progress_bar_config(disable=True)
    wanted = options.get("dtype", torch.float32)
    for part in ("unet", "vae", "text_encoder"):
        assert {value.dtype for value in getattr(pipe, part).parameters()} == {wanted}
    side = 64 if name == "pocket" else 16
    picture = pipe("a dog", num_inference_steps=1, height=side, width=side, output_type="np").images
    assert picture.shape == (1, side, side, 3)
