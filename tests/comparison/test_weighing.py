"""What tables together say of two methods, and where they contradict themselves."""

from __future__ import annotations

from typing import Any

from likewise.comparison import evidence
from likewise.comparison.evidence import Row, Source
from likewise.comparison.weighing import Weighed, findings, flips, noise, verdict

EVERY = evidence.sources()


def source(name: str, *rows: tuple[str, float], benchmark: str = "one", **more: Any) -> Source:
    made = [
        Row(method, {"dino": value}, "" if method == "real pictures" else method, "SD")
        for method, value in rows
    ]
    settings = {"where": name, "kinds": ("object",), "judge": "DINO", "trainings": 1, "likeness": ("dino",)}
    return Source(name, benchmark=benchmark, rows=tuple(made), **settings | more)


def said(*sources: Source, first: str = "a", second: str = "b") -> str:
    return verdict(findings(sources, first, second, "likeness"), noise(sources))


def test_tables_that_agree_put_one_above_the_other() -> None:
    assert (
        said(source("x", ("a", 0.7), ("b", 0.5)), source("y", ("a", 0.6), ("b", 0.5), benchmark="two"))
        == "above"
    )
    assert said(source("x", ("a", 0.5), ("b", 0.7))) == "below"


def test_tables_that_point_both_ways_contradict_themselves() -> None:
    assert (
        said(source("x", ("a", 0.7), ("b", 0.5)), source("y", ("a", 0.4), ("b", 0.5), benchmark="two"))
        == "contradicted"
    )


def test_two_runs_of_one_source_may_contradict_each_other() -> None:
    rows = [("a", 0.70, "June"), ("b", 0.74, "June"), ("a", 0.74, "July"), ("b", 0.67, "July")]
    made = tuple(Row(method, {"dino": value}, method, "FLUX", run) for method, value, run in rows)
    one = Source("PEFT", "", "peft", ("object",), "DINO", 1, ("dino",), rows=made)
    assert said(one) == "contradicted"


def test_runs_of_one_source_are_never_mixed() -> None:
    rows = [("a", 0.70, "June"), ("b", 0.66, "June"), ("a", 0.60, "July"), ("b", 0.56, "July")]
    made = tuple(Row(method, {"dino": value}, method, "FLUX", run) for method, value, run in rows)
    assert said(Source("PEFT", "", "peft", ("object",), "DINO", 1, ("dino",), rows=made)) == "above"


def test_what_two_reproductions_of_one_method_differ_by_is_no_difference() -> None:
    first = source("x", ("real pictures", 0.703), ("a", 0.614), ("b", 0.613))
    second = source("y", ("real pictures", 0.703), ("a", 0.644), ("b", 0.660))
    assert round(noise([first, second])["dino"], 3) == 0.047
    assert said(first, second) == "level"
    assert flips(findings([first, second], "a", "b", "likeness"))


def test_reproductions_need_the_same_benchmark_and_the_same_real_pictures() -> None:
    first = source("x", ("real pictures", 0.703), ("a", 0.61))
    assert noise([first, source("y", ("real pictures", 0.774), ("a", 0.67))]) == {}
    assert noise([first, source("y", ("real pictures", 0.703), ("a", 0.67), benchmark="two")]) == {}
    assert noise([source("x", ("a", 0.61)), source("y", ("a", 0.67))]) == {}


def test_rows_of_different_bases_are_not_compared() -> None:
    rows = (Row("a", {"dino": 0.7}, "a", "SDXL"), Row("b", {"dino": 0.5}, "b", "SD"))
    one = Source("x", "", "one", ("object",), "DINO", 1, ("dino",), rows=rows)
    assert findings([one], "a", "b", "likeness") == []
    assert said(one) == "none"


def test_tables_whose_authors_decline_an_order_decide_nothing() -> None:
    assert said(source("x", ("a", 0.7), ("b", 0.5), decides=False)) == "none"


def test_settings_within_one_table_count_as_a_range() -> None:
    one = source("x", ("a", 0.44), ("a", 0.32), ("b", 0.29))
    assert said(one) == "above"
    assert said(source("x", ("a", 0.44), ("a", 0.20), ("b", 0.29))) == "contradicted"


def test_without_a_table_of_the_kind_those_of_others_answer_and_it_is_said() -> None:
    weighed = Weighed([source("x", ("a", 0.7), ("b", 0.5))], "style")
    found, carried = weighed.found("a", "b", "likeness")
    assert (len(found), carried) == (1, True)
    assert Weighed(weighed.every, "object").found("a", "b", "likeness")[1] is False


def test_the_published_tables_flip_between_dreambooth_and_lora() -> None:
    weighed = Weighed(EVERY, "object")
    found, _ = weighed.found("dreambooth", "lora", "likeness")
    assert {one.source.name for one in found} == {"OFT", "ETHER"}
    assert weighed.verdict("dreambooth", "lora", "likeness") == "level"
    assert flips(found)


def test_the_two_runs_of_peft_contradict_each_other() -> None:
    assert Weighed(EVERY, "object").verdict("lora", "dora", "likeness") == "contradicted"


def test_the_face_recogniser_and_dino_contradict_each_other_on_persons() -> None:
    assert Weighed(EVERY, "person").verdict("dreambooth", "textual_inversion", "likeness") == "contradicted"


def test_published_tables_put_dreambooth_above_textual_inversion_on_objects() -> None:
    weighed = Weighed(EVERY, "object")
    assert weighed.beats("dreambooth", "textual_inversion")
    assert not weighed.beats("textual_inversion", "dreambooth")
    assert not weighed.beats("dreambooth", "lora")
