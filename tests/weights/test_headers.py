"""Headers of safetensors files: the library is the oracle for what is read, and doubled names are refused besides."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from likewise.errors import FormatError
from likewise.weights import read_header, read_tensors, write_object, write_tensors
from likewise.weights.header import BITS

SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "F8_E4M3": 1}
SHAPES = st.lists(st.integers(0, 3), max_size=3)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A right file, or one that is changed in one place, as damage and other programs may do it."""
    table: dict[str, Any] = {}
    end = 0
    names = draw(st.lists(st.text(max_size=4), unique=True, max_size=4))
    for name in names:
        dtype, shape = draw(st.sampled_from(sorted(SIZES))), draw(SHAPES)
        begin, end = end, end + SIZES[dtype] * _product(shape)
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    metadata = draw(st.sampled_from([..., None, {}, {"a": "b"}, {"a": 1}, {"a": None}, [], "x"]))
    if metadata is not ...:
        table["__metadata__"] = metadata
    if names and draw(st.booleans()):
        own = table[draw(st.sampled_from(names))]
        key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
        own[key] = draw(
            st.sampled_from(
                ["F32", "F3", None, [0], [0, 4], [4, 8], [-1, 4], [1.5], [True], [2**50], [], [0, 4, 4], 7]
            )
        )
    text = json.dumps(table, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    text = (
        draw(st.sampled_from([b"", b"", b" "]))
        + text
        + draw(st.sampled_from([b"", b"", b"  ", b"\n", b"\0", b"x"]))
    )
    length = len(text) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, 2**40]))
    return (
        struct.pack("<Q", max(0, length))
        + text
        + bytes(max(0, end + draw(st.sampled_from([0, 0, 0, 0, 1, -1, 100]))))
    )


def _product(sides: list[int]) -> int:
    count = 1
    for side in sides:
        count *= side
    return count


@settings(max_examples=400)
@given(files())
def test_a_header_is_read_exactly_where_the_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    path.write_bytes(data)
    theirs: Any
    try:
        with safe_open(path, "pt") as opened:
            theirs = (
                opened.metadata() or {},
                {name: tuple(opened.get_slice(name).get_shape()) for name in set(opened.keys())},
            )
    except (SafetensorError, UnicodeError):
        theirs = None
    try:
        header = read_header(path)
        ours: Any = dict(header.metadata), dict(header.shapes)
    except FormatError:
        ours = None
    assert ours == theirs


@pytest.mark.parametrize("double", ["tensor", "metadata", "field"])
def test_doubled_names_are_refused(double: str, tmp_path: Path) -> None:
    """The library takes the last of two entries, and other readers may take the first."""
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    text = {
        "tensor": f'{{"a":{entry},"a":{entry}}}',
        "metadata": f'{{"__metadata__":{{"x":"1","x":"2"}},"a":{entry}}}',
        "field": f'{{"a":{entry[:-1]},"dtype":"F32"}}}}',
    }[double].encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(FormatError, match="two entries called"):
        read_header(tmp_path / "x.safetensors")


def test_null_metadata_are_none(tmp_path: Path) -> None:
    text = b'{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert read_header(tmp_path / "x.safetensors").metadata == {}
    assert torch.equal(read_tensors(tmp_path / "x.safetensors")["a"], torch.zeros(1))


def test_every_type_of_the_library_has_its_size() -> None:
    from likewise.weights.pending import TORCH

    for dtype, name in TORCH.items():
        assert BITS[dtype] == 8 * torch.empty(0, dtype=getattr(torch, name)).element_size()


def test_equal_content_gives_equal_bytes_in_any_process(tmp_path: Path) -> None:
    """The library orders metadata by a hash that is seeded anew in each process."""
    code = (
        "import sys, torch; from pathlib import Path; from likewise.weights import write_tensors\n"
        "names = [f'n{n}' for n in range(12)]\n"
        "order = names if sys.argv[2] == '1' else names[::-1]\n"
        "tensors = {n: torch.full((2, 3), float(n[1:]), dtype=torch.float16) for n in order}\n"
        "write_tensors(Path(sys.argv[1]), tensors, {n: n.upper() for n in order})"
    )
    made = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.safetensors"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(path), seed], env=environment, check=True)
        made.add(path.read_bytes())
    assert len(made) == 1


def test_the_payload_is_the_one_that_the_library_would_write(tmp_path: Path) -> None:
    tensors = {
        "b": torch.ones(3), "a": torch.zeros(2, 2, dtype=torch.float16), "c": torch.tensor(7),
        "view": torch.arange(6.0).reshape(2, 3).T, "none": torch.zeros(0, 4), "é": torch.ones(1, dtype=torch.bool),
    }  # fmt: skip
    ours = write_tensors(tmp_path / "ours.safetensors", tensors, {"x": "1", "a": "2"})
    save_file({name: t.contiguous() for name, t in tensors.items()}, tmp_path / "theirs.safetensors")
    ends = []
    for path in (ours, tmp_path / "theirs.safetensors"):
        data = path.read_bytes()
        ends.append(data[8 + int.from_bytes(data[:8], "little") :])
    assert ends[0] == ends[1]
    assert list(read_header(ours).metadata) == ["a", "x"]


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "float8_e5m2", "float8_e4m3fn"]
)
@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf"])
def test_nothing_that_is_not_finite_is_written(dtype: str, wrong: str, tmp_path: Path) -> None:
    if dtype == "float8_e4m3fn" and wrong != "nan":
        pytest.skip("this type has no infinity")
    kind = getattr(torch, dtype)
    numbers = torch.ones(2_000).to(kind)
    assert write_tensors(
        tmp_path / "fine.safetensors", {"x": numbers, "step": torch.tensor(2**31 - 1)}
    ).is_file()
    broken = torch.ones(2_000)
    broken[1_234] = float(wrong)
    with pytest.raises(FormatError, match="mean holds numbers that are not finite"):
        write_tensors(tmp_path / "x.safetensors", {"mean": broken.to(kind)})
    if kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        with pytest.raises(FormatError, match=r"a\.b holds numbers that are not finite"):
            write_object(tmp_path / "x.pt", {"a": {"b": broken.to(kind)}})
    assert [path.name for path in tmp_path.iterdir()] == ["fine.safetensors"]


@given(st.lists(st.floats(width=16), min_size=1, max_size=20))
def test_the_look_at_bytes_agrees_with_torch(numbers: list[float]) -> None:
    from likewise.weights.finite import finite
    from likewise.weights.pending import raw_bytes, spelled

    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        tensor = torch.tensor(numbers, dtype=kind)
        assert finite(raw_bytes(tensor), spelled(tensor)) == bool(tensor.isfinite().all())
