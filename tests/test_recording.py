"""What may be recorded as CUDA graphs: that a pass depends on a batch's tensors alone, and what is said where it does not.

On a processor a replay of the same operators stands for the graphs (`tests/replays.py`).
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from likewise import methods, prepared, recording
from likewise.base import Base
from likewise.cache import Cache
from likewise.events import Warned
from likewise.families import load
from likewise.stack import Job, Stack
from likewise.train import Training
from tests import replays
from tests.bases import concept, lora_run, tiny


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that records, and lays no weights out for itself, which a GPU does not do either."""
    monkeypatch.setattr(prepared, "packed", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", replays.make_graphed_callables)
    plain, gpu = recording.refusal, SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(recording, "refusal", lambda base, *rest: plain(gpu, *rest))  # type: ignore[arg-type]


def taught(
    folder: Path, base: Base, method: str, slots: int = 1, **settings: Any
) -> tuple[Training, list[Any]]:
    """Six steps of a method: the training after them, its losses and what it learned."""
    recipe = methods.get(method).recipe().override({"steps": 6, "batch_size": 2, "prior": "none", **settings})
    one = concept(folder)
    stack = Stack(tuple(Job(one, recipe.override({"seed": n})) for n in range(slots)))
    with methods.get(method).attach(base, stack) as adapter:
        training = Training(base, adapter, stack, cache=Cache(folder / "cache"))
        assert training.record() == []
        assert (training._recording is not None) == recipe.cuda_graph
        losses = [step.losses for step in training]
        learned = [p.detach().clone() for p in training.parameters]
    return training, [losses, learned]


@pytest.mark.parametrize(
    ("variant", "method", "slots", "settings"),
    [
        ("sd1", "lora", 1, {"snr_gamma": 5.0, "ema": 0.9}),
        ("sdxl", "lora", 3, {"precision": "bf16"}),
        ("sd1", "hypernetwork", 2, {}),
        ("sdxl", "dreambooth", 1, {"learning_rate": 1e-3}),
    ],
)
@pytest.mark.usefixtures("recorder")
def test_a_recorded_step_is_the_plain_one(
    variant: str, method: str, slots: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Red where a pass reads anything but a batch's tensors: the steps after the recorded one would repeat it."""
    plain = taught(tmp_path, tiny(variant), method, slots, **settings)[1]
    replayed = taught(tmp_path, tiny(variant), method, slots, cuda_graph=True, **settings)[1]
    assert replayed[0] == plain[0]
    assert len({losses for losses in plain[0]}) == 6, "steps differ"
    for one, other in zip(replayed[1], plain[1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.gpu
@pytest.mark.parametrize(("method", "slots"), [("lora", 1), ("lora", 3), ("dreambooth", 1)])
def test_a_gpu_replays_what_it_recorded(method: str, slots: int, tmp_path: Path) -> None:
    settings = {"precision": "fp32"}
    plain, replayed = (
        taught(tmp_path, load("tiny:sd", device="cuda"), method, slots, cuda_graph=recorded, **settings)[1]
        for recorded in (False, True)
    )
    for one, other in zip(replayed[0], plain[0], strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    for one, other in zip(replayed[1], plain[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("textual_inversion", {}, "they are read at each step"),
        ("lora", {"prior": "predicted"}, "asks the frozen base"),
        ("lora", {"checkpointing": True}, "in parts"),
        ("lora", {"dropout": 0.1}, "dropout"),
        ("lora", {"accumulate": 2}, "add up several batches"),
    ],
)
@pytest.mark.usefixtures("recorder")
def test_what_cannot_be_recorded_is_said(
    method: str, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    recipe = methods.get(method).recipe().override({"steps": 2, "cuda_graph": True, **settings})
    stack, base = Stack((Job(concept(tmp_path), recipe),)), tiny()
    with methods.get(method).attach(base, stack) as adapter:
        (note,) = Training(base, adapter, stack, cache=Cache(tmp_path / "cache")).record()
    assert note.startswith("cuda_graph=true has no effect: ")
    assert said in note


def test_a_recording_that_answers_otherwise_is_not_used(
    recorder: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Red where a pass with something of the host in it is replayed: here the number of the call."""
    calls: list[int] = []
    plain = Training._passed

    def counting(self: Training, batch: Any) -> Any:
        calls.append(1)
        errors, losses = plain(self, batch)
        return errors, losses * len(calls)

    monkeypatch.setattr(Training, "_passed", counting)
    recipe = methods.get("lora").recipe().override({"steps": 2, "cuda_graph": True})
    stack, base = Stack((Job(concept(tmp_path), recipe),)), tiny()
    with methods.get("lora").attach(base, stack) as adapter:
        training = Training(base, adapter, stack, cache=Cache(tmp_path / "cache"))
        assert "gradients differ from the plain ones by 50.0%" in training.record()[0]
        assert training._recording is None


def test_a_device_that_does_not_record_changes_nothing_and_is_named(tmp_path: Path) -> None:
    plain, asked = (
        lora_run(tmp_path, tmp_path / name, cuda_graph=name == "asked") for name in ("plain", "asked")
    )
    events = list(asked.start())
    said = [event.text for event in events if isinstance(event, Warned) and "cuda_graph" in event.text]
    assert said == ["cuda_graph=true has no effect: this runs on cpu, and only NVIDIA's GPUs record"]
    list(plain.start())
    one, other = (load_file(next((tmp_path / name).glob("*.safetensors"))) for name in ("plain", "asked"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_device_that_fails_to_record_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", broken)
    monkeypatch.setattr(recording, "refusal", lambda *_: "")
    recipe = methods.get("lora").recipe().override({"steps": 2, "cuda_graph": True})
    stack, base = Stack((Job(concept(tmp_path), recipe),)), tiny()
    with methods.get("lora").attach(base, stack) as adapter:
        training = Training(base, adapter, stack, cache=Cache(tmp_path / "cache"))
        (note,) = training.record()
        assert note.endswith("did not record it: operation not permitted when stream is capturing")
        assert len(list(training)) == 2, "the plain step is taken"
