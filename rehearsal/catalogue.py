"""Catalogue: invented models of known truth, with the traps of the real site, as answers of its API or as rows.

Downloads are Poisson around `exp(effect of type) x days^elasticity x creator x luck`; the last two are lognormal,
so tails are heavy and models of one creator resemble each other. Numbers are invented and stand for nothing, which
every name and every page says. All counts stand at one date, whatever day it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.survey.store import MODELS, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.survey.store import Store

KINDS = {
    "Checkpoint": (0.34, 0.09, 3.6, 2e6),
    "TextualInversion": (0.30, 0.05, 2.2, 30.0),
    "Hypernetwork": (0.06, 0.002, 1.8, 9e4),
    "AestheticGradient": (0.02, 0.001, 0.8, 4.0),
    "LORA": (0.20, 0.70, 2.8, 1.4e5),
    "LoCon": (0.03, 0.06, 2.8, 1.0e5),
    "DoRA": (0.0, 0.02, 2.8, 1.5e5),
    "VAE": (0.03, 0.01, 3.2, 3e5),
    "Workflows": (0.0, 0.06, 1.8, 60.0),
    "SomethingNew": (0.02, 0.007, 1.4, 500.0),
}
"""By type: its share at the start and at the end of the time, its effect on log downloads, a file's kilobytes."""
EFFECTS = {name: facts[2] for name, facts in KINDS.items()}
ELASTICITY = 0.6
"""Log downloads grow by this much per log day: counts saturate, so downloads per day flatter the new."""
START, DATE = datetime(2022, 11, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
"""The first publication, and the date at which all counts stand unless another is named."""
BASES = ("SD 1.4", "SD 1.5", "SD 2.1", "SDXL 1.0", "Pony", "Flux.1 D")
TRAPS = {
    "hidden-counts": 0.03,  # the creator hides the downloads: null, which is not zero
    "old-stats": 0.05,  # stars and favourites in place of thumbs
    "archived": 0.03,  # without files, and listed only where asked for
    "persons": 0.01,  # models of real persons are never listed
    "adult": 0.25,  # listed only with nsfw=true
    "no-versions": 0.005,  # dropped after paging, so that a page comes short
}
"""What makes models hard to count, and how many are like that."""

_NAMES = tuple(KINDS)
_FORMATS = ("SafeTensor", "PickleTensor")
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Catalogue:
    """Arrays with an entry per model, by ascending id; times in ms since 1970. Ids that are not there were deleted.

    All counts stand at `date`.
    """

    largest_id: int
    columns: Mapping[str, NDArray[Any]]
    date: datetime = DATE

    def __len__(self) -> int:
        return len(self.columns["id"])

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.columns[column]

    @property
    def listed(self) -> NDArray[np.bool_]:
        """What the site lists when asked for everything: no real persons, nothing without a version."""
        found: NDArray[np.bool_] = ~self["persons"] & ~self["no-versions"]
        return found

    def of_type(self, name: str) -> NDArray[np.bool_]:
        """Which models are of a type."""
        found: NDArray[np.bool_] = self["type"] == (_NAMES.index(name) if name in _NAMES else -1)
        return found

    def totals(self) -> dict[str, int]:
        """How many models of each type are listed: what a census must find and a sample must estimate."""
        counts = np.bincount(self["type"][self.listed], minlength=len(_NAMES))
        return {name: int(count) for name, count in zip(_NAMES, counts, strict=True)}

    def item(self, index: int) -> dict[str, Any]:
        """One model as the API answers it."""
        model = {name: column[index].item() for name, column in self.columns.items()}
        answer: dict[str, Any] = {
            "id": model["id"],
            "name": f"Invented model {model['id']}",
            "type": _NAMES[model["type"]],
            "nsfw": model["adult"],
            "nsfwLevel": 16 if model["adult"] else 1,
            "allowCommercialUse": "Sell" if model["old-stats"] else ["Image", "Rent"],
            "stats": _stats(model),
            "creator": {"username": f"invented{model['creator']}", "image": None},
            "tags": ["style" if model["id"] % 3 else "object", f"tag{model['id'] % 50}"],
            "modelVersions": [_version(model, k) for k in range(model["versions"])],
        }
        return answer | ({"mode": "Archived"} if model["archived"] else {})

    def write(self, store: Store, asked: NDArray[np.int64] | None = None) -> int:
        """Enter what a perfect fetch would bring: a census, or with `asked` a sample of these ids.

        Needs no requests and no parsing, so that a million models take seconds. Returns the snapshot's number.
        """
        mode, ids = ("census", None) if asked is None else ("sample", np.unique(asked))
        kept = self.listed if ids is None else self.listed & np.isin(self["id"], ids)
        snapshot = Snapshot(
            taken=self.date.replace(tzinfo=None),
            source=f"rehearsal {len(store.snapshots()) + 1}",
            mode="census" if mode == "census" else "sample",
            parameters={"rehearsal": True},
            nsfw=True,
            largest_id=self.largest_id,
        )
        with store.transaction():
            number = store.begin(snapshot)
            columns = {name.replace("-", "_"): column[kept] for name, column in self.columns.items()}
            columns["first"], columns["last"] = (
                columns[n].astype("datetime64[ms]") for n in ("first", "last")
            )
            columns |= {
                "kind": np.array(_NAMES, dtype=object)[columns.pop("type")],
                "base_name": np.array(BASES, dtype=object)[columns.pop("base")],
                "file": np.array(_FORMATS, dtype=object)[columns.pop("format")],
            }
            names = ", ".join(f"{_ROW[name]} AS {name}" for name in MODELS)
            store.connection.execute(f"INSERT INTO models SELECT {number}, {names} FROM columns")
            if ids is not None:
                found = np.isin(ids, self["id"][self.listed])
                asked_for = {"id": ids, "found": found}  # noqa: F841 - DuckDB finds it by its name
                store.connection.execute(f"INSERT INTO asked SELECT {number}, id, found FROM asked_for")
        return number


_ROW = {
    "id": "id",
    "name": "'Invented model ' || id",
    "type": "kind",
    "checkpoint_type": "CASE checkpoint WHEN 1 THEN 'Trained' WHEN 2 THEN 'Merge' END",
    "creator": "'invented' || creator",
    "nsfw": "adult",
    "nsfw_level": "CASE WHEN adult THEN 16 ELSE 1 END",
    "archived": "archived",
    "downloads": "CASE WHEN NOT hidden_counts THEN downloads END",
    "likes": "CASE WHEN NOT old_stats THEN likes END",
    "dislikes": "CASE WHEN NOT old_stats THEN dislikes END",
    "comments": "comments",
    "favourites": "CASE WHEN old_stats THEN likes END",
    "rating": "CASE WHEN old_stats AND rating_count > 0 THEN stars END",
    "rating_count": "CASE WHEN old_stats THEN rating_count END",
    "versions": "versions",
    "top_version_downloads": "CASE WHEN NOT hidden_counts THEN top_downloads END",
    "first_published": "first",
    "last_published": "last",
    "base_model": "base_name",
    "size_kb": "CASE WHEN NOT archived THEN size END",
    "file_format": "CASE WHEN NOT archived THEN file END",
    "tags": "[CASE WHEN id % 3 > 0 THEN 'style' ELSE 'object' END, 'tag' || id % 50]",
}
"""Each column of the store, from the arrays: the same that reading `Catalogue.item` must give."""


def _stats(model: Mapping[str, Any]) -> dict[str, Any]:
    downloads = None if model["hidden-counts"] else model["downloads"]
    stats = {"downloadCount": downloads, "commentCount": model["comments"]}
    if model["old-stats"]:
        stars = {"ratingCount": model["rating_count"], "rating": model["stars"]}
        return stats | {"favoriteCount": model["likes"]} | stars
    thumbs = {"thumbsUpCount": model["likes"], "thumbsDownCount": model["dislikes"]}
    return stats | thumbs | {"tippedAmountCount": 0}


def _version(model: Mapping[str, Any], k: int) -> dict[str, Any]:
    """The k-th version, the newest being 0. The top one has its share, and the others divide the rest."""
    count = model["versions"]
    others = (model["downloads"] - model["top_downloads"]) // max(count - 1, 1)
    downloads = model["top_downloads"] if k == model["top"] else others
    after = (model["last"] - model["first"]) * (count - 1 - k) // max(count - 1, 1)
    published = datetime.fromtimestamp((model["first"] + after) / 1000, UTC)
    file = {
        "sizeKB": model["size"],
        "type": "Model",
        "primary": True,
        "metadata": {"format": _FORMATS[model["format"]]},
    }
    return {
        "id": model["id"] * 10 + k,
        "index": k,
        "name": f"v{count - k}",
        "baseModel": BASES[model["base"]],
        "publishedAt": published.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z",
        "stats": {"downloadCount": None if model["hidden-counts"] else downloads},
        "files": [] if model["archived"] else [file],
        "images": [],
    }


def generate(
    models: int,
    seed: int = 0,
    *,
    effects: Mapping[str, float] = EFFECTS,
    elasticity: float = ELASTICITY,
    traps: Collection[str] = tuple(TRAPS),
    date: datetime = DATE,
) -> Catalogue:
    """A catalogue of `models` models as it stands at `date`, the same for the same arguments.

    Equal `effects` make types alike. The date, which has a zone, is after `START`.
    """
    draw = np.random.default_rng(seed)
    largest = max(1, round(models / 0.65))
    ids = np.sort(draw.choice(largest, size=models, replace=False)) + 1
    place = (ids / (largest + 1)) ** 0.7  # of the whole time: fewer uploads at first
    columns: dict[str, NDArray[Any]] = {"id": ids}
    for name, share in TRAPS.items():
        columns[name] = draw.random(models) < (share if name in traps else 0.0)
    shares = np.array([facts[:2] for facts in KINDS.values()])
    edges = np.cumsum(shares[:, :1] + (shares[:, 1:] - shares[:, :1]) * np.sqrt(place), axis=0)
    kind = (draw.random(models) * edges[-1] > edges).sum(axis=0)
    columns["type"] = kind
    checkpoint = np.searchsorted((0.05, 0.45), draw.random(models), side="right")
    columns["checkpoint"] = np.where(kind == _NAMES.index("Checkpoint"), checkpoint, 0)
    columns["base"] = np.clip((place * 5 + draw.normal(0.8, 0.7, models)).astype(int), 0, len(BASES) - 1)
    columns |= _dates(draw, place, _ms(date))
    versions = np.minimum(draw.geometric(0.7, models), 20)
    columns["versions"] = np.where(columns["no-versions"], 0, versions)
    columns["last"] = np.where(versions > 1, columns["last"], columns["first"])
    creators = models // 8 + 1
    columns["creator"] = (creators * draw.random(models) ** 2.5).astype(int)  # few make many
    days = np.maximum((_ms(date) - columns["first"]) / _DAY_MS, 1.0)
    effect = np.array([effects[name] for name in _NAMES])[kind]
    fame = np.random.default_rng([seed, 1]).normal(0.0, 0.7, creators)
    noise = fame[columns["creator"]] + draw.normal(0.0, 1.2, models)
    downloads = draw.poisson(np.exp(np.minimum(effect - 1.0 + elasticity * np.log(days) + noise, 16.0)))
    columns["downloads"] = downloads
    columns |= _votes(draw, downloads) | _files(draw, downloads, versions, kind)
    return Catalogue(largest, columns, date)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _dates(draw: np.random.Generator, place: NDArray[Any], end: int) -> dict[str, NDArray[Any]]:
    """First publication in the order of ids, to the hour, so that some share a moment; the last, up to a year later."""
    hour = _DAY_MS // 24
    span = (end - _ms(START) - _DAY_MS) // hour
    first = _ms(START) + (place * span).astype(np.int64) * hour
    later = (draw.random(len(place)) < 0.3) * draw.random(len(place))
    last = first + (later * np.minimum(end - hour - first, 365 * _DAY_MS) / hour).astype(np.int64) * hour
    return {"first": first, "last": last}


def _votes(draw: np.random.Generator, downloads: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Likes, dislikes, comments and stars: few vote, and nearly all of them kindly."""
    likes = draw.binomial(downloads, draw.beta(2.0, 18.0, len(downloads)))
    ratings = draw.binomial(likes, 0.05)
    stars = np.where(ratings > 0, np.round(np.clip(draw.normal(4.8, 0.2, len(downloads)), 1.0, 5.0), 2), 0.0)
    return {
        "likes": likes,
        "dislikes": draw.binomial(likes, 0.01),
        "comments": draw.binomial(likes, 0.1),
        "rating_count": ratings,
        "stars": stars,
    }


def _files(
    draw: np.random.Generator, downloads: NDArray[Any], versions: NDArray[Any], kind: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """What the versions are: which is on top, with how many downloads, how large, of which format."""
    count = len(downloads)
    share = 1 / versions + (1 - 1 / versions) * draw.random(count)
    sizes = np.array([facts[3] for facts in KINDS.values()])[kind]
    return {
        "top": (draw.random(count) * versions).astype(int),
        "top_downloads": np.ceil(downloads * share).astype(np.int64),
        "size": np.round(sizes * np.exp(draw.normal(0.0, 0.3, count)), 1),
        "format": (draw.random(count) < 0.1).astype(int),
    }
