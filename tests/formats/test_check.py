"""Every written file is read back before it counts: what a wrong one leaves, and what a precision cannot hold."""

import pytest
import torch

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats._check import ROUNDING, verify
from tests.formats.words import FULL, embedding


@pytest.mark.parametrize("layout", ["native", "embedding", "webui_embedding", "embedding_card"])
def test_a_wrong_file_does_not_take_the_old_ones_place(tmp_path, monkeypatch, layout):
    kind = type(formats.get(layout))
    path = formats.write(embedding(), tmp_path / f"x{kind.suffix}", layout, FULL)
    before, write = path.read_bytes(), kind.write
    monkeypatch.setattr(kind, "write", lambda self, artifact, *rest: write(self, embedding(3), *rest))
    with pytest.raises(FormatError, match="vectors was lost in writing"):
        formats.write(embedding(), path, layout, FULL)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_too_large_for_the_precision_are_refused(tmp_path):
    taught = embedding()
    taught.tensors["vectors"][0, 0] = 1e6
    for layout in ("embedding", "diffusers_embedding", "webui_embedding"):
        with pytest.raises(FormatError, match=r"float16 has no numbers as large as 1e\+06"):
            formats.write(taught, tmp_path / "x", layout, Saving("float16"))
    assert list(tmp_path.iterdir()) == []
    for dtype in ("float32", "bfloat16"):
        formats.write(taught, tmp_path / f"{dtype}.pt", "webui_embedding", Saving(dtype))


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_rounding_is_allowed_and_no_more(dtype):
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * torch.logspace(
        -20, 4, 100_000
    )
    taught = Artifact("textual_inversion", "sd", "x", "", {"vectors": values})
    kept = values.to(getattr(torch, dtype)).float()
    verify(taught, Artifact("textual_inversion", "sd", "x", "", {"vectors": kept}), dtype)
    step = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23}[dtype]
    wrong = kept.clone()
    wrong[-1] *= 1 + 1.5 * step
    with pytest.raises(FormatError, match="cannot hold the numbers"):
        verify(taught, Artifact("textual_inversion", "sd", "x", "", {"vectors": wrong}), dtype)
