"""A root with a concept, a finished run and a finished comparison; and the studio of it, really served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the studio extra")
pytest.importorskip("starlette", reason="the studio extra")

from likewise.studio.app import STREAMS, Studio, app
from tests.bases import lora_run, pictures
from tests.local.served import Site, served
from tests.reports.folders import made


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; tests that change something have a copy."""
    place = tmp_path_factory.mktemp("studio")
    root = place / "root"
    pictures(root / "concepts" / "dog")
    (root / "concepts" / "dog.toml").write_text('noun = "dog"\ntoken = "sks"\n')
    list(lora_run(place, root / "runs" / "2026-01-02-dog-lora-1", steps=6, keep_checkpoints=0).start())
    made(root / "comparisons" / "2026-01-03-mug-1")
    return root


@pytest.fixture
def root(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIKEWISE_HOME", str(tmp_path / "home"))
    shutil.copytree(filled, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def site(root: Path) -> Iterator[Site]:
    with studio_of(root) as found:
        found.enter()
        yield found


def studio_of(root: Path, **options: object) -> object:
    """The studio of a folder, served until the block ends."""
    made = Studio(root)
    return served(app(made), streams=STREAMS, cookie=made.cookie, **options)
