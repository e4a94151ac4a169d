"""Groups of look-alikes for the judge, and how well it tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from likewise.metrics._judge import CUT, MaskNet, cut_out
from workshop import bodies, lineup, surfaces, telling
from workshop.lineup import Lineup


@pytest.mark.parametrize("kind", bodies.KINDS)
def test_a_kind_makes_whole_bodies_that_differ(kind: str) -> None:
    """No holes: a surface seen from any side covers what it covers without gaps."""
    made = [bodies.assembled(bodies.KINDS[kind](np.random.default_rng(number))) for number in range(2)]
    for one in made:
        assert np.allclose(np.linalg.norm(one.points, axis=1).max(), 1)
        cover = surfaces.view(one, 30, 20)[5] / 255
        inner = cover[1:-1, 1:-1]
        around = np.minimum.reduce([cover[:-2, 1:-1], cover[2:, 1:-1], cover[1:-1, :-2], cover[1:-1, 2:]])
        assert (inner[around > 0.99] > 0.7).all()
    assert len(made[0].points) != len(made[1].points)


def test_only_the_form_differs_in_a_group_of_forms(made: Path) -> None:
    rng = np.random.default_rng(0)
    layers, who = Lineup(made, variants=4)._body(rng, "form", 3, 4)
    assert layers.shape == (len(who), 4, 64, 64)
    assert set(np.bincount(who)) == {4}
    assert (layers[:, :3] <= layers[:, 3:] + 1e-6).all()


def test_colours_differ_on_one_body(made: Path) -> None:
    layers, who = Lineup(made, variants=4)._cut(np.random.default_rng(1), "colour", 4, 1)
    assert len(who) == 4
    assert all(torch.equal(layers[0, 3], layer[3]) for layer in layers)
    means = [tuple((layer[:3].sum((1, 2)) / layer[3].sum()).tolist()) for layer in layers]
    assert len(set(means)) == 4


def test_a_batch_follows_from_its_seed_and_keeps_individuals_apart(made: Path) -> None:
    drawn = Lineup(made, variants=4)
    one, again, other = drawn.batch(2, 5), drawn.batch(2, 5), drawn.batch(2, 6)
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels[:8], other.pixels[:8])
    assert torch.unique(one.who, return_counts=True)[1].tolist() == [lineup.SEEN] * len(one.who.unique())
    assert ((one.cover >= 0) & (one.cover <= 1.001)).all()
    assert one.pixels.abs().max() <= 1


def test_what_is_held_out_is_never_taught(made: Path) -> None:
    taught, held = Lineup(made, variants=4), Lineup(made, held=True, variants=4)
    for kind in set(taught.kinds) & set(held.kinds):
        assert not set(taught.kinds[kind]) & set(held.kinds[kind])
    assert "swimmer" in held.kinds
    assert "swimmer" not in taught.kinds


def test_the_cut_out_follows_the_mask_and_not_the_ground() -> None:
    """The same thing at two places of two grounds is one cut-out; a speck elsewhere moves no box."""
    thing = torch.rand(3, 16, 16) * 2 - 1
    pixels, masks = (
        torch.stack([torch.full((3, 64, 64), -0.5), torch.full((3, 64, 64), 0.7)]),
        torch.zeros(2, 1, 64, 64),
    )
    for k, (top, left) in enumerate(((8, 8), (36, 28))):
        pixels[k, :, top : top + 16, left : left + 16], masks[k, :, top : top + 16, left : left + 16] = (
            thing,
            1,
        )
    one, other = cut_out(pixels, masks)
    assert one.shape == (4, CUT, CUT)
    assert torch.allclose(one, other, atol=1e-4)
    masks[0, 0, 62, 62] = 1
    assert torch.allclose(cut_out(pixels, masks)[0, 3], one[3], atol=0.05)
    empty = cut_out(pixels[:1], torch.zeros(1, 1, 64, 64))
    assert (empty[0, 3] > 0.5).float().mean() > 0.6, "without a subject the whole picture is looked at"


def test_auc_knows_order_and_ties() -> None:
    who = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert telling.auc(apart, who) == 1
    assert telling.auc(torch.ones(4, 2), who) == 0.5
    assert telling.auc(apart[[0, 2, 1, 3]], who) == 0.25, "two of four others are ties"


def test_every_level_of_the_mask_reaches_what_it_says() -> None:
    mask = MaskNet()
    logits = mask(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 1, 64, 64)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mask.parameters() if p.dim() > 1)
