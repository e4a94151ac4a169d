"""The workshop from artwork to model: every step runs small, on pictures that are drawn here."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from workshop import world
from workshop.common import Average

STEPS = (
    "fetch", "rasterise", "compose", "tokenizer", "train_vae", "train_clip", "pool", "train_backbone",
    "train_judge", "export", "concept", "measure",
)  # fmt: skip
OTHERS = ("1f9ff", "1faa8", "1f9f2", "1f9ed")
CODES = sorted({code for thing in world.THINGS[:6] for code in thing.codes} | {*world.HELD_OUT, *OTHERS})


def pack(path: Path, files: dict[str, bytes]) -> dict[str, str]:
    """A package as npm makes it, and the facts that identify it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    facts = {"package": f"@drawn/{path.stem}", "version": "1.0.0", "file": path.name, "licence": "MIT"}
    facts |= {"credit": "drawn for the test", "url": "https://example.org"}
    return facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def webp(number: int) -> bytes:
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((4, 12, 60, 52), fill=(40 + 9 * number, 90, 160, 255))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def artwork(folder: Path) -> list[dict[str, str]]:
    """Three packages in the three forms that sources.toml knows."""
    fluent = pack(folder / "fluent.tgz", {f"assets/{c}.webp": webp(i) for i, c in enumerate(CODES)})
    body = '<path fill="#c33" d="M2 30L16 2l14 28z"/><circle cx="16" cy="20" r="5" fill="#36c"/>'
    icons = {"width": 32, "height": 32, "icons": {f"icon-{c}": {"body": body} for c in CODES}}
    chars = {code: f"icon-{code}" for code in CODES}
    noto = pack(
        folder / "noto.tgz",
        {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()},
    )
    book = [{"hexcode": code.upper(), "group": 3, "label": "thing"} for code in CODES]
    names = pack(folder / "names.tgz", {"en/data.json": json.dumps(book).encode()})
    rows = [fluent | {"design": "fluent", "form": "webp"}, noto | {"design": "noto", "form": "iconify"}]
    return [*rows, names | {"form": "names"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The build folder after every step's own command."""
    root = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        modules = {step: importlib.import_module(f"workshop.{step}") for step in STEPS}
        patch.setattr("workshop.common.BUILD", root)
        patch.setattr("workshop.fetch.PACKAGES", root)
        rows = artwork(root)
        for module in modules.values():
            if hasattr(module, "sources"):
                patch.setattr(module, "sources", lambda: rows)
        for step, module in modules.items():
            extra = ["--design", "noto"] if step == "concept" else []
            patch.setattr(sys, "argv", [step, "--smoke", *extra])
            module.main()
        yield root / "smoke"


def test_the_model_is_an_ordinary_stable_diffusion_folder(made: Path) -> None:
    from likewise import families

    base = families.load(str(made / "export"))
    assert base.family == "sd"
    picture = next(iter(base.sample(["a cat on a beach"], [0])))
    assert picture.size == (64, 64)
    assert np.isfinite(np.asarray(picture)).all()


def test_the_card_names_what_was_taught(made: Path) -> None:
    card = json.loads((made / "export" / "card.json").read_text(encoding="utf-8"))
    assert card["samples_seen"] == 12
    assert "cat" in card["things"]
    assert "@drawn/noto 1.0.0" in (made / "export" / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_the_table_has_ceilings(made: Path) -> None:
    rows = [json.loads(line) for line in (made / "measured.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["pictures"] for row in rows] == ["drawn", "true, after the autoencoder", "true"]


def test_held_out_art_is_in_no_training_picture(made: Path) -> None:
    from workshop.compose import Composer

    composer = Composer(made, ("world", "other"), variants=4)
    assert not {row["code"] for row in composer.rows} & set(world.HELD_OUT)


def test_pictures_follow_from_the_seed(made: Path) -> None:
    from workshop.compose import Composer

    composer = Composer(made, variants=4, taught=True)
    first, again, other = (composer.batch(6, seed) for seed in (1, 1, 2))
    assert first.captions == again.captions
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_a_resumed_backbone_is_the_uninterrupted_one(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workshop import train_backbone

    def state() -> dict[str, torch.Tensor]:
        return torch.load(made / "backbone.pt")["model"]

    def train(steps: int) -> None:
        trainer = train_backbone.Trainer(args, made)
        for _ in range(steps):
            trainer.learn()
        trainer.save()

    args = type("Args", (), {"samples": 16, "batch": 4, "rate": 1e-3, "init": None})
    (made / "backbone.pt").unlink()
    train(4)
    whole = state()
    (made / "backbone.pt").unlink()
    train(2)
    train(2)
    assert all(torch.equal(whole[name], tensor) for name, tensor in state().items())


def test_an_average_that_looks_rarely_makes_up_for_it() -> None:
    module = torch.nn.Linear(3, 2)
    often, rarely = Average(module, 0.9), Average(module, 0.9, every=5)
    often.step = rarely.step = 1000  # past the warm-up
    with torch.no_grad():
        module.weight.add_(1.0)
    for _ in range(5):
        often.update(module)
        rarely.update(module)
    torch.testing.assert_close(often.state["weight"], rarely.state["weight"])
