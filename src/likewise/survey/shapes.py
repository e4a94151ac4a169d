"""Shapes: a model, its versions and their files, read from whatever the site has answered over the years.

Every field may be missing, null, a number or a number in quotes; unknown fields and types pass. What is not told
is None, never zero. The raw answer is kept elsewhere; this is only what the survey counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

LARGEST = 2**53
"""Counts beyond this are not counts."""
SMALL = 2**31 - 1
"""The most of an id, and of what the store keeps as an INTEGER."""
EARLIEST = datetime(2020, 1, 1)
"""Nothing that the survey counts is older; earlier dates, such as the first second of 1970, stand for no date."""
_GROUPS = re.compile(r",(?=\d{3}(?!\d))")
"""The commas of 1,234,567, and not that of 4,75."""
_CODES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MILLISECONDS = 10**11
"""Smaller numbers are seconds since 1970: as seconds this is the year 5138, and as milliseconds 1973."""
_LONGEST = 1000
"""Letters of a name."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a version."""

    size_kb: float | None
    format: str | None
    kind: str | None
    primary: bool


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model; `published` is UTC."""

    base_model: str | None
    published: datetime | None
    downloads: int | None
    files: tuple[File, ...]

    @property
    def file(self) -> File | None:
        """The one that is downloaded: the primary, else the first that holds a model, else the first."""
        ranked = sorted(self.files, key=lambda file: (not file.primary, file.kind != "Model"))
        return ranked[0] if ranked else None


@dataclass(frozen=True, slots=True)
class Model:
    """One model with its counters: current ones (thumbs), old ones (stars, favourites), or neither."""

    id: int
    name: str | None
    type: str | None
    creator: str | None
    nsfw: bool | None
    nsfw_level: int | None
    archived: bool
    downloads: int | None
    likes: int | None
    dislikes: int | None
    comments: int | None
    favourites: int | None
    rating: float | None
    rating_count: int | None
    versions: tuple[Version, ...]
    tags: tuple[str, ...]

    def row(self, checkpoint_type: str | None = None) -> dict[str, Any]:
        """The columns of the store. Base, size and format are those of the version with the most downloads.

        Where no version has a count, that is the newest: the site lists it first.
        """
        told = [version.downloads for version in self.versions if version.downloads is not None]
        top = max(self.versions, key=lambda v: -1 if v.downloads is None else v.downloads, default=None)
        file = top.file if top else None
        dates = [version.published for version in self.versions if version.published]
        own = {name: getattr(self, name) for name in _SAME}
        return own | {
            "checkpoint_type": checkpoint_type,
            "versions": len(self.versions),
            "top_version_downloads": max(told, default=None),
            "first_published": min(dates, default=None),
            "last_published": max(dates, default=None),
            "base_model": top.base_model if top else None,
            "size_kb": file.size_kb if file else None,
            "file_format": file.format if file else None,
            "tags": list(self.tags),
        }


_SAME = (
    "id", "name", "type", "creator", "nsfw", "nsfw_level", "archived", "downloads", "likes", "dislikes",
    "comments", "favourites", "rating", "rating_count",
)  # fmt: skip


def read(item: object) -> Model | None:
    """A model from one item of an answer; None for what has no id, which cannot be counted once."""
    if not isinstance(item, dict) or not (number := count(item.get("id"))):
        return None
    stats, creator = _mapping(item.get("stats")), item.get("creator")
    votes = count(stats.get("ratingCount"))
    stars = quantity(stats.get("rating"))
    if votes == 0 or not stars:  # nobody rated: the site says 0 stars, which nobody can give
        stars = None
    return Model(
        id=number,
        name=text(item.get("name")),
        type=text(item.get("type")),
        creator=text(creator.get("username") if isinstance(creator, dict) else creator),
        nsfw=_truth(item.get("nsfw")),
        nsfw_level=count(item.get("nsfwLevel"), SMALL),
        archived=item.get("mode") == "Archived",
        downloads=count(stats.get("downloadCount")),
        likes=count(stats.get("thumbsUpCount")),
        dislikes=count(stats.get("thumbsDownCount")),
        comments=count(stats.get("commentCount")),
        favourites=count(stats.get("favoriteCount")),
        rating=stars,
        rating_count=votes,
        versions=tuple(_version(version) for version in _list(item.get("modelVersions"))),
        tags=tuple(filter(None, map(_tag, _list(item.get("tags"))))),
    )


def _version(version: object) -> Version:
    facts = _mapping(version)
    moment = next((facts[key] for key in ("publishedAt", "createdAt") if facts.get(key)), None)
    return Version(
        base_model=text(facts.get("baseModel")),
        published=when(moment),
        downloads=count(_mapping(facts.get("stats")).get("downloadCount")),
        files=tuple(_file(file) for file in _list(facts.get("files"))),
    )


def _file(file: object) -> File:
    facts = _mapping(file)
    return File(
        size_kb=quantity(facts.get("sizeKB")),
        format=text(_mapping(facts.get("metadata")).get("format") or facts.get("format")),
        kind=text(facts.get("type")),
        primary=facts.get("primary") is True,
    )


def _tag(tag: object) -> str | None:
    """A word; older answers had `{"name": word}`."""
    return text(tag.get("name") if isinstance(tag, dict) else tag)


def quantity(value: object) -> float | None:
    """A finite number that is not negative, from a number or its text (`18432.5`, `"1,532"`), else None."""
    if isinstance(value, str):
        try:
            value = float(_GROUPS.sub("", value))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LARGEST and math.isfinite(value) else None


def count(value: object, most: int = LARGEST) -> int | None:
    """A whole number that is not negative and at most `most`, else None."""
    if type(value) is int and 0 <= value <= most:
        return value
    number = quantity(value)
    return int(number) if number is not None and number == int(number) <= most else None


def text(value: object) -> str | None:
    """Text that every file and terminal can hold: no lone surrogates, no control codes but tabs and
    line ends, nothing that turns the
    direction of writing, not empty, and no longer than a name is."""
    if not isinstance(value, str):
        return None
    value = value[:_LONGEST]
    if value.isprintable():
        return value.strip() or None
    clean = _CODES.sub("", value.encode("utf-8", "replace").decode("utf-8"))
    return clean.strip() or None


def when(value: object) -> datetime | None:
    """A moment in UTC, without a zone, from ISO text or from seconds or milliseconds since 1970; else None.

    A moment before `EARLIEST` is None too.
    """
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS else value, UTC)
        else:
            return None
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment >= EARLIEST else None


def _truth(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True)
class Page:
    """What the site answered to one request: status 200, or 400 where it could not read its own cursor."""

    asked: tuple[tuple[str, str], ...]
    status: int
    answer: Mapping[str, Any]
    at: datetime
    """UTC by the site's clock, without a zone."""

    @property
    def models(self) -> list[Model]:
        """The items that are models, in the order of the answer."""
        return [model for item in _list(self.answer.get("items")) if (model := read(item))]

    @property
    def cursor(self) -> str | None:
        """Where the next page begins; None after the last, and nothing else says that it was the last."""
        cursor = _mapping(self.answer.get("metadata")).get("nextCursor")
        return str(cursor) if isinstance(cursor, str | int) and cursor != "" else None

    @property
    def rehearsal(self) -> bool:
        """Whether the site says that what it lists is invented."""
        return _mapping(self.answer.get("metadata")).get("rehearsal") is True
