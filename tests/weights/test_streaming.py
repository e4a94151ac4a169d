"""Streamed safetensors files, against the `safetensors` library."""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from likewise.errors import FormatError
from likewise.weights import read_header
from likewise.weights.pending import Pending, held
from likewise.weights.streaming import DIGEST, TensorFile, payload, write_streamed

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
    torch.complex64,
]  # fmt: skip


def mixed() -> dict[str, torch.Tensor]:
    shapes = [(), (0,), (3,), (2, 3, 1, 1)]
    return {
        f"{letter}{n}": (torch.rand(shapes[n % 4]) * 7).to(dtype)
        for n, dtype in enumerate(DTYPES)
        for letter in ("z", "a")
    }


def data_of(file: bytes) -> bytes:
    return file[8 + int.from_bytes(file[:8], "little") :]


def test_every_type_is_written_as_the_library_writes_it(tmp_path):
    tensors = mixed()
    made = write_streamed(tmp_path / "a.safetensors", {name: held(t) for name, t in tensors.items()})
    assert made.read_bytes() == save(tensors)
    assert b"".join(bytes(part) for part in payload(tensors)) == data_of(save(tensors))


@given(st.dictionaries(st.text(max_size=8), st.sampled_from(DTYPES), max_size=6), st.text(max_size=12))
@settings(max_examples=50, deadline=None)
def test_any_names_and_texts_come_back(tmp_path_factory, names, text):
    names = {
        name.encode("utf-8", "replace").decode(): dtype
        for name, dtype in names.items()
        if name != "__metadata__"
    }
    text = text.encode("utf-8", "replace").decode()
    tensors = {name: torch.ones(2).to(dtype) for name, dtype in names.items()}
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    write_streamed(path, {name: held(t) for name, t in tensors.items()}, {"note": text})
    back = load_file(path)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name].view(torch.uint8), t.view(torch.uint8)) for name, t in tensors.items())
    assert read_header(path).metadata == {"note": text}
    assert data_of(path.read_bytes()) == data_of(save(tensors))


def test_tensors_are_read_one_by_one(tmp_path):
    tensors = mixed()
    save_file(tensors, tmp_path / "a.safetensors")
    file = TensorFile(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        again = file.tensor(name)
        assert again.dtype == tensor.dtype
        assert torch.equal(again.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
    with pytest.raises(FormatError, match="lacks the tensor nothing"):
        file.pending("nothing")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_numbers_are_read_without_torch(tmp_path, dtype):
    save_file({"x.alpha": torch.tensor(6.5).to(dtype)}, tmp_path / "a.safetensors")
    assert TensorFile(tmp_path / "a.safetensors").number("x.alpha") == float(torch.tensor(6.5).to(dtype))


def test_the_digest_in_the_metadata_is_the_payloads(tmp_path):
    facts = {"hash": f"0x{DIGEST}", "again": DIGEST}
    made = write_streamed(tmp_path / "a.safetensors", {"w": held(torch.rand(40, 3))}, facts)
    digest = hashlib.sha256(data_of(made.read_bytes())).hexdigest()
    assert read_header(made).metadata == {"hash": f"0x{digest}", "again": digest}


def test_a_tensor_that_is_not_as_announced_leaves_no_file(tmp_path):
    wrong = Pending("F32", (2, 2), lambda: torch.zeros(2, 3))
    with pytest.raises(FormatError, match=r"w came as F32 \(2, 3\), not as the F32 \(2, 2\)"):
        write_streamed(tmp_path / "a.safetensors", {"v": held(torch.zeros(4)), "w": wrong})
    assert list(tmp_path.iterdir()) == []


PEAK = """
import json, sys
from pathlib import Path
from likewise.checkpoints.checkpoint import cast
from likewise.weights.streaming import TensorFile, serialise_header, write_streamed
dtype, path, count, side = sys.argv[1], Path(sys.argv[2]), 12, 3500
if dtype != "F32":
    import torch
def highest():  # of this process alone; `ru_maxrss` begins with that of whoever started it
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
header = serialise_header({f"w{n}": ("F32", (side, side)) for n in range(count)}, {})
with path.open("wb") as file:
    file.write(header)
    file.truncate(len(header) + count * side * side * 4)
before, file = highest(), TensorFile(path)
write_streamed(path.with_name("made.safetensors"), {n: cast(file.pending(n), dtype) for n in file.header.shapes})
print(json.dumps({"grown": highest() - before, "largest": side * side * 4, "torch": "torch" in sys.modules}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units elsewhere")
@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_converting_holds_a_piece_at_a_time_and_without_a_change_needs_no_torch(tmp_path, dtype):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, dtype, str(tmp_path / "a.safetensors")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    found = json.loads(done.stdout)
    assert (tmp_path / "made.safetensors").stat().st_size > 12 * found["largest"] / 2
    assert found["grown"] < found["largest"] / 2, "of a file of 588 MB"
    assert found["torch"] == (dtype != "F32")
