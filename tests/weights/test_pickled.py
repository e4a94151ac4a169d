"""Pickled files: their tensors are read, nothing in them is executed, and what is damaged is refused."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from likewise.errors import FormatError
from likewise.weights import (
    Inert,
    read_object,
    read_shapes,
    read_tensors,
)
from tests.weights.trees import same, tensors


class Hostile:
    """Asks whoever unpickles it to run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["state_dict", "bare"])
def test_pickled_tensors_are_read(tmp_path, zipped, wrapped):
    path = tmp_path / "x.ckpt"
    whole = {"state_dict": OrderedDict(tensors()), "epoch": 3} if wrapped else tensors()
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    assert same(read_tensors(path), tensors())
    assert read_shapes(path) == {name: tuple(t.shape) for name, t in tensors().items()}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_views_share_and_parameters_are_plain(tmp_path, zipped):
    base = torch.arange(12.0).view(3, 4)
    given = {"turned": base.T, "row": base[1], "param": nn.Parameter(base)}
    torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "x.pt")
    assert same(found, {name: tensor.detach() for name, tensor in given.items()})
    assert type(found["param"]) is torch.Tensor
    assert found["row"].untyped_storage().data_ptr() == found["turned"].untyped_storage().data_ptr()


def test_the_tree_of_an_old_embedding_is_read_whole(tmp_path):
    vectors = torch.randn(2, 8)
    table = nn.ParameterDict({"*": nn.Parameter(vectors)})
    whole = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": table, "name": "sks", "step": 99}
    torch.save(whole, tmp_path / "x.pt")
    found = read_object(tmp_path / "x.pt")
    assert torch.equal(found["string_to_param"]["*"], vectors)
    assert isinstance(found["string_to_param"], dict)
    assert (found["name"], found["step"]) == ("sks", 99)


def test_numbers_and_containers_beside_the_tensors_are_read(tmp_path):
    counts = defaultdict(dict)
    counts["a"] = {"b": 1}
    whole = {
        "f": np.float64(1.5), "i": np.int32(-3), "flag": np.bool_(True), "counts": counts, "set": {1, 2},
        "size": torch.Size([2, 3]), "kind": torch.float16, "device": torch.device("cuda:1"),
        "x": torch.ones(1),
    }  # fmt: skip
    for zipped in (True, False):
        torch.save(whole, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
        found = read_object(tmp_path / "x.pt")
        assert (found["f"], found["i"], found["flag"]) == (1.5, -3, True)
        assert found["counts"] == {"a": {"b": 1}}
        assert found["set"] == {1, 2}
        assert found["size"] == (2, 3)
        assert str(found["kind"]) == "float16"
        assert found["device"] == "cuda:1"


def framework_object(monkeypatch, module: str, name: str) -> object:
    """An instance of a class that pickles as `module.name`; `monkeypatch.undo()` takes that away again."""
    kind = type(name, (), {"__module__": module})
    parts = module.split(".")
    for n in range(len(parts)):
        full = ".".join(parts[: n + 1])
        monkeypatch.setitem(sys.modules, full, types.ModuleType(full))
    setattr(sys.modules[module], name, kind)
    made = kind()
    made.best = 0.5
    return made


def test_a_training_frameworks_callback_is_inert(tmp_path, monkeypatch):
    module = "pytorch_lightning.callbacks.model_checkpoint"
    callback = framework_object(monkeypatch, module, "ModelCheckpoint")
    torch.save({"state_dict": tensors(), "callbacks": [callback]}, tmp_path / "x.ckpt")
    monkeypatch.undo()
    assert same(read_tensors(tmp_path / "x.ckpt"), tensors())
    found = read_object(tmp_path / "x.ckpt")["callbacks"][0]
    assert isinstance(found, Inert)
    assert found.origin == f"{module}.ModelCheckpoint"
    assert found.state == {"best": 0.5}


def test_other_classes_are_refused_by_name(tmp_path, monkeypatch):
    thing = framework_object(monkeypatch, "pytorch_lightning.callbacks.other", "Thing")
    torch.save({"x": torch.ones(1), "y": thing}, tmp_path / "x.ckpt")
    monkeypatch.undo()
    reason = r"asks for pytorch_lightning\.callbacks\.other\.Thing.*nothing of it was run"
    with pytest.raises(FormatError, match=reason):
        read_tensors(tmp_path / "x.ckpt")


def hostile_files(tmp_path: Path, marker: Path) -> list[Path]:
    """One command in every kind of file that could carry it."""
    evil, made = Hostile(f"touch {marker}"), []
    for name, zipped in (("zip", True), ("legacy", False)):
        made.append(tmp_path / f"{name}.pt")
        torch.save({"state_dict": tensors(), "x": evil}, made[-1], _use_new_zipfile_serialization=zipped)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        made.append(tmp_path / f"bare{protocol}.pt")
        made[-1].write_bytes(pickle.dumps(evil, protocol))
    return made


def test_commands_are_refused_and_do_not_run(tmp_path):
    marker = tmp_path / "ran"
    for path in hostile_files(tmp_path, marker):
        for read in (read_tensors, read_object, read_shapes):
            with pytest.raises(FormatError, match=r"asks for (posix|nt)\.system"):
                read(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "builtins getattr", "builtins exec", "torch load", "torch._utils _rebuild_qtensor",
     "os.path join", "torch.nn Linear", "builtins __import__", "collections.OrderedDict.__class__ x"],
)  # fmt: skip
def test_names_off_the_list_are_refused(tmp_path, name):
    module, attribute = name.split()
    (tmp_path / "x.pt").write_bytes(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b".")
    with pytest.raises(FormatError, match="asks for"):
        read_object(tmp_path / "x.pt")


def test_a_pickle_cannot_change_our_functions(tmp_path):
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb."
    (tmp_path / "x.pt").write_bytes(program)
    with pytest.raises(FormatError, match="change a function"):
        read_object(tmp_path / "x.pt")


def rewritten(path: Path, change) -> None:
    """Rewrite a zip archive member by member; `change(name, data)` gives the new data or None."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            new = change(name, data)
            if new is not None:
                archive.writestr(name, new)


def test_only_the_essential_members_are_needed(tmp_path):
    """The web UI's and our own minimal archives leave out everything but `data.pkl` and `data/`."""
    path = tmp_path / "x.pt"
    torch.save(tensors(), path)
    rewritten(path, lambda name, data: data if name.endswith("data.pkl") or "/data/" in name else None)
    assert same(read_tensors(path), tensors())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda name, data: data[:-4] if name.endswith("/data/0") else data, "shorter than the tensors"),
        (lambda name, data: None if name.endswith("/data/0") else data, "damaged"),
        (lambda name, data: None if name.endswith("data.pkl") else data, "not one of torch's"),
        (lambda name, data: data[:-20] if name.endswith("data.pkl") else data, "damaged"),
        (lambda name, data: b"big" if name.endswith("byteorder") else data, "big-endian"),
    ],
)
def test_damaged_archives_are_told_in_one_line(tmp_path, change, reason):
    path = tmp_path / "x.pt"
    torch.save({"x": torch.ones(4, 4)}, path)
    rewritten(path, change)
    with pytest.raises(FormatError, match=reason) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [3, 40, 200, -1, -30])
def test_truncated_legacy_files_are_refused(tmp_path, keep):
    path = tmp_path / "x.pt"
    torch.save({"x": torch.ones(4, 4)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"damaged|too early|another length|refused"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (1 << 40,), (1,)), (13, (4,), (1,)), (0, (4, 4), (8, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)),
     (0, (2,), (1, 1)), (0, (2.5,), (1,))],
)  # fmt: skip
def test_tensors_outside_their_data_are_refused(tmp_path, offset, size, stride):
    class Lying:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    storage = torch.storage.TypedStorage(
        wrap_storage=torch.ones(16).untyped_storage(), dtype=torch.float32, _internal=True
    )
    buffer = io.BytesIO()
    torch.save({"x": Lying(), "honest": torch.ones(1)}, buffer)
    (tmp_path / "x.pt").write_bytes(buffer.getvalue())
    with pytest.raises(FormatError, match=r"impossible size|larger than its data|damaged"):
        read_tensors(tmp_path / "x.pt")


def test_shapes_are_read_without_the_data(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"x": torch.ones(4, 4)}, path)
    rewritten(path, lambda name, data: b"\x01" * len(data) if name.endswith("/data/0") else data)
    assert read_shapes(path) == {"x": (4, 4)}
    assert read_tensors(path)["x"][0, 0] != 1


@pytest.mark.parametrize("whole", [{"a": 1}, [2, "b"], 3, {"state_dict": {}, "x": torch.ones(1)}])
def test_files_without_tensors_are_refused(tmp_path, whole):
    torch.save(whole, tmp_path / "x.pt")
    for read in (read_tensors, read_shapes):
        with pytest.raises(FormatError, match="holds no tensors"):
            read(tmp_path / "x.pt")


def test_nested_and_bare_tensors_have_names(tmp_path):
    pair = ({"linear.0.weight": torch.ones(4, 2)}, {"linear.0.weight": torch.ones(2, 2)})
    torch.save({768: pair, "step": 3, "more": [torch.ones(1)]}, tmp_path / "x.pt")
    shapes = {"768.0.linear.0.weight": (4, 2), "768.1.linear.0.weight": (2, 2), "more.0": (1,)}
    assert read_shapes(tmp_path / "x.pt") == shapes
    assert {name: tuple(t.shape) for name, t in read_tensors(tmp_path / "x.pt").items()} == shapes
    torch.save(torch.ones(1, 3), tmp_path / "x.pt")
    assert read_shapes(tmp_path / "x.pt") == {"": (1, 3)}


def test_two_tensors_of_one_name_are_refused(tmp_path):
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(FormatError, match=r"two tensors called 'a\.b'"):
        read_shapes(tmp_path / "x.pt")


def test_trees_without_end_are_refused(tmp_path):
    endless: list[object] = []
    endless.append(endless)
    wide: list[object] = [[torch.ones(1)] * 100]
    for _ in range(6):
        wide = [wide] * 100
    for tree in (endless, wide):
        torch.save(tree, tmp_path / "x.pt")
        with pytest.raises(FormatError, match="nested beyond all measure"):
            read_shapes(tmp_path / "x.pt")
