"""Prompts: texts for a text tower. Whether one says a word, how one is cut to what a tower reads, and what in one only other
programs understand.

No torch and no tokenizer here: whether a text fits is asked of whoever knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

WEIGHTS = (
    (r"<(?:lora|lyco|hypernet):[^<>]*>", "a file is put on with --with RUN:STRENGTH"),
    (r"\([^()]*:\s*\d*\.?\d+\s*\)", "weights of words are not known here"),
    (r"\[[^\[\]]*[:|][^\[\]]*\]", "words that change while drawing are not known here"),
    (r"\[[^\[\]]+\]|\(+[^()]+\)+[+-]*[\d.]*", "brackets give no weight here"),
    (r"(?<=\w\w)[+-]{2,}(?!\w)", "signs give no weight here"),
    (r"(?<=\s)AND(?=\s)|\bBREAK\b", "prompts are not joined here"),
    (r"\{[^{}]*\|[^{}]*\}|__[\w/-]+__", "wildcards are not filled in here"),
    (r"\bembedding:\S+", "an embedding is put on with --with and called by its word"),
    (r"(?<=\s)--?[a-z][\w-]*(?:\s|=|$)", "options stand outside the quotes"),
)
"""What other programs read in a prompt, as expressions, and what to know about it here."""


def says(word: str, text: str) -> bool:
    """Whether `text` holds `word` as a word of its own. The case does not matter, as towers read in lower case."""
    return bool(re.search(whole(word), text, re.IGNORECASE))


def spelled(word: str, text: str) -> str:
    """`text` with every `word` in the case that it has there."""
    return re.sub(whole(word), lambda _: word, text, flags=re.IGNORECASE)


def whole(word: str) -> str:
    """The pattern of `word` as a word of its own, whatever blanks are in it."""
    inner = r"\s+".join(map(re.escape, word.split()))
    return rf"(?<!\w){inner}(?!\w)"


def shorten(text: str, keep: Sequence[str], fits: Callable[[str], bool]) -> str:
    """As much of `text` from its beginning as `fits`, and in any case the first of each of the words `keep` that it holds.

    The cut is between words where there are any, and a phrase that it breaks does not run into what is kept. What is kept
    may not fit even alone; then that is what comes back.
    """
    if fits(text):
        return text
    segments = _segments(text, keep)
    least, most = 0, sum(len(part) for part, kept in segments if not kept)
    while least < most:
        middle = (least + most + 1) // 2
        if fits(_take(segments, middle)):
            least = middle
        else:
            most = middle - 1
    return next(
        (shorter for count in range(least, -1, -1) if fits(shorter := _take(segments, count))),
        " ".join(" ".join(text for text, kept in segments if kept).split()),
    )


def _segments(text: str, keep: Sequence[str]) -> list[tuple[str, bool]]:
    """The text in pieces, and whether each is kept. Each wish is granted where it is met first."""
    kept = [False] * len(text)
    for word in keep:
        if word and (found := re.search(whole(word), text, re.IGNORECASE)):
            kept[found.start() : found.end()] = [True] * (found.end() - found.start())
    pieces: list[tuple[str, bool]] = []
    for letter, stays in zip(text, kept, strict=True):
        if pieces and pieces[-1][1] == stays:
            pieces[-1] = (pieces[-1][0] + letter, stays)
        else:
            pieces.append((letter, stays))
    return pieces


def _take(segments: Sequence[tuple[str, bool]], count: int) -> str:
    """The first `count` letters of what need not be kept, cut between words, among what must be."""
    parts: list[str] = []
    for number, (text, kept) in enumerate(segments):
        if kept or len(text) <= count:
            parts.append(text)
        else:
            begun = _whole_words(text, count)
            last = number == len(segments) - 1
            parts.append(begun if last else _ended(begun, text, first=number == 0))
        count -= 0 if kept else min(count, len(text))
    return " ".join("".join(parts).split())


def _ended(begun: str, text: str, *, first: bool) -> str:
    """What is left of `text` before a kept word, so that this word stands alone: up to a comma, or with one put after it.

    Two kept words of one phrase, such as token and noun, stay in it.
    """
    if not text[len(begun) :].strip():
        return begun + " "
    if commas := list(_COMMA.finditer(begun)):
        return begun[: commas[-1].end()] + " "
    parted = begun.strip() if first else _COMMA.search(text)
    return f"{begun.rstrip()}, " if parted else f"{begun} "


_COMMA = re.compile("[,，、]")


LONGEST_WORD = 24
"""Longer ones are torn: in some scripts a whole sentence has no blank."""


def _whole_words(text: str, count: int) -> str:
    """The first `count` letters, less a word that would be torn."""
    begun = re.search(r"\S*$", text[:count])
    rest = re.match(r"\S*", text[count:])
    assert begun is not None  # both match nothing at least
    assert rest is not None
    torn = begun[0] and rest[0] and len(begun[0]) + len(rest[0]) <= LONGEST_WORD
    return text[: begun.start()] if torn else text[:count]


def foreign(prompt: str) -> list[str]:
    """A sentence for each kind of thing in `prompt` that other programs would act on and that is read as letters here."""
    found: list[str] = []
    rest = prompt
    for pattern, advice in WEIGHTS:
        match = re.search(pattern, rest)
        if match:
            found.append(f"{match[0].strip()[:40]!r} in the prompt is read as letters; {advice}")
            rest = re.sub(pattern, " ", rest)
    return found
