"""`likewise sample`: into a folder that has pictures already, and with files of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from likewise import formats
from likewise.artifact import Artifact
from likewise.cli import app
from tests.formats import whole_models

WORDS = ["sample", "a dog", "--base", "tiny:sd", "-n", "1", "--out", "drawn"]


def test_pictures_of_other_settings_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery knows prompts and seeds: with another guidance or concept it would give back the old pictures."""
    monkeypatch.chdir(tmp_path)
    first = CliRunner().invoke(app, [*WORDS, "--steps", "1"], prog_name="likewise")
    assert first.exit_code == 0, first.output
    assert "drawing 1 picture\n" in first.stderr
    before = Path("drawn/0000.png").read_bytes()
    other = CliRunner().invoke(app, [*WORDS, "--steps", "2"], prog_name="likewise")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "drawn otherwise" in other.stderr
    assert Path("drawn/0000.png").read_bytes() == before
    same = CliRunner().invoke(app, [*WORDS, "a cat", "--steps", "1"], prog_name="likewise")
    assert same.stdout.splitlines() == ["drawn/0000.png", "drawn/0001.png", "drawn/sheet.png"]


def test_a_size_that_does_not_fit_is_refused_before_drawing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = CliRunner().invoke(app, [*WORDS, "--size", "63"], prog_name="likewise")
    assert odd.exit_code == 2
    assert "size 63 is not a multiple" in odd.stderr
    assert "drawing" not in odd.stderr


def foreign(name: str) -> Path:
    """A file for the bundled base, as another program keeps it."""
    block = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    random = torch.Generator().manual_seed(0)
    flat = f"lora_unet_{block.replace('.', '_')}"
    low = {"down": torch.randn(2, 96, generator=random), "up": torch.randn(96, 2, generator=random)}
    if name == "hypernetwork":
        path = Path("hn.pt")
        layers = {f"linear.{n}.{kind}": torch.zeros(shape) for n, kind, shape in (
            (0, "weight", (192, 96)), (0, "bias", (192,)), (1, "weight", (96, 192)), (1, "bias", (96,))
        )}  # fmt: skip
        torch.save({96: (layers, layers), "layer_structure": [1, 2, 1], "name": "pkhn"}, path)
    elif name in ("web ui", "card"):
        path = Path("ti.pt" if name == "web ui" else "ti.png")
        made = Artifact(
            "textual_inversion", "sd", "pkcat", "", {"vectors": torch.randn(2, 256, generator=random)}
        )
        formats.write(made, path, "webui_embedding" if name == "web ui" else "embedding_card")
    elif name in ("bin", "embedding"):
        path = Path("pkcat.bin" if name == "bin" else "pkcat.safetensors")
        vectors = torch.randn(256, generator=random)
        if name == "bin":
            torch.save({"pkcat": vectors}, path)
        else:
            save_file({"emb_params": vectors[None]}, path)
    elif name == "kohya":
        path = Path("lora.safetensors")
        save_file({f"{flat}_to_q.lora_{side}.weight": one for side, one in low.items()}, path)
    elif name == "lycoris":
        path = Path("loha.safetensors")
        parts = {
            "hada_w1_a": low["up"],
            "hada_w1_b": low["down"],
            "hada_w2_a": low["up"],
            "hada_w2_b": low["down"],
        }
        save_file({f"{flat}_to_q.{part}": one.clone() for part, one in parts.items()}, path)
    else:
        path = Path("adapter")
        tensors = {f"backbone.{block}.to_q.{side}": one for side, one in low.items()}
        tensors[f"backbone.{block}.to_q.alpha"] = torch.tensor(2.0)
        formats.write(Artifact("lora", "sd", "", "", tensors), path, "peft")
    return path


KINDS = ["hypernetwork", "web ui", "card", "bin", "embedding", "kohya", "lycoris", "peft"]


@pytest.mark.parametrize("name", KINDS)
def test_whatever_can_be_read_is_drawn_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these says which base it is for, so the bundled one is taken, and that is said."""
    monkeypatch.chdir(tmp_path)
    file = foreign(name)
    words = ["a pkcat dog", "--with", str(file), "-n", "1", "--steps", "1", "--out", "drawn"]
    done = CliRunner().invoke(app, ["sample", *words], prog_name="likewise")
    assert done.exit_code == 0, done.output
    assert f"{file.name} names no base, so it is put on pocket" in done.stderr
    assert "does not say" not in done.stderr
    assert Path("drawn/0000.png").is_file()


@pytest.mark.parametrize(
    ("layers", "metadata", "said", "way"),
    [
        ({"transformer.single_transformer_blocks.0.attn.to_q": 3072}, {}, "was taught for Flux, and no base", "converted"),
        ({"diffusion_model.blocks.0.self_attn.q": 1536}, {}, "was taught for Wan", "are known"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": 768}, {}, "2x768", "name its own by --base"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": 768}, {"ss_sd_model_name": "anything-v3"},
         "was taught on 'anything-v3', and there is no base", "to be drawn with: --base BASE"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_with_is_told_with_a_way_out(
    layers: dict, metadata: dict, said: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = {}
    for name, width in layers.items():
        tensors |= {
            f"{name}.lora_A.weight": torch.ones(2, width),
            f"{name}.lora_B.weight": torch.ones(320, 2),
        }
    save_file(tensors, "x.safetensors", metadata or None)
    done = CliRunner().invoke(
        app, ["sample", "a dog", "--with", "x.safetensors", "--out", "drawn"], prog_name="likewise"
    )
    assert done.exit_code in (1, 3)
    assert said in done.stderr
    assert way in done.stderr
    assert not list(Path("drawn").glob("*.png"))


def test_a_whole_model_is_named_as_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole_models.folder("sd1", Path("model"))
    done = CliRunner().invoke(
        app, ["sample", "a dog", "--with", "model", "--out", "drawn"], prog_name="likewise"
    )
    assert done.exit_code == 1
    assert "hint: draw with it by --base model" in done.stderr
