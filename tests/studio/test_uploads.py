"""Pictures and zips that somebody drops: what is taken in, and everything that is not."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from likewise import intake
from likewise.cli.checking import UNCAPTIONED
from likewise.local.guard import RAW
from likewise.studio import uploads
from likewise.studio.screens import concept
from tests.bases import pictures
from tests.local.served import Answer, Site


def picture(kind: str = "PNG", size: tuple[int, int] = (80, 60), **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, kind, **more)
    return buffer.getvalue()


def send(site: Site, data: bytes, name: str, to: str = "/upload/dog") -> Answer:
    head = {"Origin": f"http://{site.host}", "X_Likewise": "1", "Content_Type": RAW, "X_Likewise_Name": name}
    return site.ask(to, "POST", data, **head)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


def test_a_picture_is_written_anew_without_what_it_told(site: Site, root: Path) -> None:
    """Red where bytes are kept as they came: EXIF holds where somebody lives, and a file may be more than a picture."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    data = picture("JPEG", exif=exif) + b"<script>alert(1)</script>"
    assert send(site, data, "my%20photo.JPG").json == {"kept": ["my photo.jpg"], "refused": []}
    kept = (root / "concepts" / "dog" / "my photo.jpg").read_bytes()
    assert b"secret" not in kept
    assert b"script" not in kept
    with Image.open(io.BytesIO(kept)) as opened:
        assert opened.size == (60, 80), "turned upright"
        assert not opened.getexif()


@pytest.mark.parametrize(
    "name",
    ["../../../x.png", "..%2F..%2Fx.png", "/etc/x.png", "C%3A%5Cx.png", ".x.png", "x.png%00.html", "-x.png"],
)
def test_no_name_leaves_the_folder(site: Site, root: Path, name: str) -> None:
    before = {path for path in root.rglob("*") if path.is_file()}
    assert send(site, picture(), name).status == 200
    (new,) = {path for path in root.rglob("*") if path.is_file()} - before
    assert new.parent == root / "concepts" / "dog"
    assert new.suffix == ".png"


def test_what_is_no_picture_is_refused_by_name(site: Site, root: Path) -> None:
    before = sorted((root / "concepts" / "dog").iterdir())
    for name, data in (
        ("a.png", b"<svg onload=alert(1)>"),
        ("b.html", b"<html>"),
        ("c.png", b""),
        ("d.eps", b"%!PS-Adobe-3.0 EPSF"),
        ("e.png", picture()[:200]),
        ("f.zip", b"PK\x03\x04broken"),
    ):
        found = send(site, data, name)
        assert (found.status, found.json["kept"]) == (200, []), name
        assert found.json["refused"][0][0] == name
    assert sorted((root / "concepts" / "dog").iterdir()) == before


def test_a_picture_of_too_many_pixels_is_not_unpacked(site: Site) -> None:
    """Ten kilobytes of PNG that would be hundreds of megabytes of pixels. Red where the size is read after decoding."""
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", (9_000).to_bytes(4) * 2 + bytes([8, 2, 0, 0, 0]))
    data = head + chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")
    (refused,) = send(site, data, "bomb.png").json["refused"]
    assert "megapixels" in refused[1]


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def test_a_zip_gives_its_pictures_and_captions_and_no_bomb(site: Site, root: Path) -> None:
    """Red where a member is unpacked before its ratio is looked at, or where its folders are followed."""
    data = zipped(
        **{
            "deep__folder__a_dot_png": picture(),
            "deep__folder__a_dot_txt": b"a dog\n on a   beach",
            "..__..__up_dot_png": picture(),
            "zeros_dot_png": bytes(50_000_000),
            "__MACOSX__a_dot_png": b"x",
            "nested_dot_zip": zipped(x=b"y"),
            "run_dot_sh": b"#!/bin/sh",
        }
    )
    found = send(site, data, "pictures.zip").json
    assert sorted(found["kept"]) == ["a.png", "up.png"]
    refused = dict(found["refused"])
    assert "far larger" in refused["zeros.png"]
    assert {"nested.zip", "run.sh"} <= set(refused)
    folder = root / "concepts" / "dog"
    assert (folder / "a.txt").read_text() == "a dog on a beach\n"
    assert not list(folder.glob("*.sh")) + list(root.parent.glob("*.png"))
    seen = site.ask("/api/concepts/dog").json
    (row,) = [one for one in seen["pictures"] if one["file"] == "a.png"]
    assert row["trained"] == "sks dog, a dog on a beach"


def test_limits_on_bytes_and_count_hold(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where a body is kept whole before its size is known, or where a folder may grow for ever."""
    monkeypatch.setattr(uploads, "MOST_FILE", 3000)
    found = send(site, picture(), "large.png")
    assert (found.status, "more than" in found.json["error"]) == (400, True)
    monkeypatch.setattr(uploads, "MOST_FILE", 64_000_000)
    monkeypatch.setattr(uploads, "MOST_PICTURES", 3)
    names = [send(site, picture(size=(40 + n, 40)), f"{n}x.png").json for n in range(4)]
    assert "at most" in names[-1]["refused"][0][1]


def test_the_guard_stops_a_body_that_is_longer_than_its_path_takes(root: Path) -> None:
    """Red where only the route counts: then a path without a route could be fed for ever."""
    from likewise.studio.app import Studio, app
    from tests.local.served import served

    with served(app(Studio(root)), streams={"/upload/": 2000}) as site:
        site.enter()
        assert send(site, picture(), "large.png").status == 413
        assert send(site, b"x" * 100, "small.png").status == 200


def test_only_safetensors_come_into_the_library(site: Site, root: Path) -> None:
    """Red where the suffix alone decides: what cannot be read is not kept, and a pickle never is."""
    good = next((root / "runs").glob("*/*.safetensors")).read_bytes()
    for name, data in (("evil.pt", b"x"), ("evil.safetensors", b"no header"), ("..%2Fup.pt", good)):
        assert send(site, data, name, "/import/file").status == 400, name
    assert send(site, good, "dog.safetensors", "/import/file").json == {
        "name": "dog.safetensors",
        "kind": "LoRA",
    }
    assert send(site, good, "dog.safetensors", "/import/file").status == 400, "nothing is overwritten"
    assert [path.name for path in (root / "library").iterdir()] == ["dog.safetensors"]
    assert b"dog.safetensors" in site.ask("/library").body


def test_captions_and_pictures_change_by_names_that_are_there(site: Site, root: Path) -> None:
    folder = root / "concepts" / "dog"
    assert site.post("/api/concepts/dog/change", {"captions": {"0.png": "a dog\x00"}}).status == 400
    seen = site.post(
        "/api/concepts/dog/change",
        {
            "captions": {"0.png": "a dog\nasleep", "../x.png": "no"},
            "noun": "puppy",
            "remove": ["1.png", "../dog.toml"],
        },
    ).json
    assert (folder / "0.txt").read_text() == "a dog asleep\n"
    assert not (folder / "1.png").exists()
    assert (root / "concepts" / "dog.toml").exists()
    assert [path.name.endswith("1.png") for path in (root / "trash").iterdir()] == [True]
    assert seen["noun"] == "puppy"


@pytest.mark.parametrize(("caption", "said"), [("", True), ("a {} in a garden", False)])
def test_a_concept_without_any_caption_is_told_what_one_is_for(
    tmp_path: Path, caption: str, said: bool
) -> None:
    folder = pictures(tmp_path / "photos", 4)
    (folder / "0.txt").write_text(caption)
    found = intake.read(folder)
    rows = [
        {"file": name, "width": 800, "height": 800, "caption": example.caption or ""}
        for name, example in zip(found.names, found.examples, strict=True)
    ]
    assert (UNCAPTIONED in [one["text"] for one in concept._cautions(found, rows)]) == said
