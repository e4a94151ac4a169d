"""Extracting: a change of rank r comes back, and what is lost otherwise is what the report says."""

import math

import pytest
import torch

from likewise.errors import FormatError
from likewise.factors.nearest import Size
from likewise.operations.extracting import CLAMP, extract
from tests.operations.changes import CONV, LINEAR, SHAPES, changes, furthest, lora, model, random, tuned

WHOLE = {f"{path}.weight": random(*shape, seed=n) for n, (path, shape) in enumerate(SHAPES.items())}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return model(tmp_path_factory.mktemp("models") / "base")


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_a_low_rank_change_is_recovered(base, rank):
    """Rank 1 by the randomised decomposition, 3 and 4 by the whole one, as the layers are small."""
    taught = lora(5, rank=rank)
    after = tuned(
        base, {f"{path}.weight": change.reshape(SHAPES[path]) for path, change in changes(taught).items()}
    )
    made, cut = extract(base, after, Size(rank))
    assert furthest(changes(made), changes(taught)) <= 1e-6
    assert cut.error < 1e-5
    assert (made.method, made.family, made.base, cut.left_out) == ("lora", "sd", "base", {})
    assert set(cut.ranks.values()) == {rank}


def test_the_error_is_what_the_theorem_says(base):
    made, cut = extract(base, tuned(base, WHOLE), Size(8, conv_rank=16))
    lost = whole = 0.0
    for name, change in WHOLE.items():
        path = name.removesuffix(".weight")
        values = torch.linalg.svdvals(change.flatten(1).double())
        rank = 16 if path == CONV else 8
        assert cut.ranks[path] == len(made.tensors[f"{path}.down"]) == rank
        least = float(values[rank:].norm())
        assert cut.errors[path] == pytest.approx(least / float(values.norm()), rel=1e-4)
        measured = float((change - changes(made)[path].reshape(change.shape)).norm())
        assert measured == pytest.approx(least, rel=1e-4)
        lost, whole = lost + least**2, whole + float(values.norm()) ** 2
    assert cut.error == pytest.approx(math.sqrt(lost / whole), rel=1e-4)


def test_the_randomised_decomposition_is_near_the_best():
    from likewise.factors.nearest import nearest

    decaying = (
        torch.linalg.qr(random(300, 300)).Q
        * 0.9 ** torch.arange(300)
        @ torch.linalg.qr(random(300, 300, seed=1)).Q
    )
    made = nearest(decaying, Size(16))
    error = float((decaying - made["up"] @ made["down"]).norm())
    assert error <= 1.001 * float(torch.linalg.svdvals(decaying)[16:].norm())
    assert torch.equal(made["up"], nearest(decaying, Size(16))["up"]), "the same on every call"


@pytest.mark.parametrize("energy", [0.5, 0.9, 1.0])
def test_energy_is_the_least_rank_that_holds_it(base, energy):
    _, cut = extract(base, tuned(base, WHOLE), Size(energy=energy))
    for name, change in WHOLE.items():
        squares = torch.linalg.svdvals(change.flatten(1).double()) ** 2
        rank = cut.ranks[name.removesuffix(".weight")]
        assert squares[:rank].sum() >= energy * squares.sum() * (1 - 1e-9)
        assert squares[: rank - 1].sum() < energy * squares.sum()


def test_what_no_lora_holds_is_named_with_its_share(base):
    added = {
        f"{LINEAR}.weight": lora_change(),
        f"{CONV}.bias": random(32),
        "text.text_model.final_layer_norm.weight": random(64),
        "vae.decoder.conv_in.weight": random(*base.tensors["vae.decoder.conv_in.weight"].shape),
        "text.text_model.embeddings.position_embedding.weight": random(77, 64),
    }
    made, cut = extract(base, tuned(base, added), Size(4))
    assert {name.rpartition(".")[0] for name in made.tensors} == {LINEAR}
    assert cut.left_out.keys() == added.keys() - {f"{LINEAR}.weight"}
    whole = math.hypot(*(float(change.norm()) for change in added.values()))
    for name, share in cut.left_out.items():
        assert share == pytest.approx(float(added[name].norm()) / whole, rel=1e-3)


def lora_change() -> torch.Tensor:
    return changes(lora(7))[LINEAR]


def test_a_clamp_only_adds_error_and_says_so(base):
    after = tuned(base, WHOLE)
    _, plain = extract(base, after, Size(8))
    made, cut = extract(base, after, Size(8), CLAMP)
    assert cut.error > plain.error
    factors = torch.cat([made.tensors[f"{LINEAR}.{side}"].flatten() for side in ("up", "down")])
    assert (factors == factors.max()).sum() > 1, "entries were cut to the bound"
    change = WHOLE[f"{LINEAR}.weight"]
    measured = float((change - changes(made)[LINEAR]).norm() / change.norm())
    assert cut.errors[LINEAR] == pytest.approx(measured, rel=1e-4)


def test_models_that_do_not_belong_together_are_refused(base, tmp_path):
    with pytest.raises(FormatError, match="different kinds"):
        extract(base, model(tmp_path / "other", "sd2"), Size(4))
    with pytest.raises(FormatError, match="nothing to extract"):
        extract(base, base, Size(4))


@pytest.mark.parametrize(
    ("size", "message"),
    [({}, "how much"), ({"rank": 0}, "keeps nothing"), ({"energy": 0.0}, "no share"), ({"energy": 1.5}, "no share"),
     ({"rank": 4, "conv_rank": -1}, "keeps nothing")],
)  # fmt: skip
def test_sizes_that_are_none_are_refused(size, message):
    with pytest.raises(FormatError, match=message):
        Size(**size)


def test_numbers_that_are_not_finite_are_told_by_name(base):
    broken = tuned(
        base,
        {"backbone.conv_in.weight": torch.full(base.tensors["backbone.conv_in.weight"].shape, torch.nan)},
    )
    with pytest.raises(FormatError, match=r"backbone\.conv_in\.weight holds numbers that are not finite"):
        extract(base, broken, Size(4))
