"""Protocol: what is the same for every condition: prompts, seeds, sampler, folds, and how verdicts are read.

The starting noise of a picture depends on its prompt and seed alone (common random numbers), so two conditions
draw from the same noise, and adding a prompt or a condition changes no other picture.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from likewise.base import Sampler
from likewise.comparison import results
from likewise.comparison.banks import UNNAMED, Prompt
from likewise.concept import article, plural, slug
from likewise.errors import RecipeError

MARGIN = 0.08
"""Differences up to this share of the way from the untaught base to real pictures are practically nothing. Two honest
reproductions of one method differ by as much (DreamBooth benchmark: 0.03 raw DINO)."""
ALPHA = 0.05
"""Risk of one false winner among all pairs."""
MOST_UNNAMED, MOST_UNNAMED_SEEDS = 5, 2
"""So many prompts, and pictures of each, are drawn without it: a tenth of a standard comparison's."""
PRIMARY = "composite"
"""The axis that the verdict is about."""


@dataclass(frozen=True)
class Protocol:
    """Everything that is held equal."""

    prompts: tuple[Prompt, ...]
    """What is drawn for the verdict. Development prompts are not among them."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the pictures of one prompt."""
    sampler: Sampler = field(default_factory=Sampler)
    replicates: int = 1
    """Trainings per method, each with a seed and a fold of its own."""
    size: str = "quick"
    kind: str = "object"
    """What the concept is: `object`, `live`, `person` or `style`."""
    kind_reason: str = ""
    """Why it is taken for that."""
    margin: float = MARGIN
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        if not any(prompt.role == "use" for prompt in self.prompts) or not self.seeds:
            raise RecipeError(
                "a comparison needs at least one prompt and one seed", "leave them out for the defaults"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise RecipeError(
                f"the seeds {list(self.seeds)} hold one twice", "each seed draws one picture per prompt"
            )
        if len({prompt.id for prompt in self.prompts}) < len(self.prompts):
            raise RecipeError("two prompts read the same", "each prompt must differ in its letters or digits")
        if not 0 < self.margin < 1:
            raise RecipeError(f"the margin {self.margin} is not between 0 and 1", "0.08 is customary")
        if self.replicates < 1:
            raise RecipeError(f"{self.replicates} trainings per method", "give 1 or more; 3 give a verdict")

    @property
    def texts(self) -> list[str]:
        """The texts of all prompts, with `{}`."""
        return [prompt.text for prompt in self.prompts]

    def of_role(self, *roles: str) -> dict[str, str]:
        """Prompt id -> text with `{}`, of the prompts that have one of these roles."""
        return {prompt.id: prompt.text for prompt in self.prompts if prompt.role in roles}

    def drawings(self, words: str, noun: str, *, exact: bool = False) -> list[Drawing]:
        """What is to be drawn, prompt by prompt and then by seed, with `words` in the place of `{}`.

        Prompts of the role `class` have the plain `noun` there. An article before the place follows the sound of the
        words, unless they are to stand `exact` as they were taught. Then some prompts come once more with the plain noun,
        from the same noise: without its word nothing that was taught should show.
        """
        named = [
            Drawing(prompt.id, text, noise_seed(prompt.id, seed))
            for prompt in self.prompts
            for text in [
                fill(prompt.text, noun) if prompt.role == "class" else fill(prompt.text, words, exact=exact)
            ]
            for seed in self.seeds
        ]
        return named + (self._unnamed(noun) if exact and words != noun else [])

    def _unnamed(self, noun: str) -> list[Drawing]:
        """Test prompts spread over the list, without the taught word."""
        tested = [prompt for prompt in self.prompts if (prompt.role, prompt.part) == ("use", "test")]
        return [
            Drawing(prompt.id + UNNAMED, fill(prompt.text, noun), noise_seed(prompt.id, seed))
            for prompt in tested[:: max(1, -(-len(tested) // MOST_UNNAMED))]
            for seed in self.seeds[:MOST_UNNAMED_SEEDS]
        ]

    def digest(self) -> str:
        """The digest of what every picture depends on."""
        prompts = [(prompt.id, prompt.text, prompt.role) for prompt in self.prompts]
        return results.digest(prompts, self.seeds, asdict(self.sampler))

    def to_json(self) -> dict[str, Any]:
        """The part of comparison.json that says what was held equal."""
        return {
            "prompts": [asdict(prompt) for prompt in self.prompts],
            "seeds": list(self.seeds),
            "sampler": asdict(self.sampler),
            "replicates": self.replicates,
            "size": self.size,
            "kind": self.kind,
            "kind_reason": self.kind_reason,
            "margin": self.margin,
            "alpha": self.alpha,
            "primary": PRIMARY,
        }


def own_prompts(texts: Sequence[str]) -> Iterator[Prompt]:
    """Prompts that a person wrote; raises `RecipeError` for one without exactly one `{}`."""
    for text in texts:
        if text.count("{}") != 1 or set("{}") & set(text.replace("{}", "")):
            raise RecipeError(
                f"the prompt {text!r} has no place for the concept", "write {} once: a {} on a beach"
            )
        yield Prompt(slug(text.replace("{}", " ")) or "plain", text, "place", "test", "use")


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
    """`template` with `words` for `{}`: "a {} at night" and "elephant" give "an elephant at night".

    `{}s` stands for several: "two {}s" and "mouse" give "two mice".
    """
    if exact:
        return template.replace("{}s", plural(words)).replace("{}", words)
    words = re.sub(r"^(?:an?|the)\s+", "", words.strip(), flags=re.IGNORECASE)
    named = re.sub(
        r"\b(a)n?(?= \{\})", lambda found: _like(found[0], article(words)), template, flags=re.IGNORECASE
    )
    return named.replace("{}s", plural(words)).replace("{}", words)


def _like(model: str, word: str) -> str:
    return word.capitalize() if model[0].isupper() else word
