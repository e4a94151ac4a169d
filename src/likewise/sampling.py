"""Sampling: prompts x seeds to a gallery, with or without taught concepts attached."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from likewise import families, formats, methods, records
from likewise.artifact import Artifact, digest
from likewise.base import Base, Sampler
from likewise.errors import BaseError, DrawingError, RecipeError, RunError, UnsupportedError
from likewise.files import write_text
from likewise.gallery import Gallery
from likewise.method import Adapter

logger = logging.getLogger(__name__)


def draw(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: Sampler,
    gallery: Gallery,
    roles: Sequence[str] | None = None,
    *,
    stop: Callable[[], bool] | None = None,
) -> Gallery:
    """One picture per (prompt, seed) row into `gallery`, its index written as each batch is done.

    Rows that the gallery already holds are not drawn again. Where `stop` says so after a batch, the rest is left for
    another time: the gallery is then shorter than the rows.
    """
    roles = roles or ["use"] * len(prompts)
    have = {(p.prompt, p.seed, p.role) for p in gallery}
    rows = [row for row in zip(prompts, seeds, roles, strict=True) if row not in have]
    pictures = base.sample([row[0] for row in rows], [row[1] for row in rows], sampler)
    try:
        for number, (picture, (prompt, seed, role)) in enumerate(zip(pictures, rows, strict=True), 1):
            gallery.add(picture, prompt, seed, role)
            if number % sampler.batch == 0 or number == len(rows):
                gallery.save()
                if stop and stop():
                    break
    except DrawingError:  # those before it are good
        gallery.save()
        raise
    return gallery


def redraw(base: Base, prompts: Sequence[str], sampler: Sampler, folder: Path, slots: int) -> None:
    """Draw `prompts` with seed 0, slot-major, into `folder`, unless it holds just these; others in it give way."""
    gallery = Gallery(folder)
    if [picture.prompt for picture in gallery] == prompts:
        return
    shutil.rmtree(folder, ignore_errors=True)
    gallery = Gallery(folder)
    for picture, prompt in zip(
        base.sample(prompts, [0] * len(prompts), sampler, slots=slots), prompts, strict=True
    ):
        gallery.add(picture, prompt, 0, "preview")
    gallery.save()


@contextmanager
def attached(
    base: Base, artifacts: Sequence[Artifact], strengths: Sequence[float] | None = None
) -> Iterator[list[Adapter]]:
    """`base` with taught concepts on it, for a `with` block; they act together in the order given."""
    strengths = strengths or [1.0] * len(artifacts)
    for strength in strengths:
        if not math.isfinite(strength):
            raise RecipeError(f"the strength {strength} is not a finite number", "1 is as it was taught")
    if len(strengths) != len(artifacts):
        raise RecipeError(
            f"{len(artifacts)} concepts and {len(strengths)} strengths", "give one strength each"
        )
    adapters: list[Adapter] = []
    try:
        for artifact, strength in zip(artifacts, strengths, strict=True):
            if artifact.family != base.family:
                raise UnsupportedError(
                    f"a concept taught on {artifact.family} does not fit {base.name} ({base.family})"
                )
            adapter = methods.get(artifact.method).restore(base, [artifact])
            adapters.append(adapter)
            adapter.strength = strength
        yield adapters
    finally:
        for adapter in reversed(adapters):
            adapter.detach()


def artifacts(source: Path) -> list[Artifact]:
    """The taught concepts of a finished run folder, or of one file."""
    source = Path(source)
    if source.is_dir():
        result = records.read_result(source)
        if result is None:
            raise RunError(f"{source} is not finished", f"likewise teach --resume {source}")
        return [formats.read(source / name) for name in result["files"]]
    if not source.exists():
        raise RunError(f"there is no run or file at {source}", "`likewise runs` lists the runs")
    return [formats.read(source)]


def sample(
    prompts: str | Sequence[str],
    *,
    concepts: Path | str | Sequence[Path | str] = (),
    strengths: float | Sequence[float] | None = None,
    base: Base | str | None = None,
    seeds: int | Sequence[int] = 4,
    sampler: Sampler | None = None,
    out: Path | str,
) -> Gallery:
    """Draw every prompt with every seed into the gallery folder `out`, with taught `concepts` (runs or files) attached.

    One prompt, concept or strength may stand alone. `seeds=4` is four pictures per prompt, with the seeds 0 to 3.
    `base` defaults to the one that the first concept was taught on. What `out` already holds is not drawn again; raises
    `RunError` where it was drawn with other settings or cannot be written, `RecipeError` where nothing is to be drawn.
    """
    records.check_writable(Path(out))
    sources = [Path(source) for source in several(concepts)]
    rows = [(prompt, seed) for prompt in several(prompts) for seed in as_seeds(seeds)]
    if not rows:
        raise RecipeError("there is nothing to draw", "give at least one prompt and one seed")
    weights = None if strengths is None else several(strengths)
    taught = [artifact for source in sources for artifact in artifacts(source)]
    if base is None:
        loaded = _own_base(sources[0], taught) if taught else families.load("pocket")
    else:
        loaded = families.load(base) if isinstance(base, str) else base
    sampler = loaded.settled(
        sampler
    )  # what a base advises may change, and is as much a setting as what was given
    marks = [digest(artifact) for artifact in taught]
    _claim(
        Path(out),
        {"base": loaded.fingerprint(), "with": marks, "strengths": weights or [], **asdict(sampler)},
    )
    with attached(loaded, taught, weights):
        return draw(loaded, [p for p, _ in rows], [s for _, s in rows], sampler, Gallery(Path(out)))


def several(given: Any) -> list[Any]:
    """What was given as a list; a lone text, path or number is the only one of its kind."""
    return [given] if isinstance(given, (str, Path, int, float)) else list(given)


def as_seeds(given: int | Sequence[int]) -> list[int]:
    """The seeds themselves, or the first so many from 0, as the command line counts them."""
    return list(range(given) if isinstance(given, int) else given)


def _claim(out: Path, facts: dict[str, Any]) -> None:
    """Refuse a folder of pictures that were drawn otherwise: they would be taken for these and not drawn again."""
    path, text = out / "settings.json", json.dumps(facts, indent=1, ensure_ascii=False)
    if (out / "gallery.json").exists() and (not path.exists() or path.read_text(encoding="utf-8") != text):
        raise RunError(f"{out} holds pictures that were drawn otherwise", "name another folder for these")
    write_text(path, text)


def _own_base(source: Path, taught: Sequence[Artifact]) -> Base:
    """The base that the first concept was taught on, where its run or its file says; others than that are named."""
    folder = source if source.is_dir() else source.parent
    name = records.base_of(folder) if (folder / "run.toml").is_file() else taught[0].base
    hint = "say where it is, or which other one is to be drawn with: --base BASE"
    try:
        loaded = families.load(name)
    except BaseError as error:
        raise BaseError(
            f"{source} was taught on {name or 'a base without a name'}: {error.message}", hint
        ) from None
    for artifact in taught:
        then = artifact.notes.get("base_fingerprint")
        if then and then != loaded.fingerprint():
            logger.warning(
                "%r was taught on another base than %s; %s", artifact.token, records.called(name), hint
            )
    return loaded
