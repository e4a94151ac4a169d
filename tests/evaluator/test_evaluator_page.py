"""The page docs/evaluator.md: all 44 cases are on it, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "evaluator.md"
CASES = 44
ROW = re.compile(
    r"^\| (?P<number>\d+) \| (?P<rule>.+) \| (?P<level>L[012]) \| (?P<tests>.*) \|$", re.MULTILINE
)
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def rows() -> list[re.Match[str]]:
    return list(ROW.finditer(PAGE.read_text(encoding="utf-8")))


def functions(file: str) -> set[str]:
    path = HERE / file
    assert path.is_file(), f"{PAGE.name} names {file}, which is not there"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_case_is_on_the_page_once() -> None:
    """Red when a line is left out, or a number is written twice."""
    assert [int(row["number"]) for row in rows()] == list(range(1, CASES + 1))


def test_every_case_names_tests_that_exist() -> None:
    """Red when a test is renamed and the page is not."""
    for row in rows():
        named = NAMED.findall(row["tests"])
        assert named or row["level"] == "L2", f"case {row['number']} names no test"
        for file, name in named:
            assert name in functions(file), f"case {row['number']}: there is no {name} in {file}"


def test_every_test_of_a_case_is_on_the_page() -> None:
    """Red when a new test of a row is not named, or one is named under another number."""
    named = {(int(row["number"]), name) for row in rows() for _, name in NAMED.findall(row["tests"])}
    for path in HERE.glob("test_*.py"):
        for name in functions(path.name):
            if found := re.match(r"test_row_(\d+)_", name):
                assert (int(found[1]), name) in named, f"{path.name}::{name} is not on the page"
