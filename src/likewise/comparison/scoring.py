"""Scoring: every trial's pictures beside the real ones, in one pass, from the files of the comparison alone.

It runs after all sampling, so that the judges' memory is on nobody's account, and it can be repeated at any
time without training anything again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from likewise import metrics
from likewise.comparison.results import Row
from likewise.files import write_text
from likewise.gallery import Gallery
from likewise.metrics import prompt, subject
from likewise.metrics.features import Features, Panel, read
from likewise.metrics.score import Evidence, Metric, Score, distinguishable, normalise


@dataclass(frozen=True)
class Scored:
    """What scoring found; the parts of comparison.json that come from it."""

    rows: tuple[Row, ...]
    ceiling: dict[str, dict[str, float | None]]
    metrics: tuple[dict[str, str], ...]
    notes: tuple[str, ...]


def score(folder: Path, rows: Sequence[Row], templates: Mapping[str, str], noun: str, panel: Panel) -> Scored:
    """Score every row that is done; also writes trials/NAME/scores.json with every picture's value."""
    looks = {
        "pictures": _Look(panel.pictures, folder, templates, noun),
        "prompts": _Look(panel.prompts, folder, templates, noun),
    }
    if panel.pictures is panel.prompts:
        looks["prompts"] = looks["pictures"]
    found: dict[str, dict[str, Score]] = {}
    listed = [metrics.get(name) for name in metrics.names()]
    for row in rows:
        if row.status == "done" and row.gallery:
            gallery = Gallery(folder / row.gallery)
            evidence = {name: look.at(gallery) for name, look in looks.items()}
            scores = {metric.name: metric.score(evidence[metric.reads]) for metric in listed}
            found[row.trial] = {name: value for name, value in scores.items() if value is not None}
            _record(folder / "trials" / row.trial / "scores.json", found[row.trial], listed, looks)
    ceiling = subject.ceiling(looks["pictures"].train, looks["pictures"].held_out)
    floor = next(
        (found[r.trial].get("fidelity") for r in rows if r.kind == "floor" and r.trial in found), None
    )
    done = tuple(replace(row, scores=_scores(found.get(row.trial, {}), floor, ceiling)) for row in rows)
    table = tuple(
        {
            "name": m.name,
            "title": m.title,
            "better": m.better,
            "meaning": m.meaning,
            "card": m.card(looks[m.reads].features.id),
        }
        for m in listed
        if any(m.name in scores for scores in found.values())
    )
    seen = prompt.ceiling(templates, panel.prompts.phrases, panel.prompts.ceilings)
    tops = {name: _without_count(top) for name, top in {"fidelity": ceiling, "prompt": seen}.items() if top}
    return Scored(done, tops, table, tuple(_notes(rows, found, floor, ceiling, panel)))


class _Look:
    """One network's view of the real pictures, kept, and of any gallery."""

    def __init__(self, features: Features, folder: Path, templates: Mapping[str, str], noun: str) -> None:
        self.features, self.templates = features, dict(templates)
        self.train = read(features, _pictures(folder / "pictures" / "train"))
        self.held_out = read(features, _pictures(folder / "pictures" / "held_out"))
        self.wordings = {}
        if features.reads_text:
            texts = features.texts([text.replace("{}", noun) for text in self.templates.values()])
            self.wordings = dict(zip(self.templates, texts, strict=True))

    def at(self, gallery: Gallery) -> Evidence:
        """What a metric is given of this gallery."""
        prompts = tuple(picture.role for picture in gallery)
        drawn = read(self.features, gallery.images())
        return Evidence(
            drawn, prompts, self.templates, self.train, self.held_out, self.features.phrases, self.wordings
        )


def _pictures(folder: Path) -> list[Image.Image]:
    found = []
    for path in sorted(folder.glob("*.png"), key=lambda p: int(p.stem)):
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def _scores(
    scores: Mapping[str, Score], floor: Score | None, ceiling: Score | None
) -> dict[str, dict[str, float | None]]:
    anchored = {"fidelity": (floor, ceiling)}
    return {
        name: {**value.to_json(), "normalised": normalise(value, *anchored.get(name, (None, None)))}
        for name, value in scores.items()
    }


def _without_count(ceiling: Score) -> dict[str, float | None]:
    return {key: value for key, value in ceiling.to_json().items() if key != "n"}


def _record(
    path: Path, scores: Mapping[str, Score], listed: Sequence[Metric], looks: Mapping[str, _Look]
) -> None:
    cards = {metric.name: metric.card(looks[metric.reads].features.id) for metric in listed}
    book: dict[str, Any] = {
        name: {
            "card": cards[name],
            "prompts": dict(score.prompts),
            "pictures": dict(score.pictures),
            "missed": score.missed,
            "left_out": score.left_out,
            **score.to_json(),
        }
        for name, score in scores.items()
    }
    write_text(path, json.dumps(book, indent=1))


def _notes(
    rows: Sequence[Row],
    found: Mapping[str, Mapping[str, Score]],
    floor: Score | None,
    ceiling: Score | None,
    panel: Panel,
) -> list[str]:
    """What a reader must know beside the numbers, a sentence each."""
    notes = [panel.note] if panel.note else []
    if floor and ceiling and not distinguishable(floor, ceiling):
        notes.append(
            "To this measure the concept looks like any other of its kind: likeness ranks no method here."
        )
    for row in rows:
        own = found.get(row.trial, {}).get("fidelity")
        if own and ceiling and row.kind == "method" and own.mean > (ceiling.high or ceiling.mean):
            notes.append(
                f"{row.title} scores above real pictures: a sign of copying, not of being better than real."
            )
    left_out = max((scores["prompt"].left_out for scores in found.values() if "prompt" in scores), default=0)
    if left_out:
        notes.append(
            f"{left_out} of the prompts name nothing that {panel.prompts.id} can check; it leaves them out."
        )
    return notes
