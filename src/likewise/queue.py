"""Queue: jobs of a file, taught on one base, as many at once as go together; a slot whose job is done takes the next one.

Every job has a run folder of its own, as if it had been taught alone. A queue may be started again: what is done is left
alone, and what was broken off begins anew. A job that fails costs the others nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise import keeping, memory, methods, planning, records
from likewise.base import Base
from likewise.concept import slug
from likewise.devices import arithmetic
from likewise.errors import CapacityError, Error, RecipeError, TrainingError
from likewise.events import Event, Failed, Finished, Progress, Stepped, Warned
from likewise.files import expand, read_text
from likewise.kinds import USUAL
from likewise.meter import Meter, machine
from likewise.method import Adapter
from likewise.planning import Subject, Way
from likewise.recipe import TrainingRecipe
from likewise.run import Run
from likewise.stack import SHARED, Job, Stack
from likewise.telling import Telling
from likewise.together import Carried, attach, carried, put
from likewise.train import Training

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 8
"""Jobs in one batch, unless more or fewer are asked for."""
OWN = ("name", "pictures", "noun", "token", "method", "class_pictures")
"""Keys of a job that are no settings of its method."""


@dataclass(frozen=True)
class Entry:
    """A job of the file: what is taught, how, and what its folder is called."""

    name: str
    subject: Subject
    way: Way


def read(path: Path | str) -> list[Entry]:
    """The jobs of a TOML file: tables `[[job]]` with pictures, noun, token, method and settings, and `[defaults]` for all.

    Places are looked for from the file's folder. Raises `RecipeError` naming the job and what is wrong with it.
    """
    path = expand(path)
    try:
        told = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{path}: {error}", 'write [[job]] with pictures = "photos" and noun = "dog"'
        ) from None
    jobs, defaults = told.pop("job", None), told.pop("defaults", {})
    if told or not isinstance(jobs, list) or not jobs or not isinstance(defaults, dict):
        odd = f"{next(iter(told))!r} is not understood" if told else "there is no [[job]]"
        raise RecipeError(f"{path}: {odd}", 'write [[job]] with pictures = "photos" and noun = "dog"')
    found = [_entry(defaults | job, number, path) for number, job in enumerate(jobs, 1)]
    for name in {entry.name for entry in found}:
        if sum(entry.name == name for entry in found) > 1:
            raise RecipeError(f"{path}: two jobs are called {name!r}", "give each a name of its own")
    return found


def _entry(job: Mapping[str, Any], number: int, path: Path) -> Entry:
    where = f"{path}, job {number}"
    if not job.get("pictures"):
        raise RecipeError(f"{where} names no pictures", 'write pictures = "photos"')
    places = {key: path.parent / expand(job[key]) for key in ("pictures", "class_pictures") if key in job}
    method = str(job.get("method", USUAL.mark))
    try:
        subject = planning.look(
            Subject(places["pictures"], job.get("noun"), job.get("token"), places.get("class_pictures"))
        )
        settings = {key: value for key, value in job.items() if key not in OWN}
        way = Way(method, planning.asked(method, None, settings))
    except Error as error:
        raise type(error)(f"{where}: {error.message}", error.hint) from None
    words = slug(f"{subject.token or ''} {subject.noun}")
    return Entry(str(job.get("name") or f"{number:02}-{words}-{method}"), subject, way)


@dataclass
class _Waiting:
    """A job that is to be taught, or half taught, in its folder."""

    run: Run
    carried: Carried | None = None
    losses: tuple[float, ...] = ()
    seconds: float = 0.0

    @property
    def job(self) -> Job:
        return self.run.jobs[0]


def teach(
    entries: Sequence[Entry], base: Base, out: Path, at_once: int = AT_ONCE
) -> Generator[Event, None, None]:
    """Teach every entry that is not done in `out`. Yields steps, and `Progress` with each job's `Finished` or `Failed`."""
    fingerprint = base.fingerprint()
    facts = {"prediction": base.objective.prediction, "base_fingerprint": fingerprint}
    waiting: list[_Waiting] = []
    concepts = planning.concepts(base, [entry.subject for entry in entries])
    for entry, concept in zip(entries, concepts, strict=True):
        job = planning.job(base, concept, entry.way.method, entry.way.settings)
        run = Run(base.name, entry.way.method, (job,), out / entry.name)
        if records.read_result(run.folder) is None:
            run.keep(fingerprint)
            waiting.append(_Waiting(run))
    while waiting:
        together = _next(waiting, at_once)
        if len(together) == 1 and not _stacks(together[0]):
            yield from _alone(waiting.pop(waiting.index(together[0])).run, base)
        else:
            for one in together:
                waiting.remove(one)
            waiting[:0] = yield from _stint(base, together, bool(waiting), facts)


def _stacks(one: _Waiting) -> bool:
    recipe = one.job.recipe
    return (
        isinstance(recipe, TrainingRecipe)
        and recipe.optimizer == "adamw"
        and methods.get(one.run.method).stackable
    )


def _next(waiting: Sequence[_Waiting], at_once: int) -> list[_Waiting]:
    """The first that waits and those that go with it, one method's side by side, those that are half done before all."""
    first = waiting[0]
    if not _stacks(first):
        return [first]
    shared, forms = _shared(first), dict[str, Hashable]()
    found: list[_Waiting] = []
    for one in waiting:
        if len(found) == at_once or not _stacks(one) or _shared(one) != shared:
            continue
        form = methods.get(one.run.method).alike(one.job.recipe)
        if forms.setdefault(one.run.method, form) == form:
            found.append(one)
    return [one for name in forms for one in found if one.run.method == name]


def _shared(one: _Waiting) -> Hashable:
    return tuple(getattr(one.job.recipe, key) for key in SHARED)


def _alone(run: Run, base: Base) -> Iterator[Event]:
    """A job that no other goes with, as `likewise teach` does it."""
    try:
        for event in run.start(base=base):
            yield Progress(run.folder.name, event) if isinstance(event, Finished) else event
    except Error as error:
        yield Progress(run.folder.name, Failed.by(error))


def _stint(
    base: Base, jobs: list[_Waiting], more: bool, facts: Mapping[str, str]
) -> Generator[Event, None, list[_Waiting]]:
    """Teach `jobs` in one batch until one is done, or all where no more wait; returns those that are not done.

    Where they do not fit into memory, half of them are.
    """
    precision, base.precision = base.precision, arithmetic(base.device, jobs[0].job.recipe.precision)
    try:
        with ExitStack() as held:
            meter = held.enter_context(Meter(str(base.device)))
            adapter, stack = attach(base, [(methods.get(o.run.method), o.job) for o in jobs])
            held.callback(adapter.detach)
            try:
                memory.check(base, adapter, stack, f"{len(jobs)} trainings at once")
            except CapacityError:
                if len(jobs) == 1:
                    raise
                half = len(jobs) // 2
                adapter.detach()
                return (yield from _stint(base, jobs[:half], True, facts)) + jobs[half:]
            pictures = [list(one.run.class_pictures(base, one.job)) for one in jobs]
            before = [one.carried.steps if one.carried else 0 for one in jobs]
            training = Training(
                base, adapter, stack, cache=jobs[0].run.cache, class_pictures=pictures, before=before
            )
            for slot, one in enumerate(jobs):
                if one.carried:
                    put(training, slot, one.carried)
            return (yield from _taught(base, training, jobs, more, facts, meter))
    finally:
        base.precision = precision


def _taught(
    base: Base, training: Training, jobs: list[_Waiting], more: bool, facts: Mapping[str, str], meter: Meter
) -> Generator[Event, None, list[_Waiting]]:
    """Steps until a job is done or fails. What is done is written; what is not goes on elsewhere."""
    telling = Telling(training.steps)
    left = [training.left(slot) for slot in range(len(jobs))]
    until = min(left) if more else max(left)
    failed: dict[int, Error] = {}
    yield from map(Warned, training.record())
    try:
        for step in training:
            telling.add(step)
            if telling.due or step.number == until:
                for event in telling.told():
                    _remember(jobs, event)
                    yield event
            if step.number == until:
                break
        training.verify()
    except TrainingError as error:
        if not error.slots:
            raise
        failed = {slot: error for slot in error.slots}
    rest: list[_Waiting] = []
    for slot, one in enumerate(jobs):
        one.seconds += meter.running / len(jobs)
        if slot in failed:
            yield Progress(one.run.folder.name, Failed.by(failed[slot]))
        elif training.left(slot):
            one.carried = carried(training, slot)
            rest.append(one)
        else:
            with training.averaged():
                yield from _written(base, training.adapter, slot, one, facts, meter)
    return rest


class _Slot:
    """One slot of a stack, for who writes files."""

    def __init__(self, adapter: Adapter, slot: int) -> None:
        self._adapter, self._slot = adapter, slot

    def shared(self, _: int) -> Mapping[str, Tensor]:
        """The slot's tensors."""
        return self._adapter.state(self._slot)


def _remember(jobs: Sequence[_Waiting], event: Event) -> None:
    if isinstance(event, Stepped):
        for one, loss in zip(jobs, event.losses, strict=True):
            one.losses = (*one.losses, loss)[-20:]


def _written(
    base: Base, adapter: Adapter, slot: int, one: _Waiting, facts: Mapping[str, str], meter: Meter
) -> Iterator[Event]:
    """The job's file and its result, in its own folder."""
    recipe = one.job.recipe
    assert isinstance(recipe, TrainingRecipe)
    told = keeping.Facts(one.run.method, base.name, facts)
    kept = keeping.keep(base, _Slot(adapter, slot), Stack((one.job,)), told, one.run.folder)
    files = yield from kept
    result = {
        "status": "done", "method": one.run.method, "base": base.name, "steps": recipe.steps,
        "seconds": round(one.seconds, 3), "peak_bytes": meter.highest, "trainable": sum(
            t.numel() for name, t in adapter.state(slot).items() if not name.endswith(".alpha")
        ),
        "bytes": files[0].stat().st_size, "files": [files[0].name],
        "machine": machine(meter.device, base.precision), "losses": list(one.losses),
    }  # fmt: skip
    records.write_result(one.run.folder, result)
    yield Progress(one.run.folder.name, Finished(result))
