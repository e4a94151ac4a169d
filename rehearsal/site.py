"""Site: what the API answers to a list of parameters, over a catalogue, with each of its known quirks or without.

Only `/models` as the survey uses it: lists by cursor, and ids. It knows nothing of HTTP; faults are the server's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.survey.shapes import SMALL
from rehearsal.catalogue import Catalogue

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUIRKS = {
    "boundary-loss": "sort=Newest skips a model at each page boundary",
    "repeats": "sort=Oldest repeats models of equal time over pages",
    "short-pages": "models without versions are dropped after paging, so pages come short",
    "empty-pages": "every seventh page is empty and not the last",
    "null-cursor": "the last page has a cursor that the site itself cannot read",
    "page-limit": "page x limit beyond 1000 is refused with 429",
    "loose-booleans": "any text of a boolean is true, false as well",
    "strict-names": "favorites and hidden want a key, query with page and browsingLevel are refused",
    "checkpoint-type-ignored": "checkpointType is read by nobody",
    "text-numbers": "numbers come in quotes",
    "unknown-fields": "fields that nobody has heard of, and items that are no models",
}
SORTS = {"Oldest": ("last", 1), "Newest": ("last", -1), "Most Downloaded": ("downloads", -1)}
_CHECKPOINTS = {"Trained": 1, "Merge": 2}
_TEXTS = 100_000
"""Answered models that are kept as text, in case they are asked for again."""

Answer = tuple[int, bytes]


class Site:
    """Answers of one catalogue. `deployed` counts deployments: each makes all cursors before it unreadable. Cursors
    are unreadable too from place `readable` of a list on."""

    def __init__(self, catalogue: Catalogue, quirks: Collection[str] = ()) -> None:
        self.catalogue, self.quirks = catalogue, frozenset(quirks)
        self.deployed = 0
        self.readable: float = math.inf
        self._orders: dict[tuple[str, ...], NDArray[np.intp]] = {}
        self._texts: dict[int, str] = {}
        self._pages = 0

    def answer(self, pairs: Sequence[tuple[str, str]], key: bool = False) -> Answer:
        """Status and body for these parameters; `key` says whether one was sent."""
        asked = dict(pairs)
        if refusal := self._refusal(asked, key):
            return refusal
        limit = int(asked.get("limit", "100"))
        types = [value for name, value in pairs if name == "types"]
        shown = self._shown(asked, types)
        if "ids" in asked:
            return self._page(self._by_id(asked["ids"], shown)[:limit], None)
        sort = asked.get("sort", "Most Downloaded")
        name = (
            sort,
            *types,
            *(f"{name}={asked.get(name)}" for name in ("nsfw", "archived", "checkpointType")),
        )
        if name not in self._orders:
            self._orders[name] = self._order(sort, shown)
        order = self._orders[name]
        start = 0
        if "cursor" in asked:
            found = self._find(asked["cursor"], order)
            if found is None or found >= self.readable:
                return _error(400, "Invalid cursor")
            start = self._start(found, order, sort)
        elif "page" in asked:
            start = (int(asked["page"]) - 1) * limit
        return self._list(order, sort, start, limit)

    def _refusal(self, asked: dict[str, str], key: bool) -> Answer | None:
        """What the site does not take."""
        number, page = asked.get("limit", "100"), asked.get("page", "1")
        if not (number.isdigit() and int(number) <= 100 and page.isdigit() and int(page) >= 1):
            return _error(400, {"name": "ZodError", "message": "limit is 0 to 100, page from 1"})
        if asked.get("sort", "Newest") not in SORTS:
            return _error(400, {"name": "ZodError", "message": "unknown sort"})
        if "page-limit" in self.quirks and "page" in asked and int(page) * int(number) > 1000:
            return _error(429, "You've requested too many pages, please use cursors instead")
        if "strict-names" in self.quirks:
            if not key and {"favorites", "hidden"} & asked.keys():
                return _error(401, "Unauthorized")
            if {"query", "page"} <= asked.keys() or "browsingLevel" in asked:
                return _error(400, {"issues": [{"code": "unrecognized_keys"}], "message": "not allowed"})
        return None

    def _true(self, asked: dict[str, str], name: str) -> bool:
        if "loose-booleans" in self.quirks and name != "nsfw":
            return asked.get(name, "") != ""
        return asked.get(name) == "true"

    def _shown(self, asked: dict[str, str], types: Sequence[str]) -> NDArray[np.bool_]:
        """Which models these filters leave."""
        catalogue = self.catalogue
        shown = ~catalogue["persons"]
        if "short-pages" not in self.quirks:
            shown = shown & ~catalogue["no-versions"]
        if types:
            shown = shown & np.logical_or.reduce([catalogue.of_type(name) for name in types])
        if not self._true(asked, "nsfw"):
            shown = shown & ~catalogue["adult"]
        if not self._true(asked, "archived"):
            shown = shown & ~catalogue["archived"]
        if "checkpointType" in asked and "checkpoint-type-ignored" not in self.quirks:
            shown = shown & (catalogue["checkpoint"] == _CHECKPOINTS.get(asked["checkpointType"], -1))
        return shown

    def _by_id(self, text: str, shown: NDArray[np.bool_]) -> NDArray[np.intp]:
        numbers = [int(word) for word in text.split(",") if word.isdigit() and 0 < int(word) <= SMALL]
        ids = self.catalogue["id"]
        wanted = np.array(sorted(set(numbers)), dtype=np.int64)
        where = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
        where = where[ids[where] == wanted]
        return where[shown[where]]

    def _order(self, sort: str, shown: NDArray[np.bool_]) -> NDArray[np.intp]:
        column, sign = SORTS[sort]
        where = np.flatnonzero(shown)
        return where[np.lexsort((sign * self.catalogue["id"][where], sign * self.catalogue[column][where]))]

    def _find(self, cursor: str, order: NDArray[np.intp]) -> int | None:
        """The place in the list of the model that a cursor names, if it is a cursor of this deployment."""
        *parts, number = cursor.split("|")
        if len(parts) != 1 + self.deployed or not parts[0] or not number.isdigit():
            return None
        found = np.flatnonzero(self.catalogue["id"][order] == int(number))
        return int(found[0]) if len(found) else None

    def _start(self, place: int, order: NDArray[np.intp], sort: str) -> int:
        """Where the page begins: at the model that the cursor names, but for the two quirks of this."""
        if sort == "Newest" and "boundary-loss" in self.quirks:
            return place + 1
        if sort == "Oldest" and "repeats" in self.quirks:
            moments = self.catalogue["last"][order[max(0, place - 3) : place + 1]]
            return place - int((moments == moments[-1]).sum()) + 1
        return place

    def _list(self, order: NDArray[np.intp], sort: str, start: int, limit: int) -> Answer:
        self._pages += 1
        if "empty-pages" in self.quirks and self._pages % 7 == 0 and start < len(order):
            return self._page(
                order[:0], "0" + self._cursor(order, sort, start)
            )  # the same place, but not a loop
        end = start + limit
        more = self._cursor(order, sort, end) if end < len(order) else None
        if more is None and "null-cursor" in self.quirks and len(order):
            more = f"|{self.catalogue['id'][order[-1]]}"
        return self._page(order[start:end], more)

    def _cursor(self, order: NDArray[np.intp], sort: str, place: int) -> str:
        """The sort key and the id of the model where the next page begins; a deployment adds a part."""
        model = order[place]
        key = int(self.catalogue[SORTS[sort][0]][model])
        return "|".join([str(key), *["0"] * self.deployed, str(self.catalogue["id"][model])])

    def _page(self, models: NDArray[np.intp], cursor: str | None) -> Answer:
        """The items as JSON, each written once however often it is asked for."""
        texts = [self._text(int(index)) for index in models if not self.catalogue["no-versions"][index]]
        metadata: dict[str, Any] = {"nextCursor": cursor} if cursor else {}
        metadata["rehearsal"] = True
        if "unknown-fields" in self.quirks:
            texts.append('{"name": "an advertisement"}')
            metadata["mood"] = ["fine"]
        return 200, f'{{"items":[{",".join(texts)}],"metadata":{json.dumps(metadata)}}}'.encode()

    def _text(self, index: int) -> str:
        if index not in self._texts:
            if len(self._texts) >= _TEXTS:
                self._texts.clear()
            item = self.catalogue.item(index)
            if "unknown-fields" in self.quirks:
                item |= {"aura": {"colour": 7}, "userId": index}
            self._texts[index] = json.dumps(_quoted(item) if "text-numbers" in self.quirks else item)
        return self._texts[index]


def _quoted(value: Any) -> Any:
    """The same with every number in quotes."""
    if isinstance(value, dict):
        return {name: _quoted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_quoted(inner) for inner in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _error(status: int, said: Any) -> Answer:
    return status, json.dumps({"error": said}).encode()
