"""What each file is for, by the folders that trainers and people put it into."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise import intake
from likewise.errors import ConceptError
from likewise.intake.layouts import is_class
from tests.intake.drawn import class_names, draw, pack, reasons

LAYOUTS = [
    ("instance_images", "class_images"),
    ("instance_data", "class_data"),
    ("instance", "class"),
    ("Instance-Images", "Class-Images"),
    ("instanceImages", "classImages"),
    ("img/10_sks dog", "reg/1_dog"),
    ("10_sks dog", "reg"),
    ("train/img/10_sks dog", "train/reg/1_dog"),
    ("photos", "regularization"),
    ("photos", "regularisation_images"),
    ("training_images", "Regularization-Images-dog"),
    ("data", "prior_images"),
    ("data", "dog_reg"),
    ("10_sks dog", "1_dog"),
    ("", "class_images"),
]


def make(root: Path, own: str, of_class: str) -> Path:
    """Three pictures of a concept and five of its class."""
    for n in range(3):
        draw(root / own / f"own{n}.png", n)
    for n in range(5):
        draw(root / of_class / f"class{n}.png", 10 + n)
    return root


@pytest.mark.parametrize(("own", "of_class"), LAYOUTS, ids=lambda folder: folder or "flat")
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_class_pictures_are_never_pictures_of_the_concept(
    tmp_path: Path, own: str, of_class: str, packed: bool
) -> None:
    source = make(tmp_path / "set", own, of_class)
    if packed:
        files = {p.relative_to(source).as_posix(): p.read_bytes() for p in sorted(source.rglob("*.png"))}
        source = pack(tmp_path / "set.zip", files)
    found = intake.read(source)
    assert {name.rsplit("/", 1)[-1] for name in found.names} == {f"own{n}.png" for n in range(3)}
    assert class_names(found) == {f"class{n}.png" for n in range(5)}
    assert any(note.startswith(of_class) and "5 class pictures" in note for note in found.notes)
    assert [row["file"] for row in found.to_json()["class_pictures"]] == [f"class{n}.png" for n in range(5)]


@pytest.mark.parametrize("images", ["img", "", "deep/img"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_what_training_programs_made_is_not_learned(tmp_path: Path, images: str, packed: bool) -> None:
    source = make(tmp_path / "project", f"{images}/10_sks dog".strip("/"), "reg/1_dog")
    for seed, name in enumerate(["log/run/a.png", "Model/sample/b.png", "samples/c.jpg"], 20):
        draw(source / name, seed)
    draw(source / "reg" / "samples" / "of class.png", 30)
    draw(source / "extra" / "d.png", 31)
    draw(source / images / "10_sks dog" / "samples" / "e.png", 32)
    if packed:
        files = {p.relative_to(source).as_posix(): p.read_bytes() for p in sorted(source.rglob("*.*g"))}
        source = pack(tmp_path / "project.zip", files)
    found = intake.read(source)
    learned = {name.rsplit("/", 1)[-1] for name in found.names}
    assert learned == {"own0.png", "own1.png", "own2.png", "d.png", "e.png"}
    assert class_names(found) == {"of class.png", *(f"class{n}.png" for n in range(5))}
    said = [note for note in found.notes if "not learned, as" in note]
    assert said == ["3 pictures in Model, log, samples are not learned, as training programs write there"]


def test_folders_of_samples_are_learned_where_none_counts_repeats(tmp_path: Path) -> None:
    draw(tmp_path / "samples" / "a.png", 1)
    draw(tmp_path / "model" / "b.png", 2)
    assert intake.read(tmp_path).names == ("model/b.png", "samples/a.png")
    draw(tmp_path / "reg" / "1_dog" / "c.png", 3)
    assert intake.read(tmp_path).names == ("model/b.png", "samples/a.png")


def test_class_pictures_in_a_list_of_folders_and_zips(tmp_path: Path) -> None:
    make(tmp_path, "instance_images", "class_images")
    both = intake.read([tmp_path / "instance_images", tmp_path / "class_images"])
    assert (len(both.examples), len(both.class_pictures)) == (3, 5)
    zips = []
    for name in ("instance_data", "class_data"):
        folder = tmp_path / name.replace("data", "images")
        zips.append(
            pack(tmp_path / f"{name}.zip", {p.name: p.read_bytes() for p in sorted(folder.iterdir())})
        )
    both = intake.read(zips)
    assert (len(both.examples), len(both.class_pictures)) == (3, 5)


def test_class_pictures_from_a_place_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "photos", "dogs")
    (tmp_path / "dogs" / "class0.txt").write_text("a dog in a garden")
    found = intake.read(tmp_path / "photos", tmp_path / "dogs")
    assert (len(found.examples), len(found.class_pictures)) == (3, 5)
    assert found.class_pictures[0].caption == "a dog in a garden"
    # The folder of both: what is learned is left out of the class pictures.
    found = intake.read(tmp_path / "photos", tmp_path)
    assert class_names(found) == {f"class{n}.png" for n in range(5)}
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConceptError, match="no usable class picture"):
        intake.read(tmp_path / "photos", tmp_path / "empty")


@pytest.mark.parametrize("way", ["same", "link", "zip"])
def test_class_pictures_that_are_the_concept_are_refused(tmp_path: Path, way: str) -> None:
    own = source = make(tmp_path, "dog", "reg") / "dog"
    of_class = own
    if way == "link":
        of_class = tmp_path / "link"
        of_class.symlink_to(own)
    if way == "zip":
        files = {p.name: p.read_bytes() for p in sorted(own.iterdir())}
        source = of_class = pack(tmp_path / "dog.zip", files)
    with pytest.raises(ConceptError, match="are those of the concept") as caught:
        intake.read(source, class_pictures=of_class)
    assert "\n" not in str(caught.value)
    assert "give a folder of other pictures" in (caught.value.hint or "")


def test_class_pictures_that_are_partly_the_concept_are_counted(tmp_path: Path) -> None:
    own = make(tmp_path, "both/dog", "both/more") / "both" / "dog"
    found = intake.read(own, class_pictures=own.parent)
    assert class_names(found) == {f"class{n}.png" for n in range(5)}
    said = [note for note in found.notes if "not used as class pictures" in note]
    assert said == [
        "3 pictures of the concept are not used as class pictures: dog/own0.png, dog/own1.png, dog/own2.png"
    ]


def test_class_pictures_that_are_read_already_are_no_mistake(tmp_path: Path) -> None:
    make(tmp_path, "dog", "reg")
    found = intake.read(tmp_path, class_pictures=tmp_path / "reg")
    assert (len(found.examples), len(found.class_pictures)) == (3, 5)


@pytest.mark.parametrize("named", [False, True], ids=["beside", "named"])
def test_copies_of_the_concept_among_class_pictures_are_said(tmp_path: Path, named: bool) -> None:
    make(tmp_path, "dog", "reg")
    (tmp_path / "reg" / "x.png").write_bytes((tmp_path / "dog" / "own1.png").read_bytes())
    found = intake.read(tmp_path / "dog", tmp_path / "reg") if named else intake.read(tmp_path)
    said = [note for note in found.notes if "cop" in note]
    assert said == [
        "1 class picture is a copy of the concept's own; leave out what is not of the class at large: x.png"
    ]


def test_class_pictures_beside_what_was_pointed_at_are_mentioned(tmp_path: Path) -> None:
    make(tmp_path, "img", "reg/1_dog")
    found = intake.read(tmp_path / "img")
    assert (len(found.examples), found.class_pictures) == (3, ())
    assert found.notes == (
        "reg beside it not read; --class-pictures, or pointing at the folder of both, uses it",
    )
    assert intake.read(tmp_path / "img", tmp_path / "reg").notes == (
        "1_dog: 5 class pictures, not learned as the concept",
    )


def test_class_pictures_alone_are_refused_unless_they_are_pointed_at(tmp_path: Path) -> None:
    draw(tmp_path / "reg" / "a.png")
    with pytest.raises(ConceptError, match=r"holds class pictures \(reg\) and none of a concept"):
        intake.read(tmp_path)
    assert intake.read(tmp_path / "reg").names == ("a.png",)


def test_repeats_of_class_pictures_are_those_of_their_own_folder(tmp_path: Path) -> None:
    draw(tmp_path / "10_sks dog" / "a.png", 1)
    draw(tmp_path / "10_sks dog" / "reg" / "b.png", 2)
    draw(tmp_path / "reg" / "3_dog" / "c.png", 3)
    found = intake.read(tmp_path)
    assert {e.name: e.repeats for e in found.class_pictures} == {"b.png": 1, "c.png": 3}
    assert (found.token, found.noun, found.examples[0].repeats) == ("sks", "dog", 10)


@pytest.mark.parametrize(
    "folder", ["10_reg dog", "classic cars", "class_2024", "registration", "master class", "dog"]
)
def test_folders_that_are_no_class_pictures(folder: str) -> None:
    assert not is_class(folder)


def test_repeats_of_four_digits_and_more(tmp_path: Path) -> None:
    draw(tmp_path / "1000_sks dog" / "a.png", 1)
    draw(tmp_path / "10_sks dog" / "b.png", 2)
    draw(tmp_path / "12000_sks dog" / "c.png", 3)
    found = intake.read(tmp_path)
    assert {n.rsplit("/", 1)[-1]: e.repeats for n, e in zip(found.names, found.examples, strict=True)} == {
        "a.png": 1000, "b.png": 10, "c.png": 12000,
    }  # fmt: skip
    assert (found.token, found.noun) == ("sks", "dog")


def test_a_year_beside_repeats_is_said_to_be_none(tmp_path: Path) -> None:
    draw(tmp_path / "2024_sks dog" / "a.png", 1)
    draw(tmp_path / "10_sks dog" / "b.png", 2)
    found = intake.read(tmp_path)
    assert [e.repeats for e in found.examples] == [10, 1]
    assert any("2024 is read as a name or a date" in note for note in found.notes)


@pytest.mark.parametrize("mask", ["a-masklabel.png", "a_mask.png", "a-mask.png", "masks/a.png"])
def test_masks_are_not_learned(tmp_path: Path, mask: str) -> None:
    draw(tmp_path / "a.jpg", 1)
    draw(tmp_path / mask, 2)
    found = intake.read(tmp_path)
    assert found.names == ("a.jpg",)
    assert "mask" in reasons(found)[mask]


def test_pictures_by_every_suffix_that_their_formats_have(tmp_path: Path) -> None:
    names = ["a.png", "b.jfif", "c.jpe", "d.JIF", "e.pjpeg", "f.dib", "g.apng"]
    for seed, name in enumerate(names):
        kind = ".bmp" if name.endswith("dib") else ".png" if name.endswith("png") else ".jpg"
        draw(tmp_path / f"x{kind}", seed).rename(tmp_path / name)
    assert list(intake.read(tmp_path).names) == names


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif", ".avif"])
def test_pictures_without_a_suffix_of_theirs_are_known_by_their_first_bytes(
    tmp_path: Path, suffix: str
) -> None:
    draw(tmp_path / f"a{suffix}", 1).rename(tmp_path / "a.jpg_large")
    draw(tmp_path / f"b{suffix}", 2).rename(tmp_path / "b")
    assert intake.read(tmp_path).names == ("a.jpg_large", "b")


def test_whatever_is_not_read_is_mentioned_once(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    for name in ("b.heic", "c.heic", "readme.txt", "notes.pdf", "cache.npz", "more.zip"):
        (tmp_path / name).write_bytes(b"x")
    found = intake.read(tmp_path)
    assert found.warnings() == ["b.heic, c.heic: .heic cannot be read here; export it as JPEG or PNG"]
    assert found.notes == (
        "1 text without a picture of the same name: readme.txt",
        "3 other files not read: cache.npz, more.zip, notes.pdf",
    )


def test_only_the_first_frame_of_an_animation_is_said_to_be_used(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.webp", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "c.png")
    frames[0].save(tmp_path / "d.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert intake.read(tmp_path).notes == ("only the first frame of a.gif, b.webp is used",)
