"""Readers of early 2025 (diffusers 0.33, transformers 4.48) make of our files what those of today make of them.

They need a Python of their own, which `LIKEWISE_OLD_READERS` names; without it this is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from likewise import formats
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.formats import Saving
from likewise.operations.baking import bake_word
from likewise.operations.subjects import write_subject
from tests.formats import whole_models
from tests.formats.words import FULL, embedding
from tests.operations.changes import TEXT, lora

VARIABLE = "LIKEWISE_OLD_READERS"
HOW = f"""set {VARIABLE} to a Python with them: `python -m venv old`, then `old/bin/pip install torch diffusers==0.33.1
transformers==4.48.3 peft==0.15.2 "huggingface_hub<1"`"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get(VARIABLE), reason=" ".join(HOW.split())),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of every file that diffusers reads, as we write them."""
    home, raw = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("raw")
    for version in whole_models.VERSIONS:
        whole = open_checkpoint(whole_models.folder(version, raw / version))
        folder = write_subject(whole, home / version, "diffusers_folder", Saving())
        write_subject(open_checkpoint(folder), home / f"single-{version}.safetensors", "checkpoint", Saving())
    for layout in ("kohya", "diffusers"):
        formats.write(_whole_attention(lora()), home / f"lora-{layout}.safetensors", layout, FULL)
    word = embedding(2, 64, "zork")
    formats.write(word, home / "word-diffusers.safetensors", "diffusers_embedding")
    formats.write(word, home / "word-kohya.safetensors", "embedding")
    formats.write(word, home / "word-webui.pt", "webui_embedding")
    write_subject(
        bake_word(open_checkpoint(home / "sd1"), word), home / "baked", "diffusers_folder", Saving()
    )
    return home


def _whole_attention(artifact: Artifact) -> Artifact:
    """With an output projection, without which diffusers 0.33 does not know the text encoder's tensors of a kohya file."""
    own = {name: tensor for name, tensor in artifact.tensors.items() if name.startswith(TEXT)}
    more = {name.replace("q_proj", "out_proj"): tensor.clone() for name, tensor in own.items()}
    return replace(artifact, tensors={**artifact.tensors, **more})


def test_old_readers_load_the_same(home: Path, tmp_path: Path) -> None:
    found = {}
    for name, python in (("old", os.environ[VARIABLE]), ("new", sys.executable)):
        script, out = Path(__file__).with_name("old_readers.py"), tmp_path / f"{name}.safetensors"
        done = subprocess.run(
            [python, str(script), str(home), str(out)], stderr=subprocess.PIPE, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[name] = load_file(out)
    assert found["old"].keys() == found["new"].keys()
    for name, value in found["new"].items():
        assert torch.allclose(found["old"][name], value, rtol=1e-5, atol=1e-5), name
    plain, taught = found["old"]["sd1 unet"], found["old"]["lora-kohya unet"]
    assert not torch.allclose(plain, taught, rtol=1e-4), "the LoRA was loaded"
    assert torch.equal(found["old"]["baked states"], found["old"]["word-webui states"])
