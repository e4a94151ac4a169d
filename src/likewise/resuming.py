"""Resuming: the newest state of a run, from which it goes on, and room on the disk for the next one.

What the disk must hold later is reserved before the first step. A disk that cannot hold it is named then, and one that is
filled by others meanwhile costs no step: the present one is kept in the room that was reserved.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.errors import RunError, StorageError, TrainingError
from likewise.files import storing
from likewise.weights import read_header, write_tensors
from likewise.weights.streaming import TensorFile

if TYPE_CHECKING:
    from torch import Tensor

    from likewise.train import Training

LARGE = 1 << 30
"""Bytes. A larger state is not written once more when everything is learned, which takes minutes."""
BLOCK = 4096
SMALL = 1 << 16
"""Bytes for what else is written at the end, beside the result's own."""


class SavedState:
    """The state of one run in `folder`. `owner` says which run: a state of another one is refused."""

    def __init__(self, folder: Path, owner: str | None = None) -> None:
        self.folder, self.owner = Path(folder) / "checkpoint", owner
        self.path = self.folder / "state.safetensors"
        self._room = self.folder / "room"
        self._states = self._size = self._result = 0
        """How many states to have room for, the bytes of one, and those of the result."""
        self._wish: bool | None = None
        """What the recipe says of `keep_state`."""

    @property
    def step(self) -> int | None:
        """The steps that the kept state has done; None where none is kept."""
        return int(read_header(self.path).metadata["likewise.step"]) if self.path.exists() else None

    @property
    def _began_with(self) -> int:
        """The threads of the training whose state is kept; 0 where nobody knows."""
        return int(read_header(self.path).metadata.get("likewise.threads", 0)) if self.path.exists() else 0

    def load(self, training: Training) -> None:
        """Let `training` go on from the kept state, if there is one; raises `RunError` if it is another run's."""
        if not self.path.exists():
            return
        if self.owner and read_header(self.path).metadata.get("likewise.run") != self.owner:
            raise RunError(
                f"the checkpoint in {self.folder.parent} belongs to other settings or pictures",
                "use another --out, or delete its checkpoint folder",
            )
        training.load(_Tensors(self.path))

    def save(self, training: Training) -> Path:
        """Keep the present state in the place of the last; nothing that is not finite is kept."""
        training.verify()
        self._hold(self._left() - self._size)
        facts = {
            "likewise.step": str(training.done),
            "likewise.run": self.owner or "",
            "likewise.threads": str(_threads()),
        }
        write_tensors(self.path, {k: v.contiguous() for k, v in training.state().items()}, facts)
        self._hold(self._left())
        return self.path

    @contextmanager
    def guarding(self, training: Training) -> Iterator[None]:
        """Reserve room for states and the result. Where the disk takes no more, the present step is kept in it.

        Sums of floats depend on how they are shared out, so a training goes on with the threads that it began with.
        """
        every, steps = training.recipes[0].checkpoint_every, training.stack.steps
        self._wish = training.recipes[0].keep_state
        self._size = _blocks(sum(v.numel() * v.element_size() for v in training.state().values()) + SMALL)
        # A state between is there until the next one is whole.
        self._states, self._result = 2 if 0 < every < steps else int(self._kept), _result(training)
        before = _threads(self._began_with)
        try:
            self._hold(self._left())
            yield
        except StorageError:
            self._states = self._result = 0
            if training.done not in (0, self.step):
                with suppress(StorageError, TrainingError):
                    self.save(training)
            raise
        finally:
            _threads(before)
            with suppress(OSError):
                self._room.unlink(missing_ok=True)
                self.folder.rmdir()  # unless a state is kept in it

    def conclude(self, training: Training) -> None:
        """Keep the state of the finished training, unless it is large or unwanted, and give the result its room."""
        if self._kept and training.done != self.step:
            self.save(training)
        else:
            training.verify()
        self._result = 0
        self._hold(self._left())

    def discard(self) -> None:
        """Remove a state that is not to be kept, once the result is written."""
        if not self._kept:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _kept(self) -> bool:
        return self._size <= LARGE if self._wish is None else self._wish

    def _left(self) -> int:
        """What is still to be reserved beside the state that is there."""
        there = _blocks(self.path.stat().st_size) if self.path.exists() else 0
        return self._states * self._size + self._result - there

    def _hold(self, size: int) -> None:
        """Make the reserved file `size` bytes long."""
        there = self._room.stat().st_size if self._room.exists() else 0
        with _naming(self.folder.parent, size - there):
            if size <= 0:
                self._room.unlink(missing_ok=True)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._room.open("ab") as file:
                if size < there:
                    file.truncate(size)
                elif hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                elif shutil.disk_usage(self.folder).free < size - there:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _threads(wanted: int = 0) -> int:
    """The threads of this process, of which there are `wanted` from now on."""
    import torch

    before = torch.get_num_threads()
    if wanted and wanted != before:
        torch.set_num_threads(wanted)
    return before


def _result(training: Training) -> int:
    """At most so many bytes are written at the end: the weights, and the lines of what is still to come."""
    share = 0.5 if training.recipes[0].keep == "fp16" else 1.0
    weights = sum(p.numel() * p.element_size() for p in training.parameters)
    return _blocks(
        int(share * weights) + BLOCK * len(training.parameters) + 400 * training.stack.steps + SMALL
    )


def _blocks(size: int) -> int:
    """What a file of `size` bytes takes of a disk."""
    return -(-size // BLOCK) * BLOCK


class _Tensors(Mapping[str, "Tensor"]):
    """The tensors of a file, each read when it is asked for and kept by nobody."""

    def __init__(self, path: Path) -> None:
        self._file = TensorFile(path)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._file.header.shapes:
            raise KeyError(name)
        return self._file.tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.header.shapes)

    def __len__(self) -> int:
        return len(self._file.header.shapes)


@contextmanager
def _naming(folder: Path, wanted: int) -> Iterator[None]:
    """Name the run's folder, what is wanted there and what there is."""
    try:
        with storing(folder / "room"):
            yield
    except StorageError as error:
        with suppress(OSError):
            free = shutil.disk_usage(folder).free
            sizes = f": {wanted / 1e6:.1f} MB more are needed, {free / 1e6:.1f} MB are free"
            raise StorageError(error.message + sizes, error.remedy) from error
        raise
