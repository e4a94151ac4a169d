"""What `--help` says, and how little it needs to say it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.main import get_command

from likewise.cli import app
from tests.bases import pictures
from tests.cli.commands import Call, environment

FILES = ["inspect", "convert", "merge", "extract", "resize", "bake", "diff"]
COMMANDS = [
    "demo", "studio", "which", "check", "estimate", "teach", "sample", "compare", "recommend", "report", "vote", "score",
    "checkpoints",
    "recompute", "methods", "explain", "runs", *FILES, "survey", "examples", "selfcheck", "doctor",
]  # fmt: skip
READING = [
    "which", "check", "estimate", "recommend", "vote", "checkpoints", "recompute", "methods", "explain", "runs",
    "doctor", "report", "examples", "selfcheck", *FILES,
]  # fmt: skip
MOST_OPTIONS = 19
"""As many as `compare` has, which is most of the product."""


def test_every_command_has_help_an_example_and_few_options() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(commands) == sorted(COMMANDS)
    for name, command in commands.items():
        assert "Example:" in command.help, name
        assert f"likewise {name}" in command.help, name
        options = [
            option for option in command.params if option.param_type_name == "option" and not option.hidden
        ]
        assert len(options) <= MOST_OPTIONS, f"{name} has {len(options)} options: use key=value"
        assert all(option.help for option in options), name
        told = {text for option in options for text in option.opts}
        assert ("--json" in told) == (name in READING), name


def test_commands_are_listed_in_the_order_of_use_and_their_summaries_are_whole(call: Call) -> None:
    lines = call("--help").stdout.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in lines] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in lines), lines


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_name_options_that_exist(name: str) -> None:
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    members = getattr(command, "commands", {"": command}).values()  # `survey` is a group of commands
    options = [option for member in members for option in member.params]
    known = {text for option in options for text in (*option.opts, *option.secondary_opts)}
    for line in command.help.splitlines():
        if line.strip().startswith(f"likewise {name}"):
            assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)) <= known, line


def test_help_costs_little_more_than_python_itself(tmp_path: Path) -> None:
    """A ratio, because a busy machine slows both; twenty times `pass` is far less than importing torch."""

    def seconds(*command: str) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], env=environment(), capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        return min(times)

    assert seconds("-m", "likewise", "--help") < 20 * seconds("-c", "pass")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["teach", "--help"],
        ["--version"],
        ["runs"],
        ["runs", "--json"],
        ["report", "nowhere"],
        ["check", "photos"],
    ],
    ids=" ".join,
)
def test_no_torch_where_none_is_needed(words: Sequence[str], tmp_path: Path) -> None:
    pictures(tmp_path / "photos")
    code = (
        "import sys; from likewise.cli import main; sys.argv[1:] = sys.argv[1:]; code = main();"
        "print(*{'torch', 'diffusers', 'transformers'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr.splitlines()[-1] == ""


def test_help_needs_neither_pillow_nor_pydantic_nor_rich(tmp_path: Path) -> None:
    code = (
        "import sys; from likewise.cli import main; sys.argv = ['likewise', '--help']; main();"
        "print(*{'PIL', 'pydantic', 'rich', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, encoding="utf-8"
    )
    assert done.stderr.strip() == ""


def test_version(call: Call) -> None:
    from likewise import __version__

    assert call("--version").stdout == f"likewise {__version__}\n"
