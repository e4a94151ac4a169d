"""Files are written whole or not at all, and never in place of something that was not meant."""

from __future__ import annotations

import codecs
import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.errors import StorageError
from likewise.files import append_line, decode, expand, read_text, storage_failure, write_text, write_with

MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff\0")),
    st.sampled_from(sorted(MARKED)),
)
def test_a_text_is_read_whatever_mark_it_begins_with(text: str, encoding: str) -> None:
    assert decode(MARKED[encoding] + text.encode(encoding)) == text
    assert decode(text.replace("\n", "\r\n").encode()) == text


def test_bytes_that_are_no_utf8_are_refused_or_read_in_the_named_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("café".encode("cp1252"))
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "a.txt")
    assert read_text(tmp_path / "a.txt", fallback="cp1252") == "café"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expand("~/x") == tmp_path / "x"
    assert expand("a/~") == Path("a/~")
    assert expand("~no-such-person-here/x") == Path("~no-such-person-here/x")


class Wrapped(Exception):
    """What a library raises in place of the system's exception."""


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        Wrapped("Error while serializing: I/O error: No space left on device (os error 28)"),
        Wrapped("[Errno 28] cannot flush"),
        Wrapped("IO Error: Could not write: no space left"),
    ],
)
def test_a_full_disk_is_one_error_whatever_the_library_raises(tmp_path: Path, raised: Exception) -> None:
    path = write_text(tmp_path / "a", "old")

    def fill(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        raise raised

    with pytest.raises(StorageError, match="no space is left in") as told:
        write_with(path, fill)
    assert str(tmp_path) in str(told.value)
    assert told.value.hint
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_cause_of_a_library_s_exception_is_asked_too(tmp_path: Path) -> None:
    def fill(temporary: Path) -> None:
        try:
            raise OSError(errno.EROFS, "Read-only file system")
        except OSError as error:
            raise Wrapped("it went wrong") from error

    with pytest.raises(StorageError, match="cannot be written to"):
        write_with(tmp_path / "a", fill)
    assert storage_failure(Wrapped("it went wrong")) is None
    assert storage_failure(FileNotFoundError(errno.ENOENT, "no such file")) is None


def test_a_source_that_may_not_be_read_is_no_fault_of_the_folder(tmp_path: Path) -> None:
    def copy(temporary: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/picture.png")

    with pytest.raises(PermissionError, match="picture"):
        write_with(tmp_path / "a", copy)


def test_a_file_takes_the_place_of_a_file_but_not_of_a_folder(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "ünï 犬.txt", "one")
    write_text(path, "two")
    assert path.read_text(encoding="utf-8") == "two"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only.png").touch()
    with pytest.raises(IsADirectoryError, match="photos"):
        write_text(tmp_path / "photos", "a sheet")
    assert (tmp_path / "photos" / "only.png").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "photos"], "nothing temporary is left"


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "b").touch()

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").touch()
    write_with(tmp_path / "model", fill)
    assert [p.name for p in (tmp_path / "model").iterdir()] == ["b"]


def test_what_fails_halfway_leaves_the_old(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_with(path, half)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_line_is_added_whole_after_what_a_crash_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, "one")
    append_line(path, "zwölf")
    assert path.read_bytes() == "one\nzwölf\n".encode()
    path.write_bytes(b"one\ncut o")
    append_line(path, "two")
    assert path.read_bytes() == b"one\ncut o\ntwo\n"
