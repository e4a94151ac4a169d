"""Comparison: every method on the same pictures, prompts and noise, in a folder that can be resumed.

The base is loaded once and drawn from before anything is attached (the floor). Then each method is taught and
drawn in turn, the base is checked to be what it was, and when every gallery is there all are scored together.
The folder is the database: results.jsonl has a row per trial, comparison.json what was held equal.
"""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import likewise
from likewise import families, identifier, intake, journal, methods, prior, records
from likewise.base import Base
from likewise.comparison.protocol import Protocol
from likewise.comparison.results import Results, Row, digest
from likewise.comparison.scoring import Scored, score
from likewise.comparison.trial import GO_ON, STOPPED, Place, Trial, execute, whole
from likewise.concept import Concept
from likewise.errors import ConceptError, Interrupted, RecipeError, RunError
from likewise.events import Compared, Event, Planned, TrialEnded, TrialStarted
from likewise.files import expand, write_text, write_with
from likewise.memory import release
from likewise.meter import machine
from likewise.metrics.features import Panel, panel
from likewise.picture import Example
from likewise.planning import asked, settle
from likewise.prompt import foreign
from likewise.recipe import nearest
from likewise.sampling import as_seeds, several
from likewise.stack import Job

logger = logging.getLogger(__name__)
LARGEST = 768
"""Longest side of the pictures' copies in the folder, which are also what is scored."""
VERDICT_NOTE = (
    "one training seed per method gives no verdict on the methods, only on these files: "
    "the same method taught again can differ by as much"
)


@dataclass
class Comparison:
    """One concept, one base, several methods."""

    folder: Path
    base: str
    concept: Concept
    protocol: Protocol
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method -> settings that differ from its defaults and the base's advice."""
    loaded: Base | None = None
    """The base, if it is in memory already; it is left as it came."""
    command: str | None = None
    """What a person would type to do it again."""

    def __post_init__(self) -> None:
        self.folder = expand(self.folder)
        self._results = Results(self.folder)
        self._plan: list[Trial] | None = None
        if not self.concept.held_out:
            raise ConceptError(
                "no picture is held out, so nothing could be scored fairly",
                "give at least 4 pictures that differ",
            )
        unknown = sorted(set(self.recipes) - set(methods.names()))
        if unknown:
            raise RecipeError(f"there is no method {unknown[0]!r}", f"methods: {', '.join(methods.names())}")

    def plan(self) -> list[Trial]:
        """Every trial in order: floor, description, methods. Raises `RecipeError` on a bad setting."""
        if self._plan is None:
            concept, words = self.concept, self.protocol.description
            lacking = None if words else "no description of the subject was given"
            trials = [
                Trial("base", "Untrained base", "floor", concept.noun),
                Trial(
                    "description", "Untrained base, described", "description", words or None, reason=lacking
                ),
            ]
            for name in dict.fromkeys(self.protocol.methods or methods.names()):
                method = methods.get(name)
                given = dict(self.recipes.get(method.name, {}))
                recipe = prior.settled(settle(self._base(), method.name, given), concept, given)
                recipe = Job(concept, recipe).recipe  # with epochs as steps
                called = f"{concept.token} {concept.noun}"
                trials.append(Trial(method.name, method.title, "method", called, method.name, recipe))
            self._plan = trials
        return self._plan

    def pending(self) -> list[Trial]:
        """Those whose row is missing, failed or out of date, or whose pictures are gone."""
        return [trial for trial in self.plan() if not self._holds(trial)]

    def rows(self) -> list[Row]:
        """The rows so far."""
        return self._results.rows()

    def start(self, *, judges: Panel | None = None) -> Iterator[Event]:
        """Do what is pending, then score everything. Raises `Interrupted` where a person asked to stop."""
        records.check_writable(self.folder)
        with records.locked(self.folder):
            self._describe()
            pending = self.pending()
            order = [trial.name for trial in self.plan()]
            yield self._tell(Planned(tuple(order), tuple(trial.name for trial in pending)))
            self._results.keep(order)
            if pending and judges is None:
                self._judges()  # loaded and dropped: an hour of training must not end in a missing file
            for number, trial in enumerate(pending, 1):
                self._heed_stop()
                yield self._tell(TrialStarted(trial.name, trial.title, number, len(pending)))
                row = yield from self._trial(trial)
                self._results.put(row, order)
                yield self._tell(TrialEnded(trial.name, row.to_json()))
            self._heed_stop()
            notes = self._score(judges) if pending or not self._finished() else ()
            yield self._tell(Compared(str(self.folder), notes))

    def stop(self) -> None:
        """Ask the process that works in this folder to save and stop."""
        records.ask_to_stop(self.folder)

    def _heed_stop(self) -> None:
        if self._stop_asked():
            raise Interrupted(STOPPED, GO_ON)

    def _holds(self, trial: Trial) -> bool:
        row = self._results.get(trial.name, self._digest(trial))
        if row is None or row.status == "failed":
            return False
        return row.status != "done" or whole(trial, self.folder, self.protocol)

    def _trial(self, trial: Trial) -> Generator[Event, None, Row]:
        """Yields the trial's events, returns its row; after it the base is as before, whatever it did."""
        base = self._base()
        release()  # so that a trial's peak is not its predecessor's
        kept = self._digest(trial)
        place = Place(self.folder, base, self.base, self.concept, self.protocol, kept, self._stop_asked)
        row = yield from execute(trial, place)
        if trial.method and (base.fingerprint() != self._fingerprint or any(t.filters for t in base.towers)):
            self.loaded = None
            self._base(expect=self._fingerprint)
            reason = f"{trial.title} left the base changed; its pictures and all costs are void"
            row = replace(row, status="failed", reason=reason, gallery=None, cost={})
        return row

    def _stop_asked(self) -> bool:
        return records.stop_asked(self.folder)

    def _base(self, expect: str | None = None) -> Base:
        if self.loaded is None:
            self.loaded = families.load(self.base)
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = self.loaded.fingerprint()
        if expect is not None and self.loaded.fingerprint() != expect:
            raise RunError(
                f"{self.base} is no longer what it was when the comparison began", "start it again"
            )
        return self.loaded

    def _digest(self, trial: Trial) -> str:
        recipe = trial.recipe.model_dump(mode="json") if trial.recipe else None
        return digest(self._common(), trial.name, trial.words, recipe, likewise.__version__)

    def _common(self) -> str:
        """What every trial shares: the same folder must not mix two of these."""
        self._base()
        if not hasattr(self, "_pictures"):
            self._pictures = self.concept.digest()
        return digest(self.protocol.digest(), self._pictures, self._fingerprint)

    def _finished(self) -> bool:
        return bool(self._described().get("finished"))

    def _described(self) -> dict[str, Any]:
        return _read_json(self.folder / "comparison.json")

    def _describe(self) -> None:
        """Write comparison.json and the pictures, or check that the folder was made for this comparison."""
        earlier, common = self._described(), self._common()
        if earlier and earlier.get("digest") != common:
            raise RunError(
                f"{self.folder} holds a comparison of other pictures, prompts or base",
                "name another folder with --out",
            )
        concept = self.concept
        book = {
            "schema": 1,
            "name": concept.name,
            "base": records.called(families.resolved(self.base)),
            "token": concept.token,
            "noun": concept.noun,
            "description": self.protocol.description,
            "created": earlier.get("created")
            or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": likewise.__version__,
            "machine": machine(str(self._base().device), self._base().precision),
            "command": earlier.get("command") or self.command,
            **self.protocol.to_json(),
            "train": self._copy("train", concept.examples),
            "held_out": self._copy("held_out", concept.held_out),
            "ceiling": earlier.get("ceiling", {}),
            "metrics": earlier.get("metrics", []),
            "digest": common,
            "finished": bool(earlier.get("finished")) and not self.pending(),
            "verdict": None,
            "verdict_note": VERDICT_NOTE,
            "notes": earlier.get("notes", []),
        }
        self._write(book)

    def _copy(self, part: str, examples: Sequence[Example]) -> list[str]:
        """Copies of the pictures in the folder, upright, RGB, not too large; those that exist are kept."""
        names = [f"pictures/{part}/{number}.png" for number in range(len(examples))]
        for name, example in zip(names, examples, strict=True):
            if not (self.folder / name).exists():
                picture = example.open()
                picture.thumbnail((LARGEST, LARGEST))
                write_with(self.folder / name, lambda path, picture=picture: picture.save(path, "PNG"))  # type: ignore[misc]
        return names

    def _score(self, judges: Panel | None) -> tuple[str, ...]:
        release()
        rows, order = self._results.rows(), [trial.name for trial in self.plan()]
        templates, noun = self.protocol.templates, self.concept.noun
        found: Scored = score(self.folder, rows, templates, noun, judges or self._judges())
        for row in found.rows:
            self._results.put(row, order)
        parts = {
            "ceiling": found.ceiling,
            "metrics": list(found.metrics),
            "notes": list(found.notes),
            "finished": True,
        }
        self._write(self._described() | parts)
        return found.notes

    def _judges(self) -> Panel:
        return panel(self._base().judges)

    def _write(self, book: Mapping[str, Any]) -> None:
        write_text(
            self.folder / "comparison.json", json.dumps(book, indent=1, ensure_ascii=False, default=str)
        )

    def _tell(self, event: Event) -> Event:
        journal.append(self.folder, event)
        return event


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


def prepare(
    pictures: intake.Source,
    *,
    noun: str,
    base: Base | str = "pocket",
    methods: str | Sequence[str] | None = None,
    token: str | None = None,
    description: str | None = None,
    out: Path | str | None = None,
    **options: Any,
) -> Comparison:
    """A comparison that is ready to start, in a new folder under `comparisons/` unless `out` names one.

    `options` are further fields of `Protocol` (`prompts`, `seeds`, `sampler`, `hold_out`); `recipes`,
    settings per method; and any hyperparameter, for every method that has it: `steps=100`. One method or prompt may
    stand alone, and `seeds=3` is three pictures per prompt, with the seeds 0 to 2. `class_pictures` are your own, for
    every method that trains. A wrong setting is refused before the base is loaded.
    """
    out = expand(out) if out else None
    records.check_writable(out or Path("comparisons"))
    recipes = {k: dict(v) for k, v in options.pop("recipes", {}).items()}
    known, own = ("prompts", "seeds", "sampler", "hold_out"), options.pop("class_pictures", None)
    changes = {key: value for key in known if (value := options.pop(key, None)) is not None}
    for key, read in (("prompts", several), ("seeds", as_seeds)):
        if key in changes:
            changes[key] = tuple(read(changes[key]))
    settings = _spread(options, recipes, several(methods or ()))
    for text in dict.fromkeys(text for prompt in changes.get("prompts", ()) for text in foreign(prompt)):
        logger.warning(text)
    loaded = families.load(base) if isinstance(base, str) else base
    name = base if isinstance(base, str) else base.name
    changes["sampler"] = loaded.settled(changes.get("sampler"))
    protocol = Protocol.default(
        name, methods=tuple(several(methods or ())), description=description, **changes
    )
    token = token or identifier.pick(loaded)
    held = protocol.hold_out
    concept = Concept.read(pictures, token=token, noun=noun, hold_out=held, class_pictures=own)
    made = Comparison(out or Path("comparisons"), name, concept, protocol, settings, loaded)
    made.plan()  # a setting that is refused must not leave an empty folder behind
    return made if out else replace(made, folder=records.new_folder(made.folder, concept.name))


def _spread(
    options: Mapping[str, Any], recipes: Mapping[str, Mapping[str, Any]], chosen: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Settings per method: the shared ones where a method has them, then its own. Raises `RecipeError` on a wrong one."""
    fields = {name: _fields(name) for name in dict.fromkeys([*(chosen or methods.names()), *recipes])}
    everything = set().union(*fields.values())
    for key in options:
        if key not in everything:
            raise RecipeError(f"no method has a setting {key!r}", nearest(key, everything))
    given = {
        name: {key: value for key, value in options.items() if key in known} | dict(recipes.get(name, {}))
        for name, known in fields.items()
    }
    return {name: asked(name, None, settings) for name, settings in given.items()}


def _fields(method: str) -> set[str]:
    return set(methods.get(method).recipe.model_fields)
