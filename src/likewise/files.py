"""Files: one way to read a text, to expand a path, to print a name, to write whole, and to recognise a full disk.

A crash while writing leaves the old content or the new one, never half of either.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from likewise.errors import StorageError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's mark, so it is looked for first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, and the encoding that each of them announces."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SPELLED = re.compile(r"\[Errno (\d+)\]|\bos error (\d+)\b|\berrno[ =:]+(\d+)\b", re.IGNORECASE)
_WORDS = {
    "no space left": errno.ENOSPC,
    "not enough space": errno.ENOSPC,
    "not enough free space": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
}


def expand(path: str | os.PathLike[str]) -> Path:
    """The path that a person named, with `~` as their home folder, which a shell leaves alone after `--out=`.

    A name such as `~nobody`, whose home folder the system does not know, stays as it is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def printable(text: str) -> str:
    """A name or text from outside as it may be printed: control codes are spelled out, such as `\\x1b`.

    A file may be called like a command to the terminal, like a second line of output, or like a text that runs from right
    to left. Letters, emoji and blanks of every script stay as they are.
    """
    return _UNPRINTABLE.sub(lambda found: _spell(found[0]), text)


def encodable(text: str) -> bool:
    """Whether this can be written as UTF-8. A file's name cannot where its bytes are no letters of the system's encoding."""
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def _spell(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no letter in the file system's encoding
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(
        letter, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def decode(data: bytes, fallback: str | None = None) -> str:
    """The text in `data`: by its byte order mark, else as UTF-8, else in the encoding `fallback`.

    UTF-16 without a mark is known by its zero bytes, which no other text has. Line ends become newlines. Raises
    UnicodeDecodeError where no fallback is named and the bytes are no UTF-8.
    """
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), None) or _unmarked(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if fallback is None:
            raise
        text = data.decode(fallback, errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unmarked(data: bytes) -> str:
    first, second = data[0::2].count(0), data[1::2].count(0)
    if len(data) % 2 or 4 * max(first, second) < len(data):
        return "utf-8"
    return "utf-16-be" if first > second else "utf-16-le"


def read_text(path: Path, fallback: str | None = None) -> str:
    """The text of a file, as `decode` reads it; raises OSError and UnicodeDecodeError (a ValueError)."""
    return decode(Path(path).read_bytes(), fallback)


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8 to a temporary name and rename it."""
    return write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_with(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file (or folder) beside `path`, flush it to disk, then rename it onto `path`.

    A folder takes the place of an older one; a file never does, which raises IsADirectoryError. A full or read-only
    disk raises `StorageError`, whatever the library that noticed it raised; the old content is then still there.
    """
    path = Path(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            write(temporary)
            _flush(temporary)
            if path.is_dir():
                if not temporary.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
                shutil.rmtree(path)
            os.replace(temporary, path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
    return path


def append_line(path: Path, text: str, *, flush: bool = False) -> Path:
    """Add one line to a file, made if need be, whole or not at all. A line that a crash cut off is ended first.

    With `flush`, it is on the disk when this returns.
    """
    with storing(path), Path(path).open("a+b", buffering=0) as file:
        end, line = file.seek(0, os.SEEK_END), f"{text}\n".encode()
        if end and file.seek(end - 1) and file.read(1) != b"\n":
            line = b"\n" + line  # else what was cut off would spoil this line too
        try:
            while line:
                line = line[file.write(line) :]
            if flush:
                os.fsync(file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise
    return path


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the exception of a full or read-only disk into a `StorageError` that names the folder of `path`.

    A file elsewhere that may not be read is no matter of this folder, and its exception passes.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        found, folder = storage_failure(error), Path(path).absolute().parent
        if found is None or (found.filename and not Path(found.filename).absolute().is_relative_to(folder)):
            raise
        if found.errno in _FULL:
            raise StorageError(f"no space is left in {folder}", "free some") from error
        raise StorageError(
            f"{folder} cannot be written to",
            "make it writable, or name another (the cache's is LIKEWISE_HOME)",
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether a full disk is behind `error`."""
    found = storage_failure(error)
    return found is not None and found.errno in _FULL


def storage_failure(error: BaseException) -> OSError | None:
    """The system's exception, where a full or read-only disk is behind `error`, else None.

    Libraries wrap the system's exception in their own, or keep no more of it than its words. So every exception of
    the chain of causes is asked for a number first, and then for its words.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        found = link if isinstance(link, OSError) else _spelled(str(link))
        if found is not None and found.errno in (*_FULL, *_CLOSED):
            return found
        link = link.__cause__ or link.__context__
    return None


def _spelled(words: str) -> OSError | None:
    if found := _SPELLED.search(words):
        number = int(next(filter(None, found.groups())))
        return OSError(number, os.strerror(number))
    number = next((number for said, number in _WORDS.items() if said in words.casefold()), 0)
    return OSError(number, os.strerror(number)) if number else None


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
