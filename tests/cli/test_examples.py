"""`likewise examples`, and the pictures that it lists."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from likewise import intake
from likewise.cli import app
from likewise.cli.examples import FOLDER
from tests.cli.commands import Call

CARD = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, ["examples", *words], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def test_every_shipped_picture_is_the_frozen_one() -> None:
    for example in CARD["concepts"]:
        files = {
            p.relative_to(FOLDER / example["name"]).as_posix()
            for p in (FOLDER / example["name"]).rglob("*.png")
        }
        assert files == set(example["pixels"])
        for path, digest in example["pixels"].items():
            pixels = Image.open(FOLDER / example["name"] / path).convert("RGB").tobytes()
            assert hashlib.sha256(pixels).hexdigest()[:24] == digest, path


def test_every_reference_has_a_caption_that_says_where_the_concept_is() -> None:
    for example in CARD["concepts"]:
        folder = FOLDER / example["name"] / "references"
        found = {
            path.with_suffix(".png").name: path.read_text(encoding="utf-8").strip()
            for path in folder.glob("*.txt")
        }
        assert found == example["captions"]
        assert set(found) == {path.name for path in folder.glob("*.png")}
        assert all(text.count("{}") == 1 and len(text.split()) > 3 for text in found.values())


def test_the_package_holds_only_free_art_and_little_of_it() -> None:
    assert {example["licence"] for example in CARD["concepts"]} <= {"MIT", "CC0-1.0", "CC-BY-4.0"}
    assert all(example["credit"] and example["url"] and example["changes"] for example in CARD["concepts"])
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_500_000


def test_they_are_listed(call: Call) -> None:
    result = call()
    assert result.exit_code == 0
    for example in CARD["concepts"]:
        assert example["name"] in result.stdout
        assert example["licence"] in result.stdout
    rows = json.loads(call("--json").stdout)
    assert [row["name"] for row in rows] == [example["name"] for example in CARD["concepts"]]
    assert "pixels" not in rows[0]


def test_one_says_its_prompts_and_whose_it_is(call: Call) -> None:
    result = call("ink-woman")
    assert "two {token} women in the desert" in result.stdout
    assert "CC0-1.0" in result.stdout


def test_a_copy_can_be_taught_and_judged(call: Call, tmp_path: Path) -> None:
    result = call("ink-woman", "--out", "mine")
    assert result.exit_code == 0
    assert result.stdout.strip() == "mine"
    found = intake.read(tmp_path / "mine" / "references")
    assert len(found.examples) == 6
    assert found.title == "mine", "what is taught is not called references"
    card = json.loads((tmp_path / "mine" / "card.json").read_text(encoding="utf-8"))
    true = [path for ask in card["prompts"] for path in ask["true"]]
    assert len(true) == 36
    assert all((tmp_path / "mine" / path).is_file() for path in true)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ink-wman"], "did you mean ink-woman?"),
        (["ink-woman", "--out", "full"], "not an empty folder"),
        (["--out", "mine"], "none is named"),
    ],
)
def test_mistakes_end_in_a_line(call: Call, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept", encoding="utf-8")
    result = call(*words)
    assert result.exit_code != 0
    assert said in result.output
    assert not (tmp_path / "mine").exists()
    assert (tmp_path / "full" / "mine.txt").read_text(encoding="utf-8") == "kept"


def test_the_true_pictures_of_an_example_are_not_learned(call: Call) -> None:
    """They are what a method is scored by; the folder that `examples --out` makes may well be what is taught."""
    assert call("ink-woman", "--out", "photos").exit_code == 0
    found = intake.read("photos").to_json()
    assert {Path(row["file"]).parts[0] for row in found["examples"]} == {"references"}
    count = len(list(Path("photos/true").iterdir()))
    assert any(note.startswith(f"{count} pictures in true not learned") for note in found["notes"])
    Path("photos/card.json").write_text("{}", encoding="utf-8")
    found = intake.read("photos").to_json()
    assert {Path(row["file"]).parts[0] for row in found["examples"]} == {"references", "true"}
