"""The workshop from artwork to model: every step runs small, on pictures that are drawn here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

pytest.importorskip("resvg_py", reason="the workshop draws its artwork with resvg")

from workshop import world
from workshop.ahead import Ahead
from workshop.all import STEPS
from workshop.all import main as build_all
from workshop.common import Average, Course
from workshop.compose import Composer
from workshop.plan import Planner
from workshop.team import MEET, gather

ROOT = Path(__file__).parents[1]
OTHERS = ("1f9ff", "1faa8", "1f9f2", "1f9ed", "1f994")  # the last is held out of the backbone's training
CODES = sorted({code for thing in world.THINGS[:6] for code in thing.codes} | {*world.HELD_OUT, *OTHERS})


def pack(path: Path, files: dict[str, bytes]) -> dict[str, str]:
    """A package as npm makes it, and the facts that identify it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    facts = {"package": f"@drawn/{path.stem}", "version": "1.0.0", "file": path.name, "licence": "MIT"}
    facts |= {"credit": "drawn for the test", "url": "https://example.org"}
    return facts | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def webp(number: int) -> bytes:
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((4, 12, 60, 52), fill=(40 + 9 * number, 90, 160, 255))
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def artwork(folder: Path) -> list[dict[str, str]]:
    """Three packages in the three forms that sources.toml knows."""
    fluent = pack(folder / "fluent.tgz", {f"assets/{c}.webp": webp(i) for i, c in enumerate(CODES)})
    body = '<path fill="#c33" d="M2 30L16 2l14 28z"/><circle cx="16" cy="20" r="5" fill="#36c"/>'
    icons = {"width": 32, "height": 32, "icons": {f"icon-{c}": {"body": body} for c in CODES}}
    chars = {code: f"icon-{code}" for code in CODES}
    noto = pack(
        folder / "noto.tgz",
        {"icons.json": json.dumps(icons).encode(), "chars.json": json.dumps(chars).encode()},
    )
    book = [{"hexcode": code.upper(), "group": 3, "subgroup": 34, "label": "thing"} for code in CODES]
    names = pack(folder / "names.tgz", {"en/data.json": json.dumps(book).encode()})
    rows = [fluent | {"design": "fluent", "form": "webp"}, noto | {"design": "noto", "form": "iconify"}]
    return [*rows, names | {"form": "names"}]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The build folder after the one command that runs every step."""
    root = tmp_path_factory.mktemp("workshop")
    with pytest.MonkeyPatch.context() as patch:
        modules = [importlib.import_module(f"workshop.{step}") for step in STEPS]
        patch.setattr("workshop.common.BUILD", root)
        patch.setattr("workshop.fetch.PACKAGES", root)
        rows = artwork(root)
        for module in modules:
            if hasattr(module, "sources"):
                patch.setattr(module, "sources", lambda: rows)
        build_all(["--smoke"])
        yield root / "smoke"


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

    def seen(**heads: torch.Tensor) -> dict[str, float]:
        return measure.right(lambda _: dict.fromkeys(measure.HEADS, sure) | heads, pixels, truth)

    assert set(seen().values()) == {1.0}
    wrong = seen(count=sure.roll(1, 0))
    assert {head for head, value in wrong.items() if value < 1} == {"count"}
    silent = dict(truth)
    silent["tint"] = np.full(8, -1)
    assert "tint" not in measure.right(lambda _: dict.fromkeys(measure.HEADS, sure), pixels, silent)
    fifth = sure.clone()
    fifth[0, 1:5] = torch.tensor([5.0, 4.0, 3.0, 2.0])  # four others look likelier
    found = seen(thing=fifth)
    assert found["thing"] == pytest.approx(5 / 6)
    assert found["thing top-5"] == 1.0
    fifth[0, 5] = 1.5
    assert seen(thing=fifth)["thing top-5"] == pytest.approx(5 / 6)


def test_held_out_art_is_in_no_training_picture(made: Path) -> None:
    composer = Composer(made, ("world", "other", "more"), variants=4)
    assert not {row["code"] for row in composer.rows} & set(world.HELD_OUT)


def test_pictures_follow_from_the_seed(made: Path) -> None:
    composer = Composer(made, variants=4, taught=True)
    first, again, other = (composer.batch(6, seed) for seed in (1, 1, 2))
    assert first.captions == again.captions
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def trainer(made: Path, *words: str) -> Any:
    """A backbone's trainer on the smoke run's folder, without a checkpoint."""
    from workshop import train_backbone

    (made / "backbone.pt").unlink(missing_ok=True)
    args = train_backbone.arguments(["--smoke", "--samples", "16", "--rate", "1e-3", *words])
    return train_backbone.Trainer(args)


@pytest.mark.parametrize("source", ["pool", "fresh"])
def test_a_resumed_backbone_is_the_uninterrupted_one(made: Path, source: str) -> None:
    def train(first: Any, steps: int) -> dict[str, torch.Tensor]:
        for _ in range(steps):
            first.learn()
        first.save()
        return torch.load(made / "backbone.pt")["model"]

    words = ["--fresh"] if source == "fresh" else []
    whole = train(trainer(made, *words), 2)
    half = trainer(made, *words)
    train(half, 1)
    again = type(half)(half.args)
    assert again.step == 1
    assert all(torch.equal(whole[name], tensor) for name, tensor in train(again, 1).items())


def differ(team: Any) -> None:
    """Each worker changes its weights in its own way and writes them after they met."""
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1 * (1 + team.rank), weight_decay=0.0)
    weight.grad = torch.tensor([1.0, 2.0, 4.0]) * (1 + team.rank)
    optimizer.step()
    team.meet([weight], optimizer)
    torch.save([weight.data, optimizer.state[weight]["exp_avg"]], f"{team.rank}.pt")


def test_workers_go_on_from_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gather(2, tmp_path, differ)
    first, second = (torch.load(f"{rank}.pt") for rank in range(2))
    torch.testing.assert_close(
        first[0], torch.full((3,), -0.15)
    )  # steps of 0.1 and 0.2, whatever the gradient
    torch.testing.assert_close(first[1], torch.tensor([1.0, 2.0, 4.0]) * 0.15)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def halfway(args: Any, team: Any) -> None:
    """Learn until the workers meet, and keep what each of them holds then."""
    from workshop import train_backbone

    torch.set_num_threads(1)
    worker = train_backbone.Trainer(args, team)
    for _ in range(MEET):
        worker.learn()
    torch.save(worker.unet.state_dict(), args.folder / f"worker-{team.rank}.pt")
    if team.leads:
        worker.save()


def test_two_workers_hold_the_same_and_resume_exactly(made: Path) -> None:
    from workshop import train_backbone

    point, steps = made / "backbone.pt", MEET + 2
    words = ["--smoke", "--samples", str(2 * 4 * steps), "--workers", "2", "--threads", "1"]
    point.unlink(missing_ok=True)
    train_backbone.main(words)
    whole = torch.load(point)
    assert (whole["step"], whole["samples"]) == (steps, 8 * steps)
    point.unlink()
    gather(2, made, functools.partial(halfway, train_backbone.arguments(words)))
    first, second = (torch.load(made / f"worker-{rank}.pt") for rank in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    train_backbone.main(words)
    again = torch.load(point)
    assert again["step"] == steps
    assert all(torch.equal(tensor, again["model"][name]) for name, tensor in whole["model"].items())


@pytest.mark.parametrize(
    "other",
    [["--workers", "2", "--threads", "1"], ["--samples", "24"], ["--batch", "2"], ["--strange", "0.5"]],
)
def test_a_backbone_goes_on_only_with_what_it_was_begun_with(made: Path, other: list[str]) -> None:
    from workshop import train_backbone

    first = trainer(made)
    first.save()
    with pytest.raises(SystemExit, match=r"backbone\.pt was begun with .*; give the same"):
        train_backbone.Trainer(
            train_backbone.arguments(["--smoke", "--samples", "16", "--rate", "1e-3", *other])
        )
    with pytest.raises(SystemExit):
        train_backbone.arguments(["--smoke", "--workers", "2", "--minutes", "1"])


def test_a_pool_holds_pictures_of_one_plan(made: Path) -> None:
    from workshop import pool

    with pytest.raises(SystemExit, match=r"pool\.plan\.json was begun with hold_out False"):
        pool.main(["--smoke", "--hold-out"])
    plan = made / "pool.plan.json"
    kept = plan.read_text(encoding="utf-8")
    plan.write_text(json.dumps(json.loads(kept) | {"designs": ["fluent"]}), encoding="utf-8")
    with pytest.raises(SystemExit, match="designs"):
        pool.main(["--smoke"])
    plan.write_text(kept, encoding="utf-8")


def test_arguments_that_do_not_go_together_are_refused_before_anything_is_done() -> None:
    from workshop import train_backbone

    with pytest.raises(SystemExit, match="2"):
        train_backbone.arguments(["--smoke", "--hold-out"])
    with pytest.raises(SystemExit, match="2"):
        build_all(["--smoke", "--workers", "2", "--minutes", "9"])


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


def test_pictures_come_from_one_upload_to_any_device(made: Path) -> None:
    known = Composer(made, variants=4, device="meta")
    batch = known.batch(24, 5)
    tensors = [batch.pixels, batch.cover, *batch.labels.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert batch.pixels.shape == (24, 3, 64, 64)


def test_losses_stay_on_the_device_of_their_pictures(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from likewise.metrics.judge import JudgeNet
    from workshop import pool, train_backbone, train_judge, train_vae

    for module in (train_backbone, train_judge, train_vae):  # torch has no autocast for shapes without values
        monkeypatch.setattr(module, "autocast", lambda device: contextlib.nullcontext())
    known = Composer(made, variants=4, device="meta")
    batch, vae = known.batch(8, 5), train_vae.build().to("meta")
    lesson = pool.lesson(vae, lambda captions: torch.empty(len(captions), 48, 256, device="meta"), batch)
    alphas = torch.empty(1000, device="meta")
    network = JudgeNet({head: len(names) for head, names in train_judge.classes(known.world).items()}).to(
        "meta"
    )
    seen = known.paint(train_judge.seen_again(known, 4, 1))
    losses = [
        train_vae.step_loss(vae, batch.pixels),
        train_judge.step_loss(network, vae, batch, seen),
        train_backbone.loss_of(train_backbone.build().to("meta"), lesson, alphas, None),
    ]
    assert [loss.device.type for loss in losses] == ["meta"] * 3
    assert all(loss.requires_grad for loss in losses)


def test_a_judge_learns_shapes_in_one_colour_and_colours_of_one_shape(made: Path) -> None:
    """Else colour alone tells things apart, and an orange star passes for an orange cat."""
    from workshop import train_judge

    known = Composer(made, variants=4)
    batches = [train_judge.identities(known, 16, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(set(things)) == 16 for things in batches)
    crowds = [things for things in batches if things[0][1] >= 0]
    assert 0 < len(crowds) < len(batches)
    for things in crowds:
        tints = [tint for _, tint in things]
        assert sorted(tints.count(tint) for tint in set(tints)) == [4, 12]
        assert len({cut for cut, _ in things}) == 12
    labels = known.paint(train_judge.seen_again(known, 16, 3)).labels
    counts = torch.unique(train_judge.who(labels), return_counts=True)[1]
    assert counts.tolist() == [train_judge.VIEWS] * 16


def test_a_backbone_learns_in_bfloat16(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workshop import train_backbone

    plain = trainer(made).learn()
    monkeypatch.setattr(train_backbone, "autocast", lambda device: torch.autocast("cpu", torch.bfloat16))
    mixed = trainer(made).learn()
    assert mixed.dtype == torch.float32
    assert mixed != plain
    assert abs(mixed - plain) < 0.05


def test_planning_ahead_changes_nothing(made: Path) -> None:
    planner = Planner(made, variants=4)
    ahead = Ahead(lambda step: planner.orders(5, step), torch.device("cpu"), processes=2)
    for step in (3, 4, 7):
        there, here = ahead(step), planner.orders(5, step)
        assert there.captions == here.captions
        assert np.array_equal(there.places, here.places)
        assert np.array_equal(there.copies, here.copies)


def test_held_out_combinations_are_in_no_picture_and_measured_alone(made: Path) -> None:
    planner, rng = Planner(made, variants=4, known=world.WORLDS["whole"]), np.random.default_rng(1)

    def kinds() -> set[str]:
        plans = [planner.plan(rng) for _ in range(400)]
        rows = [planner.rows[plan.cut] for plan in plans]
        return {world.held_out(r["name"], r["design"], p.context()) for p, r in zip(plans, rows, strict=True)}

    assert kinds() > {"", "combination"}
    planner.only = ("",)
    assert kinds() == {""}
    planner.only = ("combination",)
    assert kinds() == {"combination"}


def test_lessons_have_more_crowds_and_new_things_and_nothing_held_out(made: Path) -> None:
    planner, taught = (Planner(made, variants=4) for _ in range(2))  # of six things bird and duck came later
    taught.teach(hold_out=True)
    rng = np.random.default_rng(1)
    plans, lessons = ([one.plan(rng) for _ in range(1500)] for one in (planner, taught))

    def share(plans: list[Any], true: Any) -> float:
        return sum(map(true, plans)) / len(plans)

    def late(plan: Any) -> bool:
        return taught.rows[plan.cut]["name"] in world.LATER

    assert share(lessons, lambda p: p.count > 1) > 1.3 * share(plans, lambda p: p.count > 1)
    assert share(lessons, late) > 1.1 * share(plans, late) > 0
    rows = [(taught.rows[p.cut], p.context()) for p in lessons]
    assert not any(taught.world.held_out(row["name"], row["design"], place) for row, place in rows)


def test_only_things_that_came_later_are_held_out() -> None:
    small, whole = world.WORLDS["taught"], world.WORLDS["whole"]
    assert {name for name in small.drawings if small.held_out(name, "noto", "beach")} <= set(world.LATER)
    assert small.held_out("duck", "noto", "beach") == whole.held_out("duck", "noto", "beach") == "style"
    assert any(whole.held_out(name, "noto", "beach") for name in world.TAUGHT)
    assert not set(world.LATER) & set(world.TAUGHT)


def test_a_tenth_is_held_out() -> None:
    places = (*world.SCENES, *world.COLOURS)
    things = world.WORLDS["whole"].things
    found = [
        world.held_out(t.name, design, place) for t in things for design in world.DESIGNS for place in places
    ]
    assert 0.08 < found.count("combination") / len(found) < 0.12
    assert 0.03 < found.count("style") / len(found) < 0.06


def test_the_grown_world_keeps_the_numbers_of_the_first() -> None:
    small, whole = world.WORLDS["taught"], world.WORLDS["whole"]
    assert whole.things[: len(small.things)] == small.things
    card = json.loads((ROOT / "src/likewise/pocket/judge/card.json").read_text(encoding="utf-8"))
    assert card["heads"]["thing"] == [thing.name for thing in small.things]
    assert len(whole.things) >= 150
    assert len(whole.designs) == 5


def test_no_word_or_drawing_means_two_things() -> None:
    things = world.WORLDS["whole"].things
    words = [word for thing in things for word in (thing.name, *thing.also)]
    assert len(set(words)) == len(words)
    assert all(word.isascii() and word.isalpha() for word in words)
    codes = [code for thing in things for code in thing.codes]
    assert len(set(codes)) == len(codes)
    assert not set(codes) & set(world.HELD_OUT)


@pytest.mark.parametrize(
    ("word", "article"),
    [("owl", "an"), ("unicorn", "a"), ("ewe", "a"), ("hourglass", "an"), ("house", "a"), ("ant", "an")],
)
def test_articles_follow_the_sound(word: str, article: str) -> None:
    assert world.article(word) == article


def test_a_course_by_time_ends_and_goes_on_with_the_time_it_had() -> None:
    course = Course(10)
    assert [course.share(step) for step in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert course.state() == {}
    timed = Course(10, minutes=1.0)
    timed.resume({"seconds": 45.0})
    assert 0.75 <= timed.share(0) < 0.8
    timed.resume({"seconds": 60.0})
    assert timed.share(0) >= 1


def test_a_rate_falls_as_its_form_says() -> None:
    rates = {
        form: [Course(100, form=form).rate(step, 2.0, 10, 0.1) for step in (0, 50, 100)]
        for form in Course.FORMS
    }
    assert rates["steady"] == pytest.approx([0.2, 2.0, 2.0])
    assert rates["fall"] == pytest.approx([0.2, 1.1, 0.2])
    assert rates["cosine"] == pytest.approx([0.2, 1.1, 0.2])
    early = {form: Course(100, form=form).rate(20, 2.0, 10, 0.1) for form in Course.FORMS}
    assert early["steady"] > early["cosine"] > early["fall"]


def test_an_average_that_looks_rarely_makes_up_for_it() -> None:
    module = torch.nn.Linear(3, 2)
    often, rarely = Average(module, 0.9), Average(module, 0.9, every=5)
    often.step = rarely.step = 1000  # past the warm-up
    with torch.no_grad():
        module.weight.add_(1.0)
    for _ in range(5):
        often.update(module)
        rarely.update(module)
    torch.testing.assert_close(often.state["weight"], rarely.state["weight"])


def test_twins_differ_in_one_number_or_design() -> None:
    from workshop.steady import twins

    told = ["two cats at night", "a cat at night", "three red cats at night, noto style", "a cat, noto style"]
    pairs = twins(told, np.random.default_rng(0))
    assert [first for first, _ in pairs] == [told[0], told[2], told[3]]
    for first, second in pairs:
        changed = [(a, b) for a, b in zip(first.split(), second.split(), strict=True) if a != b]
        assert len(changed) == 1
        assert set(changed[0]) <= set(world.NUMBERS[1:]) or set(changed[0]) <= set(world.DESIGNS)


def test_twins_that_say_the_same_are_near(made: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    from workshop.steady import near

    tower = CLIPModel.from_pretrained(made / "clip").text_model.eval()
    tokenizer = CLIPTokenizer.from_pretrained(made / "tokenizer")
    texts = ["two cats at night", "three cats at night"]
    one, other = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.split(
        1
    )
    alike, moved = near(tower, tower, one, other, tokenizer.eos_token_id)
    assert 0 <= alike < 1
    assert moved == 0
    table = tower.embeddings.token_embedding.weight.data
    table[other[0, 1]] = table[one[0, 1]]  # now both numbers are one word
    torch.testing.assert_close(near(tower, tower, one, other, tokenizer.eos_token_id)[0], torch.tensor(1.0))


def test_strange_words_leave_the_others_in_their_order() -> None:
    from workshop.steady import MOST, insert

    ids = torch.tensor([[0, 5, 6, 7, 9, 9, 9, 9], [0, 5, 9, 9, 9, 9, 9, 9]])
    words = torch.randn(2, 8, 4)
    for seed in range(20):
        rows, places, old = insert(ids, words, 9, torch.Generator().manual_seed(seed))
        kept = words.gather(1, places[..., None].expand_as(words))
        assert torch.equal(rows[old], kept[old])
        assert ((~old).sum(1) <= MOST).all()
        assert ((~old).sum(1) >= 1).all()
        assert old[:, 0].all()  # nothing before the start of text
        assert (places.diff(dim=1) >= 0).all()
