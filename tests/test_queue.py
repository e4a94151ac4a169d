"""A queue: unlike jobs of unlike methods come out as alone, slots are filled again, a failure stays with its job."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from likewise import methods, queue
from likewise.cache import Cache
from likewise.errors import RecipeError
from likewise.events import Failed, Finished, Progress, Stepped
from likewise.stack import Job, Stack
from likewise.together import attach
from likewise.train import Training
from tests.bases import concept, pictures, tiny

JOBS = [
    ("lora", {"rank": 2, "learning_rate": 3e-3, "steps": 4}),
    ("lora", {"rank": 4, "learning_rate": 1e-3, "alpha": 2.0, "clip": 0.01, "steps": 9, "ema": None}),
    ("textual_inversion", {"vectors": 2, "steps": 6}),
    ("hypernetwork", {"learning_rate": 3e-5, "weight_decay": 0.1, "steps": 7}),
]


def jobs(folder: Path) -> list[tuple[str, Job]]:
    return [
        (
            name,
            Job(concept(folder, token, "dog", n), methods.get(name).recipe().override({**given, "seed": n})),
        )
        for n, ((name, given), token) in enumerate(zip(JOBS, ["sks", "zwx", "ohwx", "qrz"], strict=True))
    ]


def alone(name: str, job: Job, folder: Path) -> dict[str, Tensor]:
    base = tiny()
    with methods.get(name).attach(base, Stack((job,))) as adapter:
        for _ in Training(base, adapter, Stack((job,)), cache=Cache(folder / "cache")):
            pass
        return adapter.state(0)


def near(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    assert one.keys() == two.keys()
    difference = sum(float((one[n].float() - two[n].float()).square().sum()) for n in two)
    return difference <= 1e-8 * sum(float(value.float().square().sum()) for value in two.values())


def test_methods_in_one_batch_come_out_as_alone(tmp_path: Path) -> None:
    every, base = jobs(tmp_path), tiny()
    before = {name: p.clone() for name, p in base.backbone.named_parameters()}
    adapter, stack = attach(base, [(methods.get(name), job) for name, job in every])
    with adapter:
        for _ in Training(base, adapter, stack, cache=Cache(tmp_path / "cache")):
            pass
        found = [adapter.state(slot) for slot in range(len(every))]
    for (name, job), state in zip(every, found, strict=True):
        assert near(state, alone(name, job, tmp_path)), name
    assert all(torch.equal(p, before[name]) for name, p in base.backbone.named_parameters())


def told(folder: Path, at_once: int, extra: str = "") -> tuple[list[queue.Entry], dict[str, object]]:
    lines = ['[defaults]\nnoun = "dog"\nkeep = "fp32"\nprecision = "fp32"\n']
    for n, (name, given) in enumerate(JOBS):
        pictures(folder / f"pictures{n}", 4, n)
        settings = "".join(f"{key} = {value}\n" for key, value in given.items() if value is not None)
        token = ["sks", "zwx", "ohwx", "qrz"][n]
        lines.append(
            f'[[job]]\npictures = "pictures{n}"\ntoken = "{token}"\nmethod = "{name}"\nname = "{n}"\nseed = {n}\n{settings}'
        )
    (folder / "jobs.toml").write_text("\n".join(lines) + extra)
    entries = queue.read(folder / "jobs.toml")
    done: dict[str, object] = {}
    slots = set()
    for event in queue.teach(entries, tiny(), folder / "out", at_once):
        if isinstance(event, Progress):
            assert event.trial not in done
            done[event.trial] = event.inner
        elif isinstance(event, Stepped):
            slots.add(len(event.losses))
    assert max(slots, default=0) <= at_once
    return entries, done


@pytest.mark.parametrize("at_once", [2, 3])
def test_a_slot_that_is_free_takes_the_next_job(at_once: int, tmp_path: Path) -> None:
    """Jobs of 4, 9, 6 and 7 steps, at most so many at once; each moves between stacks, half taught, of other ranks."""
    entries, done = told(tmp_path, at_once)
    assert {name: type(event) for name, event in done.items()} == {entry.name: Finished for entry in entries}
    for n, (name, job) in enumerate(jobs(tmp_path)):
        file = next((tmp_path / "out" / str(n)).glob("*.safetensors"))
        kept = load_file(file)
        wanted = alone(name, job, tmp_path)
        assert near({key: kept[key] for key in wanted}, wanted), name
    again = list(queue.teach(entries, tiny(), tmp_path / "out"))
    assert not again, "what is done is left alone"


def test_a_job_that_fails_costs_the_others_nothing(tmp_path: Path) -> None:
    pictures(tmp_path / "wild", 3, 9)
    wild = '[[job]]\npictures = "wild"\ntoken = "wld"\nname = "wild"\nsteps = 12\nlearning_rate = "1e-3:2, 1e30"\nclip = 0\n'
    _, done = told(tmp_path, 8, wild)
    failed = done.pop("wild")
    assert isinstance(failed, Failed)
    assert "not finite" in failed.message
    assert all(isinstance(event, Finished) for event in done.values())
    assert len(done) == len(JOBS)
    assert not list((tmp_path / "out" / "wild").glob("*.safetensors"))
    wanted = alone(*jobs(tmp_path)[1], tmp_path)
    kept = load_file(next((tmp_path / "out" / "1").glob("*.safetensors")))
    assert near({key: kept[key] for key in wanted}, wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no \\[\\[job\\]\\]"),
        ("[[jobs]]\n", "'jobs' is not understood"),
        ("[[job]]\nnoun = 'dog'\n", "job 1 names no pictures"),
        ("[[job]]\npictures = 'pictures0'\nnoun = 'dog'\nstepz = 3\n", "job 1: unknown setting 'stepz'"),
        ("[[job]]\npictures = 'pictures0'\nnoun = 'dog'\nname = 'a'\n" * 2, "two jobs are called 'a'"),
        ("not toml", "jobs.toml"),
    ],
)
def test_a_file_that_is_wrong_is_refused_before_the_base_is_loaded(
    text: str, said: str, tmp_path: Path
) -> None:
    pictures(tmp_path / "pictures0", 2)
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        queue.read(tmp_path / "jobs.toml")
