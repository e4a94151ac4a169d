"""Concept: the pictures, captions, token and noun to be taught, as plain data.

What a folder or zip holds is worked out in `intake.py`, how a picture is decoded in `picture.py`. No torch
here: commands that only look at a concept must start in a blink.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from PIL import ImageColor

from likewise import intake
from likewise.errors import ConceptError
from likewise.picture import Example
from likewise.prompt import says, spelled, whole

_PLACES = r"\[(?:trigger|name|filewords)\]|\{\}"
"""Where ai-toolkit, the web UI and likewise itself put the concept into a caption."""


Groups = Sequence[Sequence[int]]
"""Positions of pictures that stay on one side of every split, in the order in which they are held out."""


@dataclass(frozen=True)
class Fold:
    """One way to split a concept's pictures: positions in reading order, rising."""

    number: int
    train: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Concept:
    """What is to be learned: pictures with captions, the token that calls it and the noun it is."""

    name: str
    """Slug for folders."""
    token: str
    """What prompts say: `sks`."""
    noun: str
    """What it is: `dog`."""
    examples: tuple[Example, ...]
    held_out: tuple[Example, ...] = ()
    """Kept from training, for judging."""
    background: str = "white"
    """What transparency was laid on; set on every example."""
    class_pictures: tuple[Example, ...] = ()
    """Own pictures of the class, for a prior of `pictures`; never learned as the concept."""
    groups: Groups = field(default=(), compare=False)
    """Near-duplicates by position, where all pictures were read as `examples`; empty once they are split."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", check_token(self.token))
        object.__setattr__(self, "noun", _check_noun(self.noun))
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            hint = "use a name such as white, or #rrggbb"
            raise ConceptError(f"{self.background!r} is not a colour to lay transparency on", hint) from None
        for part in PARTS:
            laid = tuple(replace(example, background=self.background) for example in getattr(self, part))
            object.__setattr__(self, part, laid)

    def prompt(self) -> str:
        """`a sks dog`, as DreamBooth words it."""
        return f"a {self.token} {self.noun}"

    def class_prompt(self) -> str:
        """`a dog`: any of its kind."""
        return f"{article(self.noun)} {self.noun}"

    @property
    def words(self) -> tuple[str, ...]:
        """What a caption may not lose when it is cut: `sks dog`, or else `sks` and `dog`."""
        return (f"{self.token} {self.noun}", self.token, self.noun)

    def caption(self, example: Example) -> str:
        """One line that always holds the token: placeholders filled, or `sks dog, ` put in front.

        A token in another case is the token, and gets the concept's spelling.
        """
        called = f"{self.token} {self.noun}"
        # "[trigger] dog", as ai-toolkit writes it, must not become "sks dog dog".
        places = rf"(?:{_PLACES})(?:\s+{re.escape(self.noun)}(?!\w))?"
        text = re.sub(places, lambda _: called, example.caption or "", flags=re.IGNORECASE)
        text = " ".join(text.split())
        if not text:
            return self.prompt()
        return spelled(self.token, text) if says(self.token, text) else f"{called}, {text}"

    def of_class(self, caption: str) -> str:
        """A trained caption, said of any of the class: `a dog in a garden` for `a sks dog in a garden`.

        A token that stands alone becomes the noun, unless the noun is said elsewhere: `a sks toy dog` becomes `a toy dog`.
        """
        one, many = (rf"{re.escape(word)}(?!\w)" for word in (self.noun, plural(self.noun)))
        called = rf"((?<!\w)an?\s+)?{whole(self.token)}(?:\s+(?:({many})|({one})))?"
        said = bool(re.search(rf"(?<!\w)(?:{many}|{one})", caption, re.IGNORECASE))

        def any_of_them(found: re.Match[str]) -> str:
            before, several, single = found.groups()
            if several or (said and not single):
                return f"{before or ''}{several or ''}"
            noun = single or self.noun
            if before is None:
                return noun
            return f"{before[0]}{article(noun)[1:]} {noun}"

        return " ".join(re.sub(called, any_of_them, caption, flags=re.IGNORECASE).split())

    def class_prompts(self) -> tuple[str, ...]:
        """What drawn class pictures show: the class wherever the captions have the concept; `a dog` where there are none."""
        found = dict.fromkeys(self.of_class(self.caption(example)) for example in self.examples)
        return tuple(found) or (self.class_prompt(),)

    def class_caption(self, example: Example) -> str:
        """The caption of a class picture; `a dog` where it has none, or one that would call the concept."""
        text = " ".join((example.caption or "").split())
        if not text or says(self.token, text) or re.search(_PLACES, text, re.IGNORECASE):
            return self.class_prompt()
        return text

    @classmethod
    def read(
        cls,
        source: str | Path | Sequence[str | Path],
        *,
        token: str,
        noun: str,
        hold_out: int | None = 0,
        seed: int = 0,
        background: str = "white",
        class_pictures: intake.Source | None = None,
    ) -> Self:
        """Read whatever `source` holds; keep `hold_out` pictures for judging (None: as the protocol says).

        Near-duplicates stay on one side, so fewer may be kept. The choice depends on names and `seed` alone.
        `class_pictures` names a place of pictures of the class, besides those that `source` has in a folder such as `reg`.
        Raises ConceptError when nothing is usable or `hold_out` cannot be met.
        """
        token, noun = check_token(token), _check_noun(noun)
        found = intake.read(source, class_pictures)
        examples = _digested(found.renamed(token, noun))
        groups = _groups(found.names, found.duplicates, seed)
        whole = cls(
            name=slug(found.title) or slug(f"{token} {noun}") or "concept",
            token=token,
            noun=noun,
            examples=examples,
            background=background,
            class_pictures=_digested(found.class_pictures),
            groups=groups,
        )
        held = choose_held_out(groups, hold_out)
        return whole.fold(split(groups, held)) if held else whole

    def fold(self, fold: Fold) -> Self:
        """The same concept with some of its `examples` held out. Raises ConceptError unless it was read whole."""
        if self.held_out or sorted((*fold.train, *fold.held_out)) != list(range(len(self.examples))):
            hint = "read it with hold_out=0, and plan its folds from its own groups"
            raise ConceptError(f"fold {fold.number} does not split the pictures of {self.name}", hint)
        train, held = (tuple(self.examples[i] for i in part) for part in (fold.train, fold.held_out))
        return replace(self, examples=train, held_out=held, groups=())

    def digest(self) -> str:
        """sha256 over all that training sees: bytes, captions, repeats, split, token, noun, background, class pictures.

        Nothing of it depends on where the pictures lie or what their files are called.
        """
        parts = [self.token, self.noun, self.background, str(len(self.examples))]
        for example in (*self.examples, *self.held_out):
            parts += [example.digest(), self.caption(example), str(example.repeats)]
        for example in self.class_pictures:
            parts += ["class", example.digest(), self.class_caption(example), str(example.repeats)]
        # Each part with its length, so that "ab" + "c" and "a" + "bc" differ.
        return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`. Holds absolute paths: for the run folder only.

        A picture whose bytes were looked at has their `sha256`, by which it is known again elsewhere.
        """
        head: dict[str, Any] = {
            "name": self.name,
            "token": self.token,
            "noun": self.noun,
            "background": self.background,
        }
        rows = {part: [_row(example) for example in getattr(self, part)] for part in PARTS}
        return head | {part: found for part, found in rows.items() if found or part != "class_pictures"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The concept that `to_json` described."""
        try:
            values = dict(data)
            for part in PARTS if "class_pictures" in values else PARTS[:2]:
                rows = [{**row, "path": Path(row["path"])} for row in values[part]]
                values[part] = tuple(Example(**row) for row in rows)
            return cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            hint = "was the file edited? Teach again from the pictures"
            raise ConceptError(f"the description of the concept cannot be read: {error!r}", hint) from None


PARTS = ("examples", "held_out", "class_pictures")


def _row(example: Example) -> dict[str, Any]:
    row = {
        "path": str(example.path),
        "caption": example.caption,
        "repeats": example.repeats,
        "member": example.member,
    }
    return row | ({"sha256": example.sha256} if example.sha256 else {})


def _digested(examples: Sequence[Example]) -> tuple[Example, ...]:
    return tuple(replace(example, sha256=example.digest()) for example in examples)


def _groups(names: Sequence[str], duplicates: Sequence[Sequence[str]], seed: int) -> Groups:
    group = {name: tuple(names) for names in duplicates for name in names}
    found = {group.get(name, (name,)) for name in names}
    places = {name: place for place, name in enumerate(names)}
    # Ordered by a hash rather than a generator: the same on every platform and version of Python.
    ordered = sorted(
        found, key=lambda g: hashlib.sha256(f"{seed}/{g[0]}".encode("utf-8", "surrogateescape")).digest()
    )
    return tuple(tuple(places[name] for name in members) for members in ordered)


def choose_held_out(groups: Groups, wanted: int | None = None) -> Groups:
    """The first of `groups` that together have at most `wanted` pictures, or as many as the protocol says.

    Raises ConceptError where so many cannot be held out, or the pictures are all alike.
    """
    pictures = sum(map(len, groups))
    count = held_out_for(pictures) if wanted is None else wanted
    if not 0 <= count < max(pictures, 1):
        hint = f"0 to {pictures - 1} leave something to learn from"
        raise ConceptError(f"cannot hold out {count} of {pictures} usable pictures", hint)
    held: list[Sequence[int]] = []
    for members in groups:
        if sum(map(len, held)) + len(members) <= count:
            held.append(members)
    if wanted and not held:
        hint = "add pictures that differ, or hold out none"
        raise ConceptError(f"cannot hold out {wanted}: the pictures are near-duplicates of one another", hint)
    return held


def split(groups: Groups, held: Groups, number: int = 0) -> Fold:
    """The fold that keeps `held` from training, of all `groups`."""
    kept = sorted(place for members in held for place in members)
    rest = sorted({place for members in groups for place in members}.difference(kept))
    return Fold(number, tuple(rest), tuple(kept))


def held_out_for(pictures: int) -> int:
    """How many of so many pictures the comparison protocol keeps for judging; a quarter beyond twelve."""
    if pictures < 4:
        return 0
    return next((held for most, held in ((4, 1), (7, 2), (12, 3)) if pictures <= most), -(-pictures // 4))


def check_token(token: str) -> str:
    """The token without outer blanks. Raises ConceptError on one that a prompt could not carry."""
    token = token.strip()
    if not token:
        raise ConceptError("the token is empty", "choose a rare word such as sks")
    if "," in token or not token.isprintable() or any(letter.isspace() for letter in token):
        hint = "choose one word such as sks or <my-toy>"
        raise ConceptError(f"the token {token!r} has blanks or commas", hint)
    return token


def _check_noun(noun: str) -> str:
    noun = " ".join(noun.split())
    if not noun or not noun.isprintable():
        hint = "say what the pictures show: dog, mug, oil painting"
        raise ConceptError(f"the noun {noun!r} says nothing", hint)
    return noun


# Sound decides, not spelling: silent h takes "an"; the "yoo" and "wun" sounds take "a".
_AN = re.compile(r"(?:[aeiou]|hour|honest|hono|heir|8|11\b|18\b)", re.IGNORECASE)
_A = re.compile(r"(?:uni(?!n|m)|us[eu]|ut[eio]|uku|ur[ai]|ubiq|ufo|u-|eu|ewe|(?:once|one)\b)", re.IGNORECASE)


def article(noun: str) -> str:
    """`a` or `an`, by the sound of the noun's first word."""
    return "an" if _AN.match(noun) and not _A.match(noun) else "a"


_MANY = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "mouse": "mice", "goose": "geese",
    "foot": "feet", "tooth": "teeth", "leaf": "leaves", "wolf": "wolves", "calf": "calves", "knife": "knives",
    "loaf": "loaves", "shelf": "shelves", "scarf": "scarves", "elf": "elves", "thief": "thieves", "ox": "oxen",
    "fish": "fish", "sheep": "sheep", "deer": "deer", "potato": "potatoes", "tomato": "tomatoes", "hero": "heroes",
}  # fmt: skip


def plural(noun: str) -> str:
    """Several of what `noun` names, by its last word: `garden gnomes`, `toy buses`, `policewomen`."""
    rest, blank, last = noun.rpartition(" ")
    many = _MANY.get(last.lower())
    if many is None and re.search(r"(?<!hu)(?<!ger)(?<!sha)(?<!ro)man$", last, re.IGNORECASE):
        many = f"{last[:-3]}men"
    if many is None and re.search(r"(?:s|x|z|ch|sh)$", last):
        many = f"{last}es"
    if many is None and re.search(r"[^aeiou]y$", last):
        many = f"{last[:-1]}ies"
    return rest + blank + (many or f"{last}s")


def slug(text: str) -> str:
    """A folder name: lower case, ASCII where the text has any, 60 characters at most; may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    for candidate in (plain, unicodedata.normalize("NFC", text)):
        found = re.sub(r"[^\w]+", "-", candidate.lower()).strip("-_")[:60].strip("-_")
        if found:
            return found
    return ""
