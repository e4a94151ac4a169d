"""`methods` and `explain`: every method and every setting, with what cannot be taught."""

from __future__ import annotations

import json
import re

import pytest

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
