"""The page of layouts is what the code says, every cell is filled, and the tests that it names are there."""

import ast

import pytest

from likewise import formats, kinds
from likewise.operations.placing import PROGRAMS
from tests.formats.page import PAGE, PROOFS, page


def test_the_page_is_what_the_code_says():
    if not PAGE.parent.is_dir():
        pytest.skip("the pages are not part of this copy")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.formats.page"


def test_every_layout_has_proofs_that_exist():
    assert sorted(PROOFS) == formats.names()
    for proof in (proof for proofs in PROOFS.values() for proof in proofs):
        file, _, name = proof.partition("::")
        tree = ast.parse((PAGE.parents[1] / "tests" / "formats" / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, proof


def test_what_is_placed_is_read_there():
    known = {program.name for program in PROGRAMS}
    for kind in kinds.ALL:
        assert kind.places.keys() <= known & formats.get(kind.layout).readers.keys(), kind.name
