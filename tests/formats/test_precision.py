"""Precision: a conversion keeps every digit that the file has, unless somebody asks for another precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from likewise import formats
from likewise.factors.nearest import Size
from likewise.formats import Saving
from likewise.operations.merging import merge
from likewise.operations.resizing import resize
from likewise.operations.subjects import open_subject, write_subject
from likewise.weights import read_header
from tests.formats.words import embedding
from tests.operations.changes import lora


def kept(path: Path) -> str:
    """The precision of the numbers in a file or folder, alphas aside."""
    return formats.precision_of(formats.examine(path))


@pytest.mark.parametrize("source", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["native", "kohya", "diffusers", "peft"])
def test_a_lora_keeps_its_precision_in_every_layout(source: str, layout: str, tmp_path: Path) -> None:
    first = formats.write(lora(1), tmp_path / "a.safetensors", "kohya", Saving(source))
    made = write_subject(open_subject(first), tmp_path / "made", layout, Saving())
    assert (kept(first), kept(made)) == (source, source)
    asked = write_subject(open_subject(first), tmp_path / "asked", layout, Saving("float32"))
    assert kept(asked) == "float32"


@pytest.mark.parametrize("first", ["embedding", "webui_embedding", "embedding_card", "diffusers_embedding"])
def test_an_embedding_loses_no_digit_on_its_way_to_the_native_layout(first: str, tmp_path: Path) -> None:
    """The native layout is usually kept in half precision, which rounded an embedding by 1.5e-5."""
    suffix = formats.get(first).suffix
    path = formats.write(embedding(width=768), tmp_path / f"sks{suffix}", first)
    made = write_subject(open_subject(path), tmp_path / "made.safetensors", "native", Saving())
    assert torch.equal(formats.read(made).tensors["vectors"], formats.read(path).tensors["vectors"])
    assert set(read_header(made).dtypes.values()) == {"F32"}


def test_what_is_made_of_files_keeps_what_they_keep(tmp_path: Path) -> None:
    full = formats.read(formats.write(lora(1), tmp_path / "a.safetensors", "kohya", Saving("float32")))
    half = formats.read(formats.write(lora(2), tmp_path / "b.safetensors", "kohya", Saving("float16")))
    fine = replace(full, precision="bfloat16")
    assert (full.precision, half.precision) == ("float32", "float16")
    assert merge([(half, 1.0), (half, 0.5)]).precision == "float16"
    assert (
        merge([(full, 1.0), (half, 1.0)]).precision
        == merge([(fine, 1.0), (half, 1.0)]).precision
        == "float32"
    )
    assert resize(full, Size(2))[0].precision == "float32"
    assert formats.get("kohya").usual == "float16", (
        "what was just taught is saved in half precision as before"
    )
    assert kept(formats.write(lora(3), tmp_path / "c.safetensors", "kohya")) == "float16"
