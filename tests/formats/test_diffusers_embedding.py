"""diffusers' own embeddings: the tensor is called by the word."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from likewise import formats
from likewise.errors import FormatError
from likewise.weights import write_tensors
from tests import webui
from tests.formats.words import FULL, diffusers_vectors, embedding, pipeline


def test_other_programs_read_what_was_taught(tmp_path):
    taught = embedding(3, token="<cat>")
    path = formats.write(taught, tmp_path / "learned_embeds.safetensors", "diffusers_embedding", FULL)
    assert torch.equal(
        diffusers_vectors(path, "<cat>"), taught.tensors["vectors"]
    )  # also says it has three words
    assert torch.equal(webui.embedding(load_file(path)), taught.tensors["vectors"])


@pytest.mark.parametrize("shape", [(32,), (1, 32), (4, 32)])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_what_diffusers_saves_is_read(tmp_path, shape, suffix):
    vectors = torch.randn(shape)
    path = tmp_path / f"learned_embeds{suffix}"
    save_file({"<cat>": vectors}, path) if suffix == ".safetensors" else torch.save({"<cat>": vectors}, path)
    found = formats.read(path)
    assert (found.token, found.family) == ("<cat>", "sd")
    assert torch.equal(found.tensors["vectors"], vectors.reshape(-1, 32))
    assert torch.equal(diffusers_vectors(path, "<cat>"), found.tensors["vectors"])


def test_the_file_for_sdxls_second_tower_is_known_by_its_width(tmp_path):
    save_file({"<cat>": torch.randn(2, 1280)}, tmp_path / "learned_embeds_2.safetensors")
    found = formats.read(tmp_path / "learned_embeds_2.safetensors")
    assert (found.family, list(found.tensors)) == ("sdxl", ["vectors_2"])


def test_two_towers_take_two_calls_of_diffusers(tmp_path):
    """With each tensor handed over by itself, as diffusers' documentation has it for SDXL."""
    taught = embedding(2, tensors={"vectors_2": torch.randn(2, 16)})
    path = formats.write(taught, tmp_path / "sks.safetensors", "embedding", FULL)
    with pytest.raises(ValueError):
        pipeline().load_textual_inversion(path.parent, weight_name=path.name, token="sks")
    pipe = pipeline()
    pipe.load_textual_inversion(load_file(path)["clip_l"], token="sks")
    ids = [pipe.tokenizer.get_added_vocab()[word] for word in ("sks", "sks_1")]
    assert torch.equal(pipe.text_encoder.get_input_embeddings().weight[ids], taught.tensors["vectors"])
    assert "SDXL needs a call per text encoder" in formats.get("embedding").readers["diffusers"]


@pytest.mark.parametrize("name", ["lora_unet_x.diff", "blocks.0.weight", "a.lokr_w1", "x.alpha"])
def test_one_layer_is_no_word(tmp_path, name):
    path = write_tensors(tmp_path / "x.safetensors", {name: torch.ones(4, 4)})
    assert not formats.get("diffusers_embedding").sniff(formats.examine(path))
    with pytest.raises(FormatError, match="cannot tell the word"):
        formats.write(embedding(token=name), tmp_path / "y.safetensors", "diffusers_embedding")


@pytest.mark.parametrize("token", ["my.v2", "v1.5", "<a.b>", "ü 1"])
def test_words_with_dots_are_words(tmp_path, token):
    path = formats.write(embedding(token=token), tmp_path / "x.safetensors", "diffusers_embedding")
    assert formats.read(path).token == token
