"""What all pages share: a new page is a template, and a sheet and a script where it has them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from likewise.reports import page
from tests.reports.pages import Page


def test_a_new_page_is_one_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when a page has to be listed, or a value comes onto it unescaped."""
    folder = Path(shutil.copytree(Path(page.__file__).parent, tmp_path / "reports"))
    (folder / "toy.html.j2").write_text(
        '{% extends "page.html.j2" %}{% block title %}Toy{% endblock %}{% block body %}<p>{{ words }}</p>{% endblock %}'
    )
    (folder / "toy.css").write_text("p { color: red }")
    monkeypatch.setattr(page, "_HERE", folder)
    made = Page(page.write("toy", {"words": "<b>bold"}, tmp_path / "toy.html"))
    assert made.open == []
    assert "<b>bold" in made.words
    assert "color: red" in made.text
    assert "script-src" not in made.text
