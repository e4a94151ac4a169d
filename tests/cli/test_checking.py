"""`likewise check`: what a person is shown of a folder before anything is taught."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from likewise.cli import app
from likewise.concept import Concept
from tests.bases import pictures
from tests.cli.commands import Call


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run `check` in an empty folder, with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "home"))

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, ["check", *map(str, words)], prog_name="likewise")
        assert result.exit_code == 0, result.output
        return result

    return run


def test_five_hundred_pictures_are_few_lines_and_all_of_them_as_json(check: Call) -> None:
    folder = pictures(Path("many"), 1)
    for n in range(1, 500):
        shutil.copy(folder / "0.png", folder / f"{n}.png")
    for n in range(40):
        (folder / f"broken{n}.jpg").write_text("no picture")
        (folder / f"{n}.heic").write_text("no picture")
    shown = check(folder, "--noun", "dog").stdout
    assert len(shown.splitlines()) < 45
    assert max(map(len, shown.splitlines())) < 400
    assert "and 476 more rows; --json has all" in shown
    assert "500 pictures usable (flat folder), 80 problems" in shown
    assert shown.count("not a picture") == 1, "one line for one kind of problem"
    found = json.loads(check(folder, "--json").stdout)
    assert (len(found["examples"]), len(found["problems"])) == (500, 80)


def test_captions_are_shown_as_they_will_be_trained(check: Call) -> None:
    folder = pictures(Path("photos"))
    (folder / "0.txt").write_text("on a sofa")
    (folder / "1.txt").write_text("a SKS Dog")
    (folder / "2.txt").write_text("[trigger] at night")
    told = json.loads(check(folder, "--noun", "dog", "--json").stdout)
    assert (told["noun"], told["token"]) == ("dog", "sks"), "as it will be taught"
    rows = [row["trained"] for row in told["examples"]]
    assert rows == ["sks dog, on a sofa", "a sks Dog", "sks dog at night", "a sks dog"]
    concept = Concept.read(folder, token="sks", noun="dog")
    assert rows == [concept.caption(example) for example in concept.examples]
    shown = check(folder, "--noun", "mug", "--token", "zwx").stdout
    assert "zwx mug, on a sofa" in shown
    assert "3 of 4 have a caption" in shown
    kohya = pictures(Path("3_ohwx cat"))
    assert "ohwx cat" in check(kohya).stdout


def test_pictures_without_any_caption_are_told_what_one_is_for(check: Call) -> None:
    folder = pictures(Path("photos"))
    assert "No picture has a caption. One such as `a {} in a garden`" in " ".join(
        check(folder).stdout.split()
    )
    (folder / "0.txt").write_text("on a sofa")
    assert "No picture has a caption" not in check(folder).stdout


def test_a_caption_that_is_too_long_is_shown_as_cut(check: Call) -> None:
    folder = pictures(Path("photos"))
    (folder / "0.txt").write_text("green grass and blue sky, " * 20 + "sks dog")
    shown = check(folder, "--noun", "dog").stdout
    assert "1 caption longer than the 46 tokens that pocket reads, shown as cut." in " ".join(shown.split())
    assert "sks dog" in shown
    assert "is seen when it is loaded" in check(folder, "--noun", "dog", "--base", "tiny:sd").stdout


def test_class_pictures_and_what_is_not_read_are_mentioned(check: Call) -> None:
    pictures(Path("set/instance_images"), 3, seed=1)
    pictures(Path("set/class_images"), 5, seed=2)
    Path("set/notes.pdf").write_text("x")
    shown = check("set").stdout
    assert "3 pictures usable (nested folders), 5 class pictures." in shown
    assert "class_images: 5 class pictures, not learned as the concept" in shown
    assert "1 other file not read: notes.pdf" in shown
    assert "5 class pictures" in check("set/instance_images", "--class-pictures", "set/class_images").stdout


def test_sheets_of_two_folders_of_one_name_are_two(check: Call) -> None:
    sheets = [
        Path(json.loads(check(pictures(Path(where) / "photos", 4, seed), "--json").stdout)["contact_sheet"])
        for seed, where in enumerate(["a", "b"])
    ]
    assert sheets[0] != sheets[1]
    assert sheets[0].parent == sheets[1].parent
    assert all(Image.open(sheet).size for sheet in sheets)
    again = json.loads(check("a/photos", "--json").stdout)["contact_sheet"]
    assert Path(again) == sheets[0], "the same folder has the same sheet"
    several = [check("a/photos/0.png", f"{where}/photos/1.png", "--json") for where in "ab"]
    assert len({json.loads(found.stdout)["contact_sheet"] for found in several}) == 2


def test_check_prints_a_row_per_picture_and_says_what_is_wrong(call: Call) -> None:
    folder = pictures(Path("photos"), 5)
    (folder / "[red]broken.jpg").write_text("no picture")
    (folder / "0.txt").write_text("a dog on a sofa")
    result = call("check", folder, "--sheet", "sheet.png")
    assert result.exit_code == 0
    assert re.search(r"^0\.png +72 x 64 +a dog on a sofa$", result.stdout, re.MULTILINE)
    assert re.search(r"^\[red\]broken\.jpg +not a picture", result.stdout, re.MULTILINE)
    assert "5 pictures usable (flat folder), 1 problem." in result.stdout
    assert Path("sheet.png").is_file()
    assert not list(folder.glob("*sheet*"))


def test_check_as_json(call: Call) -> None:
    result = call("check", pictures(Path("photos")), "--json")
    found = json.loads(result.stdout)
    assert len(found["examples"]) == 4
    assert Path(found["contact_sheet"]).is_file()
    assert result.stderr == ""


def test_check_refuses_a_folder_without_pictures(call: Call) -> None:
    Path("empty").mkdir()
    result = call("check", "empty")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: no usable picture")
    assert "\nhint: " in result.stderr
    assert result.stdout == ""
