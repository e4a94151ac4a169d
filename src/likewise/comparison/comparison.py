"""Comparison: every condition on the same pictures, prompts and noise, in a folder that can be resumed.

The base is loaded once and drawn from before anything is attached (the floor). Then each trial is taught and
drawn in turn, the base is checked to be what it was, and when every gallery is there all are scored together.
The folder is the database: results.jsonl has a row per trial, comparison.json what was held equal, verdict.json what
follows.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import likewise
from likewise import families, journal, memory, methods, records
from likewise.artifact import digest as artifact_digest
from likewise.base import Base
from likewise.comparison import agreeing, concluding, design, protocol_file, tuning
from likewise.comparison.design import Condition, Trial
from likewise.comparison.executing import Executor, Here
from likewise.comparison.protocol import Protocol
from likewise.comparison.results import Results, Row, digest
from likewise.comparison.scoring import Scene, is_scored, mask_of, score
from likewise.comparison.tasks import Home, Task, grouped
from likewise.comparison.trial import GO_ON, STOPPED, begun_with, is_taught, whole
from likewise.concept import Concept, Fold
from likewise.errors import Interrupted, RunError
from likewise.events import Compared, Event, Noted, Planned, TrialEnded, TrialStarted
from likewise.files import expand, write_text, write_with
from likewise.memory import release
from likewise.meter import machine
from likewise.metrics.features import Panel, panel
from likewise.sampling import artifacts
from likewise.stack import Job, Stack

logger = logging.getLogger(__name__)
LARGEST = 768
"""Longest side of the pictures' copies in the folder, which are also what is scored."""


@dataclass
class Comparison:
    """One concept, one base, several conditions."""

    folder: Path
    base: str
    concept: Concept
    """With all pictures to learn from: a fold takes some of them away."""
    conditions: Sequence[Condition]
    protocol: Protocol
    folds: Sequence[Fold]
    notes: tuple[str, ...] = ()
    """What a reader must know of how it was set up."""
    search: tuning.Search | None = None
    """On what each method's best settings are looked for first; None: everybody is at the defaults."""
    alone: bool = True
    """Whether the first training of every condition has the machine to itself, so that its cost can be told."""
    stopped: Callable[[], bool] | None = None
    """Who else may ask to stop, beside `stop`: the comparison for which settings are looked for."""
    loaded: Base | None = None
    """The base, if it is in memory already; it is left as it came."""
    executor: Executor | None = None
    """Where trials are done; None: in this process, one after the other."""
    command: str | None = None
    """What a person would type to do it again."""

    def __post_init__(self) -> None:
        self.folder = expand(self.folder)
        self._results = Results(self.folder)

    @property
    def trials(self) -> list[Trial]:
        """Every trial in order: what is not taught, then replicate by replicate."""
        return design.trials(self.conditions, self.protocol.replicates, len(self.folds))

    @property
    def device(self) -> str:
        """Where the base is: `cpu`, `cuda`, `mps`."""
        return self.based().device.type

    def heaviest(self) -> float:
        """Bytes that the most demanding of the pending trainings will hold in a process of its own, base included."""
        base = self.based()
        found, seen = [memory.occupied(base.device)], dict[str, Trial]()
        for trial in self.pending():
            if trial.condition.taught:
                seen.setdefault(trial.condition.name, trial)
        for trial in seen.values():
            method = methods.get(str(trial.condition.method))
            if method.trains and trial.recipe is not None and not method.unsupported(base):
                job = Job(self._concepts[trial.fold or 0], trial.recipe)
                together = min(design.TOGETHER, self.protocol.replicates - 1) if trial.condition.shares else 1
                stack = Stack((job,) * max(1, together))
                found.append(sum(memory.foreseen(base, method, stack).values()))
        return max(found)

    def pending(self) -> list[Trial]:
        """Those whose row is missing, failed or out of date, or whose pictures are gone."""
        rows = {row.trial: row for row in self._results.rows()}
        return [trial for trial in self.trials if not self._holds(trial, rows.get(trial.name))]

    def rows(self) -> list[Row]:
        """The rows so far."""
        return self._results.rows()

    def start(self, *, judges: Panel | None = None) -> Iterator[Event]:
        """Do what is pending, then score everything. Raises `Interrupted` where a person asked to stop."""
        records.check_writable(self.folder)
        with records.locked(self.folder):
            self._agree()
            if self.search is not None:
                yield from self._tune(self.search, judges)
                self._agree()
            self._describe()
            with journal.ending(self.folder):
                yield from self._perform(judges)

    def _perform(self, judges: Panel | None) -> Iterator[Event]:
        pending = self.pending()
        order = [trial.name for trial in self.trials]
        if left := agreeing.dropped(self.rows(), self.trials):
            again = "ask for them again to have them back"
            logger.warning(
                "results of %s are not asked for now and leave the verdict; %s", ", ".join(left), again
            )
        yield self._tell(Planned(tuple(order), tuple(trial.name for trial in pending)))
        self._results.keep(order)
        if pending and judges is None:
            self._judges()  # loaded and dropped: an hour of training must not end in a missing file
        if pending:
            self._heed_stop()
            try:
                yield from self._work(pending)
            finally:
                self._results.keep(order)
        self._heed_stop()
        if pending or not self._is_scored():
            self._score(judges)
        concluding.write(self.folder)
        yield self._tell(Compared(str(self.folder), concluding.notes(self.folder)))

    def stop(self) -> None:
        """Ask the process that works in this folder to save and stop."""
        records.ask_to_stop(self.folder)

    def stop_asked(self) -> bool:
        """Whether somebody has asked to stop."""
        return records.stop_asked(self.folder) or (self.stopped is not None and self.stopped())

    def staged(self, name: str, conditions: Sequence[Condition], search: tuning.Search) -> Comparison:
        """One round of a search as a comparison of its own, in `tuning/`: nothing in it is measured alone."""
        return replace(
            self,
            folder=self.folder / "tuning" / name,
            conditions=conditions,
            protocol=search.protocol,
            folds=(replace(search.fold, number=0),),
            notes=(),
            search=None,
            alone=False,
            stopped=self.stop_asked,
        )

    def _tune(self, search: tuning.Search, judges: Panel | None) -> Iterator[Event]:
        """Look for each method's best settings, and compare them as well."""
        _ = self._fingerprint  # of the base as it came, before anything is attached to it
        better, said = yield from tuning.search(self, search, judges)
        self.conditions = design.unique([*self.conditions, *better])
        self.notes, self.search = (*self.notes, *said), None

    def _heed_stop(self) -> None:
        if self.stop_asked():
            raise Interrupted(STOPPED, GO_ON)

    def _work(self, pending: Sequence[Trial]) -> Iterator[Event]:
        """Have the executor do the trials; keeps the row of each as it comes, which nobody else writes."""
        home, numbers = Home(self.based()), dict[str, int]()
        executor = self.executor or Here(home)
        if executor.note:
            yield Noted(executor.note)
        try:
            with closing(executor.run(self._tasks(pending, executor.beside), self.stop_asked)) as told:  # type: ignore[type-var]
                for one in told:
                    match one:
                        case Trial():
                            number = numbers.setdefault(one.name, len(numbers) + 1)
                            yield self._tell(TrialStarted(one.name, one.title, number, len(pending)))
                        case Row():
                            self._results.put(one)
                            yield self._tell(TrialEnded(one.trial, one.to_json()))
                        case _:
                            yield one
        finally:
            self.loaded = home.loaded

    def _tasks(self, pending: Sequence[Trial], beside: int) -> Iterator[Task]:
        """One at a time, so that ten thousand trials take no more room than two."""
        base = self.based()
        fingerprint, precision, folds = self._fingerprint, base.precision, tuple(self._concepts)
        for trials in grouped(
            pending,
            self.alone,
            lambda trial: is_taught(trial, self.folder, self._digest(trial)),
            lambda trial: begun_with(trial, self.folder),
        ):
            yield Task(
                self.folder.absolute(), self.base, fingerprint, precision, trials, self.concept, folds,
                self.protocol, {trial.name: self._digest(trial) for trial in trials}, self.alone, beside,
            )  # fmt: skip

    def _holds(self, trial: Trial, row: Row | None) -> bool:
        if row is None or row.digest != self._digest(trial) or row.status == "failed":
            return False
        return row.status != "done" or whole(trial, self.folder, self.protocol, self.concept.noun)

    def based(self) -> Base:
        """The base, loaded when it is first needed."""
        if self.loaded is None:
            self.loaded = families.load(self.base)
        return self.loaded

    @cached_property
    def _fingerprint(self) -> str:
        return self.based().fingerprint()

    @cached_property
    def _concepts(self) -> list[Concept]:
        return [self.concept.fold(fold) for fold in self.folds]

    def _digest(self, trial: Trial) -> str:
        """What the trial depends on. A base that is not taught depends on no picture."""
        condition, recipe = trial.condition, trial.recipe
        asked = recipe.model_dump(mode="json") if recipe else None
        learned = self._concept_digests[trial.fold] if trial.fold is not None else self.concept.noun
        return digest(
            self.protocol.digest(), self._fingerprint, learned, condition.method, condition.words, asked,
            self._files.get(condition.name, []),
            likewise.__version__,
        )  # fmt: skip

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The digests of what others taught, by condition."""
        return {
            one.name: [artifact_digest(artifact) for artifact in artifacts(one.file)]
            for one in self.conditions
            if one.file
        }

    @cached_property
    def _concept_digests(self) -> list[str]:
        return [concept.digest() for concept in self._concepts]

    def _frozen(self) -> dict[str, Any]:
        """What is held equal: the same folder must not mix two of these."""
        digests = [example.digest() for example in self.concept.examples]
        return {
            "base": self._fingerprint,
            "token": self.concept.token,
            "noun": self.concept.noun,
            **self.protocol.to_json(),
            "pictures": digests,
            "held_out": [[digests[place] for place in fold.held_out] for fold in self.folds],
        }

    def _described(self) -> dict[str, Any]:
        return _read_json(self.folder / "comparison.json")

    def _agree(self) -> None:
        """Refuse a folder of another comparison, or of this one with other settings: no result is ever replaced."""
        earlier, frozen = self._described(), self.folder / protocol_file.NAME
        if frozen.exists():
            protocol_file.read(frozen, self._frozen())
        elif earlier:
            raise RunError(
                f"{self.folder} holds a comparison of an earlier likewise", "name another folder with --out"
            )
        agreeing.refuse_to_replace(self.folder, earlier, self.rows(), self.trials, self._digest)

    def _describe(self) -> None:
        """Freeze the protocol, and write comparison.json and the pictures."""
        earlier, concept, frozen = self._described(), self.concept, self.folder / protocol_file.NAME
        if not frozen.exists():
            write_text(frozen, protocol_file.freeze(self._frozen()))
        book = {
            "schema": 2,
            "name": concept.name,
            "base": records.called(families.resolved(self.base)),
            "token": concept.token,
            "noun": concept.noun,
            "created": earlier.get("created")
            or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": likewise.__version__,
            "machine": machine(str(self.based().device), self.based().precision),
            "command": earlier.get("command") or self.command,
            **self.protocol.to_json(),
            "conditions": [_described(condition) for condition in self.conditions],
            "pictures": self._copy(),
            "captions": [
                concept.of_class(concept.caption(one)) if one.caption else "" for one in concept.examples
            ],
            "folds": [
                {"number": fold.number, "train": list(fold.train), "held_out": list(fold.held_out)}
                for fold in self.folds
            ],
            "metrics": earlier.get("metrics", []),
            "finished": bool(earlier.get("finished")) and not self.pending(),
            "notes": list(self.notes),
        }
        self._write(book)

    def _copy(self) -> list[str]:
        """Copies of the pictures, upright, RGB, not too large, and of their owner's masks; what exists is kept."""
        names = [f"pictures/{number}.png" for number in range(len(self.concept.examples))]
        for name, example in zip(names, self.concept.examples, strict=True):
            if not (self.folder / name).exists():
                picture = example.open()
                picture.thumbnail((LARGEST, LARGEST))
                write_with(self.folder / name, lambda path, picture=picture: picture.save(path, "PNG"))  # type: ignore[misc]
                if (mask := example.outline()) is not None:
                    mask = mask.resize(picture.size)
                    write_with(mask_of(self.folder / name), lambda path, mask=mask: mask.save(path, "PNG"))  # type: ignore[misc]
        return names

    def _is_scored(self) -> bool:
        book = self._described()
        return bool(book["finished"]) and is_scored(self.folder, self._results.rows(), book["metrics"])

    def _score(self, judges: Panel | None) -> None:
        release()
        book = self._described()
        prompts = {role: self.protocol.of_role(role) for role in ("use", "class")}
        scene = Scene(
            self.folder, book["pictures"], book["folds"], prompts, self.concept.noun, book["captions"]
        )
        table = score(scene, self._results.rows(), judges or self._judges())
        self._write(book | {"metrics": list(table), "finished": True})

    def _judges(self) -> Panel:
        return panel(self.based().judges)

    def _write(self, book: Mapping[str, Any]) -> None:
        write_text(
            self.folder / "comparison.json", json.dumps(book, indent=1, ensure_ascii=False, default=str)
        )

    def _tell(self, event: Event) -> Event:
        journal.append(self.folder, event)
        return event


def _described(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "title": condition.title,
        "kind": condition.kind,
        "method": condition.method,
        "settings": dict(condition.given),
        "words": condition.words,
        "file": condition.file.name if condition.file else None,
        "reason": condition.reason,
    }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        book: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return book
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {error}", "delete it; the comparison then writes it again"
        ) from None
