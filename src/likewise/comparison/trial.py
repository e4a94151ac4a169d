"""Trial: one condition in one replicate: taught in a run folder, drawn into a gallery, kept as a row.

Whatever goes wrong in one trial becomes its row, with the traceback kept beside it, and the next trial
begins; only a person, or a disk that takes no more, stops the comparison. Scores come later, when every gallery is there, so
that no judge's memory is metered here.

    trials/NAME/trial.json    what it depends on (a digest) and what it cost
    trials/NAME/run           the training run; trials that share a batch have one in the folder of the first
    trials/NAME/gallery       the pictures
    trials/NAME/error.txt     the traceback, if it failed
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from likewise import formats, methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.comparison.design import TOGETHER, Trial
from likewise.comparison.protocol import Drawing, Protocol, fill
from likewise.comparison.results import Row, Status
from likewise.concept import Concept
from likewise.errors import Error, Interrupted, StorageError, UnsupportedError, is_of_memory
from likewise.events import Event, Finished, Noted, Progress
from likewise.files import is_full, size_of, write_text
from likewise.gallery import Gallery
from likewise.memory import release
from likewise.meter import Meter
from likewise.run import Run
from likewise.sampling import artifacts, attached, draw
from likewise.stack import Job

STOPPED = "the comparison was stopped; what is done is kept"
GO_ON = "start the comparison again to go on"
STRIP = 6
"""Pictures in a film strip at most."""


@dataclass(frozen=True)
class Place:
    """Where and with what a trial happens."""

    folder: Path
    """The folder of the comparison."""
    base: Base
    base_name: str
    concept: Callable[[Trial], Concept]
    """The concept with the pictures of a trial's fold."""
    protocol: Protocol
    digest: Callable[[Trial], str]
    """The digest of everything that a trial depends on."""
    stop: Callable[[], bool]
    """Whether the person has asked to stop."""
    beside: int = 1
    """How many trials are done at a time on this machine; costs carry it."""


def execute(trial: Trial, place: Place, mates: Sequence[Trial] = ()) -> Generator[Event, None, Row]:
    """Do the trial; yields `Progress` and returns its row. Only a request to stop and a full disk are raised.

    `mates` are later trials that may share its batch while it is taught; each finds its file when its turn comes.
    """
    folder = place.folder / "trials" / trial.name
    try:
        _prepare(folder, place.digest(trial))
        return (yield from _measure(trial, place, folder, mates))
    except Interrupted as stopped:
        raise Interrupted(stopped.message, GO_ON) from None
    except StorageError as error:  # no other trial could be kept either
        raise error.then(GO_ON) from None
    except UnsupportedError as error:
        return _row(trial, place, "unsupported", error.message)
    except Exception as error:  # one failing method must not take the others' results with it
        if is_full(error):
            raise StorageError(f"no space is left for {folder}", "free some", GO_ON) from error
        write_text(folder / "error.txt", traceback.format_exc())
        return _row(trial, place, "failed", reason(error))


def reason(error: Exception) -> str:
    """One line for the row: a likewise error's own sentence, or the kind and first line of any other."""
    if isinstance(error, Error):
        return " ".join(str(error).split())
    if is_of_memory(error):
        return "out of memory (smaller numbers help: batch_size=1, a smaller resolution)"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _prepare(folder: Path, digest: str) -> None:
    """Keep what an earlier start left if it was the same trial; anything else in the folder is stale."""
    if _notes(folder).get("digest") != digest:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / "trial.json", json.dumps({"digest": digest}))
    (folder / "error.txt").unlink(missing_ok=True)


def _notes(folder: Path) -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((folder / "trial.json").read_text(encoding="utf-8"))
        return notes
    except (OSError, ValueError):
        return {}


def _note(folder: Path, **facts: Any) -> dict[str, Any]:
    notes = _notes(folder) | facts
    write_text(folder / "trial.json", json.dumps(notes, indent=1))
    return notes


def _measure(trial: Trial, place: Place, folder: Path, mates: Sequence[Trial]) -> Generator[Event, None, Row]:
    condition = trial.condition
    taught: list[Any] = []
    if condition.taught:
        lacking = methods.get(str(condition.method)).unsupported(place.base)
        if lacking:
            raise UnsupportedError(lacking)
        if not is_taught(trial, place.folder, place.digest(trial)):
            yield from _teach(trial, place, folder, mates)
        taught = [formats.read(place.folder / _notes(folder)["file"])]
    elif condition.file is not None:
        taught = artifacts(condition.file)
        _note(folder, bytes=size_of(condition.file), seconds=None, peak_bytes=None, trainable=None)
    else:
        _note(folder, bytes=0, seconds=0.0, peak_bytes=None, trainable=0)
    with attached(place.base, taught) if taught else nullcontext():
        _draw(trial, place, folder)
    return _row(trial, place, "done", None)


def _teach(trial: Trial, place: Place, folder: Path, mates: Sequence[Trial]) -> Iterator[Event]:
    """Train, alone or with what shares the batch.

    A group that fails is halved, whatever it fails of: it may not fit in memory, its jobs may not go together, or one
    of them may diverge, and none must be lost to another.
    """
    group = _group(trial, place, folder, mates)
    while True:
        try:
            yield from _train(group, place, folder)
            return
        except (Interrupted, StorageError):
            raise
        except Exception as error:
            if len(group) == 1 or is_full(error):
                raise
            why, group = reason(error), group[: len(group) // 2]
        together = f"{len(group)} are taught together" if len(group) > 1 else "it is taught alone"
        yield Progress(trial.name, Noted(f"{trial.title}: {together}, as more failed: {why}"))
        shutil.rmtree(folder / "run", ignore_errors=True)
        release()


def _group(trial: Trial, place: Place, folder: Path, mates: Sequence[Trial]) -> list[Trial]:
    """The group that was begun before a stop, as long as it is the same; else all that are not taught yet, up to a limit."""
    begun, named = _notes(folder).get("jobs", {}), {one.name: one for one in (trial, *mates)}
    if begun and all(name in named and place.digest(named[name]) == begun[name] for name in begun):
        return [named[name] for name in begun]
    free = [one for one in mates if not is_taught(one, place.folder, place.digest(one))]
    return [trial, *free][:TOGETHER]


def begun_with(trial: Trial, folder: Path) -> list[str]:
    """The trials of the batch that was begun in this one's folder, itself among them; none where none was."""
    return list(_notes(folder / "trials" / trial.name).get("jobs", ()))


def is_taught(trial: Trial, folder: Path, digest: str) -> bool:
    """Whether the trial's file lies in the comparison's folder, by itself or from the batch of an earlier one."""
    notes = _notes(folder / "trials" / trial.name)
    return notes.get("digest") == digest and (folder / notes.get("file", "missing")).is_file()


def _train(group: Sequence[Trial], place: Place, folder: Path) -> Iterator[Event]:
    """Train in a cache of its own, so that no method is spared what an earlier one has computed.

    The time of previews is left out of the cost: they are for the person, not for the method.
    """
    jobs = tuple(Job(place.concept(trial), trial.recipe) for trial in group if trial.recipe is not None)
    names = {trial.name: place.digest(trial) for trial in group}
    if _notes(folder).get("jobs") != names:
        shutil.rmtree(folder / "run", ignore_errors=True)  # of another group
        _note(folder, jobs=names)
    cache, method = Cache(folder / "cache"), str(group[0].condition.method)
    words = str(group[0].condition.words)
    previews = tuple(fill(text, words, exact=True) for text in place.protocol.of_role("use").values())[:1]
    run = Run(place.base_name, method, jobs, folder / "run", previews, cache=cache, stopped=place.stop)
    result: dict[str, Any] = {}
    with closing(run.start(base=place.base, sampler=place.protocol.sampler)) as events:
        for event in events:
            if isinstance(event, Finished):
                result = event.result
            yield Progress(group[0].name, event)
    result["machine"] = {**result.get("machine", {}), "side_by_side": place.beside}
    for slot, trial in reversed(
        list(enumerate(group))
    ):  # the first last, as it tells that all of them are kept
        _keep(trial, slot, len(group), result, folder / "run", place)
    shutil.rmtree(cache.folder, ignore_errors=True)


def _keep(trial: Trial, slot: int, count: int, result: Mapping[str, Any], run: Path, place: Place) -> None:
    """Note where the file of one trial of a group lies, and its share of what the group cost."""
    folder = place.folder / "trials" / trial.name
    if slot:
        _prepare(folder, place.digest(trial))
    file = run / result["files"][slot]
    costs = {key: result.get(key) for key in ("peak_bytes", "added_bytes", "trainable", "steps", "machine")}
    if count > 1:
        costs |= {"peak_bytes": None, "added_bytes": None, "shared": count}
        costs["steps"] = min(result["steps"], getattr(trial.recipe, "steps", result["steps"]))
    _note(
        folder,
        file=file.relative_to(place.folder).as_posix(),
        strip=_strip(place.folder, run / "samples", slot),
        bytes=file.stat().st_size,
        seconds=round(result["seconds"] / count, 3),
        **costs,
    )


def _draw(trial: Trial, place: Place, folder: Path) -> None:
    """Draw what is missing of the gallery, and note the time per picture."""
    rows = rows_of(trial, place.protocol, place.concept(trial).noun)
    gallery = Gallery(folder / "gallery")
    if not all((gallery.folder / picture.file).exists() for picture in gallery) or len(gallery) > len(rows):
        shutil.rmtree(gallery.folder)
        gallery = Gallery(folder / "gallery")
    missing = len(rows) - len(gallery)
    with Meter(str(place.base.device)) as meter:
        draw(
            place.base,
            [r.text for r in rows],
            [r.seed for r in rows],
            place.protocol.sampler,
            gallery,
            [r.id for r in rows],
            stop=place.stop,
        )
    if len(gallery) < len(rows):
        raise Interrupted(STOPPED, GO_ON)
    if missing:
        _note(folder, sample_seconds=round(meter.seconds / missing, 5))


def rows_of(trial: Trial, protocol: Protocol, noun: str) -> list[Drawing]:
    """What is drawn for a trial: what was taught stands in the prompts exactly as it was taught."""
    exact = trial.condition.kind in ("method", "file")
    return protocol.drawings(str(trial.condition.words), noun, exact=exact)


def whole(trial: Trial, place_folder: Path, protocol: Protocol, noun: str) -> bool:
    """Whether all of the trial's pictures are there."""
    if trial.condition.words is None:
        return True
    gallery = Gallery(place_folder / "trials" / trial.name / "gallery")
    rows = rows_of(trial, protocol, noun)
    there = {(p.role, p.prompt, p.seed) for p in gallery if (gallery.folder / p.file).exists()}
    return len(gallery) == len(rows) and there == {(row.id, row.text, row.seed) for row in rows}


def _row(trial: Trial, place: Place, status: Status, why: str | None) -> Row:
    notes, done = _notes(place.folder / "trials" / trial.name), status == "done"
    costs = ("bytes", "seconds", "peak_bytes", "added_bytes", "trainable", "sample_seconds", "shared")
    return replace(
        ended(trial, place.digest(trial), status, why),
        cost={key: notes.get(key) for key in costs} if done else {},
        machine=notes.get("machine") or {},
        steps=notes.get("steps") if trial.condition.taught else None,
        gallery=f"trials/{trial.name}/gallery" if done else None,
        strip=notes.get("strip") or [],
    )


def ended(trial: Trial, digest: str, status: Status, why: str | None) -> Row:
    """The row of a trial of which nothing was kept."""
    condition, recipe = trial.condition, trial.recipe
    return Row(
        trial=trial.name,
        title=trial.title,
        kind=condition.kind,
        status=status,
        reason=why,
        condition=condition.name,
        replicate=trial.replicate,
        seed=trial.seed,
        fold=trial.fold,
        method=condition.method,
        recipe=recipe.model_dump(mode="json") if recipe else {},
        digest=digest,
    )


def _strip(root: Path, samples: Path, slot: int) -> list[dict[str, Any]]:
    """The previews of one slot of a run, oldest first, evenly thinned to `STRIP`."""
    found = []
    for folder in sorted(samples.glob("step*")):
        pictures = Gallery(folder).pictures
        if slot < len(pictures):
            file = (folder / pictures[slot].file).relative_to(root).as_posix()
            found.append({"step": int(folder.name.removeprefix("step")), "file": file})
    if len(found) <= STRIP:
        return found
    return [found[round(i * (len(found) - 1) / (STRIP - 1))] for i in range(STRIP)]
