"""Banks: what a comparison draws, as data. One file of prompts per kind of concept, or one that a base brings along.

A file holds tables `[part.role.stratum]` with `id = "text with {}"`. Reading is strict, as a prompt that is silently
left out changes a verdict. What stands for `{}` is settled where pictures are drawn. No torch here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from likewise.comparison.kinds import KINDS, Kind
from likewise.concept import slug
from likewise.errors import RecipeError

Part = Literal["development", "test"]
Role = Literal["reconstruct", "use", "class", "compose"]
Stratum = Literal["place", "interaction", "property", "accessory", "art", "view", "imaginative", "content"]
FOLDER = Path(__file__).with_name("prompts")
UNNAMED = ":unnamed"
"""Behind the id of a prompt that is drawn without the taught word. No prompt's own id has a colon."""


@dataclass(frozen=True)
class Prompt:
    """One text to be drawn."""

    id: str
    """Unique in its bank, in lower case, with hyphens. The starting noise follows from it."""
    text: str
    """With one `{}`, and `{}s` for several."""
    stratum: Stratum
    """What the prompt changes. Scores are compared within a stratum too."""
    part: Part
    """Settings are chosen on `development`, verdicts come from `test`; no prompt is in both."""
    role: Role
    """`use` decides; `reconstruct` shows underfitting, `class` drift (`{}` is the noun alone), `compose` a second one."""


@dataclass(frozen=True)
class Bank:
    """Prompts for one kind of concept or for one base."""

    name: str
    """The kind, or where the prompts are from."""
    prompts: tuple[Prompt, ...]

    def select(self, part: Part, role: Role) -> tuple[Prompt, ...]:
        """The prompts of one part and role, in their own order."""
        return tuple(prompt for prompt in self.prompts if (prompt.part, prompt.role) == (part, role))


def load(kind: Kind) -> Bank:
    """The bank for a kind of concept. Raises RecipeError where there is no such kind."""
    if kind not in KINDS:
        raise RecipeError(f"there is no kind {kind!r}", f"there are {', '.join(KINDS)}")
    path = FOLDER / f"{kind}.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return parse({key: value for key, value in data.items() if key != "kind"}, kind)


def bank_for(kind: Kind, own: Mapping[str, Any], base: str) -> Bank:
    """The prompts that a base brings along (`Base.prompts`), or else those for the kind of concept. Raises RecipeError."""
    return parse(own, base) if own else load(kind)


def parse(data: Mapping[str, Any], name: str) -> Bank:
    """The bank in tables part -> role -> stratum -> id -> text. Raises RecipeError naming what is unknown or twice there."""
    prompts = tuple(_prompts(data, name))
    for what, of in (("id", lambda p: p.id), ("text", lambda p: slug(p.text))):
        seen: dict[str, Prompt] = {}
        for prompt in prompts:
            other = seen.setdefault(of(prompt), prompt)
            if other is not prompt:
                where = f"{other.part}.{other.role} and {prompt.part}.{prompt.role}"
                raise RecipeError(f"prompts of {name}: {where} have one {what}: {prompt.id}", "leave one out")
    for part in get_args(Part):
        if not any((prompt.part, prompt.role) == (part, "use") for prompt in prompts):
            raise RecipeError(
                f"prompts of {name}: [{part}.use] has none", "write some, such as beach = 'a {} on a beach'"
            )
    return Bank(name, prompts)


def _prompts(data: Mapping[str, Any], name: str) -> Iterator[Prompt]:
    for part, roles in _tables(data, get_args(Part), name):
        for role, strata in _tables(roles, get_args(Role), f"{name}, [{part}]"):
            for stratum, texts in _tables(strata, get_args(Stratum), f"{name}, [{part}.{role}]"):
                for key, text in texts.items():
                    _check(key, text, f"{name}, [{part}.{role}.{stratum}]")
                    yield Prompt(key, text, stratum, part, role)


def _tables(data: Mapping[str, Any], known: tuple[Any, ...], where: str) -> Iterator[tuple[Any, Any]]:
    for key, table in data.items():
        if key not in known:
            raise RecipeError(f"prompts of {where}: there is no {key!r}", f"there are {', '.join(known)}")
        if not isinstance(table, Mapping):
            raise RecipeError(f"prompts of {where}: {key} is no table", "write [part.role.stratum]")
        yield key, table


def _check(key: str, text: Any, where: str) -> None:
    if key != slug(key):
        raise RecipeError(
            f"prompts of {where}: the id {key!r} is no plain word", f"{slug(key) or 'beach'} is one"
        )
    if not isinstance(text, str) or text.count("{}") != 1 or set("{}") & set(text.replace("{}", "")):
        raise RecipeError(
            f"prompts of {where}: {key} = {text!r} has no place for the concept",
            "write {} once: a {} on a beach",
        )
