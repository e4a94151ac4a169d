"""The archives that are written for the web UI."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from likewise.weights import (
    read_object,
    write_object,
)
from tests import webui
from tests.weights.trees import same, tensors


def test_our_archives_pass_the_web_uis_rules(tmp_path):
    wanted = {name: tensor for name, tensor in tensors().items() if name != "flags"}
    tree = {
        768: (OrderedDict(wanted), {"whole": torch.arange(12).view(3, 4)}), "name": "ü", "list": [1, 2.5, None, True],
        "turned": torch.arange(6.0).view(2, 3).T, "param": nn.Parameter(torch.ones(2)), "big": 1 << 70,
    }  # fmt: skip
    path = write_object(tmp_path / "new" / "x.pt", tree)
    for found in (webui.load(path), read_object(path)):
        assert same(found[768][0], wanted)
        assert torch.equal(found[768][1]["whole"], tree[768][1]["whole"])
        assert (found["name"], found["list"], found["big"]) == ("ü", [1, 2.5, None, True], 1 << 70)
        assert torch.equal(found["turned"], tree["turned"])
        assert type(found["param"]) is torch.Tensor
        assert list(found) == list(tree)
    assert [found.name for found in path.parent.iterdir()] == ["x.pt"]


def test_plain_torch_archives_break_that_rule(tmp_path):
    """Why we write archives ourselves; where torch stops adding members, `write_object` can go."""
    torch.save({"x": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(AssertionError, match=r"\.format_version|byteorder"):
        webui.load(tmp_path / "x.pt")


def test_equal_trees_give_equal_archives(tmp_path):
    one, two = (write_object(tmp_path / name, {"x": torch.ones(3)}) for name in ("a.pt", "b.pt"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "strange", [{1, 2}, np.float32(1), torch.float16, Path("x"), b"x", torch.ones(1, dtype=torch.complex64)]
)
def test_only_plain_trees_are_written(tmp_path, strange):
    with pytest.raises(TypeError, match="has no place in a file of tensors"):
        write_object(tmp_path / "x.pt", {"x": [strange]})
    assert list(tmp_path.iterdir()) == []
