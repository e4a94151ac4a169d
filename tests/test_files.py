"""Files are written whole or not at all, and never in place of something that was not meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.files import write_text, write_with


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
