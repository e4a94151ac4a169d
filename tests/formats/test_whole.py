"""Tensors on their way from file to file: what passes in pieces is what torch makes of the whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from likewise.checkpoints.checkpoint import DTYPES, cast, reshaped, stacked, third, transposed
from likewise.errors import FormatError
from likewise.weights import read_shapes, streaming, write_object
from likewise.weights.pending import Pending, held, pieces, raw_bytes
from likewise.weights.streaming import TensorFile, open_tensors

KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@pytest.fixture(autouse=True)
def _in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PIECE", 16)


def filed(folder: Path, tensor: torch.Tensor, name: str = "w") -> Pending:
    save_file({name: tensor}, folder / f"{name}.safetensors")
    return TensorFile(folder / f"{name}.safetensors").pending(name)


def same(one: Pending, wanted: torch.Tensor) -> None:
    """Loaded whole, and read in pieces."""
    loaded = one.load()
    assert (loaded.dtype, loaded.shape, one.shape) == (wanted.dtype, wanted.shape, tuple(wanted.shape))
    data = bytes(raw_bytes(wanted))
    assert bytes(raw_bytes(loaded)) == data
    assert b"".join(bytes(piece) for piece in pieces(one)) == data


@given(rows=st.integers(0, 7), width=st.integers(1, 9), kind=st.sampled_from(KINDS), kept=st.booleans())
@settings(max_examples=60, deadline=None)
def test_pieces_are_what_the_whole_is(tmp_path_factory, rows, width, kind, kept):
    tensor = torch.randn(3 * rows, width).to(kind)
    folder = tmp_path_factory.mktemp("pieces")
    one = held(tensor) if kept else filed(folder, tensor)
    same(one, tensor)
    same(reshaped(one, (3, rows, width)), tensor.reshape(3, rows, width))
    same(transposed(one), tensor.T.contiguous())
    for n in range(3):
        same(third(one, n), tensor[n * rows : (n + 1) * rows].contiguous())
    other = held(tensor.float())
    same(stacked([one, other]), torch.cat([tensor, tensor.float().to(kind)]))
    for name, dtype in DTYPES.items():
        same(cast(one, dtype), tensor.to(getattr(torch, name)))
        same(cast(third(one, 1), dtype), tensor[rows : 2 * rows].to(getattr(torch, name)))


def test_what_half_precision_cannot_hold_is_refused_in_any_piece(tmp_path):
    tensor = torch.ones(40)
    tensor[33] = 1e6
    with pytest.raises(FormatError, match="too large for half precision"):
        list(pieces(cast(filed(tmp_path, tensor), "F16")))
    tensor[33] = torch.inf
    same(cast(filed(tmp_path, tensor, "v"), "F16"), tensor.half())


def test_a_file_that_shrinks_meanwhile_is_told(tmp_path):
    one = filed(tmp_path, torch.ones(40))
    with (tmp_path / "w.safetensors").open("r+b") as file:
        file.truncate(150)
    for read in (one.load, lambda: list(pieces(one))):
        with pytest.raises(FormatError, match="ends inside w"):
            read()


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_tensors_stay_in_their_file_until_they_are_asked_for(tmp_path, zipped):
    whole = torch.randn(6, 5)
    tensors = {
        "plain": torch.randn(3, 4).half(), "view": whole[2:4], "turned": whole.T, "step": torch.tensor(7),
        "none": torch.zeros(0, 3), "sides": torch.randn(2, 1, 3, 1)[:, :, :, 0],
    }  # fmt: skip
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": tensors, "global_step": 3}, path, _use_new_zipfile_serialization=zipped)
    opened = open_tensors(path)
    tree, found = opened.tree, opened.tensors
    assert tree["global_step"] == 3
    assert read_shapes(path) == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        same(found[name], tensor.contiguous())
    same(third(found["plain"], 1), tensors["plain"][1:2])


def test_pickled_numbers_that_were_damaged_meanwhile_are_told(tmp_path):
    path = write_object(tmp_path / "x.ckpt", {"w": torch.ones(40), "v": torch.ones(2)})
    found = open_tensors(path).tensors
    place = path.read_bytes().index(torch.ones(40).numpy().tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"?")
    with pytest.raises(FormatError, match="the numbers of w are damaged"):
        found["w"].load()
    same(found["v"], torch.ones(2))
