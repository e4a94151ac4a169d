"""What a snapshot says of the whole site, of what is gone from it, and of what happened since another.

Totals and missing shares need ids that were drawn at random and asked for one by one; a census of some types
says nothing of them. The difference of two snapshots is today's demand, and needs no correction for age.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from likewise.errors import SurveyError
from likewise.survey.statistics import members
from likewise.survey.statistics.members import COMPARED, TITLES
from likewise.survey.statistics.resampling import LEAST_OF_SUMS, Ratio, resample
from likewise.survey.statistics.summary import Row, records

if TYPE_CHECKING:
    from likewise.survey.store import Snapshot, Store

RANGES = 20
"""Equal ranges of ids that the share of vanished models is shown for; ids grow with time."""
LEAST_DAYS = 14
_A_DAY = 86400.0
_BY_ID = ("sample", "panel")

# n drawn without replacement from M weigh like n (M - 1) / (M - n) drawn with it.
_TOTALS = """
WITH drawn AS (SELECT DISTINCT ON (id) id FROM asked WHERE snapshot = $snapshot AND id BETWEEN 1 AND $largest),
size AS (SELECT count(*)::DOUBLE AS n, $largest::DOUBLE AS M FROM drawn),
hits AS (SELECT method, count(*)::DOUBLE AS k, sum(downloads)::DOUBLE AS d, sum(downloads::DOUBLE ** 2) AS dd,
  count(DISTINCT creator) FILTER (downloads IS NOT NULL) AS makers FROM members JOIN drawn USING (id) GROUP BY method),
every AS (SELECT DISTINCT method, coalesce(k, 0) AS k, d, dd, makers FROM (SELECT method FROM mapping) LEFT JOIN hits
  USING (method) UNION SELECT * FROM hits)
SELECT method, k::BIGINT AS hits, n::BIGINT AS asked, M * k / n AS models,
  M * sqrt(k / n * (1 - k / n) * rest / n) AS error,
  CASE WHEN n >= M THEN k ELSE M * wilson_low(k / n * n / rest, n / rest) END AS low,
  CASE WHEN n >= M THEN k ELSE M * wilson_high(k / n * n / rest, n / rest) END AS high,
  M * d / n AS downloads,
  CASE WHEN n >= M THEN 0 WHEN makers >= {least} THEN M * sqrt(greatest(0, dd / n - (d / n) ** 2) * rest / n) END
  AS downloads_error
FROM every, (SELECT *, (M - n) / greatest(1, M - 1) AS rest FROM size)
"""

_VANISHED = """
WITH drawn AS (SELECT DISTINCT ON (id) id, found FROM asked WHERE snapshot = $snapshot AND id BETWEEN 1 AND $largest)
SELECT least((id - 1) * {ranges} // $largest, {ranges} - 1)::INTEGER AS range, count(*) AS asked,
  count(*) FILTER (NOT found) AS vanished, wilson_low(count(*) FILTER (NOT found), count(*)) AS low,
  wilson_high(count(*) FILTER (NOT found), count(*)) AS high
FROM drawn GROUP BY range ORDER BY range
"""

_GROWTH = """
CREATE OR REPLACE TEMP TABLE growth AS
SELECT method, new.creator, new.downloads - old.downloads AS more, (new.downloads - old.downloads) / ? AS per_day
FROM members new JOIN models old ON old.snapshot = ? AND old.id = new.id
WHERE new.downloads IS NOT NULL AND old.downloads IS NOT NULL
"""

_GROWN = """
SELECT method, count(*) AS models, median(per_day) AS median_per_day, count(*) FILTER (more = 0) AS idle,
  count(*) FILTER (more < 0) AS shrunk
FROM growth GROUP BY method
"""

_GONE = """
SELECT method, count(*) AS gone FROM models old JOIN asked a ON a.id = old.id AND a.snapshot = ? AND NOT a.found
JOIN mapping k ON lower(old.type) = k.type AND k.origin IS NOT DISTINCT FROM
  CASE WHEN k.type = 'checkpoint' THEN coalesce(lower(old.checkpoint_type), 'unknown') END
WHERE old.snapshot = ? GROUP BY method
"""


def totals(store: Store, snapshot: Snapshot) -> dict[str, Row] | None:
    """Models and downloads of every method on the whole site, from random ids; None without such ids.

    N = M k / n for k hits among n ids drawn from 1 to M, with the standard error of a share drawn without
    replacement. `low` and `high` are Wilson's interval, which also holds for rare methods and for k = 0.
    Downloads are heavy-tailed: below `LEAST_OF_SUMS` creators their standard error says nothing, and is None. Where
    the site told the origin of no checkpoint at all, trained and merged ones are left out: none known is not none there.
    """
    values = _drawn(snapshot)
    if values is None or not _any_asked(store, snapshot):
        return None
    rows = {
        row.pop("method"): row
        for row in records(store.connection, _TOTALS.format(least=LEAST_OF_SUMS), values)
    }
    if rows["checkpoint_unknown"]["hits"] == rows["checkpoint_any"]["hits"] > 0:
        del rows["checkpoint_trained"], rows["checkpoint_merge"]
    return {name: rows[name] for name in TITLES if name in rows}


def vanished(store: Store, snapshot: Snapshot) -> list[Row]:
    """Share of asked ids that are not there, by range of ids, with Wilson's interval; [] without such ids.

    An id can be missing because its model was deleted, hidden, or never published; the site does not say.
    """
    values = _drawn(snapshot)
    if values is None or not _any_asked(store, snapshot):
        return []
    rows = records(store.connection, _VANISHED.format(ranges=RANGES), values)
    step = values["largest"] / RANGES
    for row in rows:
        row |= {"first_id": int(row["range"] * step) + 1, "share": row["vanished"] / row["asked"]}
    return rows


def growth(store: Store, snapshot: Snapshot, before: Snapshot, *, seed: int = 0) -> Row:
    """Downloads per day and model between two snapshots of the same ids, with intervals over creators.

    Models that were asked for again and are `gone` are counted apart, not as zero demand.
    Raises `SurveyError` if the snapshots share no model, are of different sites or are not in this order.
    """
    if not _comparable(snapshot, before):
        raise SurveyError(
            f"snapshots {before.number} and {snapshot.number} are of different sites",
            "their ids do not mean the same models; name another with --against",
        )
    days = (snapshot.taken - before.taken).total_seconds() / _A_DAY
    if days <= 0:
        raise SurveyError(
            f"snapshot {before.number} is not earlier than snapshot {snapshot.number}",
            "name the later one first: --snapshot LATER --against EARLIER",
        )
    store.connection.execute(_GROWTH, [days, before.number])
    rows = {row.pop("method"): row for row in records(store.connection, _GROWN)}
    if not rows:
        raise SurveyError(
            f"snapshots {before.number} and {snapshot.number} have no model with a count in common",
            "likewise survey fetch --panel asks for the same ids again",
        )
    sums = "SELECT creator, method, count(*) AS models, sum(per_day) AS more FROM growth GROUP BY ALL ORDER BY creator"
    growth = Ratio("more", "models", positive=False)  # counters may go down
    found = resample(store.connection, sums, {"growth": growth}, seed=seed)
    gone = records(store.connection, _GONE, [snapshot.number, before.number])
    missing = {row["method"]: row["gone"] for row in gone}
    for name, row in rows.items():
        grown = found[name]["growth"]
        row |= {"per_day": grown.value, "interval": grown.interval, "gone": missing.get(name, 0)}
    return {"before": before.number, "days": days, "short": days < LEAST_DAYS, "methods": rows}


def earlier(store: Store, snapshot: Snapshot) -> Snapshot | None:
    """The newest of at least a day before that has most of the compared models in common with this one, or None.

    Most, because a census after a sample shares only its own type with the panel of that sample.
    """
    names = ", ".join(f"'{name}'" for name in COMPARED)
    query = f"SELECT count(*) FROM members JOIN models old USING (id) WHERE old.snapshot = ? AND method IN ({names})"
    shared: dict[int, int] = {}
    before = [
        one
        for one in store.snapshots()
        if (snapshot.taken - one.taken).total_seconds() >= _A_DAY and _comparable(one, snapshot)
    ]
    for other in before:  # what was taken sooner before, such as a census right after a sample, is no panel
        row = store.connection.execute(query, [other.number]).fetchone()
        shared[other.number] = row[0] if row else 0
    enough = max(1, max(shared.values(), default=0) // 2)
    return max(
        (one for one in before if shared[one.number] >= enough), key=lambda one: one.taken, default=None
    )


def today(store: Store) -> Snapshot:
    """What speaks for today: the newest snapshot, or where that is a census the sample or panel that it completes."""
    newest = store.snapshot()
    drawn = [one for one in store.snapshots() if one.mode in _BY_ID and _belong(one, newest)]
    return drawn[-1] if newest.mode == "census" and drawn else newest


def completing(store: Store, snapshot: Snapshot) -> dict[str, Snapshot]:
    """The newest complete census of each type taken within two weeks of a sample or panel, with the same question.

    Of rare types a sample finds few, and their full list is short. Only those that `members.replaceable` allows.
    """
    if snapshot.mode not in _BY_ID:
        return {}
    found = {
        str(one.parameters["type"]): one
        for one in store.snapshots()
        if one.mode == "census" and one.complete and one.parameters.get("type") and _belong(one, snapshot)
    }
    return {name: found[name] for name in members.replaceable(found)}


def _belong(one: Snapshot, other: Snapshot) -> bool:
    """Whether two were taken of the same site, at about the same time, with the same setting for adult content."""
    near = abs((one.taken - other.taken).total_seconds()) < LEAST_DAYS * _A_DAY
    return near and one.nsfw == other.nsfw and _same_site(one, other)


def _same_site(one: Snapshot, other: Snapshot) -> bool:
    """Whether the ids of two mean the same models. Invented sites count as one, since their ports change."""
    if one.rehearsal or other.rehearsal:
        return one.rehearsal and other.rehearsal
    return bool(one.parameters.get("url") == other.parameters.get("url"))


def _comparable(one: Snapshot, other: Snapshot) -> bool:
    """Whether counts of two may be subtracted. A file that was imported does not say which site it is of."""
    imported = "import" in (one.mode, other.mode) and one.rehearsal == other.rehearsal
    return imported or _same_site(one, other)


def _drawn(snapshot: Snapshot) -> dict[str, int] | None:
    """The numbers that the queries on random ids need, or None if this snapshot drew none."""
    if snapshot.mode != "sample" or not snapshot.largest_id:
        return None
    return {"snapshot": snapshot.number, "largest": int(snapshot.largest_id)}


def _any_asked(store: Store, snapshot: Snapshot) -> bool:
    return bool(store.asked(snapshot.number).limit(1).fetchall())
