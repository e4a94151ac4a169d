"""Sampling: prompts x seeds to a gallery, with or without taught concepts attached."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from likewise import families, formats, methods, records
from likewise.artifact import Artifact, digest
from likewise.base import Base, Sampler
from likewise.concept import plural
from likewise.errors import BaseError, DrawingError, FormatError, RecipeError, RunError, UnsupportedError
from likewise.files import expand, read_text, write_text
from likewise.gallery import NEGATIVE, Gallery
from likewise.kinds import WEIGHTS
from likewise.method import Adapter
from likewise.naming.recognition import TITLES
from likewise.operations.attaching import Changes, is_plain
from likewise.prompt import foreign, says
from likewise.solver import Watch

logger = logging.getLogger(__name__)
LARGEST = 2.0
"""Sides so many times the base's own are drawn with a warning."""


def draw(
    base: Base,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampler: Sampler,
    gallery: Gallery,
    roles: Sequence[str] | None = None,
    *,
    stop: Callable[[], bool] | None = None,
    watch: Watch | None = None,
) -> Gallery:
    """One picture per (prompt, seed) row into `gallery`, its index written as each batch is done.

    Rows that the gallery already holds are not drawn again. Where `stop` says so after a batch, the rest is left for
    another time: the gallery is then shorter than the rows.
    """
    roles = roles or ["use"] * len(prompts)
    gallery.facts = {**facts(base, sampler), **gallery.facts}
    have = {(p.prompt, p.seed, p.role) for p in gallery}
    rows = [row for row in zip(prompts, seeds, roles, strict=True) if row not in have]
    pictures = base.sample([row[0] for row in rows], [row[1] for row in rows], sampler, watch=watch)
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


def facts(base: Base, sampler: Sampler) -> dict[str, str]:
    """How pictures are drawn, in the words of the web UI and without a path, for the pictures themselves."""
    sampler = base.settled(sampler)
    solver = base.solver(sampler.steps, base.latent_shape(sampler.size or base.resolution))
    found = {
        "Steps": str(sampler.steps),
        "Sampler": solver.name,
        "CFG scale": f"{sampler.guidance:g}",
        "Model": _model(base.name),
    }
    return found | ({NEGATIVE: sampler.negative} if sampler.negative else {})


def _model(name: str) -> str:
    """A base's name; of a path its last part, as the rest is nobody's business. A Hub id is no path."""
    path = expand(name)
    return (
        path.stem if path.is_file() else path.absolute().name if path.exists() or path.is_absolute() else name
    )


def redraw(base: Base, prompts: Sequence[str], sampler: Sampler, folder: Path, slots: int) -> None:
    """Draw `prompts` with seed 0, slot-major, into `folder`, unless it holds just these; others in it give way."""
    gallery = Gallery(folder)
    if [picture.prompt for picture in gallery] == prompts:
        return
    shutil.rmtree(folder, ignore_errors=True)
    gallery = Gallery(folder, facts(base, sampler))
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
    before = [tower.kept for tower in base.towers]
    words = tuple(word for a in artifacts for word in (f"{a.token} {a.noun}", a.token) if a.token)
    try:
        for tower in base.towers:
            tower.kept = (*tower.kept, *words)
        for artifact, strength in zip(artifacts, strengths, strict=True):
            if artifact.family != base.family:
                raise UnsupportedError(
                    f"a concept taught on {artifact.family} does not fit {base.name} ({base.family})"
                )
            adapter = _restored(base, artifact)
            adapters.append(adapter)
            adapter.strength = strength
        yield adapters
    finally:
        for adapter in reversed(adapters):
            adapter.detach()
        for tower, kept in zip(base.towers, before, strict=True):
            tower.kept = kept


def _restored(base: Base, artifact: Artifact) -> Adapter:
    """What was taught, on `base`; changes that no method of ours restores go beside the layers as they are."""
    if artifact.kind.delta and not (artifact.method in methods.names() and is_plain(base, artifact)):
        return Changes(base, artifact)
    return methods.get(artifact.method).restore(base, [artifact])


def artifacts(source: Path) -> list[Artifact]:
    """The taught concepts of a finished run folder, or of one file or folder of weights in any layout."""
    source = expand(source)
    if records.is_run(source):
        return [formats.read(source / name) for name in records.finished(source)["files"]]
    if not source.exists():
        raise RunError.missing(f"there is no run or file at {source}", "`likewise runs` lists the runs")
    return [formats.read(source)]


def _together(source: Path) -> list[Artifact]:
    """What acts together of a source: of a run one file of each concept, of anything else all that is there."""
    result = records.read_result(source) if records.is_run(source) else None
    if result is None:
        return artifacts(source)
    return [formats.read(file) for file in records.together(source, result)]


def sample(
    prompts: str | Sequence[str],
    *,
    concepts: Path | str | Sequence[Path | str] = (),
    strengths: float | Sequence[float] | None = None,
    base: Base | str | None = None,
    seeds: int | Sequence[int] = 4,
    sampler: Sampler | None = None,
    out: Path | str,
    watch: Watch | None = None,
) -> Gallery:
    """Draw every prompt with every seed into the gallery folder `out`, with taught `concepts` (runs or files) attached.

    A run stands for its concepts, of each the file of the first seed, and has a strength for each.
    One prompt, concept or strength may stand alone. `seeds=4` is four pictures per prompt, with the seeds 0 to 3.
    `base` defaults to the one that the first concept was taught on, and to `pocket` where its file names none.
    `watch` is told of every denoising step. What `out` already holds is not drawn again; raises
    `RunError` where it was drawn with other settings or cannot be written, `RecipeError` where nothing is to be drawn.
    """
    out = expand(out)
    records.check_writable(out)
    sources = [expand(source) for source in several(concepts)]
    rows = [(prompt, seed) for prompt in several(prompts) for seed in as_seeds(seeds)]
    if not rows:
        raise RecipeError("there is nothing to draw", "give at least one prompt and one seed")
    weights = None if strengths is None else several(strengths)
    named = [(source, artifact) for source in sources for artifact in _together(source)]
    taught = [artifact for _, artifact in named]
    assumed = base is None and bool(taught) and not taught[0].base
    if base is None:
        base = own_base(sources[0], taught[0]) if taught else "pocket"
    loaded = families.load(base) if isinstance(base, str) else base
    _warn_of_other_bases(loaded, named)
    sampler = loaded.settled(
        sampler
    )  # what a base advises may change, and is as much a setting as what was given
    for text in (*remarks([prompt for prompt, _ in rows], named, sampler), *_large(loaded, sampler)):
        logger.warning(text)
    marks = [digest(artifact) for artifact in taught]
    _claim(
        out,
        {"base": loaded.fingerprint(), "with": marks, "strengths": weights or [], **asdict(sampler)},
    )
    try:
        with attached(loaded, taught, weights):
            gallery = Gallery(out, _concepts([source for source, _ in named], weights))
            return draw(loaded, [p for p, _ in rows], [s for _, s in rows], sampler, gallery, watch=watch)
    except (FormatError, UnsupportedError) as error:
        if not assumed:
            raise
        hint = f"{sources[0].name} names no base, so {loaded.name} was tried; name its own by --base"
        raise type(error)(error.message, hint) from None


def own_base(source: Path, artifact: Artifact) -> str:
    """The base that a concept was taught on, by its run or its file, else `pocket`, which is said.

    Raises `BaseError` where it cannot be had, and `UnsupportedError` for a family that is not taught here.
    """
    if artifact.family not in families.names():
        title = TITLES.get(artifact.family, artifact.family)
        raise UnsupportedError(
            f"{source.name} was taught for {title}, and no base of that kind draws here",
            "its files can be inspected, converted and merged",
        )
    folder = source if source.is_dir() else source.parent
    name = records.base_of(folder) if records.is_run(folder) else artifact.base
    if not name and artifact.kind == WEIGHTS:
        raise BaseError(f"{source} is a whole model and names no base", f"draw with it by --base {source}")
    if not name:
        logger.warning("%s names no base, so it is put on pocket, the bundled model", source.name)
        return "pocket"
    if os.path.isabs(name) and not Path(name).exists() and Path(Path(name).name).exists():
        name = Path(name).name  # it lies here now; other weights of that name are told by their fingerprint
    if not name.startswith("tiny:"):
        try:
            families.locate(name)
        except BaseError as error:
            hint = "say where it is, or which other one is to be drawn with: --base BASE"
            raise BaseError(f"{source.name} was taught on {name!r}, and {error.message}", hint) from None
    return name


def _warn_of_other_bases(base: Base, taught: Sequence[tuple[Path, Artifact]]) -> None:
    """Say which concepts were taught on other weights than those of `base`."""
    for source, artifact in taught:
        then = artifact.notes.get("base_fingerprint")
        if then and then != base.fingerprint():
            logger.warning(
                "%s was taught on another base than %s; name its own by --base", source.name, base.name
            )


def _concepts(sources: Sequence[Path], weights: Sequence[float] | None) -> dict[str, str]:
    """What was attached, by the names of files or runs."""
    strengths = weights or [1.0] * len(sources)
    named = [source.absolute().name if source.is_dir() else source.stem for source in sources]
    called = [f"{name}:{strength:g}" for name, strength in zip(named, strengths, strict=True)]
    return {"Concepts": ", ".join(called)} if called else {}


def remarks(prompts: Sequence[str], taught: Sequence[tuple[Path, Artifact]], sampler: Sampler) -> list[str]:
    """What in prompts and settings does not do what it looks like, a sentence each. `sampler` is settled."""
    each = list(dict.fromkeys(prompts))
    found = [text for prompt in (*each, sampler.negative) for text in foreign(prompt)]
    for source, artifact in taught:
        if artifact.token and _needs_token(artifact):
            silent = [prompt for prompt in each if not says(artifact.token, prompt)]
            called = f"{artifact.token!r}, the token of {source.name}"
            found += [f"{_short(prompt)!r} does not say {called}" for prompt in silent[:3]]
            found += [f"{len(silent) - 3} more prompts do not say {called}"] if len(silent) > 3 else []
            found += list(_without_noun(source, artifact, each))
    for token, names in _by_token(taught).items():
        if len(names) > 1:
            found.append(
                f"{' and '.join(names)} are both called {token!r}; a prompt that says it draws all of them"
            )
    guidance = sampler.guidance or 0.0
    if sampler.negative and guidance == 1:
        found.append("the negative prompt has no effect at guidance 1; more than 1 turns away from it")
    elif sampler.negative and guidance < 1:
        found.append(
            f"guidance {guidance:g} draws towards the negative prompt; more than 1 turns away from it"
        )
    return list(dict.fromkeys(found))


def _without_noun(source: Path, artifact: Artifact, prompts: Sequence[str]) -> Iterator[str]:
    """Prompts that say the token and not what it was taught to be, one sentence for all of them."""
    nouns = (artifact.noun, plural(artifact.noun)) if artifact.noun else ()
    bare = [
        prompt
        for prompt in prompts
        if says(artifact.token, prompt) and nouns and not any(says(noun, prompt) for noun in nouns)
    ]
    if bare:
        more = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
        yield (
            f"{_short(bare[0])!r}{more} says {artifact.token!r} without {artifact.noun!r}, "
            f"with which {source.name} was taught"
        )


def _large(base: Base, sampler: Sampler) -> Iterator[str]:
    """A sentence where the side is far beyond the base's own."""
    times = (sampler.size or base.resolution) / base.resolution
    if times > LARGEST:
        yield (
            f"size {sampler.size} is {times:.2g} times the side that {base.name} was made for ({base.resolution}): things "
            f"repeat, and drawing takes at least {times**2:,.0f} times as long"
        )


def _needs_token(artifact: Artifact) -> bool:
    """Whether nothing that was taught shows without the token: so with embeddings, and with what likewise trained."""
    if artifact.kind.called:
        return True
    known = artifact.method in methods.names() and methods.get(artifact.method).trains
    return known and "likewise" in artifact.notes


def _by_token(taught: Sequence[tuple[Path, Artifact]]) -> dict[str, list[str]]:
    """Names of the files that go by each token, whatever its case."""
    found: dict[str, list[str]] = {}
    for source, artifact in taught:
        if artifact.token:
            found.setdefault(artifact.token.lower(), []).append(source.name)
    return found


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= 60 else f"{prompt[:59]}…"


def several(given: Any) -> list[Any]:
    """What was given as a list; a lone text, path or number is the only one of its kind."""
    return [given] if isinstance(given, (str, Path, int, float)) else list(given)


def as_seeds(given: int | Sequence[int]) -> list[int]:
    """The seeds themselves, or the first so many from 0, as the command line counts them."""
    return list(range(given) if isinstance(given, int) else given)


def _claim(out: Path, facts: dict[str, Any]) -> None:
    """Refuse a folder of pictures that were drawn otherwise: they would be taken for these and not drawn again."""
    path, text = out / "settings.json", json.dumps(facts, indent=1, ensure_ascii=False)
    if (out / "gallery.json").exists() and (not path.exists() or read_text(path) != text):
        raise RunError(f"{out} holds pictures that were drawn otherwise", "name another folder for these")
    write_text(path, text)
