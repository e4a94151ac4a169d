"""Archive: the pages of one fetch as the site gave them, with what was asked and when, in a folder.

plan.json        what was wanted; enough to fetch the same again
failures.json    requests that failed, by reason; only while there are any
pages.jsonl.gz   two lines per page, what was asked and what was answered, as a gzip member of their own: a page is
                 appended whole, and what a crash cuts off can be told from what was there before
done.json        how it ended; while it is missing, the same command goes on

Everything else of the survey can be made again from this, without the network.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from likewise.errors import RunError, SurveyError
from likewise.files import read_text, storing, write_text
from likewise.records import locked, new_folder
from likewise.survey.shapes import Page

PLAN, PAGES, FAILURES, DONE = "plan.json", "pages.jsonl.gz", "failures.json", "done.json"
_CHUNK = 1 << 20


class Archive:
    """One folder of pages. Inside `with`, it is held against other processes, and open for more pages."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.plan = _read(self.folder / PLAN)
        self.span: tuple[datetime, datetime] | None = None
        """When the first and the last page were answered, once `index` has looked."""
        self._kept: dict[tuple[tuple[str, str], ...], deque[tuple[int, int]]] = defaultdict(deque)
        self._exit = ExitStack()

    @classmethod
    def create(cls, root: Path, name: str, plan: Mapping[str, Any]) -> Archive:
        """A new folder for `plan` below `root`."""
        folder = new_folder(root, name)
        write_text(folder / PLAN, json.dumps(plan, indent=2))
        return cls(folder)

    @property
    def done(self) -> dict[str, Any] | None:
        """How the fetch ended, or None while it has not."""
        return _read(self.folder / DONE) if (self.folder / DONE).is_file() else None

    @property
    def failures(self) -> dict[str, int]:
        """How many requests failed, by reason, when the site was last asked."""
        return _read(self.folder / FAILURES) if (self.folder / FAILURES).is_file() else {}

    def fail(self, failures: Mapping[str, int]) -> None:
        """Keep which requests failed, or that none did."""
        if failures:
            write_text(self.folder / FAILURES, json.dumps(failures, indent=2))
        else:
            (self.folder / FAILURES).unlink(missing_ok=True)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Say that nothing is left to ask."""
        write_text(self.folder / DONE, json.dumps(facts, indent=2))

    def __enter__(self) -> Self:
        try:
            self._exit.enter_context(locked(self.folder))
        except RunError:
            raise SurveyError(
                f"{self.folder} is being filled by another process", "wait for it, or stop it"
            ) from None
        self._cut()
        self._file = self._exit.enter_context((self.folder / PAGES).open("ab"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._exit.close()

    def append(self, page: Page) -> None:
        """Keep a page; it is on the disk when this returns."""
        head = {"at": page.at.isoformat(), "asked": page.asked, "status": page.status}
        lines = f"{json.dumps(head)}\n{json.dumps(page.answer)}\n"
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        with storing(self.folder / PAGES):
            self._file.write(packer.compress(lines.encode()) + packer.flush())
            self._file.flush()
            os.fsync(self._file.fileno())

    def pages(self) -> Iterator[Page]:
        """All pages, in the order in which they came."""
        for _, _, body in _members(self.folder / PAGES):
            yield _page(body)

    def index(self) -> None:
        """Look up what was asked, so that `take` finds it; what was taken before can be taken again."""
        self._kept.clear()
        self.span = None
        for start, end, body in _members(self.folder / PAGES):
            head = json.loads(body.partition(b"\n")[0])
            self._kept[_asked(head)].append((start, end))
            at = datetime.fromisoformat(head["at"])
            first, last = self.span or (at, at)
            self.span = min(first, at), max(last, at)

    def take(self, asked: tuple[tuple[str, str], ...]) -> Page | None:
        """The first page kept for this request that was not taken yet."""
        if not self._kept[asked]:
            return None
        start, end = self._kept[asked].popleft()
        with (self.folder / PAGES).open("rb") as file:
            file.seek(start)
            return _page(zlib.decompress(file.read(end - start), 31))

    def _cut(self) -> None:
        """Remove what a crash left of a page that was being written."""
        path = self.folder / PAGES
        whole = max((end for _, end, _ in _members(path)), default=0)
        if path.exists() and path.stat().st_size > whole:
            os.truncate(path, whole)


def find(root: Path) -> list[Archive]:
    """All archives directly below `root`, oldest first."""
    plans = sorted(Path(root).glob(f"*/{PLAN}"), key=lambda path: (path.stat().st_mtime, path))
    return [Archive(path.parent) for path in plans]


def _members(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Where each whole gzip member begins and ends, and what it holds; stops at the first that is not whole."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start, left = 0, b""
        while True:
            unpacker, parts, length = zlib.decompressobj(31), [], 0
            while not unpacker.eof:
                block = left or file.read(_CHUNK)
                if not block:
                    return
                try:
                    parts.append(unpacker.decompress(block))
                except zlib.error:
                    return
                left = unpacker.unused_data
                length += len(block) - len(left)
            yield start, start + length, b"".join(parts)
            start += length


def _page(body: bytes) -> Page:
    head, answer = map(json.loads, body.splitlines())
    return Page(_asked(head), head["status"], answer, datetime.fromisoformat(head["at"]))


def _asked(head: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in head["asked"])


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(read_text(path))
        return found
    except FileNotFoundError:
        raise SurveyError(f"{path.parent} holds no recorded pages", f"there is no {path.name}") from None
    except (OSError, ValueError) as error:
        raise SurveyError(f"{path} cannot be read: {error}") from None
