"""Guard: how a command ends. Whatever is raised becomes one line, a hint and an exit code.

0   done
1   failed while at work
2   what was typed is wrong: an option, a method, a setting
3   refused before starting: something named that is not there, no usable picture, a base that this method cannot teach, too
    little memory
130 interrupted
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from likewise.cache import home
from likewise.cli import terminal
from likewise.cli.places import prepare
from likewise.elsewhere import DRAWING, ours
from likewise.errors import (
    CapacityError,
    ConceptError,
    Error,
    Interrupted,
    RecipeError,
    UnsupportedError,
    is_of_memory,
)
from likewise.files import is_full, printable
from likewise.wording import wish

FAILED, USAGE, REFUSED, INTERRUPTED = 1, 2, 3, 130
_CODES = {
    RecipeError: USAGE, ConceptError: REFUSED, UnsupportedError: REFUSED, CapacityError: REFUSED,
    Interrupted: INTERRUPTED,
}  # fmt: skip
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
"""Errors of a folder that is not there, or not the person's."""
_OURS: set[str] = set()
"""Variables that were not set before."""


class Commands(TyperGroup):
    """The group of all commands; every one of them runs inside this `invoke`."""

    order = (
        "demo", "studio", "which", "check", "estimate", "teach", "sample", "compare", "recommend", "report", "vote", "score",
        "checkpoints",
        "recompute", "methods", "explain", "runs", "inspect", "convert", "merge", "extract", "resize", "bake", "diff",
        "survey", "examples", "selfcheck", "doctor",
    )  # fmt: skip

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        prepare(self)

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which people come to need them."""
        return sorted(self.commands, key=lambda name: self.order.index(name) if name in self.order else 99)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named. Whatever it raises ends here."""
        listen()
        try:
            return super().invoke(ctx)
        except Error as error:
            raise typer.Exit(report(error)) from None
        except KeyboardInterrupt:
            terminal.say("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # `likewise runs | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):  # typer's own
                _mention_settings(error)
                if hasattr(error, "message"):  # it may quote whatever was typed
                    error.message = printable(wish(str(error.message)))
                raise
            raise typer.Exit(report_unexpected(error)) from None


def listen() -> None:
    """Show likewise's own warnings as lines and keep other libraries quiet, before they are imported."""
    for name in _QUIET.keys() - os.environ.keys():
        os.environ[name] = _QUIET[name]
        _OURS.add(name)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    own = logging.getLogger("likewise")
    if not any(isinstance(handler, _Lines) for handler in own.handlers):
        own.addHandler(_Lines(logging.WARNING))
        logging.getLogger().addHandler(logging.NullHandler())  # else Python prints those of all others


def let_downloads_show() -> None:
    """Let the Hub's own bars through: gigabytes may come, and silence would look as if nothing happened."""
    if "HF_HUB_DISABLE_PROGRESS_BARS" in _OURS:
        os.environ.pop("HF_HUB_DISABLE_PROGRESS_BARS", None)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        label = "error" if record.levelno >= logging.ERROR else "warning"
        terminal.say(" ".join(record.getMessage().split()), label)


def report(error: Error) -> int:
    """Print an expected error; returns the exit code."""
    code = (
        REFUSED
        if error.absent
        else next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
    )
    # Spelled out here as well, line ends included: a name in it must not look like a line of ours.
    terminal.say(printable(error.message), "" if code == INTERRUPTED else "error")
    if error.hint:
        terminal.say(printable(error.hint), "go on" if code == INTERRUPTED else "hint")
    _show_traceback(error)
    return code


def report_unexpected(error: Exception) -> int:
    """Print what nobody foresaw; returns the exit code."""
    if is_of_memory(error):
        terminal.say("out of memory", "error")
        terminal.say("smaller numbers help: batch_size=1, a smaller resolution=, precision=bf16", "hint")
    elif is_full(error):
        file = error.filename if isinstance(error, OSError) else None
        terminal.say(f"no space is left on the disk{f' for {terminal.short(file)}' if file else ''}", "error")
        terminal.say("free some, then run the same again", "hint")
    elif isinstance(error, OSError) and error.filename is not None:
        terminal.say(f"{terminal.short(error.filename)}: {error.strerror}", "error")
        if error.errno in _UNWRITABLE:
            terminal.say("name another folder, or set LIKEWISE_HOME to one of yours for the cache", "hint")
    else:
        first = next(iter(str(error).splitlines()), "")
        terminal.say(f"{type(error).__name__}: {first}", "error")
        terminal.say("this is a bug, please report it with the output of `likewise doctor --json`", "hint")
        for note in getattr(error, "__notes__", None) or [_note(_write_traceback(error, home()))]:
            terminal.say(note, "hint")
    _show_traceback(error)
    return FAILED


@contextmanager
def tracebacks_in(folder: Path) -> Iterator[None]:
    """Write the traceback of an unexpected exception to `log.txt` in the folder of the run it ended."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        if not is_full(error):
            error.add_note(_note(_write_traceback(error, folder)))
        raise


def _write_traceback(error: Exception, folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return None
    return folder / "log.txt"


def _note(path: Path | None) -> str:
    where = f"the traceback is in {terminal.short(path)}; " if path else ""
    return f"{where}LIKEWISE_TRACEBACK=1 shows it here"


def _show_traceback(error: BaseException) -> None:
    if os.environ.get("LIKEWISE_TRACEBACK"):
        traceback.print_exception(error, file=sys.stderr)


def _mention_settings(error: Exception) -> None:
    """`--steps 400` and `--negative_prompt` are what other programs take; say how it is written here."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    command = context.info_name if context is not None else None
    if option and context is not None and command in ("teach", "compare", "demo", "sample"):
        name = option.lstrip("-").replace("-", "_")
        own = f"--{name.replace('_', '-').lower()}"
        if any(own in parameter.opts for parameter in context.command.params):
            known: str | None = own
        else:
            known = DRAWING.get(name.lower()) if command == "sample" else ours(name)
        if known:
            extra = f"Here it is {known}{'..., without dashes' if known.endswith('=') else ''}."
        elif command == "sample":
            return
        else:
            extra = f"If it is a hyperparameter, write {name}=... without dashes."
        error.message = f"{getattr(error, 'message', error)}. {extra}"  # type: ignore[attr-defined]


@contextmanager
def stopping(stop: Callable[[], object]) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) calls `stop`, which lets a step or pictures finish; the second ends all at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # `print` could be in the middle of a line here, and its buffer does not take a second writer.
        os.write(2, b"\nstopping as soon as what is done can be kept; once more to stop at once\n")
        stop()

    if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
