"""Short real trainings on the bundled base, and what the bundled judge sees of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from likewise.base import Base, Sampler
from likewise.comparison import concluding
from likewise.comparison.comparison import Comparison
from likewise.comparison.concluded import read_verdict
from likewise.comparison.preparing import prepare
from likewise.comparison.protocol import fill, noise_seed
from likewise.comparison.results import Results
from likewise.comparison.standing import Standing
from likewise.comparison.verdicts import Decision
from likewise.gallery import Gallery
from likewise.metrics.features import Features, Panel, read
from likewise.metrics.score import Evidence, Reading
from tests.metrics.drawings import POCKET

TOKEN = "sks"
SAMPLER = Sampler(steps=10)
SEEDS = (0, 1)
PROMPTS = ("a {} on a beach", "a {} in the snow", "a {} at night", "a {} on a purple background")
CLASS = ("class-alone", "class-road")
"""Prompts of the role `class` that are drawn: two of four are enough to see a class move."""
TAUGHT = 4
"""Pictures that are taught; the others are held out."""


def pictures(subject: str, *true: str) -> list[Path]:
    """The six references of a concept of the suite, and of its true pictures those that are named."""
    folder = POCKET / "suite" / subject
    return [*sorted((folder / "references").glob("*.png")), *(folder / "true" / f"{n}.png" for n in true)]


_HOME = tempfile.TemporaryDirectory(prefix="likewise-taught-")  # for as long as the tests run


def bare(shown: Sequence[Path]) -> list[Path]:
    """Copies of pictures, without the captions that lie beside them: without any, too many steps show in the prompts."""
    folder = Path(tempfile.mkdtemp(dir=_HOME.name))
    placed = [folder / path.relative_to(POCKET / "suite") for path in shown]  # names decide what is held out
    for path, place in zip(shown, placed, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return placed


@dataclass
class Bench:
    """A finished comparison, as the page of a person would have it, and what else can be asked of its base."""

    comparison: Comparison
    base: Base
    judge: Features

    @classmethod
    def compare(
        cls,
        base: Base,
        judge: Features,
        shown: Sequence[Path],
        out: Path,
        /,
        *,
        plain: bool = True,
        **wish: Any,
    ) -> Bench:
        """Prepare a comparison, with less drawn for the class than usual, and do it. `plain` draws the class at all."""
        settings = {"token": TOKEN, "sampler": SAMPLER, "seeds": SEEDS, "hold_out": len(shown) - TAUGHT}
        made = prepare(
            [str(path) for path in shown], base=base, out=out, **{**settings, "prompts": PROMPTS, **wish}
        )
        kept = [one for one in made.protocol.prompts if one.role == "use" or (plain and one.id in CLASS)]
        made.protocol, made.alone = replace(made.protocol, prompts=tuple(kept)), False
        return cls(made, base, judge).done()

    def done(self) -> Bench:
        """Do what is pending."""
        for _ in self.comparison.start(judges=Panel(self.judge, self.judge)):
            pass
        failed = [row.reason for row in self.comparison.rows() if row.status == "failed"]
        assert not failed, failed
        return self

    @property
    def folder(self) -> Path:
        return self.comparison.folder

    @property
    def frame(self) -> concluding.Frame:
        """The values and their scale."""
        return concluding.frame(self.folder)

    def standings(self) -> dict[str, Standing]:
        """What verdict.json says of every condition."""
        return {one.name: one for one in read_verdict(self.folder)[0]}

    def decide(self, axis: str) -> Decision:
        return self.frame.decide(axis)

    def likeness(self, name: str) -> float:
        """From the untaught base, 0, to real pictures, 1."""
        return self.standings()[name].axes["fidelity"].value

    def file(self, name: str) -> Path:
        """What the first training of a condition left."""
        rows = {row.condition: row.trial for row in Results(self.folder).rows()}
        return next((self.folder / "trials" / rows[name] / "run").glob("*.safetensors"))

    def gallery(self, trial: str) -> Gallery:
        return Gallery(self.folder / "trials" / trial / "gallery")

    def uses(self, trial: str) -> list[Image.Image]:
        """What a trial drew for the prompts, in the order of `draw`."""
        gallery = self.gallery(trial)
        return [gallery.open(one) for one in gallery if one.role in self._templates]

    def texts(self, words: str) -> list[str]:
        """The prompts with `words` in them, one for each picture."""
        return [fill(text, words) for text in self._templates.values() for _ in SEEDS]

    def draw(self, words: str) -> list[Image.Image]:
        """The comparison's prompts with `words` in them and its noise, with whatever is attached to the base."""
        seeds = [noise_seed(name, seed) for name in self._templates for seed in SEEDS]
        return list(self.base.sample(self.texts(words), seeds, SAMPLER))

    def evidence(self, drawn: Sequence[Image.Image] | Reading) -> Evidence:
        """What metrics are given of pictures that `draw` drew."""
        seen = drawn if isinstance(drawn, Reading) else read(self.judge, drawn)
        names = tuple(name for name in self._templates for _ in SEEDS)
        return Evidence(seen, names, self._templates, *self.real(), self.judge.phrases)

    def real(self) -> tuple[Reading, Reading]:
        """The pictures that were taught first, and those that were held out then."""
        fold, every = self.comparison.folds[0], self.comparison.concept.examples
        taught, kept = (
            read(self.judge, [every[place].open() for place in part]) for part in (fold.train, fold.held_out)
        )
        return taught, kept

    @property
    def _templates(self) -> dict[str, str]:
        return self.comparison.protocol.of_role("use")


def pixels(pictures: Sequence[Image.Image]) -> list[bytes]:
    return [picture.tobytes() for picture in pictures]
