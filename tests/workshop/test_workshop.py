"""The workshop from artwork to model: every step runs small, on pictures that are drawn here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from tests.workshop.artwork import OTHERS
from workshop import world
from workshop.all import STEPS
from workshop.all import main as build_all
from workshop.plan import Planner


def test_the_model_is_an_ordinary_stable_diffusion_folder(made: Path) -> None:
    from likewise import families

    base = families.load(str(made / "model"))
    assert base.family == "sd"
    picture = next(iter(base.sample(["a cat on a beach"], [0])))
    assert picture.size == (64, 64)
    assert np.isfinite(np.asarray(picture)).all()


def test_the_card_names_what_was_taught(made: Path) -> None:
    card = json.loads((made / "model" / "card.json").read_text(encoding="utf-8"))
    assert card["samples_seen"] == 12
    assert "cat" in card["things"]
    assert "@drawn/noto 1.0.0" in (made / "model" / "ATTRIBUTION.md").read_text(encoding="utf-8")


def test_the_table_has_ceilings(made: Path) -> None:
    rows = [json.loads(line) for line in (made / "measured.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["pictures"] for row in rows] == ["drawn", "true, after the autoencoder", "true"]


def test_the_error_on_what_was_not_learned_is_told_for_every_average(made: Path) -> None:
    from workshop import validate

    validate.main(["--smoke"])
    lines = (made / "validated.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["weights"] for row in rows] == ["short", "middle", "long", "last"]
    assert all(row[kind] > 0 for row in rows for kind in ("named", "shapes"))
    assert "unseen" not in rows[0]  # nothing is held out of so small a world
    validate.main(["--smoke", "--model", str(made / "model" / "unet")])
    again = json.loads((made / "validated.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    middle = rows[1]["named"]  # what ships, in half precision
    assert again["named"] == pytest.approx(middle, abs=1e-3)


def test_held_out_shapes_are_rebuilt_and_never_taught(made: Path) -> None:
    from workshop import rebuild
    from workshop.shapes import PARTS

    taught = Planner(made, ("world", *PARTS), variants=4, taught=True)
    assert "1f994" not in taught.others
    assert len(taught.others) == len(OTHERS) - 1
    rebuild.main(["--smoke"])
    row = json.loads((made / "rebuilt.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert set(row) == {"samples", "half told", "half untold", "most told", "most untold"}
    assert row["half told"] > row["most told"]


def test_shapes_are_told_in_words_to_a_backbone_alone(made: Path) -> None:
    from workshop.shapes import PARTS

    known, rng = Planner(made, ("world", *PARTS), variants=4, taught=True), np.random.default_rng(3)
    plans = [plan for plan in (known.plan(rng) for _ in range(400)) if plan.thing < 0]
    assert {known.caption(plan, rng) for plan in plans} == {""}
    known.teach(hold_out=False, share=0.3)
    plans = [known.plan(rng) for _ in range(1000)]
    shapes = [plan for plan in plans if plan.thing < 0]
    assert 0.25 < len(shapes) / len(plans) < 0.35
    captions = [known.caption(plan, rng) for plan in shapes]
    assert 0.05 < captions.count("") / len(captions) < 0.16
    assert any("animal" in caption for caption in captions)
    for plan, caption in zip(shapes, captions, strict=True):
        told = "animals" in caption or "things" in caption
        assert not caption or told == (plan.count > 1)


def test_a_measurement_asks_for_what_the_prompts_tell_and_for_nothing_else(made: Path) -> None:
    from workshop import measure

    known, rng = Planner(made, variants=4, taught=True), np.random.default_rng(5)
    plans = [known.plan(rng) for _ in range(300)]
    prompts = tuple(known.caption(plan, rng) for plan in plans)
    things = sorted({row["name"] for row in known.rows})[1:]  # a judge that does not know the first
    truth = measure.truth_of(known, plans, prompts, things)
    for k, words in enumerate(prompt.split(", ")[0].split() for prompt in prompts):
        plain = words[-1] == "background"
        assert (truth["plain"][k] >= 0) == plain
        body = words[: words.index("on")] if plain else words
        counted = [n for n, number in enumerate(world.NUMBERS) if words[0] == number]
        assert truth["count"][k] == (counted[0] if counted else -1)
        assert (truth["small"][k] == 1) == ("small" in body)
        coloured = [n for n, tint in enumerate(world.TINTS) if tint in body[:3]]
        assert truth["tint"][k] == (coloured[0] if coloured else -1)
        design = [n for n, name in enumerate(world.DESIGNS) if prompts[k].endswith(f", {name} style")]
        assert truth["style"][k] == (design[0] if design else -1)
        name = known.rows[plans[k].cut]["name"]
        assert truth["thing"][k] == (things.index(name) if name in things else -1)
    assert all((truth[head] >= 0).any() for head in measure.HEADS)
    assert all((truth[head] < 0).any() for head in measure.HEADS if head != "scene")


def test_a_measurement_counts_only_where_a_prompt_tells() -> None:
    from workshop import measure

    told = [0, 1, 2, -1, 3, -1, 4, 0]
    truth = {head: np.array(told) for head in measure.HEADS}
    sure = torch.nn.functional.one_hot(torch.tensor(told).clamp(min=0), 8).float()
    pixels = torch.zeros(8, 3, 4, 4)

    def judging(heads: dict[str, torch.Tensor]) -> Any:
        return SimpleNamespace(labels=lambda _: heads)

    def seen(**heads: torch.Tensor) -> dict[str, float]:
        return measure.right(judging(dict.fromkeys(measure.HEADS, sure) | heads), pixels, truth)

    assert set(seen().values()) == {1.0}
    wrong = seen(count=sure.roll(1, 0))
    assert {head for head, value in wrong.items() if value < 1} == {"count"}
    silent = dict(truth)
    silent["tint"] = np.full(8, -1)
    assert "tint" not in measure.right(judging(dict.fromkeys(measure.HEADS, sure)), pixels, silent)
    fifth = sure.clone()
    fifth[0, 1:5] = torch.tensor([5.0, 4.0, 3.0, 2.0])  # four others look likelier
    found = seen(thing=fifth)
    assert found["thing"] == pytest.approx(5 / 6)
    assert found["thing top-5"] == 1.0
    fifth[0, 5] = 1.5
    assert seen(thing=fifth)["thing top-5"] == pytest.approx(5 / 6)


def test_an_exported_model_can_be_gone_on_from(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import CLIPModel

    from workshop import adopt

    with pytest.raises(SystemExit, match="has clip, tokenizer, vae already"):
        adopt.main(["--smoke"])
    monkeypatch.setattr("workshop.common.BUILD", made.parent / "taken")
    adopt.main(["--smoke", "--model", str(made / "model")])
    taken = made.parent / "taken" / "smoke"
    before, after = (CLIPModel.from_pretrained(home / "clip").state_dict() for home in (made, taken))
    names = before.keys() - {"logit_scale"}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].half(), after[name].half()) for name in names)
    assert {part.name for part in taken.iterdir()} == {"clip", "clip_plain", "tokenizer", "vae", "clip.jsonl"}


def test_everything_runs_once_and_goes_on_where_it_stopped(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (made / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows[1:]] == list(STEPS)
    capsys.readouterr()
    build_all(["--smoke"])
    assert capsys.readouterr().out == ""
    with pytest.raises(SystemExit, match="same arguments"):
        build_all(["--smoke", "--hold-out"])


def test_words_and_taught_vectors_are_measured_alike(made: Path) -> None:
    from workshop import hedging

    hedging.main(["--smoke"])
    rows = [json.loads(line) for line in (made / "hedging.jsonl").read_text(encoding="utf-8").splitlines()]
    cat, toy = ([row for row in rows if row.get("concept") == name] for name in (None, "purple-duck"))
    assert [row["words"] for row in cat] == [
        *hedging.WORDS,
        *(f"taught {title}" for title in hedging.TAUGHT),
    ]
    error = {row["words"]: row["error"] for row in cat}
    assert error["orange cat"] < error["cat"] < error["dog"]
    assert all(row["guided"] > row["error"] for row in toy), "guidance goes beyond the answer"
    assert next(row["likeness"] for row in toy if row["words"] == "duck") == pytest.approx(0, abs=1e-6)
