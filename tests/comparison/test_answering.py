"""Which method for what: where to start, with which sources, and what is said against it."""

from __future__ import annotations

import pytest

from likewise.comparison.answering import METHODS, SUBJECTS, Answer, answer
from likewise.comparison.limits import Limits
from likewise.errors import RecipeError


def said(found: Answer, method: str) -> str:
    option = next(one for one in found.options if one.method == method)
    return "\n".join(one.text for one in option.sentences)


def tables(found: Answer) -> str:
    return "\n".join(f"{one.text} [{one.source}: {one.strength}]" for one in found.evidence)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_each_method_is_answered_and_each_sentence_names_its_source_and_strength(kind: str) -> None:
    found = answer(kind, Limits())
    assert tuple(one.method for one in found.options) == METHODS
    for one in (*found.evidence, *(sentence for option in found.options for sentence in option.sentences)):
        assert one.text.endswith(".")
        assert one.source
        assert one.strength
    assert all(said(found, method) for method in METHODS)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({}, "lora"),
        ({"at_most": "5MB"}, "lora"),
        ({"at_most": "1MB"}, "textual_inversion"),
        ({"at_most": "1kB"}, None),
        ({"at_most": "1MB", "within": "5min"}, None),
    ],
)
def test_one_starts_with_the_smallest_file_that_no_table_shows_below_another(
    limits: dict[str, str], wanted: str | None
) -> None:
    assert answer("object", Limits.parse(**limits)).start == wanted


def test_a_limit_of_size_knows_the_family() -> None:
    limits = Limits.parse(at_most="5MB")
    assert answer("object", limits, family="sd").start == "lora"
    assert answer("object", limits, family="sdxl").start == "textual_inversion"


def test_where_the_tables_contradict_each_other_it_says_so() -> None:
    text = tables(answer("object", Limits()))
    assert (
        "DreamBooth and LoRA are not told apart, and the tables contradict each other on which is above"
        in text
    )
    assert "DINO 0.614 against 0.613 on SD 1.5 (OFT)" in text
    assert "DINO 0.644 against 0.660 on SD (ETHER)" in text
    assert "On likeness of LoRA and DoRA, the evidence contradicts itself" in text
    assert "(PEFT, June)" in text
    assert "(PEFT, July)" in text


def test_what_tables_agree_on_is_said_with_every_number() -> None:
    text = tables(answer("object", Limits()))
    assert "DreamBooth comes closer to the subject than Textual Inversion: DINO 0.553 against 0.511" in text
    assert (
        "[CustomConcept101, DreamBooth benchmark, DreamMatcher: 3 tables, one training of each method]"
        in text
    )


def test_what_no_table_has_is_said() -> None:
    text = tables(answer("object", Limits()))
    assert "No table here has LoRA and Textual Inversion on one base." in text


def test_what_is_carried_over_from_other_kinds_is_said() -> None:
    assert "none of a style]" in tables(answer("style", Limits()))
    assert "none of" not in tables(answer("object", Limits()))


def test_an_aesthetic_embedding_is_refused_for_an_object_and_not_for_a_style() -> None:
    assert "Do not take it for this." in said(answer("object", Limits()), "aesthetic")
    assert "Take it for a mood" in said(answer("style", Limits()), "aesthetic")


def test_a_hypernetwork_is_said_to_have_no_table() -> None:
    assert "No published table of a standard benchmark has it" in said(
        answer("object", Limits()), "hypernetwork"
    )


def test_where_files_load_is_what_the_layouts_say() -> None:
    found = answer("object", Limits.parse(must_load=["comfyui"]))
    broken = {one.method: one.broken for one in found.options if one.broken}
    assert broken == {"aesthetic": ("ComfyUI does not load its file",)}


def test_a_time_is_held_against_a_method_only_if_all_published_times_are_above_it() -> None:
    for within, wanted in (("45min", False), ("30min", True)):
        found = answer("object", Limits.parse(within=within))
        inversion = next(one for one in found.options if one.method == "textual_inversion")
        assert bool(inversion.broken) is wanted
        assert not next(one for one in found.options if one.method == "lora").broken


def test_pictures_are_compared_with_those_of_the_tables() -> None:
    few, usual, many = (answer("object", Limits(), pictures=count).notes for count in (2, 4, 40))
    assert "With 2 of your own nothing can be held out" in few[0]
    assert (
        "You have as many as the subjects of CustomConcept101 (3 to 15), DreamBooth benchmark (4 to 6)"
        in usual[0]
    )
    assert many[0].startswith("You have another number than the subjects of")
    assert answer("object", Limits()).notes == ()


@pytest.mark.parametrize(("kind", "family"), [("cat", "sd"), ("object", "flux")])
def test_what_nothing_is_known_of_is_refused(kind: str, family: str) -> None:
    with pytest.raises(RecipeError, match="nothing is known of"):
        answer(kind, Limits(), family=family)
    with pytest.raises(RecipeError, match="0 pictures"):
        answer("object", Limits(), pictures=0)
