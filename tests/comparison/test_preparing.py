"""What a comparison settles before anything is taught."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.comparison.comparison import prepare
from likewise.errors import RecipeError
from tests.bases import pictures, tiny


def test_a_refused_setting_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="did you mean rank"):
        prepare(pictures(tmp_path / "p"), noun="dog", base="tiny:sd", recipes={"lora": {"rnk": 2}})
    assert not Path("comparisons").exists()


def test_the_book_says_what_was_really_drawn_with(tmp_path: Path) -> None:
    """A base advises its guidance; a later release may advise another."""
    base = tiny()
    base.guidance = 2.5
    made = prepare(pictures(tmp_path / "p"), noun="dog", base=base, out=tmp_path / "c", hold_out=1)
    assert made.protocol.to_json()["sampler"]["guidance"] == 2.5
    assert made.protocol.to_json()["sampler"]["size"] == base.resolution
