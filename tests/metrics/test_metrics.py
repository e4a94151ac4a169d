"""Each metric on numbers whose right answer is known (the evaluator's own sanity set, level 0)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from likewise import metrics
from likewise.errors import RecipeError
from likewise.metrics import copying, drift, gap, rank, subject
from likewise.metrics.diversity import vendi
from likewise.metrics.prompt import ceiling, wanted
from likewise.metrics.score import Evidence, Reading

PHRASES = {
    "on a beach": {"scene": "beach"},
    "on a purple background": {"scene": "plain", "plain": "purple"},
    "purple": {"tint": "purple"},
    "small": {"small": "small"},
}
TEMPLATES = {"beach": "a {} on a beach", "wall": "a small {} on a purple background", "mood": "a happy {}"}


def reading(
    vectors: Tensor, failed: list[bool] | None = None, labels: list[dict[str, str]] | None = None
) -> Reading:
    vectors = normalize(vectors.float(), dim=1)
    return Reading(vectors, tuple(failed or [False] * len(vectors)), vectors, tuple(labels or ()))


def evidence(
    drawn: Reading, prompts: list[str], real: Tensor | None = None, train: Tensor | None = None
) -> Evidence:
    real = torch.eye(4)[:2] if real is None else real
    return Evidence(
        drawn, tuple(prompts), TEMPLATES, reading(real if train is None else train), reading(real), PHRASES
    )


def pick(some: Reading, start: int, stop: int) -> Reading:
    """Some rows of a reading with miniatures."""
    assert some.miniatures is not None
    return replace(
        reading(some.vectors[start:stop]),
        miniatures=some.miniatures[start:stop],
        appearance=some.appearance[start:stop],
    )


def score(name: str, *arguments: object) -> float:
    found = metrics.get(name).score(evidence(*arguments))  # type: ignore[arg-type]
    assert found is not None
    return found.mean


def test_the_folder_is_the_registry() -> None:
    assert metrics.names() == [
        "fidelity", "prompt", "diversity", "copying", "rank", "layout", "style", "gap", "binding", "leak", "drift",
        "masked", "background",
    ]  # fmt: skip
    cards = {metrics.get(name).card("pocket-judge-v1") for name in metrics.names()}
    assert len(cards) == len(metrics.names())
    assert all(card.endswith("/pocket-judge-v1") for card in cards)
    for name in metrics.names():
        assert metrics.get(name).meaning.endswith(".")
    with pytest.raises(RecipeError, match="no metric 'fid'"):
        metrics.get("fid")


def test_a_picture_is_like_itself() -> None:
    real = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    assert score("fidelity", reading(real), ["a"], real) == pytest.approx(1.0, abs=1e-5)
    assert subject.ceiling(reading(real), reading(real)).mean == pytest.approx(1.0, abs=1e-5)  # type: ignore[union-attr]


def test_fidelity_averages_all_pairs_within_a_prompt_then_prompts() -> None:
    drawn = reading(torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]))
    # Prompt a: (1/2 + 0) / 2, prompt b: 1/2; flat pooling would give 1/3.
    assert score("fidelity", drawn, ["a", "a", "b"]) == pytest.approx(0.375)


def test_order_does_not_matter() -> None:
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    prompts, order = ["a", "b", "c", "a", "b", "c"], [5, 2, 0, 4, 1, 3]
    for name in ("fidelity", "diversity"):
        straight = score(name, reading(vectors), prompts, torch.eye(5))
        shuffled = score(
            name, reading(vectors[order]), [prompts[i] for i in order], torch.eye(5)[[3, 1, 0, 2, 4]]
        )
        assert straight == pytest.approx(shuffled, abs=1e-6)


def test_blank_pictures_count_as_the_worst_and_are_not_skipped() -> None:
    same = torch.eye(4)[[0, 0]]
    assert score("fidelity", reading(same), ["a", "b"], torch.eye(4)[:1]) == 1.0
    assert score("fidelity", reading(same, [False, True]), ["a", "b"], torch.eye(4)[:1]) == 0.5
    away = reading(-same, [True, True])
    assert score("fidelity", away, ["a", "b"], torch.eye(4)[:1]) == -1.0, "blank is no better than unlike"
    labels = [{"scene": "beach"}, {"scene": "beach"}]
    assert score("prompt", reading(same, [False, True], labels), ["beach", "beach"]) == 0.5


def test_without_held_out_pictures_there_is_no_fidelity() -> None:
    nothing = Reading(torch.empty(0, 0), (), torch.empty(0, 0))
    drawn = reading(torch.eye(4)[:1])
    assert subject.METRIC.score(Evidence(drawn, ("a",), TEMPLATES, drawn, nothing)) is None
    assert subject.ceiling(drawn, nothing) is None


def test_the_ceiling_has_an_interval_even_with_one_held_out_picture() -> None:
    train = torch.tensor([[1.0, 0], [1, 1], [1, 2]])
    one = subject.ceiling(reading(train), reading(torch.tensor([[1.0, 0]])))
    assert one is not None
    assert one.n == 3
    assert one.low is not None
    several = subject.ceiling(reading(train), reading(torch.tensor([[1.0, 0], [0, 1.0]])))
    assert several is not None
    assert several.n == 2


def test_what_a_prompt_asks_for() -> None:
    assert wanted(TEMPLATES["beach"], PHRASES) == [{"scene": "beach"}]
    assert wanted(TEMPLATES["wall"], PHRASES) == [{"scene": "plain", "plain": "purple"}, {"small": "small"}]
    assert wanted("a purple {} on a beach", PHRASES) == [{"scene": "beach"}, {"tint": "purple"}]
    assert wanted("a {} that is purplish, on a beachfront", PHRASES) == []
    assert wanted("A SMALL {}", PHRASES) == [{"small": "small"}]


def test_prompt_following_counts_clauses_and_leaves_out_what_nobody_can_check() -> None:
    right = {"scene": "plain", "plain": "purple", "small": "small"}
    half = {"scene": "beach", "plain": "purple", "small": "small"}  # the wall is purple only if it is a wall
    drawn = reading(torch.eye(4)[:3], labels=[right, half, right])
    found = metrics.get("prompt").score(evidence(drawn, ["wall", "wall", "mood"]))
    assert found is not None
    assert (found.mean, found.n, found.left_out) == (0.75, 1, 1)
    assert metrics.get("prompt").score(evidence(reading(torch.eye(4)[:1], labels=[right]), ["mood"])) is None
    assert metrics.get("prompt").score(evidence(reading(torch.eye(4)[:1]), ["wall"])) is None, (
        "no heads, no texts"
    )


def test_prompts_shuffled_between_pictures_lose_their_score() -> None:
    labels = [{"scene": "beach"}, {"scene": "plain", "plain": "purple", "small": "small"}]
    assert score("prompt", reading(torch.eye(4)[:2], labels=labels), ["beach", "wall"]) == 1.0
    assert score("prompt", reading(torch.eye(4)[:2], labels=labels[::-1]), ["beach", "wall"]) == 0.0


def test_features_that_read_text_give_clip_t() -> None:
    drawn, words = reading(torch.tensor([[3.0, 4], [0, 1]])), {"beach": torch.tensor([1.0, 0])}
    book = Evidence(drawn, ("beach", "beach"), TEMPLATES, drawn, drawn, {}, words)
    found = metrics.get("prompt").score(book)
    assert found is not None
    assert found.mean == pytest.approx(0.3)


def test_the_same_picture_for_every_seed_is_one_picture() -> None:
    assert vendi(torch.eye(5)[[2, 2, 2]]) == pytest.approx(1.0, abs=1e-6)
    assert score("diversity", reading(torch.eye(5)[[2, 2, 2]]), ["a"] * 3) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_orthogonal_pictures_count_one_by_one(count: int) -> None:
    assert vendi(torch.eye(8)[:count]) == pytest.approx(count, abs=1e-6)


def test_diversity_is_within_prompts_and_failed_pictures_add_nothing() -> None:
    vectors = torch.eye(4)[[0, 0, 1, 1]]
    assert score("diversity", reading(vectors), ["a", "a", "b", "b"]) == pytest.approx(1.0)
    assert score("diversity", reading(vectors), ["a", "b", "a", "b"]) == pytest.approx(2.0)
    assert score(
        "diversity", reading(vectors, [False, False, True, True]), ["a", "b", "a", "b"]
    ) == pytest.approx(1.0)
    assert score("diversity", reading(vectors, [True] * 4), ["a", "b", "a", "b"]) == 1.0
    assert metrics.get("diversity").score(evidence(reading(vectors), ["a", "b", "c", "d"])) is None


def test_training_pictures_handed_back_are_copies_and_held_out_ones_are_not() -> None:
    """Either look finds a copy. Red when `or` between them becomes `and`, or a picture meets itself in the line."""
    noise = torch.Generator().manual_seed(2)
    real, small = torch.randn(8, 16, generator=noise) + 1, torch.rand(8, 3, 32, 32, generator=noise)
    both = replace(reading(real), miniatures=small)
    train, held_out = pick(both, 0, 5), pick(both, 5, 8)
    elsewhere = torch.randn(5, 16, generator=noise) - 1
    fresh = torch.rand(5, 3, 32, 32, generator=noise)

    def copied(drawn: Reading) -> float:
        found = metrics.get("copying").score(Evidence(drawn, ("a",) * len(drawn), {}, train, held_out))
        assert found is not None
        return found.mean

    assert copied(train) == 1.0
    assert copied(replace(reading(elsewhere), miniatures=train.miniatures)) == 1.0, "the pictures as such"
    assert copied(replace(train, miniatures=fresh)) == 1.0, "their appearance"
    assert copied(held_out) == copied(replace(train, failed=(True,) * 5)) == 0.0
    assert copying.calibrate(pick(both, 0, 1), pick(both, 5, 6)) is None, "two pictures draw no line"
    line = copying.calibrate(train, held_out)
    assert line is not None
    assert line.rate == pytest.approx(4 / 12)
    assert copying.calibrate(reading(real[:5]), reading(real[5:])) is None, "no miniatures, no second look"


def test_replacing_outputs_by_the_floor_lowers_fidelity_in_proportion() -> None:
    good, poor = torch.tensor([1.0, 0.2, 0, 0]), torch.tensor([0, 0, 1.0, 0])
    values = []
    for swapped in range(5):
        drawn = torch.stack([poor] * swapped + [good] * (4 - swapped))
        values.append(score("fidelity", reading(drawn), ["a", "b", "c", "d"]))
    steps = [a - b for a, b in pairwise(values)]
    assert min(steps) > 0
    assert max(steps) - min(steps) < 1e-6


def test_average_precision_by_hand() -> None:
    """Red when ties go to the wanted, or precision is averaged over all places."""
    assert rank.average_precision([0.9, 0.8], [0.1]) == 1
    assert rank.average_precision([0.9, 0.3], [0.5]) == pytest.approx((1 + 2 / 3) / 2)
    assert rank.average_precision([0.5], [0.5, 0.5]) == pytest.approx(1 / 3)


def test_leak_and_drift_are_of_pairs_of_the_same_noise() -> None:
    """Red when before and after are not paired row by row, or the rise is a fall."""
    axes = torch.eye(4)
    before, after = reading(axes[[2, 3, 1]]), reading(axes[[0, 3, 1]])
    found = replace(
        evidence(before, ["x"] * 3, axes[:1]), plain=after, before=before, plain_prompts=("a", "a", "b")
    )
    leak, moved = metrics.get("leak").score(found), metrics.get("drift").score(found)
    assert leak is not None
    assert moved is not None
    assert leak.pictures == {"a": (1.0, 0.0), "b": (0.0,)}
    assert moved.pictures == {"a": (1.0, 0.0), "b": (0.0,)}
    assert moved.mean == 0.25
    for name in ("leak", "drift"):
        assert metrics.get(name).score(replace(found, before=None)) is None
        assert metrics.get(name).score(replace(found, plain=None)) is None


def test_spread_is_what_another_prompt_moves() -> None:
    """Red when pictures of one prompt count, which are alike in a base without variety."""
    found = drift.spread(reading(torch.eye(4)[[0, 0, 1, 1]]), ("a", "a", "b", "b"))
    assert found == pytest.approx(1.0)
    assert drift.spread(reading(torch.eye(4)[[0, 0, 0, 1]]), ("a", "a", "b", "b")) == pytest.approx(0.5)
    assert drift.spread(reading(torch.eye(4)), ("a", "a", "a", "a")) is None


def test_the_gap_is_beyond_what_real_pictures_show() -> None:
    """Red when the real pictures' gap is not taken off, or they meet themselves in it."""
    axes = torch.eye(4)
    train, kept = axes[[0, 1]], axes[[2, 3]]
    assert gap.real(reading(train), reading(kept)) == 0
    copies = metrics.get("gap").score(evidence(reading(train), ["a", "b"], kept, train))
    assert copies is not None
    assert copies.mean == pytest.approx(0.5)
    near = torch.tensor([[1.0, 0, 0, 0], [1, 0.1, 0, 0]])  # two of a burst, taught
    usual = gap.real(reading(near), reading(kept))
    assert usual is not None
    assert usual == pytest.approx(0.5, abs=0.01), "the burst gains 1, the others lose nothing"
    assert gap.real(reading(near[:1]), reading(kept)) is None
    leaning = metrics.get("gap").score(evidence(reading(near), ["a", "b"], kept, near))
    assert leaning is not None
    assert leaning.mean == pytest.approx(0.5, abs=0.01), "1 less the half that real ones show"


def test_every_pictures_value_is_kept_in_order() -> None:
    """Red when the values are sorted, or the mean stands for them."""
    drawn = reading(torch.eye(4)[[0, 2, 1, 3]])
    found = metrics.get("fidelity").score(evidence(drawn, ["b", "a", "b", "a"], torch.eye(4)[:1]))
    assert found is not None
    assert found.pictures == {"b": (1.0, 0.0), "a": (0.0, 0.0)}
    assert list(found.pictures) == ["b", "a"]
    whole = metrics.get("diversity").score(evidence(drawn, ["b", "a", "b", "a"]))
    assert whole is not None
    assert whole.pictures == {prompt: (value,) for prompt, value in whole.prompts.items()}


def test_true_pictures_of_a_prompt_are_seen_as_often_as_the_heads_are_right() -> None:
    top = ceiling(TEMPLATES, PHRASES, {"scene": 0.9, "plain": 0.8, "small": 1.0})
    assert top is not None
    assert top.n == 2, "a mood is checked by no head"
    assert top.mean == pytest.approx((0.9 + (0.9 * 0.8 + 1.0) / 2) / 2)
    assert ceiling({"mood": "a happy {}"}, PHRASES, {"scene": 0.9}) is None
    assert ceiling(TEMPLATES, PHRASES, {}) is None, "nobody has measured these heads"


TOY = """
from dataclasses import dataclass
from likewise.metrics.score import of_pictures

@dataclass(frozen=True)
class Dark:
    name: str = "dark"
    title: str = "Is dark"
    better: str = "lower"
    meaning: str = "Whether a picture shows nothing."
    place: int = 99
    reads: str = "pictures"

    def card(self, features):
        return f"dark-v1/{features}"

    def score(self, evidence):
        return of_pictures(evidence.prompts, [float(bad) for bad in evidence.drawn.failed])

METRIC = Dark()
"""


def test_a_new_metric_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Red when a list of metrics has to be told of it."""
    (tmp_path / "dark.py").write_text(TOY)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    assert metrics.names()[-1] == "dark"
    found = metrics.get("dark").score(evidence(reading(torch.eye(4)[:2], [True, False]), ["a", "b"]))
    assert found is not None
    assert found.prompts == {"a": 1.0, "b": 0.0}
