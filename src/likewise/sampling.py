"""Sampling: prompts x seeds to a gallery, with or without taught concepts attached."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from likewise import families, formats, methods, records
from likewise.artifact import Artifact
from likewise.base import Base, Sampler
from likewise.errors import DrawingError, RecipeError, RunError, UnsupportedError
from likewise.files import write_text
from likewise.gallery import Gallery
from likewise.method import Adapter


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
        base = taught[0].base if taught else "pocket"
    loaded = families.load(base) if isinstance(base, str) else base
    sampler = loaded.settled(
        sampler
    )  # what a base advises may change, and is as much a setting as what was given
    marks = [[str(source.absolute()), _written(source)] for source in sources]
    _claim(Path(out), {"base": loaded.name, "with": marks, "strengths": weights or [], **asdict(sampler)})
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


def _written(source: Path) -> int:
    """What changes when a concept is taught anew: the time of its writing, in nanoseconds."""
    done = source / "result.json"
    return (done if done.exists() else source).stat().st_mtime_ns
