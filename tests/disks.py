"""Disks that take no more: real small ones where the system lets a test mount one, and a limit on files everywhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the system answers EFBIG, as for a full disk."""
    resource = pytest.importorskip("resource", reason="the system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Disk:
    """A disk of its own at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, but: int = 0) -> None:
        """Take all that is free, or all but so many bytes, as another program would."""
        rest = self.folder / "rest"
        with rest.open("ab", buffering=0) as file:
            for size in (1 << 16, 1):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    continue
            file.truncate(rest.stat().st_size - but)

    def free(self) -> None:
        """Give it back."""
        (self.folder / "rest").unlink()

    def remount(self, options: str) -> None:
        """Change it while it is in use, to `ro` for instance."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@contextmanager
def disk(folder: Path, size: str = "4M") -> Iterator[Disk]:
    """A real disk of `size`; skips the test where the system does not let one be made."""
    folder.mkdir(parents=True)
    made = (
        sys.platform == "linux"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
        ).returncode
    )
    if not made:
        pytest.skip("only root may make a small disk")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
