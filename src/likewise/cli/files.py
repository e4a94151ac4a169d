"""The commands for files of weights: inspect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.cli.naming import one_file
from likewise.wording import size_text

if TYPE_CHECKING:
    from likewise.inspection import Inspection

LONGEST = 100
"""Letters of a metadata text that are shown; some hold whole pictures."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    hashes: Annotated[bool, typer.Option("--hash", help="Read it whole and print its hashes.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a file is and which programs load it.

    FILE may be a run, a LoRA, an embedding, a hypernetwork, a checkpoint or a model's folder. Nothing in it is run.

    \b
    Example:
      likewise inspect dog.safetensors --hash
    """
    from likewise import inspection

    found = inspection.inspect(one_file(file), hashes)
    if as_json:
        terminal.result_json(found.to_json())
        return
    for title, text in _facts(found):
        if text:
            terminal.result(f"{title:<14}{_printable(text)}")
    for note in found.notes:
        terminal.paragraph(f"note: {_printable(note)}")
    _table("program", "how it takes the file", found.portability)
    _table("hash", "", found.hashes)
    _table("metadata", "", {key: _cut(text) for key, text in sorted(found.metadata.items())})


def _facts(found: Inspection) -> list[tuple[str, str]]:
    from likewise.naming.recognition import TITLES

    return [
        ("file", terminal.short(found.path)),
        ("kind", found.kind),
        ("layout", found.layout),
        ("for", TITLES.get(found.family, found.family)),
        ("size", size_text(found.bytes)),
        (
            "tensors",
            f"{found.tensors:,} ({_counted(found.dtypes)})" if found.dtypes else str(found.tensors or ""),
        ),
        ("parameters", f"{found.parameters:,}" if found.parameters else ""),
        ("rank", _counted(found.ranks)),
        ("alpha", _counted(found.alphas)),
        ("vectors", str(found.vectors or "")),
        ("trigger words", ", ".join(found.trigger_words)),
        ("base", found.base),
    ]


def _counted(counts: Mapping[Any, int]) -> str:
    """`8`, or where there are several `8 (192 times), 4 (72 times)`."""
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in counts]
    if len(texts) == 1:
        return texts[0]
    return ", ".join(f"{text} ({count} times)" for text, count in zip(texts, counts.values(), strict=True))


def _table(key: str, value: str, rows: Mapping[str, str]) -> None:
    if rows:
        terminal.result("")
        terminal.table((key, value), [(_printable(name), _printable(text)) for name, text in rows.items()])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} letters)"


def _printable(text: str) -> str:
    """A file's words without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
