"""The store: what goes in comes out, once, whatever the order; and files of others are left alone."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likewise.errors import SurveyError
from likewise.survey import exporting, importing
from likewise.survey import store as stores
from likewise.survey.store import MODELS, Snapshot, Store
from rehearsal.catalogue import generate

TAKEN = Snapshot(datetime(2026, 1, 2, 3, 4, 5), "here", "sample", {"size": 3}, nsfw=True, largest_id=9)
ROW = {
    "id": 1, "name": "=1+1", "type": "LORA", "downloads": 0, "likes": None, "rating": None, "archived": False,
    "first_published": datetime(2024, 2, 3, 10, 11, 12, 345000), "tags": ["a", "b"], "size_kb": 18432.5,
}  # fmt: skip


def opened(folder: Path) -> Store:
    return stores.open(folder / "survey.duckdb")


def rows(store: Store, number: int) -> list[dict[str, Any]]:
    found = store.models(number).order("id")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_a_row_comes_back_and_what_is_missing_stays_missing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        number = store.begin(TAKEN)
        assert store.add(number, [ROW]) == 1
    with stores.open(tmp_path / "survey.duckdb", read_only=True) as store:
        (row,) = rows(store, number)
        assert row == dict.fromkeys(MODELS) | ROW | {"snapshot": 1}
        assert store.snapshot() == store.snapshot(1) == Snapshot(**{**vars(TAKEN), "number": 1})


def test_an_id_is_there_once_in_a_snapshot(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first, second = store.begin(TAKEN), store.begin(Snapshot(TAKEN.taken, "there", "census"))
        assert [store.add(first, [ROW, ROW]), store.add(first, [ROW]), store.add(second, [ROW])] == [1, 0, 1]
        assert [store.ids(first), store.ids(second)] == [[1], [1]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_shuffled_and_repeated_pages_change_nothing(tmp_path: Path, data: st.DataObject) -> None:
    """Hidden counts among them, which are no zeros."""
    ids = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=24))
    told = data.draw(st.permutations([{"id": id, "downloads": None if id % 3 == 0 else id} for id in ids]))
    size = data.draw(st.integers(1, 24))
    with stores.open(tmp_path / f"{len(list(tmp_path.iterdir()))}.duckdb") as store:
        number = store.begin(TAKEN)
        for start in range(0, len(told), size):
            store.add(number, told[start : start + size])
        sums = "count(*), count(downloads), coalesce(sum(downloads), 0)"
        facts = store.models(number).aggregate(sums).fetchall()
    known = {id for id in ids if id % 3}
    assert facts == [(len(set(ids)), len(known), sum(known))]


def test_a_snapshot_of_the_same_source_is_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for size in (3, 5):
            number = store.begin(TAKEN)
            store.add(number, [ROW | {"id": size}])
            store.ask(number, [(size, True)])
        assert (number, store.ids(1)) == (1, [5])
        assert store.asked(1).fetchall() == [(1, 5, True)]
        assert len(store.snapshots()) == 1


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(TypeError, match="complex has no place"), store.transaction():
            store.add(store.begin(TAKEN), [ROW, ROW | {"id": 1j}])
        assert store.snapshots() == []
        assert store.connection.execute("FROM models").fetchall() == []


def test_kinds_of_checkpoints_are_remembered(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        number = store.begin(TAKEN)
        store.add(number, [ROW, ROW | {"id": 2}])
        store.set_checkpoint_types(number, [(1, "Merge"), (2, None)])
        assert store.checkpoint_types() == {1: "Merge"}


def test_a_snapshot_that_is_not_there(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(SurveyError, match="no snapshot yet"):
            store.snapshot()
        store.begin(TAKEN)
        with pytest.raises(SurveyError, match="has no snapshot 7"):
            store.snapshot(7)


# -------------------------------------------------------------------------------------------------- files


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="there is no"):
        stores.open(tmp_path / "none.duckdb", read_only=True)
    assert not list(tmp_path.iterdir())


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.duckdb"
    text.write_text("not a database, " * 1000)
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as connection:
        connection.execute("CREATE TABLE holidays(day DATE)")
    with opened(tmp_path) as store:
        store.connection.execute("UPDATE schema_version SET version = 99")
    for name, said in (
        ("text", "not a store"),
        ("other", "something else"),
        ("survey", "another schema .*99"),
    ):
        with pytest.raises(SurveyError, match=said):
            stores.open(tmp_path / f"{name}.duckdb")


def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "survey.duckdb"
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(SurveyError, match="is open in another program"):
            stores.open(path)
        process.communicate()


# ------------------------------------------------------------------------------------------------- export


@pytest.fixture
def full(tmp_path: Path) -> Store:
    store = opened(tmp_path)
    generate(200).write(store)
    store.add(1, [ROW | {"id": 10**6, "name": '=1+1, Füße, "quoted"\nand \'; DROP TABLE'}])
    return store


def test_parquet_holds_everything(full: Store, tmp_path: Path) -> None:
    path = exporting.export(full, tmp_path / "it's.parquet", "parquet")
    quoted = str(path).replace("'", "''")
    assert duckdb.sql(f"FROM '{quoted}' ORDER BY id").fetchall() == full.models(1).order("id").fetchall()


def test_csv_comes_back_as_it_went(full: Store, tmp_path: Path) -> None:
    path = exporting.export(full, tmp_path / "models.csv", "csv", snapshot=1)
    number, notes = importing.load(path, full, date=datetime(2026, 10, 1))
    assert notes == []
    for row, again in zip(rows(full, 1), rows(full, number), strict=True):
        assert row | {"snapshot": number} == again


def test_csv_holds_no_formula_and_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    names = ["=1+1", "+1", "-1", "@sum", "'=quoted", "'Twas", "a=b", "-"]
    with opened(tmp_path) as store:
        store.add(store.begin(TAKEN), [ROW | {"id": n, "name": name, "tags": [name, "x"], "creator": name, "downloads": -5}
                                       for n, name in enumerate(names, 1)])  # fmt: skip
        path = exporting.export(store, tmp_path / "models.csv", "csv")
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        assert [line["name"] for line in lines] == [
            "'=1+1", "'+1", "'-1", "'@sum", "''=quoted", "'Twas", "a=b", "'-",
        ]  # fmt: skip
        assert [line["tags"] for line in lines] == [f"{line['name']},x" for line in lines]
        assert {line["downloads"] for line in lines} == {"-5"}
        again = importing.load(path, store)[0]
        kept = [(row["name"], row["creator"], row["tags"]) for row in rows(store, again)]
    assert kept == [(name, name, [name, "x"]) for name in names]


def test_a_spreadsheet_has_text_where_there_was_text(full: Store, tmp_path: Path) -> None:
    path = exporting.export(full, tmp_path / "models.xlsx", "xlsx")
    with zipfile.ZipFile(path) as book:
        sheet = book.read("xl/worksheets/sheet2.xml").decode()
        assert b"snapshots" in book.read("xl/workbook.xml")
    assert sheet.count("<row ") == 1 + len(rows(full, 1))
    assert "<f>" not in sheet
    assert "DROP TABLE" in sheet


def test_more_rows_than_a_sheet_takes_go_on_another(
    full: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MOST_LINES", 101)
    path = exporting.export(full, tmp_path / "models.xlsx", "xlsx")
    with zipfile.ZipFile(path) as book:
        sheets = [book.read(f"xl/worksheets/sheet{n}.xml").decode().count("<row ") for n in (2, 3)]
    assert sum(sheets) == 2 + len(rows(full, 1))
    assert sheets[0] == 101


@pytest.mark.parametrize("kind", exporting.EXPORTS)
def test_a_file_that_cannot_be_is_an_error_of_the_system(full: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"models.{kind}"
    (tmp_path / f".{path.name}.{os.getpid()}.tmp").mkdir()  # in the way of the temporary file
    with pytest.raises(OSError, match="directory"):
        exporting.export(full, path, kind)
    assert not path.exists()


def test_csv_of_all_snapshots_names_them(full: Store, tmp_path: Path) -> None:
    generate(50, 1).write(full)
    path = exporting.export(full, tmp_path / "models.csv", "csv")
    with path.open(encoding="utf-8", newline="") as file:
        assert {row["snapshot"] for row in csv.DictReader(file)} == {"1", "2"}


@pytest.mark.parametrize("kind", exporting.EXPORTS)
def test_the_same_store_gives_the_same_bytes(full: Store, tmp_path: Path, kind: str) -> None:
    first, second = (exporting.export(full, tmp_path / f"{n}.{kind}", kind).read_bytes() for n in (1, 2))
    assert first == second


FULL = """
import json, resource, sys
from datetime import datetime
from likewise.errors import Error
from likewise.survey import store as stores
limit, path = int(sys.argv[1]), sys.argv[2]
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    with stores.open(path) as store, store.transaction():
        number = store.begin(stores.Snapshot(datetime(2026, 1, 1), "x", "census"))
        store.add(number, ({"id": n, "name": f"{n} " * 99} for n in range(1, 20_000)))
except Error as error:
    print(type(error).__name__, error.message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no limit on the size of files")
@pytest.mark.parametrize("limit", [1000, 20_000, 600_000])
def test_a_full_disk_is_one_line_and_the_store_is_as_before(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for a disk: the write fails in DuckDB, in the log or in the file beside it."""
    path = tmp_path / "survey.duckdb"
    if limit > 300_000:  # a store that holds something already
        with opened(tmp_path) as store:
            store.add(store.begin(TAKEN), [ROW])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", FULL, str(limit), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.strip() == f"StorageError no space is left in {tmp_path}", done.stderr
    assert {file.name for file in tmp_path.iterdir()} <= {"survey.duckdb", "survey.duckdb.wal"}
    with opened(tmp_path) as store:
        assert [one.source for one in store.snapshots()] == (["here"] if limit > 300_000 else [])


def test_a_store_may_be_renamed_and_copied(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.add(store.begin(TAKEN), [ROW])
    other = tmp_path / "a locked folder" / "my survey.db"
    other.parent.mkdir()
    other.write_bytes((tmp_path / "survey.duckdb").read_bytes())
    (tmp_path / "survey.duckdb").rename(tmp_path / "renamed")
    for path in (other, tmp_path / "renamed"):
        with stores.open(path) as store:
            assert store.ids(1) == [1]
    other.write_bytes(b"not a store")
    with pytest.raises(SurveyError, match="is not a store"):  # whatever its folder is called
        stores.open(other)


def test_of_an_id_twice_in_a_batch_the_first_is_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        number = store.begin(TAKEN)
        store.add(number, [ROW | {"downloads": n} for n in range(50)])
        assert rows(store, number)[0]["downloads"] == 0
