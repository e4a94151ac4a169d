"""Listing: the pages of one list of the site, by cursor, and how the list ended.

It knows how cursors fail, and nothing of what the pages are for. What it asks follows from the pages alone, so kept
pages give the same list again without the site.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from likewise.survey.archive import Archive
from likewise.survey.civitai import Asked, Client, Unavailable, asked
from likewise.survey.shapes import Page

LIMIT = 100
"""Models of one page, and ids of one request; the site gives no more."""
MOST_BROKEN = 5
"""Cursors of one list that may fail before it is given up."""
MOST_BARREN = 50
"""Pages in a row without a model that is new to the list, before it is given up."""
UNREADABLE = "the site cannot read its own cursor"
CIRCLE = "a page leads back to an earlier one"
BARREN = f"{MOST_BARREN} pages in a row hold nothing new"


class Unrecorded(Unavailable):
    """The archive has no page for a request, and nobody may ask the site."""


class Source:
    """Pages from the archive as long as it has them, then from the site. Without a client, from the archive alone."""

    def __init__(self, archive: Archive, client: Client | None = None) -> None:
        archive.index()
        self.archive, self.client = archive, client
        self.began: datetime | None = None
        """When the first page was answered, UTC by the site's clock."""
        self.rehearsal = False
        """Whether a page has said that it is invented."""

    def ask(self, parameters: Asked) -> Page:
        """One page; one from the site is kept first."""
        page = self.archive.take(parameters)
        if page is None:
            if self.client is None:
                raise Unrecorded(f"{self.archive.folder} has no page for this request", reason="not recorded")
            page = self.client.models(parameters)
            self.archive.append(page)
        self.began = self.began or page.at
        self.rehearsal = self.rehearsal or page.rehearsal
        return page


class Listing:
    """All pages of a list, once. Only a missing cursor is its end: pages may be short, empty or repeat models.

    A cursor that the site calls invalid is got again from the page before. If it is the same and fails again, the
    list breaks off there; if that page fails too, the site has changed all its cursors, and the list begins again,
    once. A page that leads back to an earlier one is asked for again, and breaks the list off if it still does.
    """

    def __init__(self, source: Source, **parameters: Any) -> None:
        self._source, self._parameters = source, parameters
        self.broken: str | None = None
        """Why the list broke off; None while it has not."""
        self.full = False
        """Whether the last page was full. Then more must follow where the list broke off."""
        self.begun_again = False
        """Whether the site changed its cursors on the way."""
        self._failed: list[str | None] = []
        self._start()

    def _start(self) -> None:
        self._cursor: str | None = None
        self._before: str | None = None
        self._led: set[str | None] = {None}
        """Cursors that pages led to, and the beginning."""
        self._ids: set[int] = set()
        self._barren = 0

    @property
    def found(self) -> int:
        """Models so far, each counted once."""
        return len(self._ids)

    @property
    def hides(self) -> bool:
        """Whether it broke off where more must follow, and not at what may be the end."""
        return self.broken is not None and (self.full or self.broken != UNREADABLE)

    def __iter__(self) -> Iterator[Page]:
        while page := self._page():
            ids = {model.id for model in page.models}
            self._barren = 0 if ids - self._ids else self._barren + 1
            self._ids |= ids
            self.full = len(page.models) >= LIMIT
            yield page
            if page.cursor is None:
                return
            if page.cursor in self._led or self._barren >= MOST_BARREN:
                self.broken = CIRCLE if page.cursor in self._led else BARREN
                return
            self._led.add(page.cursor)
            self._before, self._cursor = self._cursor, page.cursor

    def _page(self) -> Page | None:
        """The page where the list stands, or where its cursor fails what is got in its place; None where nothing is."""
        page = self._ask(self._cursor)
        if page.status == 200 and page.cursor is not None and page.cursor in self._led:
            page = self._ask(self._cursor)
        if page.status == 200:
            return page
        if self._cursor not in self._failed and len(self._failed) < MOST_BROKEN:
            self._failed.append(self._cursor)
            self._led.discard(self._cursor)
            page = self._ask(self._before)
            if page.status == 200:
                self._cursor = self._before
                return page
            if not self.begun_again:
                self.begun_again = True
                self._start()
                return self._page()
        self.broken = UNREADABLE
        return None

    def _ask(self, cursor: str | None) -> Page:
        return self._source.ask(asked(**self._parameters, limit=LIMIT, cursor=cursor))
