"""`~` is the home folder in everything that names a place, on the command line and in Python; and what texts are read."""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.main import get_command
from typer.testing import CliRunner, Result

import likewise
from likewise import intake, records
from likewise.cli import app
from likewise.cli.places import PLACES, expanded, is_place
from likewise.concept import Concept
from likewise.errors import RecipeError
from likewise.recipe import Recipe, TrainingRecipe
from likewise.run import Run
from tests.bases import pictures
from tests.cli.commands import Call

WORDS = {
    "ADDRESS", "DATE", "FAMILY", "KEY", "KIND", "LAYOUT", "METHOD", "N", "NAME", "NOUN", "P", "PIXELS", "PROGRAM",
    "PROMPT",
    "SECONDS",
    "SHARE", "SIZE", "TEXT", "TIME", "TYPE", "URL", "WORD", "WORDS", "X", "A",
}  # fmt: skip
"""First words of the metavars that name no place."""
QUICK = ["--base", "tiny:sd", "--token", "sks", "--noun", "dog", "steps=1", "checkpoint_every=0"]


def parameters(command: Any, name: str = "likewise") -> Iterator[tuple[str, Any]]:
    """Every parameter of every command, those inside groups included."""
    for parameter in command.params:
        yield f"{name} {parameter.opts[0]}", parameter
    for inner, other in getattr(command, "commands", {}).items():
        yield from parameters(other, f"{name} {inner}")


EVERY = dict(parameters(get_command(app)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with pictures; the working folder lies elsewhere."""
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    pictures(folder / "photos")
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(elsewhere)
    return folder


@pytest.fixture
def call(home: Path) -> Iterator[Call]:
    """Run a command with such a home; nothing may be called `~` afterwards."""

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exit_code == 0, result.output
        return result

    yield run
    assert not list(Path().glob("~*"))


@pytest.mark.parametrize("name", EVERY)
def test_every_parameter_that_names_a_place_expands(name: str, home: Path) -> None:
    """A new parameter whose metavar says neither fails here: put its first word into PLACES or WORDS."""
    parameter = EVERY[name]
    first = (
        (parameter.metavar or "")
        .strip("[")
        .replace("=", " ")
        .replace("|", " ")
        .replace(",", " ")
        .split(" ")[0]
    )
    word = first.rstrip("].").split("[")[0].split("]")[0]
    annotation = str(getattr(parameter, "type_descriptor", ""))
    if not is_place(parameter):
        assert "Path" not in annotation.split("parameter_info")[0], (
            f"{name} is a path, but its metavar is none"
        )
        assert word in WORDS or not word or word[0].islower(), f"{name}: is {word} a place?"
        return
    many = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    value = parameter.process_value(None, ["~/x"] if many else "~/x")
    for one in value if many else [value]:
        assert str(one) == str(home / "x")
    assert str(parameter.process_value(None, "x")) == "x" if not many else True


def test_only_what_begins_with_it_is_expanded(home: Path) -> None:
    assert expanded("a~/x") == "a~/x"
    assert expanded(["~/a:0.5", "b"]) == [f"{home}/a:0.5", "b"]
    assert expanded(None) is None
    assert PLACES.isdisjoint(WORDS)


def test_the_home_folder_on_the_command_line(call: Call, home: Path) -> None:
    (home / "mine.toml").write_text("rank = 3\n")
    call("check", "~/photos", "--sheet=~/sheet.png")
    assert (home / "sheet.png").is_file()
    call("teach", "~/photos", *QUICK, "--recipe=~/mine.toml", "--out=~/run")
    assert Run.open(home / "run").jobs[0].recipe.rank == 3  # type: ignore[attr-defined]
    call("teach", "--resume=~/run")
    call("sample", "a sks dog", "--with=~/run:0.5", "--out=~/drawn", "-n", "1", "--steps", "1")
    assert (home / "drawn" / "0000.png").is_file()
    assert str(home) in call("runs", "~").stdout or "~" in call("runs", "~").stdout


def test_the_home_folder_from_python(home: Path) -> None:
    (home / "mine.json").write_text('{"rank": 3}')
    taught = likewise.teach(
        "~/photos", noun="dog", token="sks", base="tiny:sd", out="~/run", recipe_file="~/mine.json", steps=1
    )
    assert Path(taught["folder"]) == home / "run"
    gallery = likewise.sample("a sks dog", concepts="~/run", out="~/drawn", seeds=1)
    assert gallery.folder == home / "drawn"
    assert len(likewise.Gallery(Path("~/drawn"))) == 1
    assert Run.open("~/run").folder == home / "run"
    assert len(Concept.read(["~/photos"], token="sks", noun="dog").examples) == 4
    assert [row["folder"] for row in records.runs(Path("~"))] == [str(home / "run")]
    intake.contact_sheet(intake.read("~/photos"), Path("~/sheet.png"))
    assert (home / "sheet.png").is_file()
    assert not list(Path().glob("~*"))


MARKS = {
    "utf-8": b"", "utf-8-sig": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE, "cp1252": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", ["r.toml", "r.json", "r.JSON"])
@pytest.mark.parametrize("encoding", MARKS)
def test_recipes_in_every_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    text = "# für Bär\r\nsteps = 7\r\n" if name.endswith("toml") else '{"steps": 7}\r\n'
    (tmp_path / name).write_bytes(MARKS[encoding] + text.encode(encoding.removesuffix("-sig")))
    assert Recipe.read(tmp_path / name) == {"steps": 7}


@pytest.mark.parametrize("encoding", MARKS)
def test_prompt_files_and_advice_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    from likewise.cli.comparing import _lines
    from likewise.families._advice import read_advice

    mark, plain = MARKS[encoding], encoding.removesuffix("-sig")
    (tmp_path / "p.txt").write_bytes(mark + "# für mich\r\nein {} am Fluß\r\n\r\n".encode(plain))
    assert _lines(tmp_path / "p.txt") == ["ein {} am Fluß"]
    (tmp_path / "likewise.toml").write_bytes(mark + "# für\r\nguidance = 7\r\n".encode(plain))
    assert read_advice(tmp_path / "likewise.toml").guidance == 7


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
    name=st.sampled_from(["r.toml", "r.json"]),
)
def test_any_file_is_a_recipe_or_a_recipe_error(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(RecipeError):
        TrainingRecipe().override(Recipe.read(tmp_path / name))


VALUES = st.text(max_size=12) | st.sampled_from(
    ["1e400", "[1]", "{}", "true", "nan", "1979-01-01", '"x"', "-0", "9" * 400]
)


@settings(deadline=None, max_examples=200)
@given(
    key=st.sampled_from([*TrainingRecipe.model_fields, "x", "unet_lr", ""]) | st.text(max_size=6),
    value=VALUES,
)
def test_any_setting_is_a_recipe_or_a_recipe_error(key: str, value: str) -> None:
    try:
        made = TrainingRecipe().override([f"{key}={value}"])
    except RecipeError:
        return
    again = json.loads(made.model_dump_json())
    if made.epochs is not None:
        del again["steps"]  # it stands for the default beside the epochs, and both together are refused
    assert TrainingRecipe().override(again) == made
