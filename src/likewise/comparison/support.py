"""Support: which programs load a method's files, and how common such files are where people share them.

Facts that stand beside the cost. They say how far a file carries, nothing of how well a method works: no score, order
or verdict reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from likewise import formats, kinds
from likewise.errors import SurveyError
from likewise.inspection import PROGRAMS
from likewise.wording import Row

_EXACT = "exact"


def programs(method: str) -> list[Row]:
    """Every other program that loads some layout of this method's files, with what to know about its best one.

    Rows have `name` and `note`, which is empty where a program takes a layout exactly as it is.
    """
    layouts = [layout for layout in map(formats.get, formats.names()) if kinds.of(method) in layout.kinds]
    names = dict.fromkeys((*PROGRAMS, *(name for layout in layouts for name in layout.readers)))
    ways = {name: [layout.readers[name] for layout in layouts if name in layout.readers] for name in names}
    del ways["likewise"]
    return [{"name": name, "note": _note(min(found, key=_caveat))} for name, found in ways.items() if found]


def notes(method: str | None) -> dict[str, str]:
    """Program -> what to know when it loads such a file, `exact` where there is nothing to know; empty without a method."""
    return {row["name"]: row["note"] or _EXACT for row in programs(method)} if method else {}


def _caveat(way: str) -> tuple[bool, int]:
    return way != _EXACT, len(way)


def _note(way: str) -> str:
    return way.removeprefix(_EXACT).lstrip(",; ")


def common(path: Path, methods: Iterable[str]) -> Row:
    """How many models of each method's kind there are, by the newest complete random sample of a survey's store.

    `kinds` has for each method that the survey counts its title there, the estimated number of models and the 95 %
    interval; `taken`, `asked`, `site` and `query` say when, of how many ids, where and how. Raises `SurveyError` where
    no sample is: a list of one type does not tell how common it is.
    """
    from likewise.survey import store as stores
    from likewise.survey.statistics import coverage, members

    with stores.open(path, read_only=True) as store:
        samples = [one for one in store.snapshots() if one.mode == "sample" and one.complete]
        real = [one for one in samples if not one.rehearsal]
        if not real:
            what = "only samples of an invented site" if samples else "no complete random sample"
            raise SurveyError(f"{path} has {what}", "likewise survey fetch --sample 20000 takes one")
        taken = real[-1]
        members.prepare(store.connection, taken.number)
        found = coverage.totals(store, taken) or {}
    there: dict[str, Any] = {}
    for method in methods:
        name = kinds.of(method).counted
        if row := found.get(name):
            ends = {key: row[key] for key in ("models", "low", "high")}
            there[method] = {"title": members.TITLES[name], **ends}
    query = {key: taken.parameters[key] for key in ("size", "nsfw", "seed") if key in taken.parameters}
    asked = next((row["asked"] for row in found.values()), 0)
    site = urlsplit(str(taken.parameters.get("url", ""))).netloc or taken.source
    return {
        "kinds": there, "taken": taken.taken.isoformat(), "asked": asked, "site": site, "query": query,
        "snapshot": taken.number,
    }  # fmt: skip
