"""Aesthetic embeddings: a bare tensor, in the shapes in which they were published."""

import pytest
import torch

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.methods.aesthetic import METHOD
from tests import webui

MEAN = torch.randn(1, 768, generator=torch.Generator().manual_seed(0)) * 3


def taught(mean: torch.Tensor = MEAN) -> Artifact:
    return Artifact("aesthetic", "sd", "mood", "", {"aesthetic.mean": mean})


def test_the_extension_reads_what_was_taught(tmp_path):
    path = formats.write(taught(), tmp_path / "mood.pt", "webui_aesthetic")
    found = webui.load(path)
    assert type(found) is torch.Tensor
    assert found.dtype == torch.float32
    assert torch.equal(found, MEAN)  # not normalised: the published ones have lengths from 0.5 to 19
    contents = formats.examine(path)
    assert formats.recognise(contents).portability(contents)["AUTOMATIC1111"].startswith("exact, with")


@pytest.mark.parametrize("shape", [(1, 768), (768,), (3, 768)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_published_shapes_are_read(tmp_path, shape, dtype):
    published = (torch.randn(shape) * 2).to(dtype)
    torch.save(published, tmp_path / "sac_8plus.pt")
    found = formats.read(tmp_path / "sac_8plus.pt")
    assert (found.method, found.family, found.token) == ("aesthetic", "sd", "sac_8plus")
    mean = found.tensors["aesthetic.mean"]
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, published.float().reshape(-1, 768).mean(0, keepdim=True), rtol=0, atol=0)


def test_one_dimension_breaks_the_extensions_slerp_until_it_is_written_again(tmp_path):
    torch.save(MEAN[0], tmp_path / "flat.pt")
    flat = formats.examine(tmp_path / "flat.pt")
    layout = formats.recognise(flat)
    assert "slerp" in layout.portability(flat)["AUTOMATIC1111"]
    again = formats.examine(
        formats.write(formats.read(tmp_path / "flat.pt"), tmp_path / "new.pt", "webui_aesthetic")
    )
    assert "slerp" not in layout.portability(again)["AUTOMATIC1111"]
    assert torch.equal(webui.load(again.path), MEAN)


def test_other_widths_are_other_clip_models(tmp_path):
    torch.save(torch.randn(1, 1024), tmp_path / "x.pt")
    contents = formats.examine(tmp_path / "x.pt")
    assert formats.recognise(contents).portability(contents) == {"likewise": "exact"}


def test_a_read_one_pulls_prompts(tmp_path):
    base = StableDiffusion.tiny()
    width = base.towers[0].twin.width
    path = formats.write(
        taught(torch.randn(1, width)), tmp_path / "x.pt", "webui_aesthetic", Saving("float16")
    )
    with METHOD.restore(base, [formats.read(path)]) as adapter:
        similarity = adapter.pulls[0].pull("a dog").similarity
    assert similarity[-1] > similarity[0]


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.full((1, 768), torch.nan), "not finite"),
        (torch.ones(1, 768, dtype=torch.int64), "no tensor of real numbers"),
        (torch.ones(1, 768, 1), "no layout"),
        (torch.ones(0, 768), "no layout"),
        (torch.tensor(1.0), "no layout"),
    ],
)
def test_impossible_files_are_told_in_one_line(tmp_path, tensor, reason):
    path = tmp_path / "x.pt"
    torch.save(tensor, path)
    with pytest.raises(FormatError, match=reason) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
