"""Why no method takes a style on this base: what is changed one thing at a time, up to being shown the answer.

    python -m workshop.styling [--styles A,B,...] [--cases A,B,...] [--seeds A,B,...]

The suite's styles are taught by `CASES`, scored on the suite's twelve prompts as `benchmarks.suite` does: 0 is the untaught base, 1
are true pictures. A case changes the settings, the class pictures, what an adapter may change, or the pictures that are taught. `more` are
other things of the world in the same style, none of which a prompt asks for. `asked` are the very drawings that the prompts ask for, in
other places: the judge's and the base's own limit, which no method could pass on six pictures. Results go to `results/styling.jsonl`.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.suite_card import BUILT, Subject, read_card
from benchmarks.suite_scores import Scorer
from likewise import identifier, methods
from likewise.base import Base, Sampler
from likewise.cache import Cache
from likewise.concept import Concept
from likewise.families import load as load_base
from likewise.gallery import Gallery
from likewise.metrics.features import Features, read
from likewise.metrics.features import load as load_judge
from likewise.planning import job
from likewise.run import Run
from likewise.sampling import artifacts
from workshop import world
from workshop.common import POCKET, log_line, options, settle
from workshop.fetch import sources
from workshop.plan import COLOURS, SCENES, Plan, sentence
from workshop.rasterise import Art, code_names
from workshop.suite import REFERENCES, Studio, caption, placed, table

CROSS = {"backbone": r".*attn2\.to_[kv]"}
"""Keys and values of cross-attention alone, as Custom Diffusion and the web UI's hypernetworks change."""
CLASS = 32


@dataclass(frozen=True)
class Case:
    """One way of teaching a style; what is not said is as pocket advises."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    pictures: str = "six"
    """`six`: the suite's references. `more`: with all other things of the world that the style has. `asked`: with the answers."""
    things: bool = False
    """Whether the class pictures show many things in places, in place of the references' own things."""
    targets: dict[str, str] | None = None


LONG = {"steps": 900}
CASES = {
    "LoRA": Case("lora"),
    "LoRA, class pictures of things": Case("lora", things=True),
    "LoRA, no class pictures": Case("lora", {"prior": "none"}),
    "LoRA, keys and values alone": Case("lora", {"prior": "none"}, targets=CROSS),
    "LoRA, convolutions too": Case("lora", {"targets": "all"}, things=True),
    "hypernetwork, the web UI's rate": Case("hypernetwork", {"learning_rate": 2e-5, "steps": 1000}),
    "DreamBooth": Case("dreambooth"),
    "DreamBooth, class pictures of things": Case("dreambooth", things=True),
    "DreamBooth, no class pictures": Case("dreambooth", {"prior": "none"}),
    "DreamBooth, more things": Case("dreambooth", LONG, "more", things=True),
    "LoRA, more things": Case("lora", LONG, "more", things=True),
    "DreamBooth, the things asked for": Case("dreambooth", LONG, "asked", things=True),
    "LoRA, the things asked for": Case("lora", LONG, "asked", things=True),
}


class Atelier:
    """Pictures of one style, as the suite draws them."""

    def __init__(self, row: dict[str, Any], rows: dict[str, Any], folder: Path) -> None:
        self.row, self.rows, self.folder = row, rows, folder

    def references(self, kind: str) -> Path:
        """A folder of pictures with captions: the suite's six, and those that `Case.pictures` names."""
        place = self.folder / self.row["name"] / kind
        if place.is_dir():
            return place
        place.mkdir(parents=True)
        studio = Studio(self.row, self.rows, self.folder)
        drawings = dict(zip(studio.names, range(len(studio.names)), strict=True))
        count = len(REFERENCES) if kind == "six" else len(drawings)
        self._draw(studio, list(drawings)[:count], place)
        if kind == "more":
            for name in list(drawings)[len(REFERENCES) :]:
                for path in place.glob(f"*-{name}.*"):
                    path.unlink()
            other = self.row | {"name": self.row["name"] + "-more", "drawings": self._others()}
            more = Studio(other, self.rows, self.folder)
            self._draw(more, more.names, place, len(drawings))
        return place

    def _draw(self, studio: Studio, names: list[str], place: Path, first: int = 0) -> None:
        for k, name in enumerate(names):
            plan = placed(Plan(k, -1, 0), REFERENCES[k % len(REFERENCES)])
            Image.fromarray(studio.picture(plan, [7, first + k])).save(place / f"{first + k:02d}-{name}.png")
            (place / f"{first + k:02d}-{name}.txt").write_text(
                caption(self.row, plan, name), encoding="utf-8"
            )

    def _others(self) -> dict[str, str]:
        """The icons of things of the world that the suite's style does not have, by the thing's name."""
        art = Art(self.rows[self.row["package"]], code_names())
        found = {
            thing.name: next(
                (n for n in (art.names.get(c) for c in thing.codes) if n in art.book["icons"]), None
            )
            for thing in world.WORLDS["taught"].things
            if thing.name not in self.row["drawings"]
        }
        return {name: icon for name, icon in found.items() if icon}


def class_pictures(base: Base, place: Path) -> Path:
    """Things in places as the base draws them unguided, with captions."""
    if place.is_dir():
        return place
    place.mkdir(parents=True)
    rng, names = np.random.default_rng(7), sorted(world.TAUGHT | world.LATER)
    places = [*SCENES, *COLOURS]
    said = [
        sentence(placed(Plan(0, -1, 0), str(rng.choice(places))), str(rng.choice(names)))
        for _ in range(CLASS)
    ]
    for n, picture in enumerate(base.sample(said, list(range(CLASS)), Sampler(guidance=1))):
        picture.save(place / f"{n:02d}.png")
        (place / f"{n:02d}.txt").write_text(said[n], encoding="utf-8")
    return place


def taught(base: Base, case: Case, concept: Concept, seed: int, steps: dict[str, int], folder: Path) -> Path:
    """The run's folder, finished."""
    given = {**case.settings, **steps, "seed": seed, "checkpoint_every": 0}
    one = job(base, concept, case.method, given)
    for _ in Run(base.name, case.method, (one,), folder, cache=Cache(folder.parent / "cache")).start(
        base=base
    ):
        pass
    return folder


def measured(
    base: Base,
    judge: Features,
    subject: Subject,
    atelier: Atelier,
    case: Case,
    seed: int,
    out: Path,
    short: bool,
) -> dict[str, float | None]:
    """Teach, draw and score one case."""
    shutil.rmtree(out, ignore_errors=True)
    token, steps = identifier.pick(base), {"steps": 2} if short else {}
    sampler = Sampler(steps=2) if short else Sampler()
    own = class_pictures(base, atelier.folder / "class") if case.things else None
    kept, source = type(base).target_sets, atelier.references(case.pictures)
    concept = Concept.read(source, token=token, noun="style", class_pictures=own)
    if case.targets:
        type(base).target_sets = {**kept, "attention": case.targets}
    try:
        floor = Gallery(out / "floor")
        _draw(base, floor, subject.texts("class", token), subject.seeds, sampler)
        with methods.get(case.method).restore(
            base, artifacts(taught(base, case, concept, seed, steps, out / "run"))
        ):
            drawn = Gallery(out / "drawn")
            _draw(base, drawn, subject.texts("asked", token), subject.seeds, sampler)
    finally:
        type(base).target_sets = kept
    return Scorer(judge, subject, floor).asked(read(judge, drawn.images("asked")))


def _draw(base: Base, gallery: Gallery, texts: list[str], seeds: list[int], sampler: Sampler) -> None:
    for picture, text, seed in zip(base.sample(texts, seeds, sampler), texts, seeds, strict=True):
        gallery.add(picture, text, seed, "asked")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = options(__doc__, smoke="two steps of one style and case")
    parser.add_argument("--model", type=Path, default=POCKET / "model")
    parser.add_argument("--styles", help="else all")
    parser.add_argument("--cases", help="numbers from 0, else all")
    parser.add_argument("--seeds", default="0")
    return settle(parser, argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    rows = {row["package"]: row for row in sources("suite_sources.toml")}
    rows |= {row["package"]: row for row in sources() if row["package"] not in rows}
    base, judge = load_base(str(args.model)), load_judge("judge")
    styles = [row for row in table()["concept"] if row["kind"] == "style"]
    wanted = args.styles.split(",") if args.styles else [row["name"] for row in styles]
    numbers = [int(n) for n in args.cases.split(",")] if args.cases else range(len(CASES))
    cases = [list(CASES.items())[n] for n in numbers][: 1 if args.smoke else None]
    card = {entry["name"]: entry for entry in read_card(BUILT)["concepts"]}
    for row in [row for row in styles if row["name"] in wanted][: 1 if args.smoke else None]:
        atelier = Atelier(row, rows, args.folder / "styling")
        subject = Subject(BUILT / row["name"], card[row["name"]])
        for title, case in cases:
            for seed in (int(one) for one in args.seeds.split(",")):
                out = args.folder / "styling" / f"work-{row['name']}"
                found = measured(base, judge, subject, atelier, case, seed, out, args.smoke)
                known = {name: round(value, 3) for name, value in found.items() if value is not None}
                log_line(args.folder / "styling.jsonl", style=row["name"], case=title, seed=seed, **known)


if __name__ == "__main__":
    main()
