"""Why Textual Inversion loses a thing that the base draws in a way of its own: a vague word has the least error.

    python -m workshop.hedging [--model FOLDER]

The error is that of the denoiser on the bundled cat's pictures, whose captions say where the cat is, for words in the place of the
concept: the noun, its description, another thing, no thing at all, and vectors that are taught from each start, with steps of several
sizes. All share pictures, noise and levels. `guided` is the error of the answer that pictures are drawn with, beyond the empty prompt's by
the base's own guidance. Of two toys of `candidates.toml` words alone are measured, and what they draw: likeness to the true pictures, 0
for the noun. Results go to `results/hedging.jsonl`.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.suite_card import Subject
from benchmarks.suite_scores import Scorer
from likewise import identifier, methods
from likewise.base import Base, Sampler
from likewise.concept import Concept
from likewise.families import load as load_base
from likewise.gallery import Gallery
from likewise.materials import square
from likewise.metrics.features import load as load_judge
from likewise.metrics.features import read
from likewise.planning import settle as settled
from likewise.run import Run
from likewise.sampling import artifacts
from likewise.stack import Job
from workshop.candidates import concepts
from workshop.common import POCKET, log_line, options, settle
from workshop.suite import build

CAT = POCKET / "concepts" / "cat"
WORDS = ("cat", "orange cat", "dog", "thing")
TOYS = ("purple-duck", "green-rocket")
TAUGHT: dict[str, dict[str, Any]] = {
    "from the noun": {"learning_rate": 7.5e-4, "vectors": 4, "steps": 125},
    "from the noun, small steps": {"learning_rate": 3e-4, "vectors": 1, "steps": 250, "norm_pull": False},
    "from nothing": {
        "initialiser": "zeros",
        "norm_pull": False,
        "learning_rate": 1.5e-3,
        "vectors": 2,
        "steps": 250,
    },
    "from orange": {
        "initialiser": "orange",
        "norm_pull": False,
        "learning_rate": 3e-4,
        "vectors": 1,
        "steps": 125,
    },
}
SEED, BATCH = 1, 64


class Ruler:
    """The error of the denoiser on some pictures for whatever stands in the place of the concept."""

    def __init__(self, base: Base, pictures: list[Image.Image], captions: list[str], draws: int) -> None:
        """Each picture is looked at `draws` times, every time with noise and a level of its own; `{}` in a caption is for the words."""
        self.base, self.captions = base, captions
        clean, _ = base.encode_images(torch.stack([square(picture, base.resolution) for picture in pictures]))
        random = torch.Generator().manual_seed(SEED)
        self.rows = torch.arange(len(pictures)).repeat(draws)
        self.clean = clean[self.rows]
        self.noise = torch.randn(self.clean.shape, generator=random)
        self.levels = base.objective.draw_levels(len(self.rows), random, base.tokens(self.clean.shape))

    @torch.no_grad()
    def error(self, words: str) -> dict[str, float]:
        """The mean squared error, of all and of the noisier half, and that of the guided answer."""
        given = self.base.encode_prompts([caption.replace("{}", words) for caption in self.captions])
        empty = self.base.encode_prompts([""], negative=True)
        parts: list[Tensor] = []
        guided: list[Tensor] = []
        for rows in torch.arange(len(self.rows)).split(BATCH):
            clean, noise, levels = self.clean[rows], self.noise[rows], self.levels[rows]
            objective = self.base.objective
            noisy = objective.corrupt(clean, noise, levels)
            answer = self.base.denoise(noisy, levels, given.pick(self.rows[rows]))
            plain = self.base.denoise(noisy, levels, empty.pick([0] * len(rows)))
            target = objective.target(clean, noise, levels)
            parts.append((answer.float() - target).square().flatten(1).mean(1))
            drawn_with = self.base.combine(answer.float(), plain.float(), self.base.guidance)
            guided.append((drawn_with - target).square().flatten(1).mean(1))
        every, noisier = torch.cat(parts), self.levels >= self.levels.median()
        return {
            "error": float(every.mean()),
            "noisier half": float(every[noisier].mean()),
            "guided": float(torch.cat(guided).mean()),
        }


def toys(folder: Path, base: Base, names: Sequence[str], draws: int) -> Iterator[dict[str, Any]]:
    """A row for each toy and for words in its place: their errors, and the likeness of what they draw."""
    judge, token = load_judge("judge"), identifier.pick(base)
    every, packages = concepts()
    for entry in (one for one in every if one["name"] in names):
        card = build(entry, packages, folder / "candidates")
        subject = Subject(folder / "candidates" / entry["name"], card)
        taught, noun, colour = subject.concept(token), entry["noun"], entry["description"].split()[0]
        captions = [one.caption or "" for one in taught.examples]
        ruler = Ruler(base, [one.open() for one in taught.examples], captions, draws)

        def drawn(words: str, subject: Subject = subject, noun: str = noun) -> list[Image.Image]:
            asked = [text.replace(f"{token} {noun}", words) for text in subject.texts("asked", token)]
            return list(base.sample(asked, subject.seeds, Sampler()))

        with tempfile.TemporaryDirectory() as place:
            floor = Gallery(Path(place))
            for picture, text, seed in zip(
                drawn(noun), subject.texts("class", token), subject.seeds, strict=True
            ):
                floor.add(picture, text, seed, "asked")
            scorer = Scorer(judge, subject, floor)
        for words in (noun, f"{colour} {noun}", entry["description"], "thing", f"{colour} thing", "dog"):
            likeness = scorer.asked(read(judge, drawn(words)))["subject"]
            yield {"concept": entry["name"], "words": words, **ruler.error(words), "likeness": likeness}


def main(argv: list[str] | None = None) -> None:
    """Measure words, teach vectors and measure them."""
    parser = options(__doc__, smoke="two draws of each picture, two steps")
    parser.add_argument("--model", type=Path, default=POCKET / "model")
    args = settle(parser, argv)
    base = load_base(str(args.model))
    noun = tomllib.loads((CAT / "concept.toml").read_text(encoding="utf-8"))["noun"]
    cat = Concept.read(CAT, token="sks", noun=noun)
    captions = [one.caption or "" for one in cat.examples]
    ruler = Ruler(base, [one.open() for one in cat.examples], captions, 2 if args.smoke else 64)
    place = args.folder / "hedging.jsonl"
    for words in WORDS:
        log_line(place, words=words, **ruler.error(words))
    method = methods.get("textual_inversion")
    for title, settings in TAUGHT.items():
        given = settings | ({"steps": 2} if args.smoke else {})
        with tempfile.TemporaryDirectory() as folder:
            recipe = settled(base, method.name, given)
            for _ in Run(base.name, method.name, (Job(cat, recipe),), Path(folder) / "run").start(base=base):
                pass
            with method.restore(base, artifacts(Path(folder) / "run")):
                log_line(place, words=f"taught {title}", **ruler.error(cat.prompt().removeprefix("a ")))
    for row in toys(args.folder, base, TOYS[:1] if args.smoke else TOYS, 1 if args.smoke else 16):
        log_line(place, **row)


if __name__ == "__main__":
    main()
