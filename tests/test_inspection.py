"""Inspection: every kind of file is told for what it is, by its header alone, and no file makes it stumble."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from likewise import formats
from likewise.artifact import Artifact
from likewise.cli import app
from likewise.errors import FormatError
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.inspection import PROGRAMS, UNREAD, inspect
from likewise.weights.streaming import serialise_header
from tests.families.miniatures import Hostile, save_folder

LAYER = "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CHECKPOINT = {
    "model.diffusion_model.input_blocks.0.0.weight": ("F16", (320, 4, 3, 3)),
    "first_stage_model.decoder.conv_in.weight": ("F16", (512, 4, 3, 3)),
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": ("F16", (768,)),
}


def lora(ranks: tuple[int, ...] = (4, 4, 8)) -> Artifact:
    tensors = {}
    for n, rank in enumerate(ranks):
        path = LAYER.replace("down_blocks.0", f"down_blocks.{n}")
        tensors |= {f"{path}.down": torch.rand(rank, 768), f"{path}.up": torch.rand(320, rank)}
        tensors[f"{path}.alpha"] = torch.tensor(2.0)
    return Artifact("lora", "sd", "sks", "dog", tensors, {"rank": 4}, "some/base")


def sparse(path: Path, entries: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]) -> int:
    """A file with a right header whose data was never written; returns its size."""
    header = serialise_header(entries, metadata)
    end = max(
        entry["data_offsets"][1] for name, entry in json.loads(header[8:]).items() if name != "__metadata__"
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + end)
    return len(header) + end


@pytest.mark.parametrize("layout", ["kohya", "native", "diffusers"])
def test_a_lora_in_any_spelling(tmp_path, layout):
    saving = Saving("float32")
    path = formats.write(lora(ranks=(4, 4, 8)), tmp_path / "dog.safetensors", layout, saving)
    found = inspect(path)
    assert (found.kind, found.layout, found.family) == ("LoRA", layout, "sd1")
    assert found.ranks == ({8: 3} if layout == "diffusers" else {4: 2, 8: 1})  # that layout has one rank
    assert found.alphas == ({} if layout == "diffusers" else {2.0: 3})
    assert list(found.trigger_words) == ["sks"]
    assert found.base == "some/base"
    assert found.bytes == path.stat().st_size
    assert found.dtypes["F32"] == found.tensors == (6 if layout == "diffusers" else 9)
    assert found.hashes == {}


def test_the_report_names_every_program_and_comes_from_the_layout(tmp_path):
    path = formats.write(lora(), tmp_path / "dog.safetensors", "kohya")
    found = inspect(path)
    assert list(found.portability)[: len(PROGRAMS)] == list(PROGRAMS)
    assert {name: found.portability[name] for name in formats.get("kohya").readers} == formats.get(
        "kohya"
    ).readers
    native = inspect(formats.write(lora(), tmp_path / "own.safetensors"))
    assert native.portability["likewise"] == "exact"
    assert native.portability["ComfyUI"] == "refuses it"


def test_a_large_checkpoint_is_known_by_its_header_alone(tmp_path):
    path = tmp_path / "large.safetensors"
    body = {f"model.diffusion_model.block.{n}.weight": ("F16", (1300, 1300)) for n in range(2100)}
    size = sparse(
        path, {**CHECKPOINT, **body}, {"modelspec.title": "Large", "modelspec.trigger_phrase": "a, b"}
    )
    assert size > 7e9
    assert path.stat().st_blocks * 512 < 1e6, (
        "the file system keeps it sparse, so nobody could have read 7 GB"
    )
    code = (
        "import sys, json; from pathlib import Path; from likewise.inspection import inspect\n"
        "found = inspect(Path(sys.argv[1]))\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(json.dumps([found.kind, found.family, found.bytes, found.parameters, found.dtypes]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parameters = 2100 * 1300**2 + 320 * 36 + 512 * 36 + 768
    assert json.loads(done.stdout) == ["whole model", "sd1", size, parameters, {"F16": 2103}]


def test_a_folder_is_counted_without_its_tensors(tmp_path):
    folder = save_folder(StableDiffusion.tiny(), tmp_path / "model")
    found = inspect(folder)
    assert (found.kind, found.layout) == ("whole model", "diffusers_folder")
    parts = StableDiffusion.tiny().components()
    assert found.parameters >= sum(p.numel() for part in parts.values() for p in part.parameters())
    assert found.dtypes == {"F32": found.tensors}


def test_hashes_are_computed_when_asked_and_compared_with_those_it_claims(tmp_path):
    path = formats.write(lora(), tmp_path / "dog.safetensors", "kohya")
    found = inspect(path, hashes=True)
    assert found.hashes["payload"] == found.metadata["sshs_model_hash"]
    assert found.hashes["AutoV2"] == found.hashes["sha256"][:10]
    assert found.notes == []
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "not those that its metadata gives the hash of" in inspect(path, hashes=True).notes[0]


def test_an_embedding_has_the_number_that_the_web_ui_shows(tmp_path):
    save_file({"emb_params": torch.full((3, 768), 0.125)}, tmp_path / "sks.safetensors")
    found = inspect(tmp_path / "sks.safetensors", hashes=True)
    assert (found.kind, found.vectors) == ("embedding", 3)
    assert len(found.hashes["embedding"]) == 12
    assert len(found.hashes["checksum"]) == 4


def test_a_file_for_the_bundled_base_promises_nothing_of_programs_that_do_not_have_it(tmp_path):
    save_file(
        {"emb_params": torch.full((3, 256), 0.125)}, tmp_path / "sks.safetensors", {"likewise.base": "pocket"}
    )
    found = inspect(tmp_path / "sks.safetensors")
    assert any("no other program has a model" in note for note in found.notes)


@pytest.mark.parametrize("layout", ["webui_embedding", "embedding_card"])
def test_files_without_a_header_are_opened(tmp_path, layout):
    artifact = Artifact("textual_inversion", "sd", "sks", "", {"vectors": torch.rand(2, 768)})
    suffix = formats.get(layout).suffix
    found = inspect(formats.write(artifact, tmp_path / f"sks{suffix}", layout))
    assert (found.kind, found.layout, found.vectors) == ("embedding", layout, 2)
    assert (list(found.trigger_words), found.parameters) == (["sks"], 2 * 768)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["first_stage_model.decoder.conv_in.weight"], "autoencoder of a checkpoint"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "UNet of a checkpoint"),
        (["control_model.input_hint_block.0.weight"], "ControlNet"),
        (
            ["something.weight", "something.bias"],
            "unknown: its tensors have names of no layout that is known here",
        ),
    ],
)
def test_files_of_no_layout_are_told_as_far_as_possible(tmp_path, names, kind):
    save_file({name: torch.zeros(2, 2, 2) for name in names}, tmp_path / "a.safetensors")
    found = inspect(tmp_path / "a.safetensors")
    assert (found.kind, found.layout, found.portability) == (kind, "", {})
    assert found.tensors == len(names)


def test_marks_and_averages_are_noted(tmp_path):
    extra = {"v_pred": ("F32", (0,)), "model_ema.diffusion_modelx": ("F32", (3,))}
    sparse(tmp_path / "a.safetensors", {**CHECKPOINT, **extra}, {})
    assert inspect(tmp_path / "a.safetensors").notes == [
        "1 of its tensors are moving averages, which drawing does not need",
        "marked v_pred: it predicts velocity",
        UNREAD,
    ]


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["inspect", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_command_prints_it_and_gives_json(tmp_path):
    path = formats.write(lora(), tmp_path / "dog.safetensors", "kohya")
    code, text = command(path, "--hash")
    assert code == 0
    for part in (
        "LoRA",
        "Stable Diffusion 1",
        "4 (2 times), 8 (1 times)",
        "AUTOMATIC1111",
        "AutoV2",
        "ss_network_dim",
    ):
        assert part in text
    code, text = command(path, "--json")
    assert code == 0
    data = json.loads(text)
    assert (data["kind"], data["ranks"], data["trigger_words"]) == ("LoRA", {"4": 2, "8": 1}, ["sks"])


def test_a_files_words_cannot_steer_the_terminal(tmp_path):
    facts = {"ss_output_name": "\x1b[2Jgone", "long": "x" * 5000}
    save_file({"something.weight": torch.zeros(2)}, tmp_path / "a.safetensors", facts)
    code, text = command(tmp_path / "a.safetensors")
    assert code == 0
    assert "\x1b" not in text
    assert "?[2Jgone" in text
    assert "(5,000 letters)" in text


def hostile(folder: Path) -> list[Path]:
    """Files that promise too much, hold too little or would like to run something."""
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "cut.safetensors").write_bytes((500).to_bytes(8, "little") + b'{"a":')
    header = b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,8]}}'
    (folder / "absurd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    torch.save(Hostile(f"touch {folder / 'ran'}"), folder / "code.pt")
    (folder / "text.ckpt").write_text("hello")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (folder / "folder").mkdir()
    return [path for path in sorted(folder.iterdir()) if path.name != "ran"]


def test_hostile_files_get_one_clear_line(tmp_path):
    for path in hostile(tmp_path):
        with pytest.raises(FormatError) as caught:
            inspect(path)
        assert path.name in caught.value.message
        code, text = command(path)
        assert code == 1
        assert "Traceback" not in text
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FormatError, match=r"there is no file .*nothing\.pt"):
        inspect(tmp_path / "nothing.pt")
