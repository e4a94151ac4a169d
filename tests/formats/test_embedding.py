"""Embeddings by text tower, and the neighbouring layouts they must not be taken for."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from likewise import formats
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.weights import read_header, write_tensors
from tests import webui
from tests.formats.words import (
    FULL,
    diffusers_states,
    diffusers_vectors,
    embedding,
    for_two_towers,
    our_states,
)


def test_other_programs_read_what_was_taught(tmp_path):
    taught = embedding(3)
    path = formats.write(taught, tmp_path / "sks.safetensors", "embedding", FULL)
    assert torch.equal(webui.embedding(load_file(path)), taught.tensors["vectors"])
    assert torch.equal(diffusers_vectors(path, "sks", given="sks"), taught.tensors["vectors"])
    prompt = "a photo of sks dog"
    torch.testing.assert_close(
        our_states(path, prompt), diffusers_states(path, prompt, "sks"), rtol=0, atol=1e-5
    )


def test_diffusers_calls_the_word_emb_params_unless_told(tmp_path):
    path = formats.write(embedding(1), tmp_path / "sks.safetensors", "embedding", FULL)
    assert len(diffusers_vectors(path, "emb_params")) == 1
    assert "token=" in formats.get("embedding").readers["diffusers"]


def test_two_text_towers_are_kept_apart(tmp_path):
    taught = for_two_towers()
    path = formats.write(taught, tmp_path / "sks.safetensors", "embedding", FULL)
    assert {name: shape[1] for name, shape in read_header(path).shapes.items()} == {
        "clip_l": 768,
        "clip_g": 1280,
    }
    assert webui.embedding(load_file(path)).shape == (2, 2048)
    again = formats.read(path)
    assert again.family == "sdxl"
    assert {n: t.tolist() for n, t in again.tensors.items()} == {
        n: t.tolist() for n, t in taught.tensors.items()
    }


@pytest.mark.parametrize(
    ("names", "family", "canonical"),
    [
        ({"emb_params": (2, 768)}, "sd", {"vectors"}),
        ({"emb_params": (768,)}, "sd", {"vectors"}),
        ({"emp_params": (2, 1024)}, "sd", {"vectors"}),
        ({"emp_params": (2, 768), "emp_params_out": (2, 768)}, "sd", {"vectors"}),
        ({"emb_params": (2, 1280)}, "sdxl", {"vectors_2"}),
        ({"clip_l": (1, 768)}, "sd", {"vectors"}),
        ({"clip_l": (1, 768), "clip_g": (1, 1280), "clip_l_out": (1, 768)}, "sdxl", {"vectors", "vectors_2"}),
        ({"clip_l": (1, 768), "clip_g": (1, 1280), "t5": (1, 4096)}, "sd3", {"vectors", "vectors_2", "vectors_3"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_spelling_is_read(tmp_path, names, family, canonical, suffix):
    tensors = {name: torch.randn(shape, dtype=torch.float16) for name, shape in names.items()}
    path = tmp_path / f"my word{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    found = formats.read(path)
    assert (found.method, found.family, found.token) == ("textual_inversion", family, "my word")
    assert set(found.tensors) == canonical
    first = next(iter(tensors.values())).float()
    values = next(iter(found.tensors.values()))
    assert values.dtype == torch.float32
    assert torch.equal(values, first.reshape(-1, first.shape[-1]))


def test_metadata_names_the_word_and_can_be_left_out(tmp_path):
    taught = embedding(token="<my-cat>")
    path = formats.write(taught, tmp_path / "file.safetensors", "embedding", FULL)
    assert read_header(path).metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"
    assert formats.read(path).token == "<my-cat>"
    assert formats.read(path).noun == "dog"
    path = formats.write(taught, path, "embedding", Saving("float32", metadata=False))
    assert read_header(path).metadata == {}
    assert formats.read(path).token == "file"


def test_precision_is_asked_for_and_usually_full(tmp_path):
    for layout in ("embedding", "diffusers_embedding"):
        path = formats.write(embedding(), tmp_path / "x.safetensors", layout, Saving("float16"))
        assert set(read_header(path).dtypes.values()) == {"F16"}
        path = formats.write(embedding(), tmp_path / "x.safetensors", layout)
        assert set(read_header(path).dtypes.values()) == {"F32"}


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"emb_params": torch.full((2, 8), torch.nan)}, "not finite"),
        ({"emb_params": torch.full((2, 8), torch.inf)}, "not finite"),
        ({"emb_params": torch.ones(2, 8, 3)}, r"has shape \[2, 8, 3\]"),
        ({"emb_params": torch.ones(0, 8)}, r"has shape \[0, 8\]"),
        ({"emb_params": torch.ones(8, 0)}, r"has shape \[8, 0\]"),
        ({"emb_params": torch.tensor(1.0)}, r"has shape \[\]"),
        ({"emb_params": torch.ones(300, 8)}, r"has shape \[300, 8\]"),
        ({"emb_params": torch.ones(1, 20_000)}, r"has shape \[1, 20000\]"),
        ({"emb_params": torch.ones(2, 8, dtype=torch.int64)}, "no tensor of real numbers"),
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(1, 1280)}, "another number of vectors"),
        ({"clip_l_out": torch.ones(2, 768)}, "output only"),
    ],
)
def test_impossible_files_are_told_in_one_line(tmp_path, tensors, reason):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    with pytest.raises(FormatError, match=reason) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["diffusers_embedding", "webui_embedding", "embedding_card"])
def test_layouts_of_one_tower_refuse_two_in_words(tmp_path, layout):
    with pytest.raises(
        FormatError, match="holds the numbers of one text tower, and this embedding has those of 2"
    ):
        formats.write(for_two_towers(), tmp_path / "x", layout)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 9),
    width=st.sampled_from([1, 7, 32, 768, 1024]),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
    layout=st.sampled_from(["embedding", "diffusers_embedding", "webui_embedding"]),
    token=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
def test_what_is_written_is_read(tmp_path_factory, count, width, dtype, layout, token):
    taught = embedding(count, width, token=token)
    path = tmp_path_factory.mktemp("x") / f"word{formats.get(layout).suffix}"
    again = formats.read(formats.write(taught, path, layout, Saving(dtype)))
    wanted = taught.tensors["vectors"].to(getattr(torch, dtype)).float()
    assert torch.equal(again.tensors["vectors"], wanted)
    assert again.family == "sd"
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_our_own_file_is_not_taken_for_one(tmp_path):
    path = formats.write(embedding(), tmp_path / "x.safetensors", "native", FULL)
    assert formats.recognise(formats.examine(path)).name == "native"


def test_a_layer_by_itself_is_no_word(tmp_path):
    path = Path(write_tensors(tmp_path / "x.safetensors", {"unet.down.to_q.diff": torch.ones(4, 4)}))
    for layout in ("embedding", "diffusers_embedding"):
        assert not formats.get(layout).sniff(formats.examine(path))
