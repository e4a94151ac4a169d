"""What is recommended, what is left out with which sentence, and when nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from likewise.comparison.recommending import Limits, recommend
from likewise.comparison.standing import Gate, Standing
from tests.comparison.situations import decided, gate, standing

BASE = standing("base", 0.02, kind="floor", title="untaught base", cost={"bytes": None, "seconds": None})
LORA = standing("lora", 0.62, title="LoRA", cost={"bytes": 3_200_000, "seconds": 300.0})
DREAMBOOTH = standing("dreambooth", 0.65, title="DreamBooth", cost={"bytes": 1_700_000_000, "seconds": 900.0})
INVERSION = standing(
    "textual_inversion", 0.40, title="Textual Inversion", cost={"bytes": 4000, "seconds": 600.0}
)
FIELD = [BASE, LORA, DREAMBOOTH, INVERSION]


def words(value: float, **more: Any) -> Standing:
    return standing("words", value, kind="description", title="untaught base, described", **more)


def test_the_cheapest_of_what_cannot_be_told_from_the_best_is_chosen() -> None:
    found = recommend(FIELD, decided(FIELD))
    assert found.choice == "lora"
    assert found.tied == ("dreambooth",)
    assert found.front == ("dreambooth", "lora", "textual_inversion")
    assert found.excluded == {}


def test_what_shows_without_its_word_is_said_and_left_out_of_nothing() -> None:
    """Red when such a gate excludes, or is not said beside the choice."""
    loose = Gate("binding", True, "Without the taught word pictures come +0.20 closer.", excludes=False)
    field = [BASE, DREAMBOOTH, standing("lora", 0.62, title="LoRA", gates=(loose,))]
    found = recommend(field, decided(field))
    assert (found.choice, found.excluded) == ("lora", {})
    assert "To know of LoRA: Without the taught word pictures come +0.20 closer." in found.reasons
    field[-1] = replace(field[-1], gates=(replace(loose, fired=False),))
    assert not any(text.startswith("To know") for text in recommend(field, decided(field)).reasons)


def test_it_is_said_where_nothing_was_looked_at_for_copies() -> None:
    """Red when a page is silent on a gate that could not be judged."""
    silent = "No picture was looked at for copies of the training pictures."
    assert silent in recommend(FIELD, decided(FIELD)).untested
    seen = [replace(one, gates=(Gate("copying", False, "0 of 40 pictures"),)) for one in FIELD]
    assert silent not in recommend(seen, decided(seen)).untested


def test_reasons_cite_number_interval_n_and_card() -> None:
    said = "\n".join(recommend(FIELD, decided(FIELD)).reasons)
    assert (
        "The overall score of LoRA is 0.62 [0.57, 0.67] over 20 prompts and 3 replicates (card composite-v1)."
        in said
    )
    assert "LoRA is better than untaught base: the difference is +0.60 [+0.55, +0.65] over 20 prompts" in said
    assert "LoRA cannot be told from DreamBooth: the difference is -0.03 [-0.08, +0.02]" in said
    assert "LoRA is better than Textual Inversion: the difference is +0.22" in said
    assert "a file of 3.2 MB and 8 min 20 s for 100 pictures, against DreamBooth a file of 1.7 GB" in said


def test_a_difference_inside_the_margin_is_called_the_same() -> None:
    found = recommend(FIELD, decided(FIELD, 0.04))
    said = "\n".join(found.reasons)
    assert "LoRA is practically the same as DreamBooth" in said
    assert "all of it inside the margin of 0.08" in said
    assert found.next is None


def test_what_is_open_is_named_with_the_run_that_would_decide() -> None:
    found = recommend(FIELD, decided(FIELD))
    assert found.next == (
        "Compare LoRA against DreamBooth with 12 more training seeds of each, which is expected to settle it; "
        "3 were compared."
    )


def test_what_is_shown_better_is_chosen_however_dear_it_is() -> None:
    found = recommend(FIELD, decided(FIELD, 0.01))
    assert (found.choice, found.tied) == ("dreambooth", ())


def test_of_equal_files_the_faster_is_chosen_for_as_many_pictures_as_will_be_drawn() -> None:
    quick = standing("quick", 0.60, cost={"seconds": 0.0, "sample_seconds": 7.0, "sample_slowest": 7.5})
    taught = standing("taught", 0.62, cost={"seconds": 600.0, "sample_seconds": 2.0, "sample_slowest": 2.5})
    field = [BASE, quick, taught, standing("poor", 0.1)]
    few, many = (recommend(field, decided(field, 0.06), Limits(pictures=count)) for count in (100, 121))
    assert (few.choice, many.choice) == ("quick", "taught")
    assert any(
        "From 121 pictures on, taught takes less time in all than quick." in one for one in few.reasons
    )


def test_an_excluded_condition_is_a_sentence_with_the_number() -> None:
    found = recommend(FIELD, decided(FIELD), Limits.parse(at_most="1MB"))
    assert found.choice == "textual_inversion"
    assert found.excluded["lora"] == "The size of its file is 3.2 MB, above 1 MB."
    assert found.excluded["dreambooth"] == "The size of its file is 1.7 GB, above 1 MB."


def test_without_the_best_the_set_is_one_around_the_best_of_the_others() -> None:
    field = [*FIELD, standing("hypernetwork", 0.60, cost={"bytes": 9_400_000})]
    found = recommend(field, decided(field, 0.04), Limits.parse(at_most="1GB"))
    assert (found.choice, found.tied) == ("lora", ("hypernetwork",))


@pytest.mark.parametrize(
    ("remedy", "wanted"),
    [("fewer steps", "copy a training picture. Try fewer steps."), ("", "copy a training picture.")],
)
def test_a_gate_that_fired_keeps_a_condition_from_being_recommended_without_a_word(
    remedy: str, wanted: str
) -> None:
    field = [BASE, DREAMBOOTH, standing("lora", 0.62, gates=(gate(remedy=remedy),))]
    found = recommend(field, decided(field))
    assert found.choice == "dreambooth"
    assert found.excluded["lora"].endswith(wanted)


def test_the_untaught_base_is_compared_and_never_chosen() -> None:
    field = [standing("base", 0.70, kind="floor"), LORA, INVERSION]
    found = recommend(field, decided(field, 0.02))
    assert found.choice is None
    assert "It is worse than base: the difference is -0.08" in found.excluded["lora"]
    assert "base" not in found.front + found.tied


def test_what_is_practically_the_untaught_base_is_not_recommended() -> None:
    aesthetic = standing("aesthetic", 0.03, title="Aesthetic embedding")
    field = [BASE, aesthetic]
    found = recommend(field, decided(field, 0.02))
    assert found.choice is None
    assert found.excluded["aesthetic"].startswith(
        "It is practically the same as untaught base: the difference is +0.01"
    )


def test_noise_alone_recommends_nothing() -> None:
    """Its interval is so wide that it is not shown worse than the best, nor better than the untaught base."""
    noisy = standing("noisy", 0.30, cost={"bytes": 1})
    field = [*FIELD, noisy]
    wide = {(other, "noisy"): 0.5 for other in ("lora", "dreambooth", "textual_inversion")} | {
        ("noisy", "base"): 0.5
    }
    found = recommend(field, decided(field, halves=wide))
    assert found.choice == "lora"
    assert "noisy" in found.tied


def test_one_condition_that_is_not_shown_better_than_the_base_is_not_recommended() -> None:
    field = [BASE, LORA]
    found = recommend(field, decided(field, 0.9))
    assert found.choice is None
    assert "LoRA cannot be told from untaught base" in "\n".join(found.reasons)
    assert found.next is not None
    assert "LoRA against untaught base" in found.next


def test_a_description_that_nothing_is_shown_better_than_may_be_enough() -> None:
    field = [*FIELD, words(0.61)]
    found = recommend(field, decided(field))
    assert found.choice == "words"
    assert found.reasons[0] == (
        "The untaught base with a good description may be enough: it costs nothing, and nothing that was "
        "taught and can be taken is shown better yet."
    )


def test_a_description_that_is_worse_by_less_than_the_margin_is_enough() -> None:
    field = [*FIELD, words(0.60)]
    found = recommend(field, decided(field, 0.02))
    assert found.choice == "words"
    assert "is better by less than the margin of 0.08" in found.reasons[0]
    assert recommend(field, decided(field, 0.035)).choice == "lora"  # worse by up to 0.085


def test_a_description_that_is_worse_by_more_is_not() -> None:
    field = [*FIELD, words(0.45)]
    assert recommend(field, decided(field)).choice == "lora"


def test_one_replicate_is_a_screen() -> None:
    field = [
        BASE,
        *(standing(name, value, replicates=1) for name, value in (("lora", 0.9), ("dreambooth", 0.1))),
    ]
    found = recommend(field, decided(field))
    assert found.choice is None
    assert "screen" in found.reasons[0]
    assert "3 training seeds" in (found.next or "")


def test_a_condition_that_was_taught_once_is_left_out_of_those_that_were_taught_more() -> None:
    field = [*FIELD, standing("hypernetwork", 0.95, replicates=1)]
    found = recommend(field, decided(field))
    assert found.choice == "lora"
    assert "taught once" in found.excluded["hypernetwork"]


def test_a_refused_decision_gives_its_reason_and_no_choice() -> None:
    found = recommend(FIELD, decided(FIELD, refused="the folds differ"))
    assert found.choice is None
    assert found.reasons == ("The folds differ.",)


def test_without_a_decision_on_the_primary_axis_nothing_is_chosen() -> None:
    assert recommend(FIELD, {}).choice is None
    assert recommend([], {}).choice is None


def test_values_of_different_cards_have_no_order() -> None:
    field = [BASE, LORA, standing("dreambooth", 0.9, card="composite-v2")]
    found = recommend(field, decided(field))
    assert found.choice is None
    assert "composite-v1, composite-v2" in found.reasons[0]


def test_a_condition_without_a_score_is_named() -> None:
    field = [*FIELD, Standing("hypernetwork", "Hypernetwork", "method", "hypernetwork")]
    found = recommend(field, decided(FIELD))
    assert found.choice == "lora"
    assert found.excluded["hypernetwork"] == "It has no overall score."


def test_what_was_not_tested_is_said() -> None:
    said = "\n".join(recommend(FIELD, decided(FIELD), Limits.parse(must_load=["comfyui"])).untested)
    assert "Not compared: aesthetic, hypernetwork." in said
    assert "No description of the subject" in said
    assert "Not measured: diversity." in said
    assert "No file was loaded in ComfyUI" in said
    assert "No untaught base" not in said
    assert "No untaught base was compared." in recommend(FIELD[1:], decided(FIELD[1:])).untested


def test_what_a_program_does_otherwise_is_said() -> None:
    field = [BASE, standing("lora", 0.6, programs={"ComfyUI": "exact, called by the file's name"})]
    said = recommend(field, decided(field), Limits.parse(must_load=["comfyui"])).reasons
    assert "ComfyUI loads its file; to know: called by the file's name." in said


def test_a_file_of_others_may_be_chosen_and_costs_no_teaching() -> None:
    theirs = standing(
        "theirs", 0.63, kind="file", cost={"bytes": 2_000_000, "seconds": None, "peak_bytes": None}
    )
    field = [*FIELD, theirs]
    found = recommend(field, decided(field), Limits.parse(within="1min"))
    assert found.choice == "theirs"
    assert set(found.excluded) == {"lora", "dreambooth", "textual_inversion"}


def test_a_recommendation_is_plain_data() -> None:
    found = recommend(FIELD, decided(FIELD))
    assert json.loads(json.dumps(found.to_json()))["choice"] == "lora"


def test_the_order_of_the_conditions_decides_nothing() -> None:
    one, other = recommend(FIELD, decided(FIELD)), recommend(FIELD[::-1], decided(FIELD))
    assert (one.choice, one.tied, one.front) == (other.choice, other.tied, other.front)
