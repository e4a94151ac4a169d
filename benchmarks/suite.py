"""What does each method make of the benchmark suite's objects and styles, where the true picture of every prompt is known?

Every concept is taught by every method with several training seeds, with the settings that the base advises. Drawn with
the same noise: the suite's prompts with the token in them, and the same prompts for the class alone. The judge
compares each picture with the true pictures of its own prompt. Trainings and drawings are kept in --out, so that a
second start goes on, and --report scores what is there. The whole suite must have been built (python -m
workshop.suite); without it the part in the package is taught.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from PIL import Image
from torch import Tensor

import likewise
from benchmarks.common import ROOT, finish, parse, parser
from likewise import identifier, methods, metrics
from likewise.base import Base, Sampler
from likewise.cache import Cache
from likewise.comparison.protocol import noise_seed
from likewise.concept import Concept, slug
from likewise.gallery import Gallery
from likewise.metrics.features import Features, load, read
from likewise.metrics.score import Evidence, Reading, Score, normalise, summarise
from likewise.records import read_result
from likewise.run import Run, settle
from likewise.sampling import artifacts
from likewise.stack import Job

BUILT = ROOT / "workshop" / "build" / "suite"
CARD = ROOT / "workshop" / "suite.json"
SHIPPED = ROOT / "src" / "likewise" / "pocket" / "suite"
UNTAUGHT = ("base", "described")
AXES = ("subject", "picture", "prompt", "class", "copies")
"""Scores of a row: nearness to the true pictures by the thing and by the whole picture (0: untaught base, 1: true
pictures), what the prompt asks for, how far the class has become the concept (0: not at all), copies of references."""


@dataclass(frozen=True)
class Subject:
    """One concept of the suite: references to teach, prompts, and the true pictures of each prompt."""

    folder: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @cached_property
    def asks(self) -> list[dict[str, Any]]:
        """The prompts whose true pictures are known."""
        return [ask for ask in self.card["prompts"] if ask["true"]]

    def concept(self, token: str) -> Concept:
        """What is taught: all references."""
        return Concept.read(self.folder / "references", token=token, noun=self.card["noun"])

    def texts(self, kind: str, token: str) -> list[str]:
        """The prompts of one kind: `asked` (with the token), `class`, or `described`."""
        if kind == "class":
            return [ask["class_prompt"] for ask in self.asks]
        if kind == "asked":
            return [ask["prompt"].replace("{token}", token) for ask in self.asks]
        noun, words = self.card["noun"], self.card["description"]
        words += " style" if self.card["kind"] == "style" else ""
        return [
            ask["prompt"].replace(f"{{token}} {noun}", words).replace("{token} ", "") for ask in self.asks
        ]

    @property
    def seeds(self) -> list[int]:
        """Of each prompt's noise, the same for every method and for prompts with and without the token."""
        return [noise_seed(slug(ask["class_prompt"]), 0) for ask in self.asks]

    def pictures(self) -> tuple[list[Image.Image], list[Image.Image]]:
        """References, and the true pictures prompt by prompt."""
        references = [example.open() for example in self.concept("sks").examples]
        return references, [_open(self.folder / name) for ask in self.asks for name in ask["true"]]


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def read_card(folder: Path) -> dict[str, Any]:
    """The shipped part has a card of its own."""
    path = folder / "card.json" if folder == SHIPPED else CARD
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def subjects(folder: Path, card: dict[str, Any], chosen: Sequence[str]) -> list[Subject]:
    """The suite's concepts, or those that are chosen."""
    found = [Subject(folder / entry["name"], entry) for entry in card["concepts"]]
    return [subject for subject in found if not chosen or subject.name in chosen]


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    base: Base
    token: str
    subjects: list[Subject]
    out: Path
    sampler: Sampler
    settings: dict[str, Any]

    def trials(self, name: str, seeds: int) -> Iterator[tuple[Run, list[Subject], int]]:
        """One run for all concepts of a training seed, or a run each where a method cannot be stacked."""
        method = methods.get(name)
        for seed in range(seeds if method.trains else 1):
            own = {key: value for key, value in self.settings.items() if key in method.recipe.model_fields}
            recipe = settle(self.base, name, None, {**own, "seed": seed})
            jobs = {s.name: Job(s.concept(self.token), recipe) for s in self.subjects}
            groups = [self.subjects] if method.stackable else [[s] for s in self.subjects]
            for group in groups:
                folder = self.out / "runs" / f"{name}-{seed}" / (group[0].name if len(group) == 1 else "all")
                chosen = tuple(jobs[s.name] for s in group)
                yield Run(self.base.name, name, chosen, folder, cache=Cache(self.out / "cache")), group, seed

    def gallery(self, trial: str, seed: int, subject: Subject) -> Gallery:
        """Where the pictures of a trial are."""
        return Gallery(self.out / "drawn" / f"{trial}-{seed}" / subject.name)

    def draw(self, group: list[Subject], galleries: list[Gallery], kinds: dict[str, str]) -> None:
        """Fill galleries, one per concept, with the prompts of ``kinds`` (role -> kind); adapters are attached."""
        if all(len(gallery) == len(kinds) * len(s.asks) for gallery, s in zip(galleries, group, strict=True)):
            return
        for role, kind in kinds.items():
            texts = [text for s in group for text in s.texts(kind, self.token)]
            seeds = [seed for s in group for seed in s.seeds]
            drawn = list(self.base.sample(texts, seeds, self.sampler, slots=len(group)))
            for slot, gallery in enumerate(galleries):
                each = len(texts) // len(group)
                for n in range(slot * each, (slot + 1) * each):
                    gallery.add(drawn[n], texts[n], seeds[n], role)
        for gallery in galleries:
            gallery.save()

    def work(self, names: Sequence[str], seeds: int) -> None:
        """Draw the floors, then teach and draw whatever is missing."""
        for subject in self.subjects:
            self.draw([subject], [self.gallery("base", 0, subject)], {"asked": "class", "class": "class"})
            self.draw([subject], [self.gallery("described", 0, subject)], {"asked": "described"})
        for name in names:
            for run, group, seed in self.trials(name, seeds):
                for _ in run.start(base=self.base, sampler=self.sampler):
                    pass
                galleries = [self.gallery(name, seed, subject) for subject in group]
                with methods.get(name).restore(self.base, artifacts(run.folder)):
                    self.draw(group, galleries, {"asked": "asked", "class": "class"})
                print(f"{name}, seed {seed}: {', '.join(s.name for s in group)}", flush=True)


class Scorer:
    """The judge's view of one concept."""

    def __init__(self, judge: Features, subject: Subject, floor: Gallery) -> None:
        self.judge, self.subject = judge, subject
        references, true = subject.pictures()
        self.references, self.true = read(judge, references), read(judge, true)
        self.each = len(true) // len(subject.asks)
        self.ids = tuple(slug(text) for text in subject.texts("class", ""))
        self.floor = {
            axis: self.near(read(judge, floor.images("asked")), axis) for axis in ("vectors", "appearance")
        }
        self.ceiling = {axis: self.top(axis) for axis in self.floor}

    def near(self, drawn: Reading, axis: str) -> Score:
        """Mean cosine of each picture with the true pictures of its own prompt."""
        seen, true = getattr(drawn, axis), getattr(self.true, axis).unflatten(0, (-1, self.each))
        cosines: Tensor = (seen[:, None] * true).sum(2).mean(1)
        return summarise(dict(zip(self.ids, cosines.tolist(), strict=True)), (-1.0, 1.0))

    def top(self, axis: str) -> Score:
        """True pictures of a prompt with one another."""
        true = getattr(self.true, axis).unflatten(0, (-1, self.each))
        pairs: Tensor = (true @ true.transpose(1, 2)).sum((1, 2)) - self.each
        means = (pairs / (self.each * (self.each - 1))).tolist()
        return summarise(dict(zip(self.ids, means, strict=True)), (-1.0, 1.0))

    def evidence(self, drawn: Reading, repeats: int = 1) -> Evidence:
        """For the metrics of comparisons."""
        prompts = tuple(name for name in self.ids for _ in range(repeats))
        templates = dict(zip(self.ids, self.subject.texts("asked", "{}"), strict=True))
        return Evidence(drawn, prompts, templates, self.references, self.true, self.judge.phrases)

    def scores(self, gallery: Gallery) -> dict[str, float | None]:
        """A value for each of ``AXES``."""
        drawn = read(self.judge, gallery.images("asked"))
        untaught = gallery.images("class")
        found = {
            "subject": self.share(self.near(drawn, "vectors"), "vectors"),
            "picture": self.share(self.near(drawn, "appearance"), "appearance"),
            "class": self.share(self.near(read(self.judge, untaught), "vectors"), "vectors")
            if untaught
            else None,
        }
        for axis, metric in {"prompt": "prompt", "copies": "copying"}.items():
            score = metrics.get(metric).score(self.evidence(drawn))
            found[axis] = score.mean if score else None
        return found

    def share(self, score: Score, axis: str) -> float | None:
        """From floor to ceiling."""
        return normalise(score, self.floor[axis], self.ceiling[axis])

    def real(self) -> dict[str, float | None]:
        """What true pictures get: 1 by definition where they are compared with themselves."""
        score = metrics.get("prompt").score(self.evidence(self.true, self.each))
        return {"subject": 1.0, "picture": 1.0, "prompt": score.mean if score else None}


Found = dict[tuple[str, str], list[dict[str, float | None]]]
"""(trial, concept) -> scores of each training seed."""


def scored(bench: Bench, judge: Features, names: Sequence[str], seeds: int) -> Found:
    """Whatever is drawn."""
    found: Found = {}
    for subject in bench.subjects:
        scorer = Scorer(judge, subject, bench.gallery("base", 0, subject))
        for name in (*UNTAUGHT, *names):
            galleries = [bench.gallery(name, seed, subject) for seed in range(seeds)]
            found[name, subject.name] = [scorer.scores(gallery) for gallery in galleries if len(gallery)]
        found["true pictures", subject.name] = [scorer.real()]
    return found


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def summary(found: Found, trial: str, group: list[Subject]) -> dict[str, Any]:
    """Of each axis the mean over concepts, and its mean and spread over training seeds."""
    line: dict[str, Any] = {}
    seeds = min(len(found[trial, subject.name]) for subject in group)
    for axis in AXES:
        rows = [mean(found[trial, s.name][seed].get(axis) for s in group) for seed in range(seeds)]
        means = [value for value in rows if value is not None]
        line[axis] = mean(means)
        if axis in ("subject", "picture", "prompt"):
            line[f"{axis} ±"] = stdev(means) if len(means) > 1 else None
    return {"seeds": seeds, **line}


def costs(bench: Bench, name: str, seeds: int) -> dict[str, Any]:
    """Mean bytes and seconds of one concept; in a stack each has its share of the seconds."""
    done = [(read_result(run.folder), len(group)) for run, group, _ in bench.trials(name, seeds)]
    known = [(result, count) for result, count in done if result]
    if not known:
        return {}
    return {
        "KB": fmean(result["bytes"] for result, _ in known) / 1000,
        "seconds": fmean(result["seconds"] / count for result, count in known),
        "at once": known[0][1],
    }


def table(bench: Bench, found: Found, names: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """A line per trial, objects first."""
    lines = []
    for kind in ("object", "style"):
        group = [subject for subject in bench.subjects if subject.card["kind"] == kind]
        for trial in (*UNTAUGHT, *names, "true pictures") if group else ():
            cost = costs(bench, trial, seeds) if trial in names else {}
            lines.append({"kind": kind, "trial": trial, **summary(found, trial, group), **cost})
    return lines


def per_concept(bench: Bench, found: Found, names: Sequence[str]) -> list[dict[str, Any]]:
    """The axis ``subject`` of every concept, a column per trial."""
    return [
        {"concept": s.name}
        | {n: mean(r["subject"] for r in found[n, s.name]) for n in (*UNTAUGHT[1:], *names)}
        for s in bench.subjects
    ]


def main() -> None:
    """Teach, draw, measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--concepts", default="", metavar="A,B,...", help="else all")
    made.add_argument("--methods", default=",".join(methods.names()), metavar="A,B,...")
    made.add_argument("--seeds", type=int, default=3, metavar="N", help="training seeds 0 to N - 1")
    made.add_argument(
        "--out", type=Path, default=Path("suite-results"), metavar="FOLDER", help="where work is kept"
    )
    made.add_argument("--report", action="store_true", help="teach nothing: score what is there")
    given = parse(made)
    names, settings, sampler = given.methods.split(","), {}, Sampler()
    if given.smoke:
        settings, sampler, given.seeds = {"steps": 2, "prior_count": 2}, Sampler(steps=2), 2
    base = likewise.load("pocket")
    folder = BUILT if BUILT.exists() else SHIPPED
    card = read_card(folder)
    chosen = subjects(folder, card, given.concepts.split(",") if given.concepts else [])
    bench = Bench(base, identifier.pick(base), chosen, given.out, sampler, settings)
    if not given.report:
        bench.work(names, given.seeds)
    judge = load("judge")
    found = scored(bench, judge, names, given.seeds)
    finish("suite-concepts", per_concept(bench, found, names), {"axis": "subject"}, write=given.write)
    facts = {"suite": card["id"], "judge": judge.id, "precision": base.precision}
    finish("suite", table(bench, found, names, given.seeds), facts, write=given.write)


if __name__ == "__main__":
    main()
