"""Prompt following: whether the picture shows what the prompt asked for, besides the subject.

With a judge that has heads, the prompt's own words are looked up in the judge's phrases ("on a beach" is
scene: beach) and the share that the picture shows is the score. With features that read text it is CLIP-T:
the cosine with the prompt, its placeholder removed and the noun kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from likewise.metrics.score import Evidence, Score, of_pictures


@dataclass(frozen=True)
class PromptFollowing:
    """Share of the prompt's checkable words that are seen, or CLIP-T."""

    name: str = "prompt"
    title: str = "Follows the prompt"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = "How often the picture shows the place, colour or number that the prompt names."
    place: int = 1
    reads: Literal["pictures", "prompts"] = "prompts"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"prompt-following-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where no prompt names anything that can be checked."""
        if evidence.drawn.labels:
            return _by_heads(evidence)
        return _by_text(evidence) if evidence.wordings else None


METRIC = PromptFollowing()


def ceiling(
    templates: Mapping[str, str], phrases: Mapping[str, Mapping[str, str]], right: Mapping[str, float]
) -> Score | None:
    """What true pictures of these prompts would get: as much as the heads that check them are right.

    `right` is each head's share on true pictures; there is no interval. None where nothing can be checked.
    """
    asked = [clauses for text in templates.values() if (clauses := wanted(text, phrases))]
    shares = [fmean(math.prod(right.get(head, 1.0) for head in clause) for clause in few) for few in asked]
    return Score(fmean(shares), None, None, len(shares)) if shares and right else None


def wanted(template: str, phrases: Mapping[str, Mapping[str, str]]) -> list[Mapping[str, str]]:
    """What `template` asks for: the clauses of the longest matching phrases.

    A phrase uses up its words, so that "on a purple background" does not also ask for a purple thing. The
    concept's own words are no part of the template and cannot match.
    """
    text = template.replace("{}", " ").lower()
    found = []
    for phrase in sorted(phrases, key=lambda p: (-len(p), p)):
        pattern = rf"(?<!\w){re.escape(phrase.lower())}(?!\w)"
        if re.search(pattern, text):
            found.append(phrases[phrase])
            text = re.sub(pattern, " ", text)
    return found


def _by_heads(evidence: Evidence) -> Score | None:
    asked = {prompt: wanted(text, evidence.phrases) for prompt, text in evidence.templates.items()}
    drawn = evidence.drawn
    prompts, values = [], []
    for prompt, seen, bad in zip(evidence.prompts, drawn.labels, drawn.failed, strict=True):
        if asked[prompt]:
            prompts.append(prompt)
            values.append(0.0 if bad else _share(asked[prompt], seen))
    left_out = len(set(evidence.prompts) - set(prompts))
    return of_pictures(prompts, values, (0.0, 1.0), left_out) if prompts else None


def _share(asked: Sequence[Mapping[str, str]], seen: Mapping[str, str]) -> float:
    kept = [all(seen.get(head) == label for head, label in clause.items()) for clause in asked]
    return sum(kept) / len(kept)


def _by_text(evidence: Evidence) -> Score:
    drawn = evidence.drawn
    values = []
    for vector, prompt, bad in zip(drawn.vectors, evidence.prompts, drawn.failed, strict=True):
        cosine = float(vector @ evidence.wordings[prompt])
        values.append(min(cosine, 0.0) if bad else cosine)
    return of_pictures(evidence.prompts, values, (-1.0, 1.0))
