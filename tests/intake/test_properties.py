"""Random folders and zips: every picture is learned, protects the class, or is named; nothing else can happen."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise import intake
from likewise.concept import Concept
from likewise.errors import ConceptError
from likewise.intake.listing import PICTURES

LETTERS = st.text("ab1_- .é犬()[]\x1b\n'\"", min_size=1, max_size=6)
FOLDERS = st.sampled_from([
    "reg", "class_images", "instance_images", "10_sks dog", "1_dog", "1000_sks dog", "2024_trip", "0_x y", "masks", "img",
    "Regularization-Images", "a.zip", "__MACOSX", ".cache", "captions",
]) | LETTERS  # fmt: skip
STEMS = st.sampled_from(["a", "b", "a_mask", "a-masklabel", "metadata", "10"]) | LETTERS
SUFFIXES = st.sampled_from(
    [".png", ".PNG", ".jpg", ".jfif", ".webp", ".txt", ".caption", ".jsonl", ".json", ".csv", ".heic", ""]
)
CONTENTS = st.sampled_from(["picture", "picture", "picture", "small", "text", "rows", "broken", "empty"])
FILES = st.lists(st.tuples(st.lists(FOLDERS, max_size=3), STEMS, SUFFIXES, CONTENTS), min_size=1, max_size=8)


def image(seed: int, side: int, suffix: str) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP"}.get(suffix.lower(), "PNG")
    Image.fromarray(coarse).resize((side, side)).save(buffer, kind)
    return buffer.getvalue()


def content(kind: str, seed: int, suffix: str) -> bytes:
    if kind in ("picture", "small"):
        return image(seed, 48 if kind == "picture" else 16, suffix)
    rows = json.dumps({"file_name": "a.png", "text": "from a row"}) + "\n" + json.dumps(["no row"])
    return {
        "text": b"a dog \x1b[31m",
        "rows": rows.encode(),
        "broken": b"\x89PNG\r\n\x1a\n broken",
    }.get(kind, b"")


def build(root: Path, files: list[tuple[list[str], str, str, str]]) -> dict[str, bytes]:
    """The files by name; those that this system cannot name, or that lie where a file is, are left out."""
    made: dict[str, bytes] = {}
    for seed, (folders, stem, suffix, kind) in enumerate(files):
        name = "/".join([*folders, stem + suffix])
        data = content(kind, seed, suffix)
        path = root / name
        if any(part in (".", "..") for part in name.split("/")) or path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:
            continue
        made[path.relative_to(root).as_posix()] = data
    return made


def hidden(name: str) -> bool:
    return any(part.startswith(".") or part.casefold() == "__macosx" for part in name.split("/"))


def accounted(found: intake.Intake, made: dict[str, bytes], root: Path, packed: bool) -> None:
    """Every file that has a picture's suffix is in exactly one place."""
    own = {os.path.normpath(name) for name in found.names}
    of_class = {e.member if packed else e.path.relative_to(root).as_posix() for e in found.class_pictures}
    from likewise.files import printable

    named = {problem.file for problem in found.problems}
    for name in made:
        if hidden(name) or not name.lower().endswith(PICTURES):
            continue
        places = [os.path.normpath(name) in own, name in of_class, printable(name) in named]
        assert sum(places) == 1, (name, places)
    assert all(example.repeats >= 1 for example in found.examples)
    assert all("\n" not in line and "\x1b" not in line for line in (*found.warnings(), *found.notes))
    json.dumps(found.to_json()).encode()


@settings(deadline=None, max_examples=50)
@given(files=FILES, packed=st.booleans(), good=st.booleans())
def test_every_picture_of_a_random_source_is_accounted_for(
    files: list[tuple[list[str], str, str, str]], packed: bool, good: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "source"
        root.mkdir()
        made = build(root, [*files, ([], "zz", ".png", "picture")] if good else files)
        source = root
        if packed:
            source = Path(place) / "source.zip"
            with zipfile.ZipFile(source, "w") as archive:
                for name, data in made.items():
                    archive.writestr(name, data)
        with contextlib.suppress(ConceptError):  # nothing usable, which is said
            found = intake.read(source)
            hypothesis.event(f"{bool(found.class_pictures)} {bool(found.problems)}")
            accounted(found, made, root, packed)
            concept = Concept.read(source, token="sks", noun="dog")
            assert all("sks" in concept.caption(example) for example in concept.examples)
            assert Concept.from_json(json.loads(json.dumps(concept.to_json()))).digest() == concept.digest()
            assert intake.contact_sheet(found, Path(place) / "sheet.png").is_file()
