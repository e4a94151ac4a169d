"""`sample`: the files that it prints and the options that reach the sampler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from likewise.errors import RunError
from tests.cli.commands import Call, finished_run


def test_sample_prints_files_and_warns_of_a_missing_token(call: Call) -> None:
    run = finished_run(call)
    words = ["--with", f"{run}:0.5", "-n", "2", "--seed", "7", "--steps", "2", "--out", "drawn"]
    result = call("sample", "a sks dog", "a dog", *words)
    assert result.exit_code == 0, result.output
    files = result.stdout.splitlines()
    assert files == [f"drawn/{n:04d}.png" for n in range(4)] + ["drawn/sheet.png"]
    assert all(Path(file).is_file() for file in files)
    assert result.stderr.count("warning: ") == 1
    assert "'a dog' does not say 'sks'" in result.stderr
    rows = json.loads(Path("drawn/gallery.json").read_text())
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        ("a sks dog", 7), ("a sks dog", 8), ("a dog", 7), ("a dog", 8),
    ]  # fmt: skip


def test_sampling_options_reach_the_sampler(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise import sampling
    from likewise.base import Sampler

    seen: dict[str, object] = {}

    def stop_here(prompts: object, **options: object) -> None:
        seen.update(options)
        raise RunError("that will do")

    run = finished_run(call)
    monkeypatch.setattr(sampling, "sample", stop_here)
    words = [
        "--with",
        f"{run}:0.5",
        "--steps",
        "3",
        "--guidance",
        "2.5",
        "--size",
        "64",
        "--negative",
        "cats",
    ]
    call("sample", "a sks dog", *words, "--base", "tiny:sd", "--seed", "4", "-n", "3")
    assert seen["sampler"] == Sampler(steps=3, guidance=2.5, size=64, negative="cats")
    assert list(seen["seeds"]) == [4, 5, 6]  # type: ignore[call-overload]
    assert seen["strengths"] == [0.5]
    assert seen["base"] == "tiny:sd"


def test_words_without_quotes_are_noticed(call: Call) -> None:
    result = call("sample", "a", "red", "dog", "--base", "nope")
    assert "put quotes" in result.stderr
