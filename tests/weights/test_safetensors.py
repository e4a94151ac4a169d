"""Files of safetensors: written whole or not at all, and damage told in one line."""

import json
import os
import struct
import sys

import pytest
import torch
from torch import nn

from likewise.errors import FormatError
from likewise.weights import (
    read_header,
    read_object,
    read_shapes,
    read_tensors,
    write_tensors,
)
from tests.weights.trees import same, tensors


def test_what_is_written_is_read(tmp_path):
    path = write_tensors(tmp_path / "new" / "x.safetensors", tensors(), {"likewise.version": "1", "ü": "Ω"})
    assert same(read_tensors(path), tensors())
    header = read_header(path)
    assert header.metadata == {"likewise.version": "1", "ü": "Ω"}
    assert header.shapes["a.weight"] == (2, 3)
    assert header.dtypes["brain"] == "BF16"
    assert read_shapes(path) == {name: tuple(t.shape) for name, t in tensors().items()}
    assert [found.name for found in path.parent.iterdir()] == ["x.safetensors"]


def test_views_and_shared_tensors_are_written_whole(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    given = {"all": base, "same": base, "turned": base.T, "row": base[1], "param": nn.Parameter(base[:2])}
    path = write_tensors(tmp_path / "x.safetensors", given)
    assert same(read_tensors(path), {name: tensor.detach() for name, tensor in given.items()})
    assert path.stat().st_size < 1000


def test_metadata_must_be_text(tmp_path):
    with pytest.raises(FormatError, match="'steps' = 3 is not text"):
        write_tensors(tmp_path / "x.safetensors", tensors(), {"steps": 3})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_tensors(tmp_path / "x.safetensors", {"old": torch.ones(1)})

    def fail(one, name):
        yield b"half"
        raise OSError("disk full")

    monkeypatch.setattr("likewise.weights.streaming.pieces", fail)
    with pytest.raises(OSError, match="disk full"):
        write_tensors(path, tensors())
    assert list(read_tensors(path)) == ["old"]
    assert len(list(tmp_path.iterdir())) == 1


def raw(header: object, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not safetensors|cannot|holds|damaged"),
        (raw(entry(), length=1 << 62), "cut short"),
        (raw(entry(), data=b"\0" * 15), "is not in the file"),
        (raw(entry(shape=[2, float("nan")])), "holds NaN"),
        (raw(entry(shape=[2, -2])), "is not in the file"),
        (raw(entry(shape=[2, 2.0])), "is not in the file"),
        (raw(entry(shape=[2, True])), "is not in the file"),
        (raw(entry(shape=[1 << 60, 1 << 60])), "is not in the file"),
        (raw(entry(shape=[3, 2])), "does not fill"),
        (raw(entry(dtype="F31")), "is not in the file"),
        (raw(entry(data_offsets=[16, 0])), "is not in the file"),
        (raw(entry(data_offsets=[0])), "damaged"),
        (raw({"x": [1]}), "damaged"),
        (raw({"__metadata__": {"a": 1}}), "not text by text"),
        (raw(b"{" * 20), "no readable safetensors header"),
        (raw(b'{"x": ' + b"[" * 100_000), "no readable safetensors header"),
        (raw(b'{"\xff": 1}'), "no readable safetensors header"),
    ],
)
def test_damaged_headers_are_told_in_one_line(tmp_path, content, reason):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (read_header, read_tensors, read_shapes):
        with pytest.raises(FormatError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        if read is read_header and content:
            assert caught.match(reason)


def test_a_missing_file_is_a_format_error(tmp_path):
    for read in (read_header, read_tensors, read_shapes, read_object):
        with pytest.raises(FormatError, match=r"gone\.safetensors"):
            read(tmp_path / "gone.safetensors")


def test_headers_need_no_torch(tmp_path):
    import subprocess

    path = write_tensors(tmp_path / "x.safetensors", tensors())
    code = "import sys; from pathlib import Path; from likewise.weights import read_header; "
    code += "read_header(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, check=False).returncode == 0
    )


@pytest.mark.parametrize("first", [0x80, 0x50])
def test_a_header_whose_length_looks_like_a_pickle_or_a_zip_is_read(tmp_path, first):
    """The first byte of a safetensors file is the low byte of a length, which may be any."""
    for padding in range(8, 3000, 8):
        path = write_tensors(tmp_path / "x.safetensors", {"x": torch.ones(2)}, {"note": "n" * padding})
        if path.read_bytes()[0] == first:
            break
    assert path.read_bytes()[0] == first
    assert torch.equal(read_tensors(path)["x"], torch.ones(2))
