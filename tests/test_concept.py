"""Pictures decode to the right pixels, captions always call the concept, splits are fair and repeatable."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from likewise.concept import Concept, Fold, article, held_out_for, plural, slug
from likewise.errors import ConceptError
from likewise.picture import Example, fingerprint, near_duplicates
from tests.bases import scene


def concept(token: str = "sks", noun: str = "dog") -> Concept:
    return Concept("it", token, noun, ())


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        (None, "a sks dog"),
        ("  ", "a sks dog"),
        ("a photo of [trigger] on grass", "a photo of sks dog on grass"),
        ("a photo of [trigger] dog on grass", "a photo of sks dog on grass"),
        ("a [NAME], asleep", "a sks dog, asleep"),
        ("[filewords] at night", "sks dog at night"),
        ("a {} in a box", "a sks dog in a box"),
        ("two desks", "sks dog, two desks"),
        ("sks sitting\n on a  chair", "sks sitting on a chair"),
        ("[trigger] dogma", "sks dog dogma"),
    ],
)
def test_caption(caption: str | None, wanted: str) -> None:
    assert concept().caption(Example(Path("a.png"), caption)) == wanted


TOKENS = st.text(st.characters(codec="utf-8", exclude_characters=","), min_size=1, max_size=12)


@settings(deadline=None)  # a busy machine is no failure
@given(caption=st.none() | st.text(max_size=60), token=TOKENS, noun=st.sampled_from(["dog", "oil painting"]))
def test_every_caption_is_one_line_that_holds_the_token(caption: str | None, token: str, noun: str) -> None:
    assume(token.isprintable() and not any(letter.isspace() for letter in token))
    line = concept(token, noun).caption(Example(Path("a.png"), caption))
    assert token in line
    assert line == " ".join(line.split())


@settings(deadline=None)
@given(
    before=st.text("abc ", max_size=9), place=st.sampled_from(["[trigger]", "[name]", "[filewords]", "{}"])
)
def test_placeholders_are_filled_anywhere(before: str, place: str) -> None:
    line = concept("zwx").caption(Example(Path("a.png"), f"{before}{place} after"))
    assert place not in line
    assert line.endswith("zwx dog after")


@pytest.mark.parametrize(
    ("caption", "of_class"),
    [
        ("a sks apple in a garden", "an apple in a garden"),
        ("a photo of an SKS Apple", "a photo of an Apple"),
        ("sks apple, on a sofa", "apple, on a sofa"),
        ("sks on a sofa", "apple on a sofa"),
        ("two sks apples in a park", "two apples in a park"),
        ("Sks Apples", "Apples"),
        ("A sks apple at night", "An apple at night"),
        ("a sks toy apple", "a toy apple"),
        ("a photo of sks apple, a red sks", "a photo of apple, a red"),
        ("a tree beside asks apple", "a tree beside asks apple"),
        ("a sks apple and a sks apple", "an apple and an apple"),
        ("sks applesauce", "apple applesauce"),
    ],
)
def test_a_caption_of_the_class_says_all_but_the_concept(caption: str, of_class: str) -> None:
    assert concept(noun="apple").of_class(caption) == of_class


def test_the_class_prompts_are_those_of_the_captions() -> None:
    told = [
        Example(Path(f"{n}.png"), text)
        for n, text in enumerate(["a {} in a garden", "a {} at night", "a {} at night", None])
    ]
    assert replace(concept(), examples=tuple(told)).class_prompts() == (
        "a dog in a garden",
        "a dog at night",
        "a dog",
    )
    assert concept().class_prompts() == ("a dog",)


def test_prompts_and_articles() -> None:
    assert concept().prompt() == "a sks dog"
    assert concept(noun="hourglass").class_prompt() == "an hourglass"
    an = [
        "apple",
        "umbrella",
        "uncle",
        "unknown toy",
        "unimportant thing",
        "heirloom",
        "8-bit toy",
        "owl",
    ]
    a = [
        "dog",
        "unicorn",
        "uniform",
        "ukulele",
        "European bison",
        "one-eyed cat",
        "utensil",
        "house",
        "user",
        "ewe",
    ]
    assert {word: article(word) for word in an} == dict.fromkeys(an, "an")
    assert {word: article(word) for word in a} == dict.fromkeys(a, "a")


@pytest.mark.parametrize("token", ["", "  ", "my toy", "sks,dog", "a\nb", "a\x00b"])
def test_tokens_that_prompts_cannot_carry_are_refused(token: str) -> None:
    with pytest.raises(ConceptError, match="token"):
        concept(token)


def test_tokens_and_nouns_are_trimmed_and_bad_ones_refused() -> None:
    assert concept(" <my-toy> ").token == "<my-toy>"
    assert concept(noun=" oil   painting ").noun == "oil painting"
    with pytest.raises(ConceptError, match="noun"):
        concept(noun=" ")
    with pytest.raises(ConceptError, match="nocolour"):
        Concept("it", "sks", "dog", (), background="nocolour")


@settings(deadline=None)
@given(st.text(max_size=80))
def test_slugs_are_safe_folder_names(text: str) -> None:
    found = slug(text)
    assert len(found) <= 60
    assert not set(found) & set('/\\:*?"<>|. ')
    assert slug(found) == found


def test_slug() -> None:
    assert slug("Mein Hündchen (2)") == "mein-hundchen-2"
    assert slug("犬の写真") == "犬の写真"


def test_near_duplicates_are_grouped_but_flips_are_not() -> None:
    picture = scene(3, (240, 160))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=40)
    looks = {
        "original": picture,
        "small": picture.resize((120, 80)),
        "packed": Image.open(packed).convert("RGB"),
        "bright": picture.point([min(255, value + 8) for value in range(256)] * 3),
        "flipped": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "other": scene(4, (240, 160)),
        "red": Image.new("RGB", (64, 64), "red"),
        "blue": Image.new("RGB", (64, 64), "blue"),
    }
    groups = near_duplicates(list(looks), [fingerprint(look) for look in looks.values()])
    assert groups == (("original", "small", "packed", "bright"),)
    several = [fingerprint(scene(seed)) for seed in range(40)]
    assert near_duplicates([str(seed) for seed in range(40)], several) == ()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    def make(count: int) -> Path:
        where = tmp_path / "My Dog"
        where.mkdir()
        for index in range(count):
            scene(index).save(where / f"{index}.png")
        return where

    return make


def test_held_out_table() -> None:
    counts = {n: held_out_for(n) for n in (1, 3, 4, 5, 7, 8, 12, 13, 16, 17, 20)}
    assert counts == {1: 0, 3: 0, 4: 1, 5: 2, 7: 2, 8: 3, 12: 3, 13: 4, 16: 4, 17: 5, 20: 5}


def test_read_splits_deterministically_and_by_seed(folder: Callable[[int], Path]) -> None:
    where = folder(8)
    splits = {}
    for seed in range(6):
        read = [Concept.read(where, token="sks", noun="dog", hold_out=None, seed=seed) for _ in range(2)]
        assert read[0] == read[1]
        assert (len(read[0].examples), len(read[0].held_out)) == (5, 3)
        assert not set(read[0].examples) & set(read[0].held_out)
        splits[seed] = tuple(example.name for example in read[0].held_out)
    assert len(set(splits.values())) > 1
    assert read[0].name == "my-dog"
    assert Concept.read(where, token="sks", noun="dog").held_out == ()


def test_near_duplicates_stay_on_one_side(folder: Callable[[int], Path]) -> None:
    where = folder(5)
    scene(0).resize((192, 128)).save(where / "0 again.png")
    for seed in range(12):
        read = Concept.read(where, token="sks", noun="dog", hold_out=2, seed=seed)
        sides = [{e.name for e in side} & {"0.png", "0 again.png"} for side in (read.examples, read.held_out)]
        assert sorted(map(len, sides)) == [0, 2]
        assert 1 <= len(read.held_out) <= 2


def test_a_fold_keeps_everything_but_the_split(folder: Callable[[int], Path]) -> None:
    where = folder(5)
    (where / "reg").mkdir()
    scene(9).save(where / "reg" / "other.png")
    (where / "2.txt").write_text("asleep")
    whole = Concept.read(where, token="sks", noun="dog", background="#102030")
    assert sorted(whole.groups) == [(0,), (1,), (2,), (3,), (4,)]
    folded = whole.fold(Fold(1, (0, 2, 3), (1, 4)))
    assert [example.name for example in folded.examples] == ["0.png", "2.png", "3.png"]
    assert [example.name for example in folded.held_out] == ["1.png", "4.png"]
    assert folded.examples[1].caption == "asleep"
    assert all(example.sha256 for example in (*folded.examples, *folded.held_out))
    kept = ("name", "token", "noun", "background", "class_pictures")
    assert all(getattr(folded, name) == getattr(whole, name) for name in kept)
    assert len(folded.class_pictures) == 1
    assert folded.groups == ()
    assert Concept.from_json(folded.to_json()) == folded


def test_a_fold_of_other_pictures_is_refused(folder: Callable[[int], Path]) -> None:
    whole = Concept.read(folder(4), token="sks", noun="dog")
    for fold in (Fold(0, (0, 1), (2,)), Fold(0, (0, 1, 2), (2, 3)), Fold(0, (0, 1, 2, 3), (4,))):
        with pytest.raises(ConceptError, match="fold 0 does not split the pictures of my-dog"):
            whole.fold(fold)
    with pytest.raises(ConceptError, match="does not split"):
        whole.fold(Fold(0, (0, 1, 2), (3,))).fold(Fold(1, (0, 1), (2,)))


@pytest.mark.parametrize("hold_out", [-1, 3, 9])
def test_impossible_hold_out_is_refused(folder: Callable[[int], Path], hold_out: int) -> None:
    with pytest.raises(ConceptError, match="hold out"):
        Concept.read(folder(3), token="sks", noun="dog", hold_out=hold_out)


def test_holding_out_of_copies_alone_is_refused(folder: Callable[[int], Path]) -> None:
    where = folder(1)
    scene(0).save(where / "b.png")
    scene(0).save(where / "c.png")
    with pytest.raises(ConceptError, match="near-duplicates"):
        Concept.read(where, token="sks", noun="dog", hold_out=1)


def test_kohya_words_give_way_to_the_words_asked_for(tmp_path: Path) -> None:
    leaf = tmp_path / "7_sks dog"
    leaf.mkdir()
    scene(1).save(leaf / "a.png")
    read = Concept.read(leaf, token="zwx", noun="cat")
    assert (read.caption(read.examples[0]), read.examples[0].repeats) == ("zwx cat", 7)
    assert read.name == "sks-dog"


def test_digest_changes_with_all_that_training_sees(folder: Callable[[int], Path]) -> None:
    where = folder(4)

    def digest(token: str = "sks", noun: str = "dog", hold_out: int = 0, background: str = "white") -> str:
        return Concept.read(where, token=token, noun=noun, hold_out=hold_out, background=background).digest()

    first = digest()
    assert digest() == first
    others = {digest(token="zwx"), digest(noun="cat"), digest(hold_out=1), digest(background="black")}
    (where / "0.txt").write_text("sks asleep")
    others.add(digest())
    scene(9).save(where / "0.png")
    others.add(digest())
    others.add(Concept("it", "sks", "dog", (Example(where / "0.png"),)).digest())
    others.add(Concept("it", "sks", "dog", (Example(where / "0.png", repeats=2),)).digest())
    assert len(others - {first}) == 8


def test_json_rebuilds_the_concept(folder: Callable[[int], Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(folder(4) / "1.png", "in/ünï 1.png")
    sources = [tmp_path / "My Dog", tmp_path / "more.zip"]
    read = Concept.read(sources, token="sks", noun="dog", hold_out=1, background="#102030")
    again = Concept.from_json(json.loads(json.dumps(read.to_json())))
    assert again == read
    assert again.digest() == read.digest()
    assert {e.member for e in (*again.examples, *again.held_out)} == {None, "in/ünï 1.png"}
    with pytest.raises(ConceptError, match="cannot be read"):
        Concept.from_json({"name": "it"})


def test_neither_file_imports_torch() -> None:
    heavy = "{'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    command = f"import sys, likewise.concept, likewise.intake; sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("cat", "cats"), ("bus", "buses"), ("toy box", "toy boxes"), ("puppy", "puppies"), ("toy", "toys"),
        ("fish", "fish"), ("woman", "women"), ("policewoman", "policewomen"), ("human", "humans"), ("German", "Germans"),
        ("old man", "old men"), ("person", "people"), ("brush", "brushes"), ("dwarf", "dwarfs"), ("mouse", "mice"),
    ],
)  # fmt: skip
def test_several_of_a_noun(noun: str, many: str) -> None:
    assert plural(noun) == many
