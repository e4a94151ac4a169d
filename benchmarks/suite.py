"""Scores of every method on the benchmark suite's objects and styles, where the true picture of every prompt is known.

Every concept is taught by every method with several training seeds, with the settings that the base advises. Drawn with
the same noise: the suite's prompts with the token in them, and the same prompts for the class alone. The judge
compares each picture with the true pictures of its own prompt (`benchmarks.suite_scores`). Trainings and drawings are
kept in --out, so that a second start goes on, and --report scores what is there. The whole suite must have been built
(python -m workshop.suite); without it the part in the package is taught.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import likewise
from benchmarks.common import finish, numbers, parse, parser
from benchmarks.suite_card import BUILT, SHIPPED, Subject, read_card, subjects
from benchmarks.suite_scores import Found, Scorer, per_concept, table
from likewise import identifier, methods
from likewise.base import Base, Sampler
from likewise.cache import Cache
from likewise.files import write_text
from likewise.gallery import Gallery
from likewise.metrics.features import Features, load
from likewise.planning import settle
from likewise.records import read_result
from likewise.run import Run
from likewise.sampling import artifacts
from likewise.stack import Job

UNTAUGHT = {
    "base": {"asked": "class", "class": "class"},
    "token": {"asked": "asked"},
    "described": {"asked": "described"},
}
"""What is drawn by the base as it is: the class, the prompts with the token that it never learned, a description."""


@dataclass(frozen=True)
class Bench:
    """What all trials share."""

    base: Base
    token: str
    subjects: list[Subject]
    out: Path
    sampler: Sampler
    settings: dict[str, Any]

    def claim(self, suite: str) -> None:
        """Refuse a folder with the work of another base, suite or sampler, which would be taken for this one's."""
        facts: dict[str, Any] = {"suite": suite, "base": self.base.fingerprint(), "settings": self.settings}
        facts["sampler"] = asdict(self.base.settled(self.sampler))
        path, text = self.out / "bench.json", json.dumps(facts, indent=1) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise SystemExit(
                f"{self.out} holds work on another base, suite or sampler: name another with --out"
            )
        write_text(path, text)

    def trials(self, name: str, seeds: Sequence[int]) -> Iterator[tuple[Run, list[Subject], int]]:
        """One run for all concepts of a training seed, or a run each where a method cannot be stacked."""
        method = methods.get(name)
        for seed in seeds if method.trains else (0,):
            own = {key: value for key, value in self.settings.items() if key in method.recipe.model_fields}
            recipe = settle(self.base, name, {**own, "seed": seed})
            jobs = {s.name: Job(s.concept(self.token), recipe) for s in self.subjects}
            groups = [self.subjects] if method.stackable else [[s] for s in self.subjects]
            for group in groups:
                folder = self.out / "runs" / f"{name}-{seed}" / (group[0].name if len(group) == 1 else "all")
                chosen = tuple(jobs[s.name] for s in group)
                yield Run(self.base.name, name, chosen, folder, cache=Cache(self.out / "cache")), group, seed

    def gallery(self, trial: str, seed: int, subject: Subject) -> Gallery:
        """Where the pictures of a trial are."""
        return Gallery(self.out / "drawn" / f"{trial}-{seed}" / subject.name)

    def draw(self, trial: str, seed: int, group: list[Subject], kinds: dict[str, str]) -> None:
        """The prompts of ``kinds`` (role -> kind) of some concepts, one slot each; adapters are attached.

        Begun galleries are drawn again from the start: a stack's slots are drawn together.
        """
        galleries = [self.gallery(trial, seed, subject) for subject in group]
        if all(len(gallery) == len(kinds) * len(s.asks) for gallery, s in zip(galleries, group, strict=True)):
            return
        for gallery in galleries:
            shutil.rmtree(gallery.folder, ignore_errors=True)
            gallery.pictures.clear()
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

    def work(self, names: Sequence[str], seeds: Sequence[int]) -> None:
        """Draw the floors, then teach and draw whatever is missing."""
        for subject in self.subjects:
            for trial, kinds in UNTAUGHT.items():
                self.draw(trial, 0, [subject], kinds)
        for name in names:
            for run, group, seed in self.trials(name, seeds):
                for _ in run.start(base=self.base, sampler=self.sampler):
                    pass
                with methods.get(name).restore(self.base, artifacts(run.folder)):
                    self.draw(name, seed, group, {"asked": "asked", "class": "class"})
                print(f"{name}, seed {seed}: {', '.join(s.name for s in group)}", flush=True)

    def scored(self, judge: Features, names: Sequence[str], seeds: Sequence[int]) -> Found:
        """The judge's view of whatever is drawn."""
        found: Found = {}
        for subject in self.subjects:
            scorer = Scorer(judge, subject, self.gallery("base", 0, subject))
            for name in (*UNTAUGHT, *names):
                galleries = [self.gallery(name, seed, subject) for seed in (seeds if name in names else (0,))]
                found[name, subject.name] = [scorer.scores(gallery) for gallery in galleries if len(gallery)]
            found["references", subject.name] = [scorer.copied()]
            found["true pictures", subject.name] = [scorer.real()]
        return found

    def costs(self, name: str, seeds: Sequence[int]) -> dict[str, Any]:
        """Mean bytes and seconds of one concept; each job of a stack has its share of the seconds."""
        folders = [run.folder for run, _, _ in self.trials(name, seeds)]
        known = [
            (result, len(Run.open(folder).jobs)) for folder in folders if (result := read_result(folder))
        ]
        if not known:
            return {}
        return {
            "KB": sum(result["bytes"] for result, _ in known) / len(known) / 1000,
            "seconds": sum(result["seconds"] / count for result, count in known) / len(known),
            "at once": known[0][1],
        }


def main() -> None:
    """Teach, draw, measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--concepts", default="", metavar="A,B,...", help="else all")
    made.add_argument("--methods", default=",".join(methods.names()), metavar="A,B,...")
    made.add_argument("--seeds", type=numbers, default=(0, 1, 2), metavar="A,B,...", help="of the trainings")
    made.add_argument(
        "--out", type=Path, default=Path("suite-results"), metavar="FOLDER", help="where work is kept"
    )
    made.add_argument("--report", action="store_true", help="teach nothing: score what is there")
    given = parse(made)
    names, settings, sampler = given.methods.split(","), {}, Sampler()
    if given.smoke:
        settings, sampler, given.seeds = {"steps": 2, "prior_count": 2}, Sampler(steps=2), given.seeds[:2]
    base = likewise.load("pocket")
    folder = BUILT if BUILT.exists() else SHIPPED
    card = read_card(folder)
    chosen = subjects(folder, card, given.concepts.split(",") if given.concepts else [])
    if not chosen:
        made.error(f"--concepts: {given.concepts} is not in the suite")
    bench = Bench(base, identifier.pick(base), chosen, given.out, sampler, settings)
    bench.claim(card["id"])
    if not given.report:
        bench.work(names, given.seeds)
    judge = load("judge")
    found = bench.scored(judge, names, given.seeds)
    kinds = {
        kind: [s.name for s in chosen if (s.card["kind"] == "style") == (kind == "style")]
        for kind in ("object", "style")
    }
    trials = (*UNTAUGHT, *names, "references", "true pictures")
    costs = {name: bench.costs(name, given.seeds) for name in names}
    facts = {
        "suite": card["id"],
        "judge": judge.id,
        "base": base.fingerprint()[:12],
        "precision": base.precision,
    }
    finish("suite-concepts", per_concept(found, trials), {"axis": "subject", **facts}, write=given.write)
    finish("suite", table(found, trials, kinds, costs), facts, write=given.write)


if __name__ == "__main__":
    main()
