"""The web UI's `.pt` embedding: the programs that read it, and the older files that are read too."""

import pytest
import torch
from torch import nn

from likewise import formats
from likewise.errors import FormatError
from likewise.formats import Saving
from tests import webui
from tests.formats.words import FULL, diffusers_states, diffusers_vectors, embedding, our_states


def table(vectors: object, **more: object) -> dict[str, object]:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": vectors},
        "name": "cat",
        "step": 7,
        **more,
    }


def test_other_programs_read_what_was_taught(tmp_path):
    taught = embedding(3, recipe={"steps": 500})
    path = formats.write(taught, tmp_path / "sks.pt", "webui_embedding", FULL)
    found = webui.load(path)
    assert torch.equal(webui.embedding(found), taught.tensors["vectors"])
    assert (found["name"], found["step"]) == ("sks", 500)
    assert torch.equal(diffusers_vectors(path, "sks"), taught.tensors["vectors"])
    prompt = "a photo of sks dog"
    torch.testing.assert_close(
        our_states(path, prompt), diffusers_states(path, prompt, "sks"), rtol=0, atol=1e-5
    )


def test_metadata_can_be_left_out_and_names_no_folder(tmp_path):
    taught = embedding(base="/home/anna/models/sd.safetensors", recipe={"steps": 500})
    known = webui.load(formats.write(taught, tmp_path / "x.pt", "webui_embedding", FULL))
    assert known["sd_checkpoint_name"] == "sd.safetensors"
    bare = webui.load(
        formats.write(taught, tmp_path / "x.pt", "webui_embedding", Saving("float32", metadata=False))
    )
    assert (bare["step"], bare["sd_checkpoint_name"], bare["name"]) == (0, None, "sks")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_web_uis_own_files_are_read(tmp_path, zipped):
    vectors = torch.randn(2, 768, requires_grad=True)
    whole = table(vectors, sd_checkpoint="0123abcd", sd_checkpoint_name="v1-5")
    torch.save(whole, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = formats.read(tmp_path / "x.pt")
    assert (found.method, found.family, found.token, found.base) == ("textual_inversion", "sd", "cat", "v1-5")
    assert torch.equal(found.tensors["vectors"], vectors.detach())
    assert not found.tensors["vectors"].requires_grad


@pytest.mark.parametrize("more", [{}, {"name": "cat"}])
def test_the_original_files_are_read_which_diffusers_refuses(tmp_path, more):
    vectors = torch.randn(2, 32)
    parameters = nn.ParameterDict({"*": nn.Parameter(vectors)})
    path = tmp_path / "cat.pt"
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters, **more}, path)
    found = formats.read(path)
    assert found.token == "cat"
    assert torch.equal(found.tensors["vectors"], vectors)
    with pytest.raises(OSError, match="Unable to load weights"):
        diffusers_vectors(path, "cat")
    contents = formats.examine(path)
    told = formats.recognise(contents).portability(contents)
    assert "diffusers" not in told
    assert told["ComfyUI"] == "exact"
    again = formats.write(found, tmp_path / "new.pt", "webui_embedding")
    contents = formats.examine(again)
    assert formats.recognise(contents).portability(contents)["diffusers"] == "exact"


def test_lists_of_tables_are_joined(tmp_path):
    first, second = torch.randn(2, 32), torch.randn(32)
    torch.save([{"<a>": first}, {"<b>": second}], tmp_path / "both.pt")
    found = formats.read(tmp_path / "both.pt")
    assert found.token == "both"
    assert torch.equal(found.tensors["vectors"], torch.cat([first, second[None]]))


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (table(torch.full((1, 8), torch.nan)), "not finite"),
        (table(torch.ones(1, 8, 1)), r"has shape \[1, 8, 1\]"),
        (
            table(torch.ones(1, 8), string_to_param={"a": torch.ones(1, 8), "b": torch.ones(1, 8)}),
            "holds 2 words",
        ),
        (table(1, string_to_param={"a": {"b": torch.ones(2)}}), "no tensor of real numbers"),
        ([{"a": torch.ones(8)}, {"b": torch.ones(9)}], "mixes vectors for several"),
        ({"0": {"a": torch.ones(8)}}, "holds 0 words"),
        ([[torch.ones(8)]], "holds 0 words|of no layout|mixes"),
    ],
)
def test_impossible_files_are_told_in_one_line(tmp_path, tree, reason):
    path = tmp_path / "x.pt"
    torch.save(tree, path)
    with pytest.raises(FormatError, match=reason) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
