"""The drawings of the page: names stand where they can be read."""

from __future__ import annotations

from itertools import combinations

from likewise.comparison import charts


def test_names_in_the_plane_cover_neither_each_other_nor_a_mark() -> None:
    """Seven trials as a demo gave them, five of which lie close together."""
    scores = {
        "Untrained base": (0.43, 0.94), "Untrained base, described": (0.51, 0.94), "Aesthetic embedding": (0.51, 0.85),
        "DreamBooth": (0.49, 0.35), "Hypernetwork": (0.62, 0.81), "LoRA": (0.68, 0.73), "Textual Inversion": (0.7, 0.88),
    }  # fmt: skip
    rows = [
        {"title": title, "kind": "floor" if title == "Untrained base" else "method",
         "scores": {axis: {"mean": mean, "low": mean - 0.1, "high": min(1, mean + 0.1)}
                    for axis, mean in zip(("fidelity", "prompt"), pair, strict=True)}}
        for title, pair in scores.items()
    ]  # fmt: skip
    drawn = charts.plane(rows, {"fidelity": {"mean": 0.77}}, 720, 500)
    assert drawn is not None
    boxes = [(p["x"] - 8, p["y"] - 8, p["x"] + 8, p["y"] + 8) for p in drawn["points"]]
    for point in drawn["points"]:
        wide = 8 * len(point["row"]["title"])
        left = point["lx"] - {"start": 0, "middle": wide / 2, "end": wide}[point["anchor"]]
        boxes.append((left, point["ly"] - 12, left + wide, point["ly"] + 3))
        assert drawn["left"] <= left
        assert left + wide <= drawn["right"]
    marks = len(rows)
    for (i, a), (j, b) in combinations(enumerate(boxes), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart or (i < marks and j < marks), (i, j)
    narrow = charts.plane(rows, {}, 380, 420)
    assert narrow is not None
    assert not narrow["named"]
