"""What teaching would take: the size is that of the file that is then written, and nothing is left on the base."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise import methods
from likewise.foreseeing import foresee
from likewise.planning import Subject, Way
from likewise.run import Run
from likewise.stack import Job
from tests.bases import concept, pictures, tiny


@pytest.mark.parametrize("name", methods.names())
def test_what_is_foreseen_is_what_comes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red where the state is counted twice, or where a step that is tried stays in the weights."""
    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "home"))
    base = tiny()
    before, trains = base.fingerprint(), methods.get(name).trains
    settings = {"steps": 6} if trains else {}
    found = foresee(base, Subject(pictures(tmp_path / "dog"), "dog", "sks"), Way(name, settings))
    assert (found.problem, found.steps) == ("", 6 if trains else 0)
    assert (found.seconds > 0, found.memory > 0) == (trains, trains)
    assert base.fingerprint() == before
    job = Job(concept(tmp_path), methods.get(name).recipe().override(settings))
    list(Run("tiny:sd", name, (job,), tmp_path / "run").start(base=base))
    (file,) = (tmp_path / "run").glob("*.safetensors")
    header = int.from_bytes(file.read_bytes()[:8], "little") + 8
    assert file.stat().st_size - header == pytest.approx(found.bytes, rel=0.1, abs=2000)
