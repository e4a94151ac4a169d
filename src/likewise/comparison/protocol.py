"""Protocol: what is the same for every method: prompts, seeds, sampler, how many pictures are held out.

The starting noise of a picture depends on its prompt and seed alone (common random numbers), so two methods
draw from the same noise, and adding a prompt or a method changes no other picture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from likewise.base import Sampler
from likewise.comparison import results
from likewise.concept import article, slug
from likewise.errors import RecipeError

POCKET_PROMPTS = (
    "a {} on a beach",
    "a {} in the snow",
    "a {} in space",
    "a {} in the mountains",
    "a {} at night",
    "a {} under water",
    "a {} on a purple background",
    "a small {} in a city",
)
"""Places and colours that the pocket model knows and its judge can check."""
PROMPTS = (
    "a photo of a {} on a beach",
    "a photo of a {} in the snow",
    "a photo of a {} in the jungle",
    "a photo of a {} on a cobblestone street",
    "a photo of a {} on top of a wooden floor",
    "a photo of a {} with a city in the background",
    "a {} seen from the top",
    "a watercolor painting of a {}",
)
"""Places, a view and an art style, after the DreamBooth benchmark's kinds of prompts."""


@dataclass(frozen=True)
class Protocol:
    """Everything that is held equal."""

    prompts: tuple[str, ...]
    """Texts with one `{}` each, where the concept goes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    sampler: Sampler = field(default_factory=Sampler)
    hold_out: int | None = None
    """Pictures kept from training; empty for as many as the number of pictures asks for."""
    methods: tuple[str, ...] = ()
    """Empty: every method there is."""
    description: str | None = None
    """A careful description of the subject: what the untrained base makes of mere words."""

    def __post_init__(self) -> None:
        for text in self.prompts:
            if text.count("{}") != 1 or "{" in text.replace("{}", ""):
                raise RecipeError(
                    f"the prompt {text!r} has no place for the concept", "write {} once: a {} on a beach"
                )
        if not self.prompts or not self.seeds:
            raise RecipeError(
                "a comparison needs at least one prompt and one seed", "leave them out for the defaults"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise RecipeError(
                f"the seeds {list(self.seeds)} hold one twice", "each seed draws one picture per prompt"
            )
        if len(self.templates) < len(self.prompts):
            raise RecipeError("two prompts read the same", "each prompt must differ in its letters or digits")

    @classmethod
    def default(cls, base: str, **changes: Any) -> Protocol:
        """The standard protocol for a base, with any field replaced."""
        prompts = POCKET_PROMPTS if base == "pocket" else PROMPTS
        return cls(**{"prompts": prompts, **changes})

    @property
    def templates(self) -> dict[str, str]:
        """Prompt id -> text with `{}`."""
        return {slug(text.replace("{}", " ")) or "plain": text for text in self.prompts}

    def rows(self, words: str, *, exact: bool = False) -> list[Drawing]:
        """What is to be drawn, prompt by prompt and then by seed, with `words` in the place of `{}`.

        An article before the place follows the sound of `words`, unless they are to stand `exact` as they
        were taught.
        """
        return [
            Drawing(name, fill(text, words, exact=exact), noise_seed(name, seed))
            for name, text in self.templates.items()
            for seed in self.seeds
        ]

    def digest(self) -> str:
        """The digest of what every picture depends on. Methods and the description belong to single trials."""
        return results.digest(self.prompts, self.seeds, asdict(self.sampler), self.hold_out)

    def to_json(self) -> Mapping[str, Any]:
        """The part of comparison.json that says what was held equal."""
        return {
            "prompts": [{"id": name, "text": text} for name, text in self.templates.items()],
            "seeds": list(self.seeds),
            "sampler": asdict(self.sampler),
        }


@dataclass(frozen=True)
class Drawing:
    """One picture to be drawn: the prompt's id, its full text, and the seed of its noise."""

    id: str
    text: str
    seed: int


def noise_seed(prompt: str, seed: int) -> int:
    """The seed of the starting noise: stable, and small enough for any reader of JSON."""
    return int.from_bytes(hashlib.sha256(f"{prompt}/{seed}".encode()).digest()[:4], "little") >> 1


def fill(template: str, words: str, *, exact: bool = False) -> str:
    """`template` with `words` for `{}`: "a {} at night" and "elephant" give "an elephant at night"."""
    if exact:
        return template.replace("{}", words)
    words = re.sub(r"^(?:an?|the)\s+", "", words.strip(), flags=re.IGNORECASE)
    named = re.sub(
        r"\b(a)n?(?= \{\})", lambda found: _like(found[0], article(words)), template, flags=re.IGNORECASE
    )
    return named.replace("{}", words)


def _like(model: str, word: str) -> str:
    return word.capitalize() if model[0].isupper() else word
