"""`methods` and `explain`: every method and every setting, with what cannot be taught."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from likewise import families
from tests.cli.commands import Call


def test_methods_lists_every_method(call: Call) -> None:
    from likewise import methods

    result = call("methods")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == methods.names()
    facts = json.loads(call("methods", "--json").stdout)
    assert [row["name"] for row in facts] == methods.names()
    assert all(row["summary"] and row["paper"] for row in facts)


def test_explain_tells_every_setting_with_its_default(call: Call) -> None:
    from likewise import methods

    for name in methods.names():
        result = call("explain", name)
        fields = methods.get(name).recipe.model_fields
        shown = re.findall(r"^  (\w+)=", result.stdout, re.MULTILINE)
        assert sorted(shown) == sorted(fields), name
        if name != "lora":  # each call builds a miniature of every family
            continue
        facts = json.loads(call("explain", name, "--json").stdout)
        defaults = json.loads(json.dumps({key: field.default for key, field in fields.items()}))
        assert {row["key"]: row["default"] for row in facts["settings"]} == defaults
        assert all(row["meaning"] for row in facts["settings"]), name


def test_explain_says_which_families_cannot_be_taught(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise import methods

    lora = methods.get("lora")
    monkeypatch.setattr(type(lora), "unsupported", lambda self, base: "it has no attention")
    assert "Cannot teach sd: it has no attention" in call("explain", "lora").stdout
    assert json.loads(call("explain", "lora", "--json").stdout)["cannot_teach"]["sd"] == "it has no attention"


def test_what_the_maker_of_a_base_advises_is_shown_with_its_origin(call: Call, tmp_path: Path) -> None:
    """Red when the advice of another method, or the method's default, is shown."""
    plain = {row["key"]: row for row in json.loads(call("explain", "lora", "--json").stdout)["settings"]}
    shown = json.loads(call("explain", "lora", "--base", "pocket", "--json").stdout)["settings"]
    advised = families.load("pocket").advice["lora"]
    assert {row["key"]: row["advised"] for row in shown if "advised" in row} == advised
    assert all(row["origin"] == "likewise.toml" for row in shown if "advised" in row)
    assert {row["key"]: row["default"] for row in shown} == {
        key: row["default"] for key, row in plain.items()
    }
    text = call("explain", "lora", "--base", "pocket").stdout
    assert (
        f"  steps={advised['steps']}\n      likewise.toml of pocket says so; what follows speaks of the method's"
        in text
    )
    Path("mine.toml").write_text("[recipe.lora]\nrank = 3\n", encoding="utf-8")
    Path("mine.safetensors").touch()
    assert (
        "mine.toml of mine.safetensors says so"
        in call("explain", "lora", "--base", "mine.safetensors").stdout
    )
    Path("mine.toml").write_text("[recipe.lora]\nrnk = 3\n", encoding="utf-8")
    assert "unknown setting 'rnk'" in call("explain", "lora", "--base", "mine.safetensors").stderr
    assert "there is no base 'nope'" in call("explain", "lora", "--base", "nope").stderr
    assert "advised" not in call("explain", "lora", "--base", "tiny:sd", "--json").stdout


def test_a_setting_is_no_method(call: Call) -> None:
    result = call("explain", "cuda_graph")
    assert result.exit_code == 2
    assert "cuda_graph is a setting, not a method" in result.stderr
    assert "likewise explain dreambooth describes it; hypernetwork, lora, " in result.stderr
