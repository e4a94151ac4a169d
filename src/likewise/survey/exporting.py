"""Exporting: the models of a store as files of other programs, where no text is a formula."""

from __future__ import annotations

from pathlib import Path

from likewise.files import write_with
from likewise.survey import missing
from likewise.survey.store import MODELS, Store
from likewise.wording import FORMULA

EXPORTS = ("xlsx", "csv", "parquet")
MOST_LINES = 1_048_576
"""The most lines of a sheet; spreadsheet programs cannot open more."""


def export(store: Store, path: Path, kind: str, snapshot: int | None = None) -> Path:
    """Write the models of one snapshot, or of all, to `path` as one of `EXPORTS`. Tags are joined by commas, save in
    Parquet, which has lists. In CSV, text that begins like a formula gets an apostrophe before it."""
    chosen = "true" if snapshot is None else f"snapshot = {store.snapshot(snapshot).number}"
    plain = {name: name for name, column in MODELS.items() if column == "TEXT" and kind == "csv"}
    if kind != "parquet":
        plain["tags"] = "array_to_string(tags, ',')"
    if kind == "csv":
        plain = {name: f"regexp_replace({text}, $${FORMULA}$$, $$'\\0$$)" for name, text in plain.items()}
    changed = ", ".join(f"{text} AS {name}" for name, text in plain.items())
    columns = f"* REPLACE ({changed})" if changed else "*"
    query = f"SELECT {columns} FROM models WHERE {chosen} ORDER BY snapshot, id"

    def fill(temporary: Path) -> None:
        temporary.write_bytes(b"")  # where no file can be, Python's own error says so
        if kind == "xlsx":
            _write_sheets(store, query, chosen, temporary)
            return
        options = {"parquet": "FORMAT parquet", "csv": "FORMAT csv, HEADER"}[kind]
        store.connection.execute(f"COPY ({query}) TO ? ({options})", [str(temporary)])

    return write_with(path, fill)


def _write_sheets(store: Store, query: str, chosen: str, path: Path) -> None:
    """A workbook: the snapshots, and their models on as many sheets as they need, row by row in little memory."""
    try:
        from xlsxwriter import Workbook
    except ModuleNotFoundError:
        raise missing("xlsxwriter") from None
    # What people called their models is text, also where it begins like a formula or an address.
    plain = {
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "default_date_format": "yyyy-mm-dd hh:mm",
    }
    newest = store.connection.execute(f"SELECT max(taken) FROM snapshots WHERE {chosen}").fetchone()
    with Workbook(str(path), {"constant_memory": True, "nan_inf_to_errors": True, **plain}) as book:
        book.set_properties(
            {"created": newest and newest[0]}
        )  # not the moment of writing: same store, same bytes
        for name, select in (("snapshots", f"FROM snapshots WHERE {chosen}"), ("models", query)):
            found = store.connection.execute(select)
            titles = [column[0] for column in found.description or ()]
            sheet, line, part = None, MOST_LINES, 0
            while rows := found.fetchmany(10_000):
                for row in rows:
                    if line >= MOST_LINES:
                        part += 1
                        sheet, line = book.add_worksheet(name if part == 1 else f"{name} {part}"), 1
                        sheet.freeze_panes(1, 0)
                        sheet.write_row(0, 0, titles, book.add_format({"bold": True}))
                    assert sheet is not None
                    sheet.write_row(line, 0, row)
                    line += 1
