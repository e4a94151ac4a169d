"""Run: one stack of jobs on one base in one folder, from the first picture to the saved artifact.

`start` is an iterator of events; whoever iterates shows them, or not. A folder that holds a checkpoint continues from it,
bit for bit on the CPU, and a folder that is finished is finished.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from likewise import families, identifier, identity, intake, journal, keeping, memory, methods, prior, records
from likewise.base import Base, Sampler
from likewise.cache import Cache, key
from likewise.cautions import cautions
from likewise.concept import slug
from likewise.devices import arithmetic
from likewise.errors import (
    BaseError,
    DrawingError,
    Interrupted,
    StorageError,
    TrainingError,
)
from likewise.events import Attached, Event, Finished, Loaded, Sampled, Saved, Warned
from likewise.files import expand
from likewise.gallery import Gallery
from likewise.kinds import USUAL
from likewise.lengthening import is_finished, lengthened, refuse_lengthening, remarks, take_up
from likewise.materials import class_prompts
from likewise.meter import Meter, machine
from likewise.method import Adapter
from likewise.planning import Subject, Way, asked, check, jobs, look
from likewise.prompt import foreign
from likewise.recipe import TrainingRecipe
from likewise.resuming import SavedState
from likewise.sampling import draw, redraw, several
from likewise.stack import Job, Stack
from likewise.telling import Telling
from likewise.train import Training

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What to teach, how, and where to keep it."""

    base: str
    method: str
    jobs: tuple[Job, ...]
    folder: Path
    previews: tuple[str, ...] = ()
    """Prompts drawn with seed 0 at the preview steps."""
    preview_steps: tuple[int, ...] = ()
    """Empty: 0 and about five steps spaced evenly on a log scale."""
    cache: Cache = field(default_factory=Cache, compare=False)
    stopped: Callable[[], bool] | None = field(default=None, compare=False)
    """Who else may ask to stop, beside `stop`: a comparison, for one."""
    more: int = 0
    """Steps beyond those of the jobs' recipes, which were asked for once these were done."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", families.resolved(self.base))
        object.__setattr__(self, "folder", expand(self.folder))

    @classmethod
    def open(
        cls, folder: Path | str, *, pictures: intake.Source | None = None, base: str | None = None
    ) -> Self:
        """The run that a folder was made for; raises `RunError` where its pictures are not to be found.

        `pictures` and `base` say where these are now, if they were moved and the folder was not moved with them.
        """
        folder = expand(folder)
        plan, jobs = identity.opened(folder, pictures)
        steps, previews = tuple(plan.get("preview_steps", ())), tuple(plan.get("previews", ()))
        more = int(plan.get("more_steps", 0))
        return cls(base or records.base_of(folder), plan["method"], jobs, folder, previews, steps, more=more)

    def longer(self, steps: int) -> Self:
        """This finished run with so many steps more, to be started; raises `RunError` where it is not finished."""
        refuse_lengthening(self.folder, self.jobs, self.more)
        identity.refuse_lost(self.folder, self.jobs, f"--more-steps {steps}")
        return replace(self, more=self.more + steps)

    def start(
        self, *, base: Base | None = None, sampler: Sampler | None = None
    ) -> Generator[Event, None, None]:
        """Train, preview, save. Raises `Interrupted` after saving where somebody asked to stop.

        `base` may be handed in already loaded; it is left as it came. A folder of another run raises `RunError`, be
        that run finished or not.
        """
        finished = records.read_result(self.folder)
        if finished is not None and is_finished(finished, lengthened(self.jobs, self.more)):
            stored = records.read_plan(self.folder)
            fingerprint = base.fingerprint() if base else stored.get("base_fingerprint", "")
            identity.refuse_other(self.folder, stored, self._described(fingerprint))
            yield Finished(finished)
            return
        records.check_writable(self.folder)
        try:
            with records.locked(self.folder), closing(self._start(base, sampler)) as events:
                for event in events:
                    try:
                        journal.append(self.folder, event)
                    except StorageError as error:
                        events.throw(error)  # there the present step is kept; then it comes back
                    yield event
        except StorageError as error:
            raise (error.then(self._again) if (self.folder / "run.toml").exists() else error) from error

    @property
    def _again(self) -> str:
        return f"likewise teach --resume {shlex.quote(str(self.folder))}"

    def _with_checkpoint(self, hint: str | None) -> str | None:
        """The way out, and what is left where there is a checkpoint."""
        step = SavedState(self.folder).step
        return hint if step is None else f"{hint}; the checkpoint of step {step} is kept in {self.folder}"

    def stop(self) -> None:
        """Ask the process that trains here to finish its step, save and stop."""
        records.ask_to_stop(self.folder)

    def _start(self, base: Base | None, sampler: Sampler | None) -> Generator[Event, None, None]:
        began = time.perf_counter()
        if base is None:
            base = self._load()
        fingerprint = base.fingerprint()
        self.keep(fingerprint)
        with journal.ending(self.folder):
            yield Loaded(self.base, base.family, time.perf_counter() - began)
            result = yield from self._result(base, sampler or Sampler(), fingerprint)
        yield Finished(result)

    def _result(
        self, base: Base, sampler: Sampler, fingerprint: str
    ) -> Generator[Event, None, dict[str, Any]]:
        """Yields events and returns the result; the base is then as precise as before."""
        method, stack = methods.get(self.method), Stack(lengthened(self.jobs, self.more))
        method.check(base, len(stack))
        for token in dict.fromkeys(job.concept.token for job in stack.jobs):
            yield from (Warned(text) for text in identifier.warnings(base, token))
        yield from dict.fromkeys(
            note for job in stack.jobs for note in prior.remarks(job.recipe, job.concept)
        )
        yield from (Warned(text) for text in (*cautions(base, stack), *remarks(self.folder, stack.jobs)))
        before, base.precision = base.precision, arithmetic(base.device, stack.jobs[0].recipe.precision)
        try:
            facts = {"prediction": base.objective.prediction, "base_fingerprint": fingerprint}
            return (yield from self._perform(base, stack, sampler, facts))
        except (TrainingError, DrawingError) as error:
            raise type(error)(error.message, self._with_checkpoint(error.hint)) from None
        finally:
            base.precision = before

    def _perform(
        self, base: Base, stack: Stack, sampler: Sampler, facts: Mapping[str, str]
    ) -> Generator[Event, None, dict[str, Any]]:
        """Yields events and returns the result; whatever happens, the adapter comes off."""
        method, meter = methods.get(self.method), Meter(str(base.device))
        checkpoint = SavedState(self.folder, records.read_plan(self.folder).get("identity"))
        with ExitStack() as held:
            with meter:
                if any(prior.missing(job.recipe, job.concept) for job in stack.jobs):
                    with method.attach(base, stack) as tried:  # before minutes go into class pictures
                        memory.check(base, tried, stack, method.title)
                class_pictures = [list(self.class_pictures(base, job)) for job in stack.jobs]
                adapter = held.enter_context(method.attach(base, stack))
                if not adapter.groups():
                    yield Attached(method.name, 0, 0)
                    with meter.paused():
                        yield from self._preview(base, adapter, 0, sampler)
                else:
                    meter.foreseen = int(sum(memory.check(base, adapter, stack, method.title).values()))
                    done = take_up(adapter, self.folder)
                    training = Training(base, adapter, stack, cache=self.cache, class_pictures=class_pictures)
                    training.done = done
                    checkpoint.load(training)
                    held.enter_context(checkpoint.guarding(training))
                    yield from self._teach(base, training, checkpoint, sampler, meter, facts)
                    with meter.paused():
                        checkpoint.conclude(training)
                    held.enter_context(training.averaged())
            files = yield from keeping.keep(base, adapter, stack, self._kept(facts), self.folder)
            result = self._finish(base, meter, adapter, files, stack.steps if adapter.groups() else 0)
            checkpoint.discard()
        return result

    def _teach(
        self,
        base: Base,
        training: Training,
        checkpoint: SavedState,
        sampler: Sampler,
        meter: Meter,
        facts: Mapping[str, str],
    ) -> Iterator[Event]:
        """From where the training stands to its end, with previews, checkpoints and the files of steps on the way."""
        count = sum(p.numel() for p in training.parameters)
        yield Attached(self.method, count, training.done)
        if training.done == 0:
            notes = (note for m in (*training.own, *training.prior) for note in m.notes)
            yield from (Warned(note) for note in dict.fromkeys(notes))
            with meter.paused():
                yield from self._preview(base, training.adapter, 0, sampler)
        first, steps = training.recipes[0], training.stack.steps
        every, wanted = first.checkpoint_every, self.preview_steps or _preview_steps(steps)
        kept = keeping.steps_on_the_way(steps, first.keep_checkpoints)
        telling = Telling(steps)
        yield from map(Warned, training.record())
        for step in training:
            telling.add(step)
            number = step.number
            shown = bool(self.previews) and number in wanted
            saved = bool(every) and number % every == 0 and number < steps
            if shown or saved or number in kept or telling.due:
                yield from telling.told()
            asked = self._stop_asked()  # by who has just heard of this step, say
            if shown:
                with meter.paused(), training.averaged():
                    yield from self._preview(base, training.adapter, number, sampler)
            if number in kept:
                with meter.paused(), training.averaged():
                    folder, facts_then = (
                        keeping.folder_of(self.folder, number),
                        {**facts, "step": str(number)},
                    )
                    yield from keeping.keep(
                        base, training.adapter, training.stack, self._kept(facts_then), folder
                    )
            if asked or saved:
                yield from telling.told()
                path = checkpoint.save(training)
                yield Saved(str(path), path.stat().st_size)
            if asked:
                raise self._interrupted(f"stopped after step {number} of {steps}, saved")
        yield from telling.told()

    def _kept(self, facts: Mapping[str, str]) -> keeping.Facts:
        return keeping.Facts(self.method, self.base, facts)

    def _stop_asked(self) -> bool:
        return records.stop_asked(self.folder) or (self.stopped is not None and self.stopped())

    def _interrupted(self, message: str) -> Interrupted:
        return Interrupted(message, self._again)

    def _preview(self, base: Base, adapter: Adapter, step: int, sampler: Sampler) -> Iterator[Event]:
        """Draw the preview prompts for every job, slot-major, into samples/step000100."""
        if not self.previews:
            return
        folder = self.folder / "samples" / f"step{step:06d}"
        prompts = [
            prompt.replace("{}", f"{job.concept.token} {job.concept.noun}")
            for job in self.jobs
            for prompt in self.previews
        ]
        try:
            redraw(base, prompts, sampler, folder, slots=len(self.jobs))
        except DrawingError as error:
            message = f"the preview after step {step}: {error.message}"
            raise DrawingError(message, "lower learning_rate, or set precision=fp32") from None
        yield Sampled(step, str(folder))

    def class_pictures(self, base: Base, job: Job) -> Iterator[Any]:
        """Pictures of the class, drawn once by the untouched base and kept in the cache; own ones count as well."""
        recipe, count = job.recipe, prior.missing(job.recipe, job.concept)
        if not isinstance(recipe, TrainingRecipe) or not count:
            return
        prompts = class_prompts(base, job.concept, count)
        sampler = Sampler(steps=20, guidance=recipe.prior_guidance, size=recipe.resolution)
        name = key("class pictures", base.fingerprint(), prompts, sampler, recipe.seed)
        gallery = Gallery(self.cache.folder_for(name))
        seeds = [recipe.seed * 1_000_003 + 500_000 + n for n in range(count)]
        draw(base, prompts, seeds, sampler, gallery, stop=self._stop_asked)
        if len(gallery) < count:
            raise self._interrupted(f"stopped after {len(gallery)} of {count} class pictures, which are kept")
        yield from gallery.images()

    def _finish(
        self, base: Base, meter: Meter, adapter: Adapter, files: Sequence[Path], done: int
    ) -> dict[str, Any]:
        steps, earlier = journal.steps(self.folder)
        result = {
            "status": "done",
            "method": self.method,
            "base": self.base,
            "steps": done,
            "seconds": round(earlier + meter.seconds, 3),
            "peak_bytes": meter.peak,
            "added_bytes": meter.peak - meter.before,
            "foreseen_bytes": meter.foreseen,
            "trainable": sum(p.numel() for g in adapter.groups() for p in g.parameters) // len(self.jobs),
            "bytes": sum(path.stat().st_size for path in files) // len(files),
            "files": [path.name for path in files],
            "machine": machine(meter.device, base.precision),
            "losses": [loss for event in steps[-20:] for loss in event.losses][-20:],
        }
        records.write_result(self.folder, result)
        return result

    def _load(self) -> Base:
        try:
            return families.load(self.base)
        except BaseError as error:
            if (self.folder / "run.toml").exists():
                begun = records.read_plan(self.folder).get("more_steps", 0) == self.more
                again = self._again if begun else self._again.replace("--resume", f"--more-steps {self.more}")
                where = f"say where it is now: {again} --base BASE"
                raise BaseError(error.message, where) from None
            raise

    def keep(self, fingerprint: str) -> None:
        """Write the plan into the folder; `RunError` where that is another run's. `fingerprint` is the base's."""
        identity.keep(self.folder, self._described(fingerprint))

    def _described(self, fingerprint: str) -> dict[str, Any]:
        """What run.toml holds."""
        return {
            **identity.described(self.jobs, self.method, self.base, fingerprint),
            "folder": str(self.folder.absolute()),
            "more_steps": self.more or None,
            "previews": list(self.previews),
            "preview_steps": list(self.preview_steps),
        }


def _preview_steps(steps: int) -> tuple[int, ...]:
    spaced = {max(1, round(steps * 0.5**n)) for n in range(5)}
    return tuple(sorted(spaced))


def plan(
    subjects: Sequence[Subject],
    way: Way,
    *,
    base: Base | str = "pocket",
    out: Path | str | None = None,
    previews: str | Sequence[str] = (),
) -> tuple[Run, Base]:
    """A run that is ready to start, in a new folder under `runs/` unless `out` names one, and its loaded base.

    All subjects are taught in one stack. `previews` are prompts to draw now and then, with `{}` for each concept. Where the
    method teaches one job at a time, more are refused before the base is loaded.
    """
    out = expand(out) if out else None
    records.check_writable(out or Path("runs"))
    check(subjects, way)
    loaded = families.load(base) if isinstance(base, str) else base
    every = jobs(loaded, subjects, way)
    for text in dict.fromkeys(text for prompt in several(previews) for text in foreign(prompt)):
        logger.warning(text)
    names = dict.fromkeys(job.concept.name for job in every)
    folder = out or records.new_folder(Path("runs"), slug("-".join(names)), way.method)
    return Run(loaded.name, way.method, every, folder, tuple(several(previews))), loaded


def teach(
    pictures: intake.Source,
    *,
    noun: str | None = None,
    token: str | None = None,
    also: Sequence[tuple[Any, ...]] = (),
    seeds: int = 1,
    **options: Any,
) -> dict[str, Any]:
    """Teach a concept and return the result, its `folder` included. What a person should know is logged.

    `seeds=3` teaches it three times, with other random numbers each. `also=[("cats", "cat")]` teaches more concepts,
    each as pictures, noun and, if it is to have a word of your choice, token. All of them are taught in one batch, and each
    has a file: `files` and `tokens` of the result go together.

    Options are those of `plan`, `method`, `recipe_file`, `held_out` and `class_pictures`; every other keyword is a
    hyperparameter: `teach("photos", noun="dog", rank=16)`. The name of a kohya folder (`10_sks dog`) stands in for the noun
    and token that are not given.
    """
    given = {name: options.pop(name) for name in ("base", "out", "previews") if name in options}
    method, recipe_file = options.pop("method", USUAL.mark), options.pop("recipe_file", None)
    own, held = options.pop("class_pictures", None), options.pop("held_out", 0)
    way = Way(method, asked(method, recipe_file, options), seeds)
    first = Subject(pictures, noun, token, own, held)
    subjects = [look(one) for one in (first, *(Subject.further(one, held) for one in also))]
    run, base = plan(subjects, way, **given)
    result: dict[str, Any] = {}
    for event in run.start(base=base):
        if isinstance(event, Finished):
            result = event.result
        elif isinstance(event, Warned):
            logger.warning(event.text)
    tokens = [job.concept.token for job in run.jobs]
    return {"folder": str(run.folder), "token": tokens[0], "tokens": tokens, **result}
