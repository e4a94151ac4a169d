"""Preprocessing, the backends, and the choice of who judges."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file

from likewise.errors import BaseError, RecipeError
from likewise.metrics import clip, dinov2, dreamsim, features
from likewise.metrics import judge as embedded
from likewise.metrics.features import blank, read, upright
from tests.metrics.judges import CARD, judge, picture

SHIPPED = (embedded.FOLDER / "model.safetensors").exists()


def look(image: Image.Image) -> torch.Tensor:
    return read(judge(), [image]).vectors


def test_lossless_formats_orientation_and_batches_do_not_change_a_vector() -> None:
    image = picture()
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True)
    assert torch.allclose(look(Image.open(buffer)), look(image), atol=1e-5)
    turned, exif, stored = image.transpose(Image.Transpose.ROTATE_90), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    turned.save(stored, "PNG", exif=exif)
    assert torch.allclose(look(Image.open(stored)), look(image), atol=1e-5)
    many = [picture(seed) for seed in range(features.BATCH + 3)]
    together = read(judge(), many)
    alone = torch.cat([read(judge(), [one]).vectors for one in many])
    assert torch.allclose(together.vectors, alone, atol=1e-5)
    assert len(together) == len(together.labels) == len(many)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert upright(clear).getpixel((3, 3)) == (255, 255, 255)


def test_blank_is_black_and_not_night() -> None:
    assert blank(Image.new("RGB", (8, 8), (0, 0, 0)))
    assert blank(Image.new("RGB", (8, 8), (4, 3, 2)))
    night = Image.new("RGB", (8, 8), (0, 0, 0))
    night.putpixel((5, 1), (255, 251, 230))
    assert not blank(night)
    assert read(judge(), [night, Image.new("RGB", (8, 8))]).failed == (False, True)


def test_no_pictures_give_an_empty_reading() -> None:
    assert len(read(judge(), [])) == 0


def test_blur_noise_and_jpeg_carry_a_picture_ever_further_away() -> None:
    image, random = picture(3), np.random.default_rng(0).normal(0, 1, (80, 96, 3))

    def noisy(grade: int) -> Image.Image:
        return Image.fromarray((np.asarray(image) + 14.0 * grade * random).clip(0, 255).astype(np.uint8))

    for worse in (lambda g: image.filter(ImageFilter.GaussianBlur(4 * g)), noisy):
        near = [float(look(image)[0] @ look(worse(grade))[0]) for grade in (0, 1, 3, 9)]
        assert near == sorted(near, reverse=True)
        assert near[0] == pytest.approx(1.0, abs=1e-5)


def test_a_card_says_what_a_prompt_can_ask_for() -> None:
    one = judge()
    assert one.phrases["on a beach"] == {"scene": "beach"}
    assert one.phrases["on an orange background"] == {"scene": "plain", "plain": "orange"}
    assert one.phrases["two"] == {"count": "two"}
    assert one.phrases["red"] == {"tint": "red"}
    assert one.phrases["small"] == {"small": "small"}
    assert not {"one", "none", "normal"} & set(one.phrases)
    assert judge(phrases={"scene": {"beach": "by the sea"}}).phrases == {"by the sea": {"scene": "beach"}}


def test_a_head_that_is_often_wrong_checks_nothing() -> None:
    one = judge(ceilings={"scene": 0.99, "plain": 0.6, "count": 0.95, "tint": 0.91, "small": 0.5})
    assert {"on a beach", "two", "red"} <= set(one.phrases)
    assert not {"small", "on a white background"} & set(one.phrases)


def written(folder: Path, **card: object) -> Path:
    one = judge()
    save_file(one.network.state_dict(), folder / "model.safetensors")
    (folder / "card.json").write_text(json.dumps(CARD | card), encoding="utf-8")
    return folder


def test_a_judge_comes_back_from_its_files(tmp_path: Path) -> None:
    again = embedded.load(written(tmp_path, id="pocket-judge-v7"))
    assert again.id == "pocket-judge-v7"
    assert torch.equal(again.images([picture()]), judge().images([picture()]))
    assert again.labels([picture()]) == judge().labels([picture()])
    appearance = again.appearance([picture(), picture(1)])
    assert torch.allclose(appearance.norm(dim=1), torch.ones(2), atol=1e-5)


def test_a_judge_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="is not in"):
        embedded.load(tmp_path)
    written(tmp_path, heads={"scene": ["beach"]})
    with pytest.raises(BaseError, match="cannot be read"):
        embedded.load(tmp_path)
    (tmp_path / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(BaseError, match="cannot be read"):
        embedded.load(tmp_path)


def test_clip_pictures_and_texts_share_a_space(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {"vocab_size": 99, "max_position_embeddings": 77, "bos_token_id": 1, "eos_token_id": 2}
    config = CLIPConfig(
        text_config={**small, **words},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(tmp_path)
    letters = {"<|startoftext|>": 1, "<|endoftext|>": 2, "a</w>": 3, "d": 4, "o": 5, "g</w>": 6}
    CLIPTokenizer(vocab=letters, merges=[]).save_pretrained(tmp_path)
    found = clip.load(str(tmp_path))
    assert found.reads_text
    assert re.fullmatch(r"clip-[0-9a-f]{12}-r32c32-v1", found.id), "these are not the published weights"
    style = found.style([picture(), picture(1)])
    assert style.shape == (2, 4 * 16)
    assert torch.allclose(style.norm(dim=1), torch.ones(2), atol=1e-5)
    for vectors in (found.images([picture(), picture(1)]), found.texts(["a dog", "a " * 200])):
        assert vectors.shape == (2, 8)
        assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    alone, padded = found.texts(["a dog"])[0], found.texts(["a dog", "a dog a dog a dog"])[0]
    assert torch.allclose(alone, padded, atol=1e-5), "padding must not change a text"


def test_dinov2_gives_its_class_token(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56
    )
    Dinov2Model(config).save_pretrained(tmp_path)
    found = dinov2.load(str(tmp_path))
    vectors, style = found.images([picture(), picture(1)]), found.style([picture(), picture(1)])
    assert vectors.shape == (2, 16)
    assert style.shape == (2, 4 * 16)
    for rows in (vectors, style):
        assert torch.allclose(rows.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "dinov2"])
def test_weights_that_are_not_here_are_an_error_with_a_way_out(name: str) -> None:
    with pytest.raises(BaseError, match="cannot be loaded") as caught:
        features.load(name)
    assert "hf download" in str(caught.value)


def test_dreamsim_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when the import stands outside `try`."""
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(BaseError, match="DreamSim cannot be loaded") as caught:
        features.load("dreamsim")
    assert "pip install dreamsim" in str(caught.value)


def test_dreamsim_embeds_one_picture_at_a_time() -> None:
    """`PerceptualModel.embed` squeezes its batch. Red when pictures are embedded together, or rows keep their length."""

    class Model:
        def eval(self) -> Model:
            return self

        def embed(self, one: torch.Tensor) -> torch.Tensor:
            assert len(one) == 1
            return one.mean((2, 3))

    def preprocess(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image.resize((8, 8)), np.float32)).permute(2, 0, 1)[None]

    found = dreamsim.DreamSim(Model(), preprocess)
    vectors = found.images([picture(), picture(1)])
    assert vectors.shape == (2, 3)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert found.style([picture()]) is None


def test_dreamsim_is_asked_as_its_package_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in with the signature of dreamsim 0.2.1, which makes the last folder of its cache alone, and prints.

    Red when an argument is called otherwise, the folder's parents are missing, or what it prints reaches programs.
    """
    fault: list[Exception] = []

    def stand_in(
        pretrained: bool = True, device: str = "cuda", cache_dir: str = "./models", normalize_embeds: bool = True,
        dreamsim_type: str = "ensemble", use_patch_model: bool = False,
    ) -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:  # fmt: skip
        assert (pretrained, device, dreamsim_type, use_patch_model) == (True, "cpu", "ensemble", False)
        if not os.path.exists(cache_dir):
            os.mkdir(cache_dir)
        print(f"Using cached {cache_dir}")
        for error in fault:
            raise error
        return torch.nn.Identity(), lambda image: torch.zeros(1, 3, 224, 224)

    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "not" / "there"))
    monkeypatch.setitem(sys.modules, "dreamsim", SimpleNamespace(dreamsim=stand_in))
    assert features.load("dreamsim").id == "dreamsim-ensemble-r224-v1"
    assert capsys.readouterr().out == ""
    for error in (
        zipfile.BadZipFile("File is not a zip file"),
        KeyError("target_modules"),
        OSError("no network"),
    ):
        fault[:] = [error]
        with pytest.raises(BaseError, match=r"DreamSim \(ensemble\) cannot be loaded"):
            features.load("dreamsim")


def test_an_unknown_backend_names_the_known() -> None:
    with pytest.raises(RecipeError, match="judge, clip, dinov2, dreamsim"):
        features.load("resnet")
    with pytest.raises(RecipeError, match="does not read text"):
        judge().texts(["a dog"])


def test_without_large_weights_the_judge_stands_in_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.load, "__defaults__", (written(tmp_path),))
    own = features.panel({"pictures": "judge", "prompts": "judge"})
    other = features.panel({})
    assert own.note is None
    assert own.pictures is own.prompts
    assert other.note is not None
    assert "drawn pictures only" in other.note
    with pytest.raises(BaseError, match="DINOv2"):
        features.panel({"pictures": "dinov2", "prompts": "judge"})
    with pytest.raises(RecipeError, match="resnet"):
        features.panel({"pictures": "resnet", "prompts": "judge"})


@pytest.mark.skipif(not SHIPPED, reason="the embedded judge is not built yet")
def test_the_shipped_judge_knows_its_own_pictures() -> None:
    shipped = embedded.load()
    assert shipped.card["heads"]["scene"][:2] == ["beach", "snow"]
    assert "on a beach" in shipped.phrases, "the scene head must be good enough to check with"
    assert torch.allclose(shipped.images([picture()]).norm(dim=1), torch.ones(1), atol=1e-5)


@pytest.mark.skipif(not SHIPPED, reason="the embedded judge is not built yet")
def test_the_shipped_judge_was_taught_to_tell_individuals() -> None:
    """What the workshop measured on pairs that were held out, alike in class and colours, and of its masks."""
    ceilings = embedded.load().card["ceilings"]
    assert ceilings["identity_auc"] > 0.9
    assert ceilings["overlap"] > 0.9
