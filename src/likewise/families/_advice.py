"""Advice: what the maker of a base says about it in `likewise.toml`. What is not understood is refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likewise.base import JUDGES
from likewise.errors import BaseError
from likewise.files import read_text

ROLES = ("pictures", "prompts")
_KEYS = ("guidance", "judge", "prompts", "recipe", "reserved_tokens")


@dataclass(frozen=True)
class Advice:
    """Recipe settings by method, tokens that the base never saw, how and what to draw, and who judges."""

    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reserved_tokens: tuple[str, ...] = ()
    guidance: float = 5.0
    judges: Mapping[str, str] = field(default_factory=dict)
    """Who judges `pictures` and `prompts`; empty where nobody is named."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """Tables part -> role -> stratum -> id -> text; empty where none are named."""


MINIATURE = Advice(judges=dict.fromkeys(ROLES, "judge"))
"""Advice for random miniatures: nobody can know what they draw, so the judge that is always there looks at it."""


def advice(path: Path) -> Advice:
    """What the maker of the checkpoint at `path` advises, in `likewise.toml` there, or in a `.toml` of the file's name."""
    return read_advice(advice_file(path))


def advice_file(path: Path) -> Path:
    """Where that stands, whether or not it is there."""
    return path / "likewise.toml" if path.is_dir() else path.with_suffix(".toml")


def read_advice(path: Path) -> Advice:
    """`likewise.toml` of a model folder: `[recipe.METHOD]`, `reserved_tokens`, `guidance`, `[judge]` and `[prompts]`.

    Empty without the file. Raises `BaseError` naming what is not understood.
    """
    if not path.is_file():
        return Advice()
    data = _toml(path, "it holds tables such as [recipe.lora] with learning_rate = 1e-3")
    _refuse_unknown(path, "", data, _KEYS)
    tables, guidance = data.get("recipe", {}), data.get("guidance", Advice.guidance)
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise BaseError(
            f"{path}: recipe holds no table for each method", "write [recipe.lora], then its settings"
        )
    if not isinstance(guidance, int | float) or not guidance >= 0:
        raise BaseError(f"{path}: guidance = {guidance!r} is no number from 0 up", "5 is usual")
    tokens = tuple(str(token) for token in data.get("reserved_tokens", ()))
    judges, prompts = _judges(path, data.get("judge", {})), _prompts(path, data.get("prompts", {}))
    return Advice(tables, tokens, float(guidance), judges, prompts)


def _judges(path: Path, table: Any) -> dict[str, str]:
    known = f"known: {', '.join(JUDGES)}"
    if not isinstance(table, dict):
        raise BaseError(f"{path}: judge = {table!r} is no table", 'write [judge], then pictures = "judge"')
    _refuse_unknown(path, "judge.", table, ROLES)
    for role, name in table.items():
        if name not in JUDGES:
            raise BaseError(f"{path}: judge.{role} = {name!r} is no network that can judge", known)
    if table and (missing := [role for role in ROLES if role not in table]):
        raise BaseError(f"{path}: judge.{missing[0]} is missing beside judge.{next(iter(table))}", known)
    return table


def _prompts(path: Path, table: Any) -> Mapping[str, Any]:
    """The tables themselves, or those of the file beside `path` that `bank` names."""
    if not isinstance(table, dict):
        raise BaseError(
            f"{path}: prompts = {table!r} is no table", 'write [prompts] and bank = "prompts.toml"'
        )
    bank = table.get("bank")
    if bank is None:
        return table
    if len(table) > 1:
        raise BaseError(f"{path}: [prompts] names a bank and holds prompts", "keep the one or the other")
    if not isinstance(bank, str) or not re.fullmatch(r"[^/\\:]+\.toml", bank):
        raise BaseError(
            f"{path}: bank = {bank!r} is no .toml file beside it", 'such as bank = "prompts.toml"'
        )
    return _toml(path.with_name(bank), f"{path.name} names it; it holds [part.role.stratum] with id = text")


def _toml(path: Path, hint: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, fallback="cp1252"))
    except (ValueError, OSError) as error:
        raise BaseError(f"{path}: {error}", hint) from None


def _refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise BaseError(f"{path}: there is no key {where}{key}", f"known: {', '.join(known)}")
