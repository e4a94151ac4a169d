"""Every exception that likewise raises on purpose.

    Error                     shown to people as one line and a hint, never as a traceback
    ├── ConceptError          pictures or captions that cannot be used
    ├── RecipeError           a hyperparameter that is unknown or out of range
    ├── BaseError             a base model that cannot be found, read or recognised
    ├── UnsupportedError      a method that cannot teach this base (the reason, in words)
    ├── FormatError           a file of tensors that is damaged, hostile or of an unknown layout
    ├── CapacityError         a machine with too little memory for what was asked
    ├── TrainingError         a run that must stop: not-a-number, nothing to resume
    ├── DrawingError          a picture that came out not finite, and is not written
    ├── EvidenceError         scores that carry no verdict: one replicate, other prompts, not-a-number
    ├── RunError              a run or comparison folder that is missing, locked or unreadable
    ├── SurveyError           the survey's site, recorded pages or store: unreachable, odd or unreadable
    ├── ServingError          a page on this machine that cannot be served, or not safely
    ├── StorageError          a disk that is full, or that cannot be written to
    └── Interrupted           the person asked to stop; the state was saved first

Anything else that reaches a user is a bug in likewise.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any, Self


class Error(Exception):
    """What went wrong and where (`message`), and what to do about it (`hint`)."""

    absent = False
    """Whether something that was named is not there, so that nothing was begun."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @classmethod
    def missing(cls, message: str, hint: str | None = None) -> Self:
        """An error of this kind about something that was named and is not there."""
        error = cls(message, hint)
        error.absent = True
        return error

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole to another process, whatever its kind asks for when it is made."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def is_of_memory(error: BaseException) -> bool:
    """Whether the memory ran out. torch has an error type for a full GPU; a full machine is told from the words alone."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


class ConceptError(Error):
    """Pictures or captions that cannot be used."""


class RecipeError(Error):
    """A hyperparameter that is unknown or out of range."""


class BaseError(Error):
    """A base model that cannot be found, read or recognised."""


class UnsupportedError(Error):
    """A method that cannot teach this base."""


class FormatError(Error):
    """A file of tensors that is damaged, hostile or of an unknown layout."""


class CapacityError(Error):
    """A machine with too little memory for what was asked."""


class TrainingError(Error):
    """A training run that must stop; `slots` are those of a stack that are at fault, where that is known."""

    def __init__(self, message: str, hint: str | None = None, slots: Sequence[int] = ()) -> None:
        super().__init__(message, hint)
        self.slots = tuple(slots)


class DrawingError(Error):
    """A picture that came out not finite, and is not written."""


class EvidenceError(Error):
    """Scores that carry no interval and no verdict."""


class RunError(Error):
    """A run or comparison folder that is missing, locked or unreadable."""


class SurveyError(Error):
    """The survey's site, recorded pages or store: unreachable, odd or unreadable."""


class ServingError(Error):
    """A page on this machine that cannot be served: a package is missing, an address is taken or not safe."""


class StorageError(Error):
    """A disk that is full, or that cannot be written to, and the `remedy` after which the same can be tried again."""

    def __init__(self, message: str, remedy: str, action: str = "run the same again") -> None:
        super().__init__(message, f"{remedy}, then {action}")
        self.remedy = remedy

    def then(self, action: str) -> StorageError:
        """The same, with what to do after the remedy."""
        return StorageError(self.message, self.remedy, action)


class Interrupted(Error):
    """The person asked to stop; the state was saved first."""
