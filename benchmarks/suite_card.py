"""The suite's concepts as its frozen card has them: references, prompts, and the true pictures of each prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import ROOT
from likewise.comparison.protocol import noise_seed
from likewise.concept import Concept, slug

BUILT = ROOT / "workshop" / "build" / "suite"
CARD = ROOT / "workshop" / "suite.json"
SHIPPED = ROOT / "src" / "likewise" / "pocket" / "suite"


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
        key = {"asked": "prompt", "class": "class_prompt", "described": "described_prompt"}[kind]
        return [ask[key].replace("{token}", token) for ask in self.asks]

    @property
    def seeds(self) -> list[int]:
        """The seed of each prompt's noise, the same for every method and for prompts with and without the token."""
        return [noise_seed(slug(ask["class_prompt"]), 0) for ask in self.asks]

    def pictures(self) -> tuple[list[Image.Image], list[Image.Image]]:
        """References, and the true pictures prompt by prompt; `SystemExit` where one is not as the card has it."""
        references = [
            self.open(path) for path in sorted(self.card["pixels"]) if path.startswith("references")
        ]
        return references, [self.open(path) for ask in self.asks for path in ask["true"]]

    def open(self, path: str) -> Image.Image:
        """A picture of the frozen suite, RGB."""
        with Image.open(self.folder / path) as image:
            picture = image.convert("RGB")
        if hashlib.sha256(picture.tobytes()).hexdigest()[:24] != self.card["pixels"][path]:
            raise SystemExit(
                f"{self.folder / path} is not the suite's: build it again (python -m workshop.suite)"
            )
        return picture


def read_card(folder: Path) -> dict[str, Any]:
    """The shipped part has a card of its own."""
    path = folder / "card.json" if folder == SHIPPED else CARD
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def subjects(folder: Path, card: dict[str, Any], chosen: Sequence[str]) -> list[Subject]:
    """The suite's concepts, or those that are chosen, without what the demo shows, which lies beside them in the package."""
    found = [Subject(folder / entry["name"], entry) for entry in card["concepts"] if not entry.get("demo")]
    return [subject for subject in found if not chosen or subject.name in chosen]
