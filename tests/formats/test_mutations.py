"""A thousand damaged files of every layout: each is converted, or refused in one line; nothing runs, nothing is left."""

import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.operations.placing import Wish, save
from likewise.operations.subjects import open_subject
from likewise.weights import write_object, write_tensors
from tests.formats.words import embedding

FIRST, COUNT = 0, 1000
"""Seeds, each of a file."""
PLACE = "backbone.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
SOURCE = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    """The same numbers in every run, as a seed names a file only then."""
    return torch.randn(shape, generator=SOURCE)


NETWORK = {
    f"hypernetwork.4.{part}.linear.{n}.{kind}": drawn(*shape)
    for part in ("key", "value")
    for n, sides in ((0, (8, 4)), (1, (4, 8)))
    for kind, shape in (("weight", sides), ("bias", sides[:1]))
}
SMALL = [
    embedding(1, 8),
    Artifact("hypernetwork", "sd", "sks", "dog", NETWORK),
    Artifact("aesthetic", "sd", "sks", "", {"aesthetic.mean": drawn(1, 8)}),
    Artifact("lora", "sd", "sks", "dog", {
        f"{PLACE}.down": drawn(2, 8), f"{PLACE}.up": drawn(8, 2), f"{PLACE}.alpha": torch.tensor(2.0),
    }),
    Artifact("lycoris", "sd", "sks", "dog", {
        **{f"{PLACE}.hada_w{n}_a": drawn(8, 2) for n in (1, 2)},
        **{f"{PLACE}.hada_w{n}_b": drawn(2, 8) for n in (1, 2)}, f"{PLACE}.alpha": torch.tensor(2.0),
    }),
]  # fmt: skip
WHOLE = {"checkpoint", "diffusers_folder"}
"""Layouts of whole models, which are not small; fragments of theirs stand in."""


class Hostile:
    """Asks whoever unpickles it to run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[Path]:
    """A file of every layout for every method it holds, and the older forms that are read."""
    folder = tmp_path_factory.mktemp("originals")
    for name in formats.names():
        layout = formats.get(name)
        fitting = [one for one in SMALL if layout.unsupported(one) is None]
        assert fitting or name in WHOLE, f"give SMALL something for the layout {name}"
        for one in fitting:
            formats.write(one, folder / f"{name}-{one.method}{layout.suffix}", name, Saving("float32"))
    formats.write(SMALL[0], folder / "card.webp", "embedding_card")
    vectors = {"*": drawn(1, 8)}
    torch.save(
        {"string_to_param": vectors, "name": "x"}, folder / "legacy.pt", _use_new_zipfile_serialization=False
    )
    torch.save({"string_to_param": torch.nn.ParameterDict(vectors)}, folder / "original.pt")
    write_object(folder / "list.pt", [{"a": drawn(8)}, {"b": drawn(2, 8)}])
    names = (
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.out.2.bias",
        "first_stage_model.x",
    )
    write_tensors(folder / "checkpoint.safetensors", {name: drawn(4) for name in names})
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """`data` with flipped bits, cut, or with bytes of its own or another's somewhere in it."""
    at, size = chance.randrange(len(data)), chance.randrange(1, 64)
    match chance.choice(["flip", "flip", "flip", "cut", "splice", "insert", "drop", "blank"]):
        case "flip":
            changed = bytearray(data)
            for _ in range(chance.choice([1, 1, 2, 8])):
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(changed)
        case "cut":
            return data[:at]
        case "splice":
            other = chance.choice(others)
            start = chance.randrange(len(other))
            return data[:at] + other[start : start + size * 8] + data[at + size * 8 :]
        case "insert":
            return data[:at] + chance.randbytes(size) + data[at:]
        case "drop":
            return data[:at] + data[at + size :]
        case _:
            return data[:at] + bytes(size) + data[at + size :]


def mutants(originals: list[Path], marker: Path) -> Iterator[tuple[int, Path, bytes]]:
    """Seed, model and bytes of each. Every fifth splice may bring a command with it."""
    commands = [pickle.dumps(Hostile(marker), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    contents = {path: path.read_bytes() for path in originals}
    others = [*contents.values(), *commands * (len(contents) // 24 + 1)]
    for seed in range(FIRST, FIRST + COUNT):
        model = originals[seed % len(originals)]
        yield seed, model, damaged(contents[model], others, random.Random(seed))


def test_damaged_files_are_converted_or_refused(tmp_path, originals):
    marker, refused, out = tmp_path / "ran", 0, tmp_path / "out"
    for seed, model, data in mutants(originals, marker):
        folder = tmp_path / "x"
        path = put(model, data, folder)
        before = sorted(folder.rglob("*"))
        out.mkdir()
        for look in (portability, lambda path: save(open_subject(path), "made", Wish(out=out))):
            answer = trouble(look, path)
            assert answer is None or isinstance(answer, FormatError), f"seed {seed}, {model.name}: {answer!r}"
            assert "\n" not in str(answer), f"seed {seed}, {model.name}"
        refused += answer is not None
        assert len(list(out.iterdir())) == (answer is None), f"seed {seed}, {model.name} was half written"
        shutil.rmtree(out)
        assert not marker.exists(), f"seed {seed}, {model.name} ran a command"
        assert sorted(folder.rglob("*")) == before, f"seed {seed}, {model.name} left something behind"
    assert (
        COUNT * 0.4 < refused < COUNT
    )  # else the damage is too small to matter, or too large to reach a layout


def portability(path: Path) -> object:
    contents = formats.examine(path)
    return formats.recognise(contents).portability(contents)


def trouble(look: Callable[[Path], object], path: Path) -> Exception | None:
    try:
        look(path)
    except Exception as error:
        return error
    return None


def put(model: Path, data: bytes, folder: Path) -> Path:
    """Put a damaged file where its model was; what to read is the file, or the folder if it is part of one."""
    shutil.rmtree(folder, ignore_errors=True)
    inside = model.parent.name.startswith("originals")
    if inside:
        folder.mkdir()
        (folder / model.name).write_bytes(data)
        return folder / model.name
    root = next(parent for parent in model.parents if parent.parent.name.startswith("originals"))
    shutil.copytree(root, folder / root.name)
    (folder / root.name / model.relative_to(root)).write_bytes(data)
    return folder / root.name


def test_the_models_of_the_damaged_files_are_read(originals):
    for path in originals:
        if path.name != "checkpoint.safetensors" and path.parent.name.startswith("originals"):
            formats.read(path)


def test_commands_in_every_kind_of_file_are_refused(tmp_path):
    marker = tmp_path / "ran"
    evil = Hostile(marker)
    trees = [
        {"string_to_param": {"*": torch.ones(1, 8)}, "name": evil},
        {4: (evil, evil)},
        [torch.ones(1, 8), evil],
        evil,
    ]
    for n, tree in enumerate(trees):
        for zipped in (True, False):
            path = tmp_path / f"{n}.pt"
            torch.save(tree, path, _use_new_zipfile_serialization=zipped)
            for look in (formats.examine, formats.read):
                with pytest.raises(FormatError, match="nothing of it was run"):
                    look(path)
    assert not marker.exists()
