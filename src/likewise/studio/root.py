"""Root: the folders that the studio shows, by name: concepts, runs, comparisons, drawings and files.

A name from an address is looked up in a listing and never joined to a path, so nothing outside can be reached. What is read
of a folder is kept in memory until its files change; nothing else holds state.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import tomlkit

from likewise import records
from likewise.concept import slug
from likewise.errors import RunError
from likewise.files import encodable, write_text
from likewise.studio import work

T = TypeVar("T")
RUNS, COMPARISONS, CONCEPTS, DRAWINGS, LIBRARY, TRASH = (
    "runs", "comparisons", "concepts", "samples", "library", "trash",
)  # fmt: skip
MARKS: Mapping[str, tuple[str, ...]] = {
    RUNS: ("run.toml", "result.json", work.ASKED),
    COMPARISONS: ("comparison.json", work.ASKED),
    CONCEPTS: (),
    DRAWINGS: ("gallery.json", work.ASKED),
}
"""Files of which any makes a folder one of these."""
WEIGHTS = (".safetensors", ".pt", ".bin", ".ckpt", ".png", ".webp")


class Root:
    """One folder and what lies in it. Without `runs/`, the folder may also hold runs and comparisons itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute().resolve()
        self._kept: dict[tuple[str, Path], tuple[Any, Any]] = {}

    def listing(self, kind: str) -> dict[str, Path]:
        """Folders of this kind by name, the newest first."""
        found: dict[str, tuple[int, Path]] = {}
        for entry in self._entries(kind):
            when = _changed(entry, MARKS[kind])
            if when is not None:
                found.setdefault(entry.name, (when, Path(entry.path)))
        ordered = sorted(found.items(), key=lambda one: one[1][0], reverse=True)
        return {name: path for name, (_, path) in ordered}

    def find(self, kind: str, name: str) -> Path | None:
        """The folder of this name, None where the listing has none."""
        named = (entry for entry in self._entries(kind) if entry.name == name)
        found = next((entry for entry in named if _changed(entry, MARKS[kind]) is not None), None)
        return Path(found.path) if found else None

    def _entries(self, kind: str) -> Iterator[os.DirEntry[str]]:
        """The folders that may be of this kind."""
        for place in (self.folder / kind, *([self.folder] if kind in (RUNS, COMPARISONS) else ())):
            yield from (entry for entry in _entries(place) if entry.is_dir())

    def new(self, kind: str, *words: str) -> Path:
        """A new folder named by `words`, and by the day where it is no concept, whose name its files will have."""
        first, *rest = (slug(word) for word in words)
        if kind == CONCEPTS:
            return self._numbered(self.folder / kind, first or "concept")
        return records.new_folder(self.folder / kind, first or "concept", "-".join(filter(None, rest)))

    def _numbered(self, place: Path, name: str) -> Path:
        for number in range(1, 100_000):
            folder = place / (name if number == 1 else f"{name}-{number}")
            if folder.with_name(f"{folder.name}.toml").exists():
                continue
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                return folder
        raise RunError(f"{place} is full of folders called {name}")

    def kept(self, what: str, path: Path, signature: Any, make: Callable[[], T]) -> T:
        """What `make` gives, unless it was made before for the same signature."""
        known = self._kept.get((what, path))
        if known is None or known[0] != signature:
            if len(self._kept) > 5000:
                self._kept.clear()
            known = self._kept[what, path] = (signature, make())
        return known[1]

    def run(self, folder: Path) -> dict[str, Any]:
        """A run in short, as `records.row`, with its name and when it began; `starting` before it has a plan."""
        files = ("run.toml", "result.json", "events.jsonl", records.STOP, "lock", work.ASKED)
        signature = [_stamp(folder / name) for name in files]
        busy = signature[4] is not None or signature[0] is None
        row = _run(folder) if busy else self.kept("run", folder, signature, lambda: _run(folder))
        return {**row, "name": folder.name, "when": when(folder, MARKS[RUNS])}

    def settled(self, folder: Path) -> bool:
        """Whether a glance shows that a run is done: nobody holds it, and its result is newer than what was asked for."""
        plan, result = _stamp(folder / "run.toml"), _stamp(folder / "result.json")
        return plan is not None and result is not None and result >= plan and not (folder / "lock").exists()

    def concept(self, folder: Path) -> dict[str, Any]:
        """What a concept is called: noun, token and title."""
        facts = {"noun": "", "token": "", **_toml(folder.with_name(f"{folder.name}.toml"))}
        return {**facts, "name": folder.name, "title": facts["noun"] or folder.name}

    def call(self, folder: Path, **facts: str) -> None:
        """Write what a concept is called beside its folder, in which every file is read as the concept's own."""
        known = {
            key: value for key, value in {**self.concept(folder), **facts}.items() if key in ("noun", "token")
        }
        write_text(folder.with_name(f"{folder.name}.toml"), tomlkit.dumps(known))

    def files(self) -> Iterator[tuple[str, Path]]:
        """Taught and imported files by id, the newest run first."""
        for name, folder in self.listing(RUNS).items():
            try:
                result = records.read_result(folder)
            except RunError:
                continue
            for file in result["files"] if result else ():
                path = folder / str(file)
                if path.parent == folder and path.exists():
                    yield f"{name}~{path.name}", path
        for entry in sorted(_entries(self.folder / LIBRARY), key=lambda one: one.name):
            if entry.is_dir() or entry.name.lower().endswith(WEIGHTS):
                yield f"~{entry.name}", Path(entry.path)

    def discard(self, path: Path) -> Path:
        """Move something to the trash folder, from where it can be taken back by hand."""
        target = self.folder / TRASH / f"{datetime.now():%Y-%m-%d-%H%M%S}-{path.name}"
        for number in range(2, 1000):
            if not target.exists():
                break
            target = target.with_name(f"{datetime.now():%Y-%m-%d-%H%M%S}-{number}-{path.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        return target


def when(folder: Path, marks: tuple[str, ...]) -> float:
    """When a folder was begun, in seconds since 1970."""
    return min(filter(None, (_stamp(folder / mark) for mark in marks)), default=0) / 1e9


def _run(folder: Path) -> dict[str, Any]:
    if (folder / "run.toml").exists():
        return records.row(folder)
    asked = work.read(folder)
    return {**asked.get("facts", {}), "status": work.state(folder), "folder": str(folder)}


def _entries(place: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            yield from (
                one for one in entries if encodable(one.name) and one.name[0] != "." and not one.is_symlink()
            )
    except OSError:
        return


def _changed(entry: os.DirEntry[str], marks: tuple[str, ...]) -> int | None:
    if not marks:
        return entry.stat().st_mtime_ns
    return next(filter(None, (_stamp(Path(entry.path, mark)) for mark in marks)), None)


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return {key: str(value) for key, value in tomllib.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError):
        return {}
