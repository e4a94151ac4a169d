"""Our own layout keeps every kind of tensor under its own name, to the last bit in full precision."""

import pytest

from likewise import formats
from likewise.formats import Saving
from tests.formats.adapters import same
from tests.formats.words import embedding, for_two_towers
from tests.operations.changes import full, lora


@pytest.mark.parametrize("taught", [lora(), full(), embedding(), for_two_towers()], ids=lambda one: one.token)
def test_everything_comes_back_exactly(tmp_path, taught):
    path = formats.write(taught, tmp_path / "x.safetensors", "native", Saving("float32"))
    again = formats.read(path)
    assert same(again, taught)
    assert (again.method, again.family, again.token, again.noun, again.base, again.recipe) == (
        taught.method, taught.family, taught.token, taught.noun, taught.base, taught.recipe,
    )  # fmt: skip
