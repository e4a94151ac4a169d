"""Progress: a run's events on stderr, as a bar on a terminal and as a line now and then everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from likewise.cli import terminal
from likewise.events import (
    Attached,
    Compared,
    Event,
    Failed,
    Finished,
    Loaded,
    Noted,
    Planned,
    Progress,
    Sampled,
    Stepped,
    TrialEnded,
    TrialStarted,
    Warned,
)
from likewise.wording import size_text, time_text

EVERY_SECONDS = 10.0
LINES = 10
"""A plain log has about so many lines, or one every ten seconds."""
_MEMORY = 0.98


class Average:
    """The running mean of noisy losses, without a bias towards the first."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def add(self, losses: Iterable[float]) -> float:
        """Take in one step's losses (one per job); returns the average so far."""
        values = list(losses)
        self._sum = _MEMORY * self._sum + sum(values) / len(values)
        self._weight = _MEMORY * self._weight + 1
        return self._sum / self._weight


class Display(Protocol):
    """Where steps are shown, for the length of a `with` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    def wait(self, text: str, earlier: Sequence[Sequence[float]] = ()) -> None:
        """Show what is being waited for. The next step begins anew, or goes on from the losses of `earlier` steps."""

    def step(self, event: Stepped) -> None:
        """Show one step."""


def show(first: str) -> Display:
    """What this terminal can take, beginning with `first`."""
    return Bar(first) if terminal.fancy() else Lines(first)


def follow(events: Iterable[Event], folder: Path | None = None) -> dict[str, Any]:
    """Show the events of a run in `folder` as they come; returns the result that `Finished` brings."""
    result: dict[str, Any] = {}
    with show("starting") as display:
        for event in events:
            match event:
                case Loaded():
                    display.wait("preparing the pictures")
                case Attached(method=method, parameters=count, resumed=resumed):
                    again = f", going on after step {resumed}" if resumed else ""
                    terminal.say(f"{method}: {count:,} numbers to learn{again}")
                    display.wait("teaching", earlier_losses(folder) if resumed and folder else ())
                case Sampled(step=step, folder=drawn):
                    terminal.say(f"preview at step {step}: {terminal.short(drawn)}")
                case Finished(result=found):
                    result = found
                case _:
                    _tell(event, display, set())
    return result


def follow_queue(events: Iterable[Event], jobs: int) -> int:
    """Show the events of a queue of so many jobs, a line for each that is done; returns how many failed."""
    done = failed = 0
    with show("teaching") as display:
        for event in events:
            match event:
                case Progress(trial=name, inner=Finished(result=found)):
                    done += 1
                    terminal.say(
                        f"{name}: {found['steps']} steps, {found['files'][0]} ({done} of {jobs} jobs)"
                    )
                case Progress(trial=name, inner=Failed(message=text)):
                    failed += 1
                    terminal.say(f"{name}: {text}", "warning")
                case _:
                    _tell(event, display, set())
    return failed


def earlier_losses(folder: Path) -> list[tuple[float, ...]]:
    """The losses of every step that is kept of a run that goes on, so that their mean need not begin anew."""
    from likewise.journal import steps

    return [step.losses for step in steps(folder)[0]]


def _tell(event: Event, display: Display, said: set[str]) -> None:
    """What reads the same in a run and in a comparison, where each trial would warn of the same again."""
    if isinstance(event, Stepped):
        display.step(event)
    elif isinstance(event, Warned) and event.text not in said:
        said.add(event.text)
        terminal.say(event.text, "note" if isinstance(event, Noted) else "warning")


def follow_comparison(events: Iterable[Event], folder: Path | None = None) -> None:
    """Show the events of a comparison in `folder` as they come: a line per trial, and the steps of one.

    Of trials that are under way side by side, steps are shown of the one that began first.
    """
    titles, under_way, said, left = dict[str, str](), list[str](), set[str](), 0
    with show("starting") as display:
        for event in events:
            match event:
                case Planned(trials=trials, pending=pending):
                    left, done = len(pending), len(trials) - len(pending)
                    terminal.say(f"{left} trials to do" + (f", {done} done before" if done else ""))
                case TrialStarted(trial=name):
                    titles[name] = f"{event.number}/{event.total} {event.title}"
                    under_way = [*(one for one in under_way if one != name), name]
                    if len(under_way) == 1:
                        display.wait(titles[name])
                    else:
                        terminal.say(titles[name])
                case Progress(trial=name, inner=Stepped()) if name not in under_way[:1]:
                    pass
                case Progress(trial=name, inner=Finished()) if name in under_way[:1]:
                    display.wait(f"{titles[name]}: drawing")
                case Progress(trial=name, inner=Attached(resumed=resumed)) if (
                    name in under_way[:1] and resumed
                ):
                    display.wait(titles[name], _losses_of(name, folder))
                case Progress(inner=inner):
                    _tell(inner, display, said)
                case TrialEnded(trial=name, row=row):
                    terminal.say(f"{titles.get(name, name)}: {_ending(row)}")
                    shown, left = under_way[:1], left - 1
                    under_way = [one for one in under_way if one != name]
                    if not under_way:
                        display.wait("" if left else "scoring")
                    elif under_way[:1] != shown:
                        display.wait(titles[under_way[0]], _losses_of(under_way[0], folder))
                case Compared(notes=notes):
                    for note in notes:
                        terminal.say(note, "note")
                case _:
                    _tell(event, display, said)


def _losses_of(trial: str, folder: Path | None) -> Sequence[Sequence[float]]:
    return earlier_losses(folder / "trials" / trial / "run") if folder else ()


def _ending(row: dict[str, Any]) -> str:
    """How a trial ended, in a few words."""
    if row["status"] != "done":
        return f"{row['status']}: {row['reason']}" if row.get("reason") else str(row["status"])
    cost = row.get("cost") or {}
    facts = ["done"]
    facts += [time_text(cost["seconds"])] if cost.get("seconds") is not None else []
    facts += [size_text(cost["bytes"])] if cost.get("bytes") else []
    return ", ".join(facts)


class Pace:
    """What there is to say of a step: the mean loss, the speed, what is left."""

    def __init__(self, earlier: Iterable[Iterable[float]] = ()) -> None:
        self._loss, self._first, self._start = Average(), 0, 0.0
        for losses in earlier:
            self._loss.add(losses)

    def facts(self, event: Stepped) -> list[str]:
        """Texts by importance: count, time left, loss, speed, memory."""
        loss, now = self._loss.add(event.losses), time.monotonic()
        if not self._first:
            self._first, self._start = event.step, now - event.seconds
        rate = (event.step - self._first + 1) / max(now - self._start, 1e-6)
        width = len(str(event.steps))
        return [
            f"{event.step:>{width}}/{event.steps}",
            f"{time_text((event.steps - event.step) / rate)} left",
            f"loss {loss:.4f}",
            f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step",
            size_text(event.memory),
        ]


class Lines:
    """Plain lines, for files, other programs and people who want neither colours nor bars."""

    def __init__(self, first: str) -> None:
        self._pace, self._shown, self._text = Pace(), 0.0, first

    def __enter__(self) -> Self:
        terminal.say(self._text)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, text: str, earlier: Sequence[Sequence[float]] = ()) -> None:
        """Say it, unless it is but a part of what was said last."""
        self._pace, self._shown = Pace(earlier), 0.0
        if text and text != self._text:
            self._text = text
            terminal.say(text)

    def step(self, event: Stepped) -> None:
        """A line for the first step, the last, each tenth of the way, and when ten seconds have passed."""
        facts, now = self._pace.facts(event), time.monotonic()
        first, last = not self._shown, event.step == event.steps
        tenth = event.step % max(1, event.steps // LINES) == 0
        if first or last or tenth or now - self._shown >= EVERY_SECONDS:
            self._shown = now
            terminal.say("step " + "  ".join(facts))


class Bar:
    """A bar, with as many facts as the width of the terminal leaves room for. It is gone when it is done."""

    def __init__(self, first: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._console = Console(file=sys.stderr, highlight=False)
        self._pace, self._text = Pace(), first
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(None))
        detail = TextColumn("{task.fields[detail]}", markup=False)
        self._progress = Progress(*columns, detail, console=self._console, transient=True, expand=True)
        self._task = self._progress.add_task(first, total=None, detail="")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        self._progress.__exit__(*what)

    def wait(self, text: str, earlier: Sequence[Sequence[float]] = ()) -> None:
        """Name what goes on; the bar pulses until there is a step."""
        self._pace, self._text = Pace(earlier), text
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(text, total=None, detail="")

    def step(self, event: Stepped) -> None:
        """Move the bar."""
        facts = self._pace.facts(event)
        room = self._console.width - len(self._text) - 16  # the spinner, gaps, and a bar of ten
        while len(facts) > 1 and len("  ".join(facts)) > room:
            facts.pop()
        self._progress.update(self._task, total=event.steps, completed=event.step, detail="  ".join(facts))


@contextmanager
def drawing(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a drawing is. Nothing is drawn before all is checked, so `text` is said when the first step begins."""
    if terminal.fancy():
        with _bar() as watch:
            yield lambda done, total: watch(text, done, total)
        return
    began = shown = 0.0

    def say(done: int, total: int) -> None:
        nonlocal began, shown
        now = time.monotonic()
        if not done:
            terminal.say(text)
            began = shown = now
        elif done < total and now - shown >= EVERY_SECONDS:
            shown = now
            terminal.say(f"step {done}/{total}  {time_text((now - began) / done * (total - done))} left")

    yield say


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that pulses until it is first told how far the drawing is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, highlight=False)
    named = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), named, BarColumn(None), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("loading", total=None)
        yield lambda text, done, total: bar.update(task, description=text, completed=done, total=total)
