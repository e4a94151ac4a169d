"""Events are read back as they were written, and what cannot be read is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from likewise.errors import RunError
from likewise.events import (
    Attached,
    Compared,
    Event,
    Failed,
    Finished,
    Loaded,
    Noted,
    Planned,
    Progress,
    Sampled,
    Saved,
    Stepped,
    Stopped,
    TrialEnded,
    TrialStarted,
    Unknown,
    Warned,
    read,
)

STEPPED = Stepped(3, 9, (0.5, 1.0), {"unet": (1e-4, 2e-4)}, 0.25, 10**9)
EVERY: dict[str, Event] = {
    "loaded": Loaded("pocket", "sd", 1.5),
    "warned": Warned("ünï\u2028line"),
    "noted": Noted("fine"),
    "attached": Attached("lora", 12, 0),
    "stepped": STEPPED,
    "sampled": Sampled(3, "samples/step000003"),
    "saved": Saved("checkpoint/state.safetensors", 4),
    "finished": Finished({"status": "done", "files": ["a"]}),
    "stopped": Stopped("stopped after step 3 of 9, saved", None),
    "failed": Failed("no room", "free some"),
    "planned": Planned(("base", "lora"), ("lora",)),
    "trialstarted": TrialStarted("lora", "LoRA", 1, 1),
    "progress": Progress("lora", STEPPED),
    "trialended": TrialEnded("lora", {"status": "done"}),
    "compared": Compared("comparisons/a", ("note",)),
    "unknown": Unknown({"event": "x"}, "why"),
}
"""An event of every kind by its spelling on disk, which files of earlier versions hold and which must stay."""


def test_each_kind_is_spelled_as_ever() -> None:
    own = {kind for kind, event in Event.kinds.items() if event.__module__.startswith("likewise.")}
    assert own == EVERY.keys()


@pytest.mark.parametrize("kind", EVERY)
def test_an_event_comes_back_from_its_line(kind: str) -> None:
    event = EVERY[kind]
    row = event.to_json()
    assert list(row)[:2] == ["event", "time"]
    assert row["event"] == kind
    for again in (read(json.dumps(row)), read(row)):
        assert again == event
        assert type(again) is type(event)
        assert again.time == event.time


def test_an_event_within_another_keeps_its_time() -> None:
    inner = Warned("x", time=5.0)
    again = read(json.dumps(Progress("lora", inner, time=6.0).to_json()))
    assert isinstance(again, Progress)
    assert (again.time, again.inner.time) == (6.0, 5.0)


def test_what_a_later_version_adds_to_an_event_is_left_out() -> None:
    assert read(STEPPED.to_json() | {"later": 1}) == STEPPED


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"event": "ste', "this is not JSON"),
        ("[1]", "this does not say which event it is"),
        ('{"time": 1.0}', "this does not say which event it is"),
        ('{"event": ["stepped"]}', "this does not say which event it is"),
        ('{"event": "danced", "time": 1.0}', "this version knows no event 'danced'"),
        ('{"event": "warned", "time": 1.0}', "the event 'warned' has no 'text'"),
        ('{"event": "warned", "text": "x"}', "the event 'warned' has no 'time'"),
        ('{"event": "warned", "time": 1.0, "text": 3}', "'text' of the event 'warned' is 3"),
        (json.dumps(STEPPED.to_json() | {"losses": 0.5}), "'losses' of the event 'stepped' is 0.5"),
        (json.dumps(STEPPED.to_json() | {"losses": ["x"]}), "'losses' of the event 'stepped' is 'x'"),
        (json.dumps(STEPPED.to_json() | {"rates": {"unet": 1.0}}), "'rates' of the event 'stepped' is 1.0"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, reason: str) -> None:
    found = read(line)
    assert isinstance(found, Unknown)
    assert found.reason == reason
    try:
        whole: Any = json.loads(line)
    except ValueError:
        whole = line
    assert found.line == whole


def test_two_kinds_of_one_spelling_are_refused() -> None:
    with pytest.raises(TypeError, match="Stepped is spelled 'stepped' already"):

        class Danced(Event, kind="stepped"):
            pass

    assert Event.kinds["stepped"] is Stepped


def test_a_failure_is_told_in_the_words_of_its_error() -> None:
    assert Failed.by(RunError("what", "do this")) == Failed("what", "do this")
    assert Failed.by(ValueError("first\nsecond")) == Failed("ValueError: first", None)
    assert Failed.by(ValueError()) == Failed("ValueError: ", None)
