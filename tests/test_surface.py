"""What people meet first: names, commands, methods and settings are all there, found and explained."""

from __future__ import annotations

import importlib
import inspect
import re
import time
from importlib.metadata import entry_points
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from typer.main import get_command

import likewise
from likewise import families, methods
from likewise.cli import app
from likewise.recipe import Recipe

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
MOST_OPTIONS = 19
TIMES_FASTER = 2.0
"""Eight LoRAs in one batch against one after the other."""


def test_public_names_are_sorted() -> None:
    assert likewise.__all__ == sorted(set(likewise.__all__))


@pytest.mark.parametrize("name", likewise.__all__)
def test_public_names_are_importable_and_documented(name: str) -> None:
    found = getattr(likewise, name)
    assert found.__name__ == name
    assert (found.__doc__ or "").strip(), f"likewise.{name} says nothing of itself"
    assert found.__module__.startswith("likewise.")
    members = inspect.getmembers(found, inspect.isfunction) if inspect.isclass(found) else [(name, found)]
    for member, function in members:
        if not member.startswith("_") and function.__module__.startswith("likewise."):
            assert (inspect.getdoc(function) or "").strip(), f"{function.__qualname__} says nothing of itself"
            assert "return" in inspect.get_annotations(function), f"{function.__qualname__} has no types"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="likewise"):
        _ = likewise.nothing


def test_the_version_is_a_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.?(dev|a|b|rc)\d+)?", likewise.__version__)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_have_help_an_example_and_few_options(name: str) -> None:
    command = COMMANDS[name]
    summary = command.help.strip().splitlines()[0]
    assert summary.endswith("."), summary
    assert re.search(rf"Example:\n\s+likewise {name}\b", command.help), "show one call of it"
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    assert len(options) <= MOST_OPTIONS, f"{len(options)} options: hyperparameters are key=value"
    assert all(option.help for option in options)


def test_methods_are_the_files_and_what_others_add() -> None:
    assert methods.__file__ is not None
    files = {path.stem for path in Path(methods.__file__).parent.glob("*.py") if path.stem[0] != "_"}
    others = {entry.name for entry in entry_points(group="likewise.methods")}
    assert methods.names() == sorted(files | others)
    assert {"aesthetic", "dreambooth", "hypernetwork", "lora", "textual_inversion"} <= files


@pytest.mark.parametrize("name", methods.names())
def test_methods_say_what_they_are(name: str) -> None:
    method = methods.get(name)
    assert method.name == name
    assert method.title
    assert re.search(r"\b20\d\d\b", method.paper), "who, and when"
    assert len(method.summary.split()) >= 12, "what it changes, and when to choose it"
    assert method.summary.strip().endswith(".")
    assert (importlib.import_module(type(method).__module__).__doc__ or "").strip()


@pytest.mark.parametrize("name", methods.names())
def test_settings_are_described_and_have_defaults_that_hold(name: str) -> None:
    recipe = methods.get(name).recipe
    assert issubclass(recipe, Recipe)
    assert (recipe.__doc__ or "").strip()
    assert recipe.__doc__ != Recipe.__doc__, "it has settings of its own"
    for key, setting in recipe.model_fields.items():
        assert (setting.description or "").strip().endswith("."), f"{key} is not described by a sentence"
        assert not setting.is_required(), f"{key} has no default"
    defaults = recipe()
    assert defaults.override(defaults.model_dump(mode="json")) == defaults, "as a run folder keeps them"


@pytest.mark.slow
def test_stacking_is_worth_it() -> None:
    """Eight in one batch take far less work than eight in turn: on the pocket model where it is there, because steps
    of a miniature are too short to time well. A ratio within one run, in processor time, so that what else the
    machine does counts for little; and the best of three tries, for the rest of it."""
    stacking = pytest.importorskip("benchmarks.stacking", reason="the benchmarks are not part of this copy")
    base = likewise.load("pocket" if (families.POCKET / "model_index.json").is_file() else "tiny:sd")
    base.precision = "fp32"
    one, eight = stacking.Case(slots=1, batch=1), stacking.Case(slots=8, batch=1)
    ratios: list[float] = []
    while len(ratios) < 3 and max(ratios, default=0.0) < TIMES_FASTER:
        times = stacking.measure(base, [one, eight], steps=4, rounds=2, clock=time.process_time)
        ratios.append(8 * median(times[one]) / median(times[eight]))
    assert max(ratios) >= TIMES_FASTER, f"{ratios} times the adapter-steps per second of one"
