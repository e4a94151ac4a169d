"""Embedding cards: the text and the strips, both ways, against readers and a writer of their own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from likewise import formats
from likewise.errors import FormatError
from tests import webui
from tests.formats.words import embedding


def picture(size: tuple[int, int] = (40, 60), seed: int = 0) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )


def table(vectors: torch.Tensor, **more: object) -> dict[str, object]:
    words = {"*": {"TORCHTENSOR": vectors.tolist()}}
    return {"string_to_token": {"*": 265}, "string_to_param": words, "name": "cat", "step": 7, **more}


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_the_web_ui_reads_what_was_taught(tmp_path, suffix):
    taught = embedding(3)
    path = formats.write(taught, tmp_path / f"card{suffix}", "embedding_card")
    tables = [webui.card_strips(path)] + ([webui.card_text(path)] if suffix == ".png" else [])
    for found in tables:
        assert found["name"] == "sks"
        assert torch.equal(
            torch.tensor(found["string_to_param"]["*"]["TORCHTENSOR"]), taught.tensors["vectors"]
        )
    again = formats.read(path)
    assert torch.equal(again.tensors["vectors"], taught.tensors["vectors"])
    assert again.token == "sks"


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("width", [32, 768])
def test_strips_drawn_by_others_are_read(tmp_path, suffix, width):
    vectors = torch.randn(2, width)
    path = webui.draw_card(table(vectors), picture(), tmp_path / f"x{suffix}")
    found = formats.read(path)
    assert torch.equal(found.tensors["vectors"], vectors)
    assert found.token == "cat"


def test_black_borders_and_a_dark_picture_do_no_harm(tmp_path):
    vectors = torch.randn(1, 64)
    dark = Image.new("RGB", (40, 60))
    path = webui.draw_card(table(vectors), dark, tmp_path / "x.png")
    with Image.open(path) as card:
        framed = Image.new("RGB", (card.width + 14, card.height + 6))
        framed.paste(card, (5, 2))
    framed.save(path)
    assert torch.equal(formats.read(path).tensors["vectors"], vectors)


def test_the_text_counts_where_a_program_changed_the_pixels(tmp_path):
    taught = embedding()
    path = formats.write(taught, tmp_path / "x.png", "embedding_card")
    with Image.open(path) as card:
        text = PngImagePlugin.PngInfo()
        text.add_text("sd-ti-embedding", card.text["sd-ti-embedding"])
        small = card.resize((card.width // 2, card.height // 2))
    small.save(path, pnginfo=text)
    assert torch.equal(formats.read(path).tensors["vectors"], taught.tensors["vectors"])
    small.save(path)
    with pytest.raises(FormatError, match="has no embedding in it"):
        formats.read(path)


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 4), width=st.sampled_from([1, 32, 300]), size=st.floats(1e-30, 1e30),
    suffix=st.sampled_from([".png", ".webp"]), token=st.text(max_size=8).filter(lambda token: token.strip(" *")),
)  # fmt: skip
def test_what_is_written_is_read(tmp_path_factory, count, width, size, suffix, token):
    token = token.encode("utf-8", "replace").decode()
    taught = embedding(count, width, token=token)
    taught.tensors["vectors"].mul_(size)
    path = formats.write(taught, tmp_path_factory.mktemp("x") / f"card{suffix}", "embedding_card")
    again = formats.read(path)
    assert torch.equal(again.tensors["vectors"], taught.tensors["vectors"])
    assert again.token == token
    strips = webui.card_strips(path)
    assert strips["string_to_param"]["*"]["TORCHTENSOR"] == taught.tensors["vectors"].tolist()


def with_text(text: str, path):
    info = PngImagePlugin.PngInfo()
    info.add_text("sd-ti-embedding", text)
    picture().save(path, pnginfo=info)
    return path


def coded(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not base64 !", "damaged embedding in its text"),
        (coded("{"), "damaged embedding"),
        (coded("[" * 100_000), "damaged embedding"),
        (coded("[1]"), "has no embedding"),
        (coded("{}"), "holds 0 words"),
        (coded('{"TORCHTENSOR": [1]}'), "has no embedding"),
        (coded('{"string_to_param": {"*": {"TORCHTENSOR": [[1, 2], [3]]}}}'), "damaged embedding"),
        (coded('{"string_to_param": {"*": {"TORCHTENSOR": ["x"]}}}'), "damaged embedding"),
        (coded('{"string_to_param": {"*": {"TORCHTENSOR": [[NaN, 1]]}}}'), "not finite"),
        (coded('{"string_to_param": {"*": {"TORCHTENSOR": [[1e99, 1]]}}}'), "not finite"),
        (coded('{"string_to_param": {"*": {"TORCHTENSOR": [[[1]]]}}}'), r"has shape \[1, 1, 1\]"),
        (coded('{"string_to_param": {"*": 3}}'), "no tensor of real numbers"),
        (
            coded('{"string_to_param": {"*": {"TORCHTENSOR": [%s]}}}' % ("9" * 400)),
            "damaged embedding|not finite",
        ),
    ],
)
def test_damaged_cards_are_told_in_one_line(tmp_path, text, reason):
    path = with_text(text, tmp_path / "x.png")
    with pytest.raises(FormatError, match=reason) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plain_pictures_are_no_cards(tmp_path):
    for n, plain in enumerate(
        [picture(), Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), "white"), Image.new("L", (1, 1))]
    ):
        plain.save(tmp_path / f"{n}.png")
        with pytest.raises(FormatError, match="has no embedding in it"):
            formats.read(tmp_path / f"{n}.png")
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match="damaged or no picture"):
        formats.read(tmp_path / "x.png")


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("likewise.formats.embedding_card.MOST_BYTES", 10_000)
    path = webui.draw_card(table(torch.zeros(1, 8), more="x" * 100_000), picture(), tmp_path / "x.png")
    with pytest.raises(FormatError, match="damaged embedding in its strips"):
        formats.read(path)
    monkeypatch.setattr("likewise.formats.embedding_card.MOST_PIXELS", 1000)
    with pytest.raises(FormatError, match="too large"):
        formats.read(path)
