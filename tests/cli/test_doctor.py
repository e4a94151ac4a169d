"""`doctor`: what it sees of a machine, and what it keeps to itself."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from likewise.cli import doctor
from tests.cli.commands import Call


def test_doctor_tells_the_machine_but_no_secret(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thisisasecret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(doctor, "_probe", lambda: (FOUND, ""))
    result = call("doctor", "--json")
    found = {row["what"]: row for row in json.loads(result.stdout)}
    assert found["Hub token"]["found"] == "set"
    assert "hf_thisisasecret" not in result.output
    assert str(Path.home()) not in result.output
    assert "HF_HUB_OFFLINE" in found["network"]["found"]
    assert found["python"]["state"] == "ok"
    assert found["devices"]["found"] == "cpu"


FOUND = {"torch": "2.13.0", "threads": 1, "devices": ["cpu"], "bf16": False, "best": "cpu"}


def test_doctor_says_what_to_do_where_torch_does_not_import(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda: (None, "does not import: OSError: libc10.so"))
    result = call("doctor")
    assert result.exit_code == 1
    assert re.search(
        r"^bad +torch +does not import: OSError: libc10.so\n +-> install", result.stdout, re.MULTILINE
    )


def test_the_probe_sees_this_torch() -> None:
    import torch

    found, trouble = doctor._probe()
    assert trouble == ""
    assert found is not None
    assert found["torch"] == torch.__version__


def test_a_probe_that_dies_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libc10.so')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    found, trouble = doctor._probe()
    assert found is None
    assert trouble.startswith("does not import: ")


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    finding = doctor._writable("cache", tmp_path)
    assert finding.state == "warn"
    assert "LIKEWISE_HOME" in finding.advice
