"""Trial: one measured line of a comparison: taught in a run folder, drawn into a gallery, kept as a row.

Whatever goes wrong in one trial becomes its row, with the traceback kept beside it, and the next trial
begins; only a person, or a disk that takes no more, stops the comparison. Scores come later, when every gallery is there, so
that no judge's memory is metered here.

    trials/NAME/trial.json    what it depends on (a digest) and what it cost
    trials/NAME/run           the training run
    trials/NAME/gallery       the pictures
    trials/NAME/error.txt     the traceback, if it failed
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise import methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.comparison.protocol import Protocol
from likewise.comparison.results import Kind, Row, Status
from likewise.concept import Concept
from likewise.errors import Error, Interrupted, StorageError, UnsupportedError, is_of_memory
from likewise.events import Event, Finished, Progress
from likewise.files import is_full, write_text
from likewise.gallery import Gallery
from likewise.meter import Meter
from likewise.recipe import Recipe
from likewise.run import Run
from likewise.sampling import artifacts, attached, draw
from likewise.stack import Job

STOPPED = "the comparison was stopped; what is done is kept"
GO_ON = "start the comparison again to go on"
STRIP = 6
"""Pictures in a film strip at most."""


@dataclass(frozen=True)
class Trial:
    """What one line of the comparison does."""

    name: str
    title: str
    kind: Kind
    words: str | None
    """What stands in the place of `{}`; empty for a line that is skipped."""
    method: str | None = None
    recipe: Recipe | None = None
    reason: str | None = None
    """Why it is skipped."""


@dataclass(frozen=True)
class Place:
    """Where and with what a trial happens."""

    folder: Path
    """The folder of the comparison."""
    base: Base
    base_name: str
    concept: Concept
    protocol: Protocol
    digest: str
    """The digest of everything that the trial depends on."""
    stop: Callable[[], bool]
    """Whether the person has asked to stop."""


def execute(trial: Trial, place: Place) -> Generator[Event, None, Row]:
    """Do the trial; yields `Progress` and returns its row. Only a request to stop and a full disk are raised."""
    folder = place.folder / "trials" / trial.name
    if trial.words is None:
        return _row(trial, place, "skipped", trial.reason)
    try:
        _prepare(folder, place.digest)
        return (yield from _measure(trial, place, folder))
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


def _measure(trial: Trial, place: Place, folder: Path) -> Generator[Event, None, Row]:
    taught: list[Any] = []
    if trial.method is None:
        _note(folder, bytes=0, seconds=0.0, peak_bytes=None, trainable=0)
    else:
        lacking = methods.get(trial.method).unsupported(place.base)
        if lacking:
            raise UnsupportedError(lacking)
        yield from _teach(trial, place, folder)
        taught = artifacts(folder / "run")
    with attached(place.base, taught) if taught else nullcontext():
        _draw(trial, place, folder)
    return _row(trial, place, "done", None)


def _teach(trial: Trial, place: Place, folder: Path) -> Iterator[Event]:
    """Train, in a cache of its own, so that no method is spared what an earlier one has computed.

    The time of previews is left out of the cost: they are for the person, not for the method.
    """
    assert trial.method is not None
    assert trial.recipe is not None
    job = Job(place.concept, trial.recipe)
    previews, cache = place.protocol.prompts[:1], Cache(folder / "cache")
    run = Run(
        place.base_name, trial.method, (job,), folder / "run", previews, cache=cache, stopped=place.stop
    )
    result: dict[str, Any] = {}
    with closing(run.start(base=place.base, sampler=place.protocol.sampler)) as events:
        for event in events:
            if isinstance(event, Finished):
                result = event.result
            yield Progress(trial.name, event)
    costs = ("seconds", "bytes", "peak_bytes", "added_bytes", "trainable", "steps")
    _note(folder, **{key: result.get(key) for key in costs})
    shutil.rmtree(cache.folder, ignore_errors=True)


def _draw(trial: Trial, place: Place, folder: Path) -> None:
    """Draw what is missing of the gallery, and note the time per picture."""
    assert trial.words is not None
    rows = place.protocol.rows(trial.words, exact=trial.kind == "method")
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


def whole(trial: Trial, place_folder: Path, protocol: Protocol) -> bool:
    """Whether all of the trial's pictures are there."""
    if trial.words is None:
        return True
    gallery = Gallery(place_folder / "trials" / trial.name / "gallery")
    rows = protocol.rows(trial.words, exact=trial.kind == "method")
    there = {(p.role, p.prompt, p.seed) for p in gallery if (gallery.folder / p.file).exists()}
    return len(gallery) == len(rows) and there == {(row.id, row.text, row.seed) for row in rows}


def _row(trial: Trial, place: Place, status: Status, why: str | None) -> Row:
    folder = place.folder / "trials" / trial.name
    notes, done = _notes(folder), status == "done"
    costs = ("bytes", "seconds", "peak_bytes", "added_bytes", "trainable", "sample_seconds")
    return Row(
        trial=trial.name,
        title=trial.title,
        kind=trial.kind,
        status=status,
        reason=why,
        cost={key: notes.get(key) for key in costs} if done else {},
        steps=notes.get("steps") if trial.method else None,
        recipe=trial.recipe.model_dump(mode="json") if trial.recipe else {},
        gallery=f"trials/{trial.name}/gallery" if done else None,
        strip=_strip(place.folder, folder / "run" / "samples"),
        digest=place.digest,
    )


def _strip(root: Path, samples: Path) -> list[dict[str, Any]]:
    """The previews of the run, oldest first, evenly thinned to `STRIP`."""
    found = []
    for folder in sorted(samples.glob("step*")):
        pictures = Gallery(folder).pictures
        if pictures:
            file = (folder / pictures[0].file).relative_to(root).as_posix()
            found.append({"step": int(folder.name.removeprefix("step")), "file": file})
    if len(found) <= STRIP:
        return found
    return [found[round(i * (len(found) - 1) / (STRIP - 1))] for i in range(STRIP)]
