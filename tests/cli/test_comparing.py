"""What the words of `likewise compare` become, before anything is taught."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from likewise.cli import app, comparing
from likewise.comparison.comparison import Comparison
from likewise.comparison.results import Results
from tests.bases import lora_run, pictures
from tests.cli.commands import Call, environment


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The comparison that a command line asks for; it is not started."""
    prepared: list[Comparison] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparing, "perform", lambda comparison, show: prepared.append(comparison))
    pictures(Path("photos"), 8)

    def run(*words: object) -> Comparison:
        line = ["compare", "photos", "--noun", "dog", "--base", "tiny:sd", "--out", "out", *map(str, words)]
        result = CliRunner().invoke(app, line, prog_name="likewise")
        assert result.exit_code == 0, result.output
        return prepared[-1]

    return run


def test_every_option_reaches_the_comparison(asked: Any, tmp_path: Path) -> None:
    list(lora_run(tmp_path, tmp_path / "run", steps=1).start())
    file = next((tmp_path / "run").glob("*.safetensors"))
    Path("prompts.txt").write_text("# mine\na {} at night\n\na red {}\n", encoding="utf-8")
    made = asked(
        "--methods", "lora", "--condition", "big=lora,rank=16", "--condition", "words=textual-inversion,vectors=2",
        "--with", file, "--size", "standard", "--seeds-per-method", 2, "--kind", "object", "--tune",
        "--prompts", "prompts.txt", "--pictures-per-prompt", 3, "--hold-out", 2, "--sample-steps", 7,
        "--description", "a grey dog",
        "lora.rank=4", "steps=9",
    )  # fmt: skip
    assert [one.kind for one in made.conditions] == [
        "floor",
        "description",
        "method",
        "method",
        "method",
        "file",
    ]
    lora, big, words = (one for one in made.conditions if one.taught)
    assert [(one.name, one.title, dict(one.given)) for one in (lora, big, words)] == [
        ("lora", "LoRA", {"steps": 9, "rank": 4}),
        ("big", "big", {"steps": 9, "rank": 16}),
        ("words", "words", {"steps": 9, "vectors": 2}),
    ]
    assert made.conditions[1].words == "a grey dog"
    assert made.conditions[-1].file == file
    protocol = made.protocol
    assert (protocol.size, protocol.replicates, protocol.kind, protocol.seeds) == (
        "standard",
        2,
        "object",
        (0, 1, 2),
    )
    assert list(protocol.of_role("use").values()) == ["a {} at night", "a red {}"]
    assert protocol.sampler.steps == 7
    assert all(len(fold.held_out) == 2 for fold in made.folds)
    assert made.search is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "lroa"], "did you mean lora?"),
        (["--condition", "big=lora,rnk=3"], "did you mean rank?"),
        (["--condition", "big"], "is no condition"),
        (["--condition", "base=lora"], "two conditions are called"),
        (["--size", "quik"], "there is no size 'quik'"),
        (["--kind", "objet"], "there is no kind 'objet'"),
        (["--prompts", "words.txt"], "has no place for the concept"),
        (["--with", "nope"], "there is no run or file at nope"),
        (["steps=abc"], "steps = 'abc': give a whole number"),
        (["lora.rnk=3"], "did you mean rank?"),
        (["token=sks"], "that is an option: --token sks"),
        (["seeds=3"], "that is an option: --seeds 3"),
        (["replicates=3"], "an option says that"),
        (["margin=some"], "margin = 'some': give a number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_mistyped_is_told_before_the_base_is_loaded(call: Call, words: list[str], said: str) -> None:
    pictures(Path("photos"), 4)
    Path("words.txt").write_text("a dog\n", encoding="utf-8")
    result = call("compare", "photos", "--noun", "dog", "--base", "nope", "--out", "out", *words)
    assert result.exit_code in (2, 3), result.output
    assert said in " ".join(result.stderr.split())
    assert "loading" not in result.stderr
    assert not Path("out").exists()


def test_the_former_name_of_pictures_per_prompt_still_works_and_says_so(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(comparing.terminal, "say", lambda *words: said.append(words))
    assert asked("--seeds", 3).protocol.seeds == (0, 1, 2)
    assert (
        "--seeds is --pictures-per-prompt now; seeds are trainings: --seeds-per-method",
        "warning",
    ) in said


def test_methods_are_all_or_those_named_or_none(asked: Any) -> None:
    assert len([one for one in asked().conditions if one.taught]) == 5
    assert [one.name for one in asked("--methods", "lora,textual-inversion").conditions if one.taught] == [
        "lora",
        "textual_inversion",
    ]
    assert not [one for one in asked("--methods", "none").conditions if one.taught]


def test_two_workers_do_a_comparison_as_a_command(tmp_path: Path) -> None:
    """A process as people start it, whose workers import narrowly: every training has its row and its pictures."""
    pictures(tmp_path / "photos", 6)
    command = [
        sys.executable, "-m", "likewise", "compare", "photos", "--noun", "dog", "--token", "sks", "--base", "tiny:sd",
        "--out", "out", "--methods", "lora,textual_inversion", "--pictures-per-prompt", "1", "--sample-steps", "1",
        "--workers", "2", "steps=2",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 trainings go on at a time" in done.stderr
    assert done.stdout.strip().endswith("report.html")
    rows = {row.trial: row for row in Results(tmp_path / "out").rows()}
    done_ones = dict.fromkeys(("base", "lora-0", "textual_inversion-0"), "done")
    assert {name: row.status for name, row in rows.items()} == {**done_ones, "description": "skipped"}
    assert {rows[name].machine["side_by_side"] for name in ("lora-0", "textual_inversion-0")} == {2}


@pytest.mark.parametrize("words", ["0", "-1", "two", "foo:abc", ":6379", "foo:0", "foo:70000"])
def test_workers_that_are_no_number_and_no_address_are_refused(words: str, tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 8)
    line = [
        "compare",
        str(tmp_path / "photos"),
        "--noun",
        "dog",
        "--base",
        "tiny:sd",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, [*line, f"--workers={words}"], prog_name="likewise")
    assert result.exit_code == 2
    assert f"{words!r} is neither a number from 1 on nor ray or a HOST:PORT" in " ".join(
        result.output.split()
    )
