"""Scoring: every trial's pictures beside the real ones, in one pass, from the files of the comparison alone.

It runs after all sampling, so that the judges' memory is on nobody's account, and it can be repeated at any
time without training anything again. What it writes are values of single pictures; what follows from them is worked out in
`concluding`, without torch.

    trials/NAME/scores.json   every picture's value of every metric, for each fold that the trial belongs to
    anchors.json              what real pictures and chance score, for each fold
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from likewise import metrics
from likewise.comparison.banks import UNNAMED
from likewise.comparison.protocol import fill
from likewise.comparison.results import Row
from likewise.errors import RunError
from likewise.files import write_text
from likewise.gallery import Gallery, Picture
from likewise.metrics import drift, prompt, subject
from likewise.metrics.features import Features, Panel, read
from likewise.metrics.masked import Parts, parts
from likewise.metrics.score import Evidence, Metric, Reading, Score

FLOOR = "floor"


@dataclass(frozen=True)
class Scene:
    """What the metrics are told of the comparison, beside the pictures."""

    folder: Path
    pictures: Sequence[str]
    """Files of all real pictures, relative to the folder."""
    folds: Sequence[Mapping[str, Any]]
    """For each fold its `number` and the indices of `train` and `held_out` pictures."""
    prompts: Mapping[str, Mapping[str, str]]
    """Role -> prompt id -> text with `{}`."""
    noun: str
    captions: Sequence[str] = ()
    """For each real picture what its caption says, with the class in the concept's place; empty where it has none."""


def score(scene: Scene, rows: Sequence[Row], panel: Panel) -> tuple[dict[str, str], ...]:
    """Score every row that is done and write what was seen; returns the table of metrics with their cards."""
    listed = [metrics.get(name) for name in metrics.names()]
    views = {"pictures": _View(panel.pictures, scene)}
    views["prompts"] = views["pictures"] if panel.pictures is panel.prompts else _View(panel.prompts, scene)
    cards = {metric.name: metric.card(views[metric.reads].features.id) for metric in listed}
    done = sorted(
        (row for row in rows if row.status == "done" and row.gallery), key=lambda r: r.kind != FLOOR
    )
    for row in done:
        path = _path(scene.folder, row)
        if row.kind != FLOOR and _holds(path, row, cards):
            continue
        folds = [fold["number"] for fold in scene.folds] if row.fold is None else [row.fold]
        found: dict[str, Any] = {str(number): {} for number in folds}
        gallery, nearest = Gallery(scene.folder / str(row.gallery)), list[int | None]()
        for view in dict.fromkeys(views.values()):
            seen = view.look(gallery, floor=row.kind == FLOOR)
            if view is views["pictures"]:
                nearest = view.nearest(gallery, seen, folds[0])
            own = [metric for metric in listed if views[metric.reads] is view]
            for number in folds:
                evidence = view.evidence(seen, number)
                found[str(number)] |= _scores(own, evidence, row.trial)
        book = {"schema": 2, "digest": row.digest, "cards": cards, "folds": found, "nearest": nearest}
        write_text(path, json.dumps(book, indent=1, allow_nan=False))
    _write_anchors(scene, views, panel)
    return tuple(
        {
            "name": metric.name,
            "title": metric.title,
            "better": metric.better,
            "meaning": metric.meaning,
            "card": cards[metric.name],
        }
        for metric in listed
    )


def is_scored(folder: Path, rows: Sequence[Row], table: Sequence[Mapping[str, str]]) -> bool:
    """Whether every row that is done was scored by the metrics of this table; no judge has to be loaded to tell."""
    cards = {metric["name"]: metric["card"] for metric in table}
    return all(_holds(_path(folder, row), row, cards) for row in rows if row.status == "done")


def _path(folder: Path, row: Row) -> Path:
    return folder / "trials" / row.trial / "scores.json"


def _holds(path: Path, row: Row, cards: Mapping[str, str]) -> bool:
    """Whether the pictures were scored before, by the same recipes."""
    try:
        book = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(book.get("digest") == row.digest and book.get("cards") == cards)


def _scores(listed: Sequence[Metric], evidence: Evidence, trial: str) -> dict[str, Any]:
    """The values of every picture; raises `RunError` for one that is not finite, as no verdict can rest on it."""
    scores = {metric.name: metric.score(evidence) for metric in listed}
    for name, score in scores.items():
        if score is not None and not all(math.isfinite(v) for some in score.pictures.values() for v in some):
            raise RunError(
                f"{name} of {trial} is not a finite number", f"delete trials/{trial}/gallery to draw it again"
            )
    return {
        name: {
            "pictures": {key: list(values) for key, values in score.pictures.items()},
            "left_out": score.left_out,
        }
        for name, score in scores.items()
        if score is not None
    }


@dataclass(frozen=True)
class _Seen:
    """One gallery as a network sees it, by the role of its prompts."""

    use: Reading
    prompts: tuple[str, ...]
    plain: Reading
    plain_prompts: tuple[str, ...]
    unnamed: Reading
    keys: tuple[tuple[str, int], ...]
    """The prompt's id and the seed of the noise, one per picture of `use`."""
    unnamed_keys: tuple[tuple[str, int], ...]
    """The same of `unnamed`."""
    parts: Parts | None
    """Subject and rest of `use`; None for features without masks."""


class _View:
    """One network's view of the real pictures and of the untaught base, kept, and of any gallery."""

    def __init__(self, features: Features, scene: Scene) -> None:
        self.features, self.templates = features, dict(scene.prompts["use"])
        self.plain = dict(scene.prompts.get("class", {}))
        self.real = read(features, (_picture(scene.folder / name) for name in scene.pictures))
        masks = [_mask(scene.folder / name) for name in scene.pictures]
        self.parts = parts(features, (_picture(scene.folder / name) for name in scene.pictures), masks)
        self.folds = {int(fold["number"]): fold for fold in scene.folds}
        self.floor: _Seen | None = None
        self.untaught: Gallery | None = None
        self.captions = [_plain(text) for text in scene.captions]
        self.asked = {name: _plain(fill(text, scene.noun)) for name, text in self.templates.items()}
        self.wordings = {}
        if features.reads_text:
            texts = features.texts([fill(text, scene.noun) for text in self.templates.values()])
            self.wordings = dict(zip(self.templates, texts, strict=True))

    def look(self, gallery: Gallery, *, floor: bool) -> _Seen:
        """What the network makes of a gallery; that of the untaught base is remembered."""
        bare = [name + UNNAMED for name in self.templates]
        use, plain, unnamed = (
            [one for one in gallery if one.role in ids] for ids in (self.templates, self.plain, bare)
        )
        seen = _Seen(
            read(self.features, map(gallery.open, use)),
            tuple(one.role for one in use),
            read(self.features, map(gallery.open, plain)),
            tuple(one.role for one in plain),
            read(self.features, map(gallery.open, unnamed)),
            tuple((one.role, one.seed) for one in use),
            tuple((one.role.removesuffix(UNNAMED), one.seed) for one in unnamed),
            parts(self.features, map(gallery.open, use), beside=self._beside(use)),
        )
        if floor:
            self.floor, self.untaught = seen, gallery
        return seen

    def _beside(self, use: Sequence[Picture]) -> Iterator[Image.Image] | None:
        """What the untaught base drew for the same prompts from the same noise, row by row."""
        if self.untaught is None:
            return None
        drawn = {(one.role, one.seed): one for one in self.untaught}
        for one in use:
            if (one.role, one.seed) not in drawn:
                lost = f"the untaught base has no picture of {one.role} with seed {one.seed}"
                raise RunError(lost, "delete trials/base/gallery, and give the comparison's command again")
        return map(self.untaught.open, [drawn[one.role, one.seed] for one in use])

    def of_fold(self, number: int) -> tuple[Reading, Reading]:
        """The real pictures that were trained on, and those that were held out."""
        fold = self.folds[number]
        return self.real.pick(fold["train"]), self.real.pick(fold["held_out"])

    def shown(self, number: int) -> frozenset[str]:
        """Prompts that ask for what the caption of a training picture says."""
        said = {self.captions[row] for row in self.folds[number]["train"]} - {""} if self.captions else set()
        return frozenset(name for name, text in self.asked.items() if text in said)

    def evidence(self, seen: _Seen, number: int) -> Evidence:
        """What a metric is given of a gallery."""
        train, held_out = self.of_fold(number)
        floor = self.floor
        return Evidence(
            seen.use,
            seen.prompts,
            self.templates,
            train,
            held_out,
            self.features.phrases,
            self.wordings,
            shown=self.shown(number),
            plain=seen.plain if len(seen.plain) else None,
            plain_prompts=seen.plain_prompts,
            **self._of_masks(seen, number),
            before=floor.plain if floor and len(floor.plain) else None,
            others=floor.use if floor else None,
            floor=floor.use if floor else None,
            unnamed=seen.unnamed if len(seen.unnamed) else None,
            unnamed_prompts=tuple(name for name, _ in seen.unnamed_keys),
            unnamed_before=floor.use.pick([floor.keys.index(key) for key in seen.unnamed_keys])
            if floor
            else None,
        )

    def _of_masks(self, seen: _Seen, number: int) -> dict[str, Reading]:
        """What of the evidence needs masks."""
        fold, floor = self.folds[number], self.floor
        if seen.parts is None or self.parts is None or floor is None or floor.parts is None:
            return {}
        return {
            "drawn_subject": seen.parts.subject,
            "held_out_subject": self.parts.subject.pick(fold["held_out"]),
            "drawn_rest": seen.parts.rest,
            "floor_rest": seen.parts.rest if seen.parts.beside is None else seen.parts.beside,
            "train_rest": self.parts.rest.pick(fold["train"]),
        }

    def nearest(self, gallery: Gallery, seen: _Seen, number: int) -> list[int | None]:
        """For each picture of a gallery the training picture that looks most like it; None for those that are not scored."""
        train = self.folds[number]["train"]
        closest = (seen.use.appearance @ self.of_fold(number)[0].appearance.T).argmax(1).tolist()
        found = iter(train[place] for place in closest)
        return [next(found) if picture.role in self.templates else None for picture in gallery]

    def spread(self) -> float | None:
        """How far another prompt moves the untaught base's pictures of the class."""
        return drift.spread(self.floor.plain, self.floor.plain_prompts) if self.floor else None

    def chance(self) -> float | None:
        """What the prompt metric gives the untaught base's pictures for the texts of other prompts."""
        if self.floor is None or len(self.templates) < 2:
            return None
        ids = list(self.templates)
        other = dict(zip(ids, [*ids[1:], ids[0]], strict=True))
        train, held_out = self.of_fold(next(iter(self.folds)))
        moved = tuple(other[name] for name in self.floor.prompts)
        evidence = Evidence(
            self.floor.use, moved, self.templates, train, held_out, self.features.phrases, self.wordings
        )
        found = prompt.METRIC.score(evidence)
        return None if found is None else found.mean


def _plain(text: str) -> str:
    """Without what makes no difference to what is asked for."""
    return " ".join(text.lower().split()).rstrip(" .")


def _picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def mask_of(picture: Path) -> Path:
    """Where the mask of a copied picture lies, if its owner has one."""
    return picture.with_name(f"{picture.stem}-mask.png")


def _mask(picture: Path) -> Image.Image | None:
    path = mask_of(picture)
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.convert("L")


def _write_anchors(scene: Scene, views: Mapping[str, _View], panel: Panel) -> None:
    """What true pictures and chance would get."""
    ceilings = {
        str(number): _values(subject.ceiling(*views["pictures"].of_fold(number)))
        for number in views["pictures"].folds
    }
    right = prompt.ceiling(scene.prompts["use"], panel.prompts.phrases, panel.prompts.ceilings)
    anchors = {
        "schema": 2,
        "fidelity": {"ceiling": ceilings},
        "prompt": {"ceiling": right.mean if right else None, "chance": views["prompts"].chance()},
        "drift": {"spread": views["pictures"].spread()},
        "note": panel.note,
        "judges": {"pictures": panel.pictures.id, "prompts": panel.prompts.id},
    }
    write_text(scene.folder / "anchors.json", json.dumps(anchors, indent=1, allow_nan=False))


def _values(score: Score | None) -> list[float]:
    return [] if score is None else list(score.prompts.values())
