"""A whole comparison on a random miniature: every way a trial can end, and going on after a crash."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import likewise
from likewise import journal, memory, records
from likewise.base import Sampler
from likewise.comparison import compare
from likewise.comparison import comparison as module
from likewise.comparison.comparison import Comparison
from likewise.comparison.protocol import noise_seed
from likewise.comparison.trial import reason
from likewise.errors import BaseError, ConceptError, Interrupted, RecipeError, RunError, StorageError
from likewise.events import Compared, Planned, Progress, Stepped, TrialStarted, read
from likewise.gallery import Gallery
from tests.bases import pictures
from tests.comparison.made import METHODS, PROMPTS, SEEDS, Done, drawn_again, pixels, planned
from tests.disks import disk
from tests.metrics.judges import panel

pytestmark = pytest.mark.usefixtures("outside_methods")


def test_every_trial_has_a_row_that_says_how_it_ended(done: Done) -> None:
    rows = done.rows()
    assert list(rows) == ["base", "description", *METHODS]
    assert {name: row.status for name, row in rows.items()} == {
        "base": "done",
        "description": "skipped",
        "lora": "done",
        "hypernetwork": "failed",
        "crashing": "failed",
        "spoiling": "failed",
        "impossible": "unsupported",
    }
    assert [rows[name].kind for name in ("base", "description", "lora")] == ["floor", "description", "method"]
    assert rows["description"].reason == "no description of the subject was given"
    assert rows["impossible"].reason == "it needs a base that nobody has built"
    assert rows["crashing"].reason == "ZeroDivisionError: one over nothing"
    assert "not finite" in str(rows["hypernetwork"].reason)
    assert all("\n" not in (row.reason or "") for row in rows.values())


def test_the_traceback_of_a_failure_is_kept(done: Done) -> None:
    text = (done.folder / "trials" / "crashing" / "error.txt").read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "in attach" in text
    assert not (done.folder / "trials" / "lora" / "error.txt").exists()


def test_a_method_that_leaves_the_base_changed_is_void_and_harms_no_other(done: Done) -> None:
    row = done.rows()["spoiling"]
    assert "left the base changed" in str(row.reason)
    assert row.gallery is None
    assert row.scores == {}
    assert done.base.fingerprint() != done.fingerprint, "the one that was spoiled is put aside"


def test_done_rows_have_pictures_scores_and_costs(done: Done) -> None:
    row = done.rows()["lora"]
    assert set(row.scores) == {"fidelity", "prompt", "diversity", "copying", "style", "gap"}
    for score in row.scores.values():
        assert set(score) == {"mean", "low", "high", "n", "normalised"}
    assert row.scores["fidelity"]["n"] == 2
    assert row.scores["prompt"]["n"] == 1, "one prompt names nothing that can be checked"
    assert 1.0 <= float(row.scores["diversity"]["mean"] or 0) <= 2.0
    run = done.folder / "trials" / "lora" / "run"
    assert row.cost["bytes"] == sum(path.stat().st_size for path in run.glob("*.safetensors"))
    for key in ("seconds", "peak_bytes", "trainable", "sample_seconds"):
        assert float(row.cost[key] or 0) > 0, key
    assert (row.steps, row.recipe["rank"], row.recipe["steps"]) == (3, 2, 3)
    assert (done.rows()["base"].cost["bytes"], done.rows()["base"].cost["seconds"]) == (0, 0.0)


def test_previews_are_not_charged_to_the_method(done: Done) -> None:
    steps = [
        event
        for event in journal.events(done.folder / "trials" / "lora" / "run")
        if isinstance(event, Stepped)
    ]
    result = records.read_result(done.folder / "trials" / "lora" / "run")
    assert result is not None
    seconds = float(done.rows()["lora"].cost["seconds"] or 0)
    assert sum(event.seconds for event in steps) <= seconds


def test_the_film_strip_starts_at_the_base_and_ends_at_the_last_step(done: Done) -> None:
    strip = done.rows()["lora"].strip
    assert [frame["step"] for frame in strip][:: len(strip) - 1] == [0, 3]
    assert all((done.folder / frame["file"]).is_file() for frame in strip)


def test_galleries_share_noise_and_differ_in_words(done: Done) -> None:
    taught, plain = (list(Gallery(done.folder / "trials" / name / "gallery")) for name in ("lora", "base"))
    assert [(p.role, p.seed) for p in taught] == [(p.role, p.seed) for p in plain]
    expected = [(name, noise_seed(name, seed)) for name in ("a-on-a-beach", "a-somewhere") for seed in SEEDS]
    assert [(p.role, p.seed) for p in taught] == expected
    assert taught[0].prompt == "a sks owl on a beach"
    assert plain[0].prompt == "an owl on a beach"


def test_the_floor_is_the_untouched_base(done: Done) -> None:
    fresh = planned(done.source, done.folder).loaded
    assert fresh is not None
    assert fresh.fingerprint() == done.fingerprint
    seeds = [picture.seed for picture in Gallery(done.folder / "trials" / "base" / "gallery")][:1]
    image = next(iter(fresh.sample(["an owl on a beach"], seeds, Sampler(steps=1, guidance=1.0))))
    assert image.tobytes() == pixels(done.folder, "base")[0]


def test_the_description_of_the_comparison(done: Done) -> None:
    book = done.book()
    assert (book["schema"], book["base"], book["token"], book["noun"]) == (1, "tiny:sd", "sks", "owl")
    assert book["version"] == likewise.__version__
    assert book["description"] is None
    assert book["finished"] is True
    assert book["verdict"] is None
    assert book["verdict_note"].startswith("one training seed per method gives no verdict")
    assert (len(book["train"]), len(book["held_out"])) == (3, 2)
    assert all((done.folder / name).is_file() for name in book["train"] + book["held_out"])
    assert set(book["ceiling"]["fidelity"]) == {"mean", "low", "high"}
    names = ["fidelity", "prompt", "diversity", "copying", "style", "gap"]
    assert [metric["name"] for metric in book["metrics"]] == names, "those that had what they need"
    assert all(set(metric) == {"name", "title", "better", "meaning", "card"} for metric in book["metrics"])
    assert book["machine"]["cores"]
    assert any("left" in note or "leaves" in note for note in book["notes"])


def test_the_record_of_each_prompt_is_kept(done: Done) -> None:
    book = json.loads((done.folder / "trials" / "lora" / "scores.json").read_text(encoding="utf-8"))
    assert set(book["fidelity"]["prompts"]) == {"a-on-a-beach", "a-somewhere"}
    assert book["prompt"]["left_out"] == 1
    mean = sum(book["fidelity"]["prompts"].values()) / 2
    assert mean == pytest.approx(done.rows()["lora"].scores["fidelity"]["mean"])


def test_events_tell_what_happens(done: Done) -> None:
    first, last = done.events[0], done.events[-1]
    assert isinstance(first, Planned)
    assert first.pending == ("base", "description", *METHODS)
    assert isinstance(last, Compared)
    assert any(isinstance(event, Progress) and isinstance(event.inner, Stepped) for event in done.events)
    kept = journal.events(done.folder)
    assert kept == [event for event in done.events if not isinstance(event, Progress)]
    assert [read(json.dumps(event.to_json())) for event in done.events] == done.events


def test_starting_again_repeats_only_what_failed(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    comparison = planned(done.source, folder, methods=("lora", "crashing", "impossible"))
    assert [trial.name for trial in comparison.pending()] == ["crashing"]
    before = {row.trial: row.scores for row in comparison.rows()}
    assert drawn_again(list(comparison.start(judges=panel()))) == ["crashing"]
    after = {row.trial: row.scores for row in comparison.rows()}
    assert list(after) == ["base", "description", "lora", "crashing", "impossible"], (
        "dropped methods have no row"
    )
    assert after == {name: before[name] for name in after}


def test_a_deleted_gallery_is_drawn_again_without_training(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    shutil.rmtree(folder / "trials" / "lora" / "gallery")
    comparison = planned(done.source, folder, methods=("lora",))
    assert [trial.name for trial in comparison.pending()] == ["lora"]
    events = list(comparison.start(judges=panel()))
    assert not any(isinstance(e, Progress) and isinstance(e.inner, Stepped) for e in events)
    assert pixels(folder, "lora") == pixels(done.folder, "lora")
    row, former = comparison.rows()[-1], done.rows()["lora"]
    assert (row.scores, row.cost["seconds"]) == (former.scores, former.cost["seconds"])


def test_one_lost_picture_is_noticed(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    (folder / "trials" / "base" / "gallery" / "0002.png").unlink()
    comparison = planned(done.source, folder, methods=("lora",))
    assert drawn_again(list(comparison.start(judges=panel()))) == ["base"]
    assert pixels(folder, "base") == pixels(done.folder, "base")


def test_a_torn_tail_of_results_costs_no_training(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    path = folder / "results.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:80]]), encoding="utf-8")
    comparison = planned(done.source, folder, methods=("lora",))
    assert [trial.name for trial in comparison.pending()] == ["lora"]
    events = list(comparison.start(judges=panel()))
    assert not any(isinstance(e, Progress) and isinstance(e.inner, Stepped) for e in events)
    row, former = comparison.rows()[-1], done.rows()["lora"]
    assert row == former, "costs were noted beside the run"


def test_a_changed_recipe_is_another_trial(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    comparison = planned(done.source, folder, methods=("lora",), rank=1)
    assert [trial.name for trial in comparison.pending()] == ["lora"]
    list(comparison.start(judges=panel()))
    assert comparison.rows()[-1].recipe["rank"] == 1
    assert pixels(folder, "base") == pixels(done.folder, "base")


def test_a_folder_of_another_comparison_is_left_alone(done: Done, tmp_path: Path) -> None:
    folder = done.copy(tmp_path / "again")
    before = (folder / "results.jsonl").read_bytes()
    with pytest.raises(RunError, match="holds a comparison of other"):
        list(planned(done.source, folder, seeds=(5,)).start(judges=panel()))
    assert (folder / "results.jsonl").read_bytes() == before


def stop_after_the_first_step(comparison: Comparison) -> None:
    for event in comparison.start(judges=panel()):
        if isinstance(event, Progress) and isinstance(event.inner, Stepped) and event.inner.step == 1:
            comparison.stop()


def test_asked_to_stop_it_saves_and_goes_on_later(done: Done, tmp_path: Path) -> None:
    comparison = planned(done.source, tmp_path / "out", methods=("lora",), description="an owl with one eye")
    with pytest.raises(Interrupted):
        stop_after_the_first_step(comparison)
    assert [row.status for row in comparison.rows()] == ["done", "done"]
    again = planned(done.source, tmp_path / "out", methods=("lora",), description="an owl with one eye")
    assert [trial.name for trial in again.pending()] == ["lora"]
    steps = [
        e.inner.step
        for e in again.start(judges=panel())
        if isinstance(e, Progress) and isinstance(e.inner, Stepped)
    ]
    assert steps == [2, 3], "the first step was kept"
    assert pixels(again.folder, "lora") == pixels(done.folder, "lora")
    described = Gallery(again.folder / "trials" / "description" / "gallery")
    assert next(iter(described)).prompt == "an owl with one eye on a beach"


def test_a_full_disk_stops_the_comparison_and_costs_no_step(done: Done, tmp_path: Path) -> None:
    """It is no failure of the method that was being taught, and the methods after it could not be kept either."""
    with disk(tmp_path / "disk") as small:
        comparison = planned(done.source, small.folder / "out", methods=("lora", "hypernetwork"))

        def start() -> None:
            for event in comparison.start(judges=panel()):
                if isinstance(event, Progress) and isinstance(event.inner, Stepped) and event.inner.step == 2:
                    small.fill()

        with pytest.raises(StorageError, match="no space is left in") as told:
            start()
        small.free()
        assert told.value.hint == "free some, then start the comparison again to go on"
        assert [row.trial for row in comparison.rows()] == ["base", "description"]
        again = planned(done.source, small.folder / "out", methods=("lora", "hypernetwork"))
        steps = [
            e.inner.step
            for e in again.start(judges=panel())
            if isinstance(e, Progress) and e.trial == "lora" and isinstance(e.inner, Stepped)
        ]
        assert 1 not in steps
        assert 2 not in steps
        assert pixels(again.folder, "lora") == pixels(done.folder, "lora")


def test_a_trial_for_which_the_memory_is_too_small_says_so_in_its_row(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1e5)
    comparison = planned(done.source, tmp_path / "out", methods=("lora",), description=None)
    list(comparison.start(judges=panel()))
    (row,) = (row for row in comparison.rows() if row.trial == "lora")
    assert row.status == "failed"
    assert row.reason is not None
    assert row.reason.startswith("LoRA needs about 0.0 GB more memory on tiny:sd")
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60)
    assert reason(told.value).startswith("out of memory")


@pytest.mark.parametrize("when", ["drawing", "scoring"])
def test_a_stop_after_the_last_step_is_heeded(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """While the last pictures are drawn, or when they just have been."""
    comparison = planned(done.source, tmp_path / "out", methods=("lora",), sampler=Sampler(1, 1.0, batch=3))
    add = Gallery.add

    def add_and_stop(gallery: Gallery, image: Any, prompt: str, *rest: Any) -> Any:
        if (
            "sks" in prompt
            and gallery.folder.name == "gallery"
            and len(gallery) == (2 if when == "drawing" else 3)
        ):
            comparison.stop()
        return add(gallery, image, prompt, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", add_and_stop)
        with pytest.raises(Interrupted, match="the comparison was stopped") as stopped:
            list(comparison.start(judges=panel()))
    assert stopped.value.hint == "start the comparison again to go on"
    drawn = Gallery(comparison.folder / "trials" / "lora" / "gallery")
    assert len(drawn) == (3 if when == "drawing" else 4)
    assert "scores.json" not in {path.name for path in drawn.folder.parent.iterdir()}
    assert drawn_again(list(comparison.start(judges=panel()))) == (["lora"] if when == "drawing" else [])
    assert comparison.rows()[-1].scores


def test_drawing_class_pictures_stops_with_the_comparison(done: Done, tmp_path: Path) -> None:
    comparison = planned(
        done.source, tmp_path / "out", methods=("lora", "dreambooth"), prior_count=17, steps=1
    )

    def stop_at_the_last_trial() -> None:
        for event in comparison.start(judges=panel()):
            if isinstance(event, TrialStarted) and event.trial == "dreambooth":
                comparison.stop()

    with pytest.raises(Interrupted, match="16 of 17 class pictures"):
        stop_at_the_last_trial()
    list(comparison.start(judges=panel()))
    assert comparison.rows()[-1].status == "done"


def test_the_cost_of_a_trial_is_that_of_its_run(done: Done) -> None:
    result = records.read_result(done.folder / "trials" / "lora" / "run")
    assert result is not None
    assert done.rows()["lora"].cost["seconds"] == result["seconds"]


def test_one_method_one_prompt_and_a_count_of_seeds(done: Done, tmp_path: Path) -> None:
    made = planned(
        done.source, tmp_path / "out", methods="lora", prompts="a {} at night", seeds=2, recipes={}
    )
    assert made.protocol.methods == ("lora",)
    assert made.protocol.prompts == ("a {} at night",)
    assert made.protocol.seeds == (0, 1)
    with pytest.raises(RecipeError, match="at least one prompt and one seed"):
        planned(done.source, tmp_path / "out", seeds=0)


def test_where_nothing_can_be_written_is_said_before_the_base_is_loaded(done: Done, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(RunError, match="is a file"):
        planned(done.source, tmp_path / "taken" / "here", base="no such base")


def test_too_few_pictures_and_wrong_settings_are_refused_at_once(done: Done, tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match="no picture is held out"):
        planned(pictures(tmp_path / "few", 3), tmp_path / "out")
    with pytest.raises(RecipeError, match="did you mean rank"):
        planned(done.source, tmp_path / "out", rnak=4)
    with pytest.raises(RecipeError, match="no method 'lorra'"):
        planned(done.source, tmp_path / "out", recipes={"lorra": {}})
    with pytest.raises(RecipeError, match="unknown setting"):
        planned(done.source, tmp_path / "out", recipes={"lora": {"vectors": 2}}).plan()
    assert not (tmp_path / "out").exists()


def test_compare_returns_the_folder_and_logs_what_failed(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "panel", lambda _: panel())
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {
        "prompts": PROMPTS[:1],
        "seeds": (0,),
        "sampler": Sampler(steps=1, guidance=1.0),
    }
    source = shutil.copytree(done.source, tmp_path / "2_sks owl")
    (source / "broken.jpg").write_text("no picture")
    folder = compare(str(source), base="tiny:sd", methods=["lora", "crashing"], steps=1, **options)
    assert folder.parent == Path("comparisons")
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["finished"] is True
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["noun"] == "owl"
    said = [record.getMessage() for record in caplog.records if record.name.startswith("likewise")]
    assert said[0].startswith("broken.jpg: not a picture")
    assert "Crashing failed: ZeroDivisionError: one over nothing" in said


def test_missing_judges_are_found_out_before_anything_is_trained(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise BaseError("the embedded judge is not here")

    monkeypatch.setattr(module, "panel", missing)
    comparison = planned(done.source, tmp_path / "out", methods=("lora",))
    with pytest.raises(BaseError, match="judge is not here"):
        list(comparison.start())
    assert comparison.rows() == []
