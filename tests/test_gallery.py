"""Pictures on disk say how they were drawn, as other programs read it; their pixels stay what they were."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import likewise
from likewise import __version__
from likewise.base import Sampler
from likewise.gallery import Gallery
from likewise.run import Run
from tests.bases import pictures, tiny


def parameters(path: Path) -> str:
    with Image.open(path) as image:
        return str(image.text["parameters"])  # type: ignore[attr-defined]


def parsed(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and the pairs of the last line, as the web UI's format says (quoted values are JSON)."""
    *head, last = text.split("\n")
    pairs = re.findall(r'([\w ]+): ("(?:\\.|[^\\"])+"|[^,]*)(?:, |$)', last)
    found = {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}
    negative = [
        line.removeprefix("Negative prompt: ") for line in head if line.startswith("Negative prompt: ")
    ]
    prompt = "\n".join(line for line in head if not line.startswith("Negative prompt: "))
    return prompt, "\n".join(negative), found


def test_a_sampled_picture_says_how_it_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taught = likewise.teach(
        pictures(Path("dog")), noun="dog", token="sks", base="tiny:sd", steps=1, out="runs/my, dog"
    )
    wanted = Sampler(steps=3, guidance=2.5, negative="cats, rain", size=64)
    gallery = likewise.sample(
        "a sks dog, at night: 犬",
        concepts=taught["folder"],
        strengths=0.5,
        seeds=[7],
        sampler=wanted,
        out="drawn",
    )
    path = gallery.folder / "0000.png"
    prompt, negative, found = parsed(parameters(path))
    assert (prompt, negative) == ("a sks dog, at night: 犬", "cats, rain")
    assert found == {
        "Steps": "3", "Sampler": "DPM++ 2M", "CFG scale": "2.5", "Seed": "7", "Size": "64x64", "Model": "tiny:sd",
        "Concepts": "my, dog:0.5", "Version": f"likewise {__version__}",
    }  # fmt: skip
    assert str(tmp_path) not in path.read_bytes().decode("latin-1")
    (drawn,) = tiny().sample(["x"], [7], wanted)
    assert drawn.size == Image.open(path).size


def test_no_path_of_the_machine_is_in_a_picture(tmp_path: Path) -> None:
    from likewise.sampling import facts

    base = tiny()
    for name, shown in (
        (str(tmp_path / "secret" / "base"), "base"), ("org/model", "org/model"), ("pocket", "pocket"),
    ):  # fmt: skip
        base.name = name
        assert facts(base, Sampler())["Model"] == shown
    (tmp_path / "my.model.safetensors").touch()
    base.name = str(tmp_path / "my.model.safetensors")
    assert facts(base, Sampler())["Model"] == "my.model"


def test_previews_and_pictures_of_comparisons_say_it_too(tmp_path: Path) -> None:
    from likewise.sampling import draw

    likewise.teach(
        pictures(tmp_path / "dog"),
        noun="dog",
        token="sks",
        base="tiny:sd",
        steps=1,
        out=tmp_path / "run",
        previews="a {}",
    )
    assert Run.open(tmp_path / "run").previews == ("a {}",)
    prompt, _, found = parsed(parameters(tmp_path / "run" / "samples" / "step000001" / "0000.png"))
    assert (prompt, found["Seed"], found["Model"]) == ("a sks dog", "0", "tiny:sd")
    draw(tiny(), ["a dog"], [3], Sampler(steps=1), Gallery(tmp_path / "gallery"))
    assert parsed(parameters(tmp_path / "gallery" / "0000.png"))[2]["Steps"] == "1"


@settings(deadline=None, max_examples=60)
@given(prompt=st.text(max_size=60), negative=st.text(max_size=20))
def test_any_prompt_is_kept_and_changes_no_pixel(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, negative: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    gallery = Gallery(folder, {"Negative prompt": negative, "Steps": "3", "Model": "a, b"})
    kept = gallery.add(image, prompt, 5)
    assert gallery.open(kept).tobytes() == image.tobytes()
    text = parameters(folder / kept.file)
    assert text.startswith(prompt.replace("\0", "").encode("utf-8", "replace").decode())
    assert text.splitlines()[-1].startswith('Steps: 3, Seed: 5, Size: 8x8, Model: "a, b", Version: likewise ')


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), "red")
    files = [Gallery(tmp_path / name, {"Steps": "3"}).add(image, "a dog", 1) for name in "ab"]
    assert (tmp_path / "a" / files[0].file).read_bytes() == (tmp_path / "b" / files[1].file).read_bytes()
