"""A whole comparison on a random miniature: every way a trial can end, and what is left of it in the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import likewise
from likewise import families, formats, journal, memory, methods, records
from likewise.base import Base, Sampler
from likewise.comparison import compare
from likewise.comparison import comparison as module
from likewise.comparison.comparison import Comparison
from likewise.comparison.concluding import conclude
from likewise.comparison.preparing import prepare
from likewise.comparison.protocol import noise_seed
from likewise.errors import BaseError, StorageError
from likewise.events import Compared, Planned, Progress, Stepped, read
from likewise.gallery import Gallery
from likewise.method import Method
from likewise.methods.lora import LoRA
from likewise.run import Run
from tests.bases import pictures, tiny
from tests.comparison.plans import (
    PROMPTS,
    SEEDS,
    Crashing,
    Done,
    done_anew,
    pixels,
    planned,
    rows_of,
    steps,
)
from tests.disks import disk
from tests.metrics.judges import panel

METHODS = ("lora", "hypernetwork", "crashing", "spoiling", "impossible")
RECIPES = {"lora": {"rank": 2}, "hypernetwork": {"learning_rate": 1e30, "clip": 0}}
TRIALS = ["base", "description", *(f"{method}-0" for method in METHODS)]


class Spoiling(LoRA):
    """Trains as LoRA does, and leaves a weight of the base changed."""

    name, title = "spoiling", "Spoiling"

    def attach(self, base: Base, stack: Any) -> Any:
        with torch.no_grad():
            next(base.backbone.parameters()).view(-1)[0] += 1
        return super().attach(base, stack)


class Impossible(LoRA):
    """Never fits."""

    name, title = "impossible", "Impossible"

    def unsupported(self, base: Base) -> str | None:
        return "it needs a base that nobody has built"


OUTSIDE: dict[str, Method[Any]] = {m.name: m for m in (Crashing(), Spoiling(), Impossible())}


@pytest.fixture(scope="module", autouse=True)
def outside_methods() -> Iterator[None]:
    """The three as an outside package would add them."""
    get, names = methods.get, methods.names
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "get", lambda name: OUTSIDE.get(name) or get(name))
        patch.setattr(methods, "names", lambda: sorted([*names(), *OUTSIDE]))
        yield


def everything(source: Path, out: Path) -> Comparison:
    return planned(source, out, methods=METHODS, recipes=RECIPES)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, outside_methods: None) -> Done:
    root = tmp_path_factory.mktemp("comparison")
    source = pictures(root / "owls", 5)
    comparison = everything(source, root / "out")
    return Done(source, root / "out", list(comparison.start(judges=panel())))


@pytest.fixture
def again(done: Done, tmp_path: Path) -> Path:
    """A copy of the finished folder."""
    return Path(shutil.copytree(done.folder, tmp_path / "again"))


def book(folder: Path, name: str = "comparison") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_every_trial_has_a_row_that_says_how_it_ended(done: Done) -> None:
    rows = done.rows()
    assert list(rows) == TRIALS
    assert {name: row.status for name, row in rows.items()} == {
        "base": "done",
        "description": "skipped",
        "lora-0": "done",
        "hypernetwork-0": "failed",
        "crashing-0": "failed",
        "spoiling-0": "failed",
        "impossible-0": "unsupported",
    }
    assert [rows[name].kind for name in TRIALS[:3]] == ["floor", "description", "method"]
    assert [rows[name].condition for name in TRIALS[:3]] == ["base", "description", "lora"]
    assert rows["description"].reason == "no description of the subject was given"
    assert rows["impossible-0"].reason == "it needs a base that nobody has built"
    assert rows["crashing-0"].reason == "ZeroDivisionError: one over nothing"
    assert "not finite" in str(rows["hypernetwork-0"].reason)
    assert all("\n" not in (row.reason or "") for row in rows.values())


def test_the_verdict_names_everyone_who_is_not_in_it(done: Done) -> None:
    notes = book(done.folder, "verdict")["notes"]
    for title in ("Hypernetwork", "Crashing", "Spoiling", "Impossible"):
        assert any(
            note.startswith(f"{title} is in no verdict, as 1 of 1 trials gave no result") for note in notes
        )
    assert not any(note.startswith("Untrained base") for note in notes)
    assert {one["name"] for one in book(done.folder, "verdict")["standings"]} == {"base", "lora"}


def test_the_traceback_of_a_failure_is_kept(done: Done) -> None:
    text = (done.folder / "trials" / "crashing-0" / "error.txt").read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "in attach" in text
    assert not (done.folder / "trials" / "lora-0" / "error.txt").exists()


def test_a_method_that_leaves_the_base_changed_is_void_and_harms_no_other(done: Done, again: Path) -> None:
    row = done.rows()["spoiling-0"]
    assert "left the base changed" in str(row.reason)
    assert row.gallery is None
    assert not row.cost
    assert not {"run", "gallery"} & {path.name for path in (done.folder / "trials" / "spoiling-0").iterdir()}
    repeated = planned(done.source, again, methods=("spoiling",), recipes={})
    assert steps(list(repeated.start(judges=panel()))) == [1, 2, 3], "its file is void too"
    assert rows_of(again)["spoiling-0"].status == "failed"


def test_done_rows_have_pictures_and_costs(done: Done) -> None:
    row = done.rows()["lora-0"]
    run = done.folder / "trials" / "lora-0" / "run"
    assert row.cost["bytes"] == sum(path.stat().st_size for path in run.glob("*.safetensors"))
    for key in ("seconds", "peak_bytes", "trainable", "sample_seconds"):
        assert float(row.cost[key] or 0) > 0, key
    assert (row.steps, row.recipe["rank"], row.recipe["steps"]) == (3, 2, 3)
    assert (row.seed, row.fold, row.replicate) == (0, 0, 0)
    assert row.machine["cores"]
    floor = done.rows()["base"]
    assert (floor.cost["bytes"], floor.cost["seconds"]) == (0, 0.0)
    assert (floor.seed, floor.fold, floor.replicate) == (None, None, None)


def test_previews_are_not_charged_to_the_method(done: Done) -> None:
    run = done.folder / "trials" / "lora-0" / "run"
    result = records.read_result(run)
    assert result is not None
    taken = [event for event in journal.events(run) if isinstance(event, Stepped)]
    assert done.rows()["lora-0"].cost["seconds"] == result["seconds"]
    assert sum(event.seconds for event in taken) <= result["seconds"]


def test_the_film_strip_starts_at_the_base_and_ends_at_the_last_step(done: Done) -> None:
    strip = done.rows()["lora-0"].strip
    assert [frame["step"] for frame in strip][:: len(strip) - 1] == [0, 3]
    assert all((done.folder / frame["file"]).is_file() for frame in strip)


def test_galleries_share_noise_and_differ_in_words(done: Done) -> None:
    taught, plain = (list(Gallery(done.folder / "trials" / name / "gallery")) for name in ("lora-0", "base"))
    taught, bare = taught[: len(plain)], taught[len(plain) :]
    assert [(p.role, p.seed) for p in taught] == [(p.role, p.seed) for p in plain]
    same = {(f"{p.role}:unnamed", p.prompt, p.seed) for p in plain}
    assert len(bare) == 4
    assert {(p.role, p.prompt, p.seed) for p in bare} <= same, "without the word, from the same noise"
    expected = [(name, noise_seed(name, seed)) for name in ("a-on-a-beach", "a-somewhere") for seed in SEEDS]
    assert [(p.role, p.seed) for p in taught][:4] == expected
    assert taught[0].prompt == "a sks owl on a beach"
    assert plain[0].prompt == "an owl on a beach"
    assert [p.prompt for p in taught[4:]] == [p.prompt for p in plain[4:]], "of the plain class, for all"


def test_the_floor_is_the_untouched_base(done: Done) -> None:
    seeds = [picture.seed for picture in Gallery(done.folder / "trials" / "base" / "gallery")][:1]
    image = next(iter(families.load("tiny:sd").sample(["an owl on a beach"], seeds, Sampler(1, 1.0))))
    assert image.tobytes() == pixels(done.folder, "base")[0]


def test_what_is_trained_is_never_what_is_held_out(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each training itself: the pictures that its run was given, beside those that its trial is scored with."""
    learned: dict[str, set[str]] = {}
    begin = Run.start

    def watched(run: Run, **options: Any) -> Any:
        for job in run.jobs:
            learned[f"{run.folder.parent.name}/{job.recipe.seed}"] = {
                e.digest() for e in job.concept.examples
            }
        return begin(run, **options)

    monkeypatch.setattr(Run, "start", watched)
    source = pictures(tmp_path / "owls", 8)
    comparison = planned(source, tmp_path / "out", replicates=3, steps=1, seeds=1)
    list(comparison.start(judges=panel()))
    digests = [example.digest() for example in comparison.concept.examples]
    folds = book(comparison.folder)["folds"]
    held = [{digests[place] for place in fold["held_out"]} for fold in folds]
    assert set(learned) == {"lora-0/0", "lora-1/1", "lora-1/2"}
    for number, name in enumerate(sorted(learned)):
        assert learned[name] == set(digests) - held[number]
    assert len({frozenset(one) for one in held}) == 3
    scored = {
        name: book(comparison.folder / "trials" / name, "scores")["folds"]
        for name in ("base", "lora-0", "lora-2")
    }
    assert {name: sorted(found) for name, found in scored.items()} == {
        "base": ["0", "1", "2"],
        "lora-0": ["0"],
        "lora-2": ["2"],
    }
    assert done_anew(journal.events(comparison.folder)).count("base") == 1, "drawn once"
    floor = next(one for one in conclude(comparison.folder)["standings"] if one["name"] == "base")
    assert floor["axes"]["style"]["replicates"] == 3


def test_the_description_of_the_comparison(done: Done) -> None:
    found = book(done.folder)
    assert (found["schema"], found["base"], found["token"], found["noun"]) == (2, "tiny:sd", "sks", "owl")
    assert found["version"] == likewise.__version__
    assert found["finished"] is True
    assert [one["name"] for one in found["conditions"]] == ["base", "description", *METHODS]
    assert found["conditions"][2]["settings"] == {"steps": 3, "rank": 2}
    assert [(len(one["train"]), len(one["held_out"])) for one in found["folds"]] == [(3, 2)]
    assert len(found["pictures"]) == 5
    assert all((done.folder / name).is_file() for name in found["pictures"])
    assert {"fidelity", "prompt", "diversity", "copying"} <= {metric["name"] for metric in found["metrics"]}
    assert all(set(metric) == {"name", "title", "better", "meaning", "card"} for metric in found["metrics"])
    assert found["machine"]["cores"]
    assert (done.folder / "protocol.toml").is_file()


def test_one_training_each_decides_nothing(done: Done) -> None:
    verdict = book(done.folder, "verdict")
    assert all(one["refused"] for one in verdict["decisions"].values())
    assert verdict["recommendation"]["choice"] is None
    assert verdict == json.loads(json.dumps(conclude(done.folder)))


def test_events_tell_what_happens(done: Done) -> None:
    first, last = done.events[0], done.events[-1]
    assert isinstance(first, Planned)
    assert first.pending == tuple(TRIALS)
    assert isinstance(last, Compared)
    assert last.notes == tuple(book(done.folder, "verdict")["notes"])
    assert any(isinstance(event, Progress) and isinstance(event.inner, Stepped) for event in done.events)
    kept = journal.events(done.folder)
    assert kept == [event for event in done.events if not isinstance(event, Progress)]
    assert [read(json.dumps(event.to_json())) for event in done.events] == done.events


def test_a_full_disk_stops_the_comparison_and_costs_no_step(done: Done, tmp_path: Path) -> None:
    """It is no failure of the method that was being taught, and the methods after it could not be kept either."""
    with disk(tmp_path / "disk") as small:
        comparison = planned(done.source, small.folder / "out")

        def start() -> None:
            for event in comparison.start(judges=panel()):
                if isinstance(event, Progress) and isinstance(event.inner, Stepped) and event.inner.step == 2:
                    small.fill()

        with pytest.raises(StorageError, match="no space is left in") as told:
            start()
        small.free()
        assert told.value.hint == "free some, then start the comparison again to go on"
        assert [row.trial for row in comparison.rows()] == ["base", "description"]
        events = list(planned(done.source, small.folder / "out").start(judges=panel()))
        assert steps(events, "lora-0") == [3]
        assert pixels(comparison.folder, "lora-0") == pixels(done.folder, "lora-0")


def test_a_trial_for_which_the_memory_is_too_small_says_so_in_its_row(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1e5)
    comparison = planned(done.source, tmp_path / "out", seeds=1)
    list(comparison.start(judges=panel()))
    row = rows_of(comparison.folder)["lora-0"]
    assert row.status == "failed"
    assert str(row.reason).startswith("LoRA needs about 0.0 GB more memory on tiny:sd")


def test_missing_judges_are_found_out_before_anything_is_trained(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> None:
        raise BaseError("the embedded judge is not here")

    monkeypatch.setattr(module, "panel", missing)
    comparison = planned(done.source, tmp_path / "out")
    with pytest.raises(BaseError, match="judge is not here"):
        list(comparison.start())
    assert comparison.rows() == []


def test_compare_returns_the_folder_and_logs_what_failed(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "panel", lambda _: panel())
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"prompts": PROMPTS[:1], "seeds": (0,), "sampler": Sampler(1, 1.0)}
    source = shutil.copytree(done.source, tmp_path / "2_sks owl")
    (source / "broken.jpg").write_text("no picture")
    folder = compare(str(source), base=tiny(), methods=["lora", "crashing"], steps=1, **options)
    assert folder.parent == Path("comparisons")
    assert book(folder)["finished"] is True
    assert book(folder)["noun"] == "owl"
    said = [record.getMessage() for record in caplog.records if record.name.startswith("likewise")]
    assert said[0].startswith("broken.jpg: not a picture")
    assert "Crashing failed: ZeroDivisionError: one over nothing" in said


def test_the_digest_of_a_trial_is_the_same_whatever_else_is_compared(done: Done, tmp_path: Path) -> None:
    few, many = (
        planned(done.source, tmp_path / str(count), replicates=count, conditions=conditions)
        for count, conditions in ((1, []), (2, ["big=lora,rank=3"]))
    )
    own = {trial.name: few._digest(trial) for trial in few.trials}
    assert own == {trial.name: many._digest(trial) for trial in many.trials if trial.name in own}
    assert len({many._digest(trial) for trial in many.trials if trial.condition.words}) == 5


def test_files_of_others_are_drawn_once_and_scored_against_every_fold(done: Done, tmp_path: Path) -> None:
    """One in our own layout, which says its token, and one as kohya writes it, which does not."""
    own = next((done.folder / "trials" / "lora-0" / "run").glob("*.safetensors"))
    theirs = formats.write(formats.read(own), tmp_path / "theirs.safetensors", layout="kohya")
    files = [shutil.copy(own, tmp_path / "own.safetensors"), theirs]
    comparison = prepare(
        done.source, noun="owl", token="sks", base="tiny:sd", methods=[], files=files, prompts=PROMPTS, seeds=SEEDS,
        sampler=Sampler(1, 1.0), replicates=2, out=tmp_path / "out",
    )  # fmt: skip
    list(comparison.start(judges=panel()))
    rows = rows_of(comparison.folder)
    assert [(row.trial, row.status, row.kind) for row in rows.values()][2:] == [
        ("own", "done", "file"),
        ("theirs", "done", "file"),
    ]
    assert rows["own"].cost["bytes"] == own.stat().st_size
    assert rows["own"].cost["seconds"] is None
    assert sorted(book(comparison.folder / "trials" / "own", "scores")["folds"]) == ["0", "1"]
    assert (
        next(iter(Gallery(comparison.folder / "trials" / "own" / "gallery"))).prompt == "a sks owl on a beach"
    )
    assert pixels(comparison.folder, "own")[0] == pixels(done.folder, "lora-0")[0]
    standings = {one["name"]: one for one in conclude(comparison.folder)["standings"]}
    assert standings["own"]["method"] == "lora"
    assert standings["own"]["programs"]
    assert standings["own"]["axes"]["style"]["replicates"] == 2
    assert comparison.pending() == []
    assert [trial.name for trial in comparison.trials] == ["base", "description", "own", "theirs"]
