"""Every kind is known once, and a method of any name gets what its kind gets: layouts, operations, inspection."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from likewise import formats, inspection, kinds, methods
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.factors.nearest import Size
from likewise.kinds import ALL, LOW_RANK, LYCORIS, OWN, USUAL
from likewise.operations.merging import merge
from likewise.operations.resizing import resize
from likewise.survey.statistics.members import TITLES
from likewise.weights import read_tensors, write_tensors

LAYER = "backbone.mid_block.attentions.0.transformer_blocks.0.attn2.to_q"


def loha(method: str = "loha", declared: kinds.Kind | None = LYCORIS) -> Artifact:
    """What a method of a name that no table has leaves behind."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8)}
    tensors = {f"{LAYER}.{name}": torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    tensors[f"{LAYER}.alpha"] = torch.tensor(2.0)
    return Artifact(method, "sd", "sks", "dog", tensors, declared=declared)


def change(artifact: Artifact) -> torch.Tensor:
    return weight_change({name.rpartition(".")[2]: tensor for name, tensor in artifact.tensors.items()})


def test_names_and_marks_tell_kinds_apart() -> None:
    assert len({kind.name for kind in (*ALL, OWN)}) == len(ALL) + 1
    assert len({kind.mark for kind in ALL}) == len(ALL)
    assert all(kinds.of(kind.mark) == kind and kinds.named(kind.name) == kind and kind.title for kind in ALL)
    assert (kinds.of("of an outside package"), kinds.named("unheard of")) == (OWN, None)
    assert hash(LOW_RANK) != hash(LYCORIS)


def test_what_a_kind_points_at_is_there() -> None:
    assert {kind.counted for kind in ALL} - {""} <= TITLES.keys()
    assert USUAL.mark in methods.names()
    assert {name: methods.get(name).kind for name in methods.names() if kinds.of(name) != OWN} == {
        kind.mark: kind for kind in ALL if kind.mark in methods.names()
    }


def test_a_method_of_any_name_gets_what_its_kind_gets(tmp_path: Path) -> None:
    path = formats.write(loha(), tmp_path / "loha.safetensors")
    again = formats.read(path)
    assert (again.method, again.kind) == ("loha", LYCORIS)
    assert inspection.inspect(path).kind == LYCORIS.title
    shared = formats.read(formats.write(again, tmp_path / "shared.safetensors", LYCORIS.layout))
    assert shared.kind == LYCORIS
    assert torch.allclose(change(shared), change(loha()), rtol=1e-2, atol=1e-2)
    assert torch.allclose(change(merge([(again, 0.5), (again, 0.5)])), change(again), rtol=1e-2, atol=1e-2)
    small, _ = resize(again, Size(4))
    assert (small.method, small.kind) == (LOW_RANK.mark, LOW_RANK)


def test_a_file_says_its_kind_only_where_its_method_does_not(tmp_path: Path) -> None:
    assert "likewise.kind" not in said(formats.write(loha("lycoris", None), tmp_path / "a.safetensors"))
    assert said(formats.write(loha(), tmp_path / "b.safetensors"))["likewise.kind"] == "lycoris"
    own = formats.write(loha("ia3", None), tmp_path / "c.safetensors")
    assert "likewise.kind" not in said(own)
    assert (formats.read(own).kind, inspection.inspect(own).kind) == (OWN, "ia3")


def test_a_kind_of_another_version_is_refused(tmp_path: Path) -> None:
    path = formats.write(loha(), tmp_path / "new.safetensors")
    write_tensors(path, read_tensors(path), {**said(path), "likewise.kind": "dreams"})
    with pytest.raises(FormatError, match="is of the kind 'dreams', which is not known here"):
        formats.read(path)


def said(path: Path) -> dict[str, str]:
    return dict(formats.examine(path).metadata)
