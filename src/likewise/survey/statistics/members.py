"""Which published model counts as which method, and the temporary tables that every statistic reads.

A type on the site is not a method: the mapping is written down here, and the report shows it. Nothing here
computes a statistic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Method:
    """A row of the survey's table: the types that belong to it and whether it may be compared.

    `types` are pairs of the site's type and, for checkpoints, how the checkpoint came to be. A row that is
    `part_of` another shows some of the same models again, and is never compared.
    """

    name: str
    title: str
    plural: str
    types: tuple[tuple[str, str | None], ...]
    note: str = ""
    compared: bool = True
    part_of: str | None = None


METHODS = (
    Method(
        "textual_inversion",
        "Textual Inversion",
        "Textual Inversion embeddings",
        (("TextualInversion", None),),
    ),
    Method("hypernetwork", "Hypernetwork", "hypernetworks", (("Hypernetwork", None),)),
    Method("aesthetic", "Aesthetic gradient", "aesthetic gradients", (("AestheticGradient", None),)),
    Method(
        "low_rank",
        "LoRA family",
        "models of the LoRA family",
        (("LORA", None), ("LoCon", None), ("DoRA", None)),
        "LoRA and its relatives together; the rows below show them apart",
    ),
    Method("lora", "LoRA", "LoRA", (("LORA", None),), compared=False, part_of="low_rank"),
    Method("locon", "LoCon", "LoCon", (("LoCon", None),), compared=False, part_of="low_rank"),
    Method("dora", "DoRA", "DoRA", (("DoRA", None),), compared=False, part_of="low_rank"),
    Method(
        "checkpoint_trained",
        "DreamBooth",
        "DreamBooth checkpoints",
        (("Checkpoint", "trained"),),
        "checkpoints that the site lists as trained: an upper bound, since a trained checkpoint may also be a fine-tune "
        "of a whole style",
    ),
    Method(
        "checkpoint_merge",
        "Merged checkpoints",
        "merged checkpoints",
        (("Checkpoint", "merge"),),
        "mixed from other checkpoints, not taught from pictures: never compared",
        compared=False,
    ),
    Method(
        "checkpoint_unknown",
        "Checkpoints of unknown origin",
        "checkpoints of unknown origin",
        (("Checkpoint", "unknown"),),
        "trained or merged is not recorded: never compared",
        compared=False,
    ),
    Method(
        "checkpoint_any",
        "All checkpoints",
        "checkpoints",
        (("Checkpoint", "trained"), ("Checkpoint", "merge"), ("Checkpoint", "unknown")),
        "what counting every checkpoint as DreamBooth would give; shown only as a mistake",
        compared=False,
        part_of="mistake",
    ),
)
OTHER = Method(
    "other", "Everything else", "other models", (), "types that are no method of likewise", compared=False
)

REFERENCE = "textual_inversion"
"""Ratios are given to this method where it is there: its files are small, and it is on every base model."""

COMPARED = tuple(method.name for method in METHODS if method.compared)
TITLES = {method.name: method.title for method in (*METHODS, OTHER)}
PLURALS = {method.name: method.plural for method in (*METHODS, OTHER)}
"""What models of a method are called in a sentence."""


def replaceable(types: Collection[str]) -> list[str]:
    """Which of these types may come from full lists while the others come from a sample.

    A method of several types, some listed and some sampled, would have too many of the listed ones; so a type goes with
    all the others of every method that it belongs to, or not at all.
    """
    there = {name.lower() for name in types}
    mixed = [kinds for kinds in _kinds() if not kinds <= there]
    counted = set().union(*_kinds())
    return [name for name in types if name.lower() in counted and not any(name.lower() in k for k in mixed)]


def listed(types: Collection[str]) -> set[str]:
    """The methods all of whose types are among these."""
    there = {name.lower() for name in types}
    return {method.name for method, kinds in zip(METHODS, _kinds(), strict=True) if kinds <= there}


def _kinds() -> list[set[str]]:
    return [{kind.lower() for kind, _ in method.types} for method in METHODS]


_MACROS = """
CREATE OR REPLACE TEMP MACRO wilson_low(k, n) AS
  CASE WHEN n > 0 THEN greatest(0e0, (k/n + 3.8416e0/(2*n)
    - 1.96e0*sqrt(greatest(0e0, k/n*(1 - k/n))/n + 3.8416e0/(4*n*n))) / (1 + 3.8416e0/n)) END;
CREATE OR REPLACE TEMP MACRO wilson_high(k, n) AS
  CASE WHEN n > 0 THEN least(1e0, (k/n + 3.8416e0/(2*n)
    + 1.96e0*sqrt(greatest(0e0, k/n*(1 - k/n))/n + 3.8416e0/(4*n*n))) / (1 + 3.8416e0/n)) END;
"""
"""Wilson (1927), z = 1.96. Of no votes at all it says nothing: NULL, not zero."""

_SURVEYED = """
CREATE OR REPLACE TEMP TABLE surveyed AS
SELECT
  m.id, m.type,
  CASE WHEN m.type ILIKE 'checkpoint' THEN coalesce(lower(m.checkpoint_type), 'unknown') END AS origin,
  dense_rank() OVER (ORDER BY coalesce('@' || m.creator, '#' || m.id))::INTEGER AS creator,
  m.downloads, m.top_version_downloads, m.likes, m.likes + m.dislikes AS votes, m.archived, m.nsfw, m.versions,
  m.rating_count AS raters,
  CASE WHEN coalesce(m.rating_count, m.rating) > 0 AND m.rating > 0 THEN m.rating END AS stars,
  coalesce(m.rating_count = 0, false) OR coalesce(m.rating = 0, false) AS unrated,
  coalesce(m.base_model, 'not said') AS base, m.size_kb, m.first_published AS published,
  CASE WHEN m.first_published <= s.taken
    THEN greatest(1.0, date_diff('second', m.first_published, s.taken) / 86400.0) END AS age
FROM models m JOIN snapshots s USING (snapshot)
WHERE m.snapshot = $snapshot AND NOT list_contains($types::TEXT[], lower(coalesce(m.type, '')))
  OR list_contains($censuses::INTEGER[], m.snapshot)
"""
"""A model without a creator's name is a cluster of its own. The scale of stars starts at one, so a zero means
unrated. Age is in days and at least one; where a version has no date, or one after the snapshot, it is missing."""

_MEMBERS = """
CREATE OR REPLACE TEMP VIEW members AS
SELECT k.method, s.* FROM surveyed s JOIN mapping k
  ON lower(s.type) = k.type AND s.origin IS NOT DISTINCT FROM k.origin
UNION ALL
SELECT 'other', s.* FROM surveyed s WHERE coalesce(lower(s.type), '') NOT IN (SELECT type FROM mapping)
"""


def prepare(
    connection: duckdb.DuckDBPyConnection, snapshot: int, censuses: Mapping[str, int] | None = None
) -> None:
    """Make the temporary tables `surveyed` (a row per model) and `mapping`, and the view `members`.

    `censuses` are numbers of snapshots by the type that they list: its models come from there instead. `members`
    is `surveyed` with a column `method`; a model is there once per row of METHODS it belongs to. The store itself
    is not written to, and may be open for reading only.
    """
    connection.execute(_MACROS)
    listed = censuses or {}
    values = {"snapshot": snapshot, "types": list(map(str.lower, listed)), "censuses": list(listed.values())}
    connection.execute(_SURVEYED, values)
    connection.execute("CREATE OR REPLACE TEMP TABLE mapping (method TEXT, type TEXT, origin TEXT)")
    rows = [(method.name, kind.lower(), origin) for method in METHODS for kind, origin in method.types]
    connection.executemany("INSERT INTO mapping VALUES (?, ?, ?)", rows)
    connection.execute(_MEMBERS)
