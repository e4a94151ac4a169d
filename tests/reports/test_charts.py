"""The drawings of the page: names stand where they can be read, intervals end at the edge, curves cross where they do."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from likewise.comparison import costs
from likewise.comparison.standing import Cost, Measured
from likewise.reports import charts


def measured(value: float, reach: float = 0.1) -> Measured:
    return Measured(value, value - reach, value + reach, 10, 3, "card")


def points(
    scores: dict[str, tuple[float, float]], reach: float = 0.1
) -> list[tuple[str, str, dict[str, Measured]]]:
    return [(title.lower(), title, {"fidelity": measured(like, reach), "prompt": measured(follow, reach)})
            for title, (like, follow) in scores.items()]  # fmt: skip


def test_names_in_the_plane_cover_neither_each_other_nor_a_mark() -> None:
    """Seven conditions as a demo gave them, five of which lie close together."""
    drawn = charts.plane(points({
        "Untrained base": (0.0, 1.0), "Untrained base, described": (0.24, 1.0), "Aesthetic embedding": (0.24, 0.9),
        "DreamBooth": (0.18, 0.37), "Hypernetwork": (0.56, 0.86), "LoRA": (0.74, 0.78), "Textual Inversion": (0.79, 0.94),
    }), 760, 500)  # fmt: skip
    assert drawn is not None
    boxes = [(p["x"] - 8, p["y"] - 8, p["x"] + 8, p["y"] + 8) for p in drawn["points"]]
    marks = len(boxes)
    for point in drawn["points"]:
        wide = 8 * len(point["title"])
        left = point["lx"] - {"start": 0, "middle": wide / 2, "end": wide}[point["anchor"]]
        boxes.append((left, point["ly"] - 12, left + wide, point["ly"] + 3))
        assert drawn["left"] <= left
        assert left + wide <= drawn["right"]
    for (i, a), (j, b) in combinations(enumerate(boxes), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart or (i < marks and j < marks), (i, j)
    narrow = charts.plane(points({"LoRA": (0.5, 0.5)}), 380, 420)
    assert narrow is not None
    assert not narrow["named"]


def test_both_axes_hold_floor_and_ceiling_and_long_intervals_are_cut() -> None:
    drawn = charts.plane(points({"LoRA": (0.4, 0.9)}, 5.0), 760, 500)
    assert drawn is not None
    assert drawn["cut"]
    assert {"0", "1"} <= {text for _, text in drawn["yticks"]} & {text for _, text in drawn["xticks"]}
    (point,) = drawn["points"]
    assert (point["y1"], point["y0"]) == (drawn["top"], drawn["bottom"])
    assert (point["x0"], point["x1"]) == (drawn["left"], drawn["right"])
    assert not (charts.plane(points({"LoRA": (0.4, 0.9)}, 0.01), 760, 500) or {})["cut"]
    assert charts.plane([("lora", "LoRA", {"fidelity": measured(0.5)})], 760, 500) is None


def test_intervals_lie_between_floor_and_ceiling() -> None:
    drawn = charts.intervals({"a": measured(0.5), "b": Measured(0.25, None, None, 1, 1, "card")})
    assert drawn["rows"]["a"]["at"] == pytest.approx((drawn["zero"] + drawn["one"]) / 2, abs=0.01)
    assert drawn["rows"]["b"]["low"] is None
    assert not drawn["cut"]
    assert charts.intervals({"a": measured(0.5, 9)})["rows"]["a"] == {"low": 0, "at": 50.0, "high": 100}


def test_curves_have_a_ring_where_they_cross() -> None:
    known = {
        "quick": Cost(seconds=0.0, sample_seconds=2.0, sample_slowest=2.1),
        "slow": Cost(seconds=99.0, sample_seconds=1.0, sample_slowest=1.1),
        "none": Cost(),
    }
    drawn = charts.totals(known, 760, 400)
    assert drawn is not None
    assert [line["name"] for line in drawn["lines"]] == ["quick", "slow"]
    (ring,) = drawn["rings"]
    at = dict(zip(("10", "100", "1,000"), (x for x, _ in drawn["xticks"][1:4]), strict=True))
    assert at["10"] < ring["x"] < at["100"]
    assert ring["x"] == pytest.approx(at["100"], abs=1)  # at 99
    assert costs.crossings(known)[0].first == 100
    assert charts.totals({"none": Cost()}, 760, 400) is None


def test_names_at_the_ends_of_curves_stand_apart() -> None:
    known = {name: Cost(seconds=1.0, sample_seconds=1 + k / 1000) for k, name in enumerate("vwxyz")}
    drawn = charts.totals(known, 760, 400)
    assert drawn is not None
    heights = sorted(line["name_y"] for line in drawn["lines"])
    assert all(below - above >= 15.9 for above, below in pairwise(heights))
    assert heights[-1] <= 400


def test_a_search_has_a_line_per_setting_as_far_as_it_went() -> None:
    drawn = charts.rounds([[0.1, 0.2, 0.3], [0.2, None, None], [None, None, None]], 420, 230)
    assert drawn is not None
    assert [len(line) for line in drawn["lines"]] == [3, 1, 0]
    assert charts.rounds([[None]], 420, 230) is None


def test_bars_are_logarithmic_and_leave_out_what_is_not_known() -> None:
    drawn = charts.bars({"a": 10.0, "b": 1000.0, "c": None}, "Title", "note", lambda value: f"{value} B")
    widths = {bar["name"]: bar["width"] for bar in drawn["bars"]}
    assert widths == {"a": pytest.approx(100 / 3, abs=0.01), "b": 100.0, "c": None}
