"""What the page says beside the cost: who loads a method's files, and how common they are. Facts, and no score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from likewise import formats, kinds
from likewise.comparison import support
from likewise.errors import SurveyError
from likewise.survey import store as stores
from rehearsal import catalogue
from tests.survey.known import model, written


def names(method: str) -> list[str]:
    return [row["name"] for row in support.programs(method)]


def test_programs_are_those_of_the_layouts() -> None:
    assert names("hypernetwork") == ["AUTOMATIC1111", "Forge", "ComfyUI"]
    assert names("lora")[:5] == ["AUTOMATIC1111", "Forge", "ComfyUI", "diffusers", "kohya sd-scripts"]
    readers = {name for layout in map(formats.get, formats.names()) for name in layout.readers}
    assert {name for kind in kinds.ALL for name in names(kind.mark)} <= readers - {"likewise"}
    assert names("a method of an outside package") == []


def test_a_note_is_there_only_where_no_layout_is_taken_as_it_is() -> None:
    notes = {row["name"]: row["note"] for row in support.programs("aesthetic")}
    assert notes["AUTOMATIC1111"] == "with the aesthetic gradients extension"
    assert notes["the original script"] == ""
    assert {row["note"] for row in support.programs("textual_inversion")} == {
        ""
    }  # each by one of its layouts


def test_how_common_a_kind_is_comes_from_the_newest_complete_sample(tmp_path: Path) -> None:
    site, path = catalogue.generate(6000, seed=2), tmp_path / "survey.duckdb"
    with stores.open(path) as store:
        for size in (3000, 4000):
            site.write(store, np.random.default_rng(0).choice(site.largest_id, size, replace=False) + 1)
        written([model(1)], into=store)  # a census after them
        store.connection.execute('UPDATE snapshots SET parameters = \'{"url": "https://host/", "size": 7}\'')
    found = support.common(path, ["lora", "dreambooth", "unheard of"])
    assert (found["snapshot"], found["asked"], found["site"], found["query"]) == (
        2,
        4000,
        "host",
        {"size": 7},
    )
    assert list(found["kinds"]) == ["lora", "dreambooth"]
    lora = found["kinds"]["lora"]
    assert lora["low"] < site.totals()["LORA"] < lora["high"]
    assert found["kinds"]["dreambooth"]["title"] == "DreamBooth"


def test_a_list_of_one_type_does_not_tell_how_common_it_is(tmp_path: Path) -> None:
    path = tmp_path / "survey.duckdb"
    with stores.open(path) as store:
        written([model(1)], into=store)
        number = written([model(2)], into=store, mode="sample", asked={2: True}, largest=9).snapshot().number
        store.mark(number, complete=False)
    with pytest.raises(SurveyError, match="no complete random sample"):
        support.common(path, ["lora"])


def test_an_invented_site_does_not_tell_how_common_anything_is(tmp_path: Path) -> None:
    path = tmp_path / "survey.duckdb"
    with stores.open(path) as store:
        catalogue.generate(50).write(store, np.arange(1, 60))
    with pytest.raises(SurveyError, match="only samples of an invented site"):
        support.common(path, ["lora"])
