"""protocol.toml: what was frozen comes back, what was changed since is refused with the first difference by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likewise.comparison.protocol_file import NAME, compare_protocols, digest, freeze, read
from likewise.errors import RunError

HELD: dict[str, Any] = {
    "prompts": [{"id": "beach", "text": "a {} on a beach", "part": "test"}, {"id": "night", "text": "a “{}”\n"}],
    "kind": {"name": "live", "reason": "“dog” names an animal."},
    "seeds": (0, 1, 2),
    "folds": {"verdict": [["ab", "cd"], ["ef"]]},
    "sampler": {"steps": 20, "guidance": 3.0, "size": None, "negative": ""},
    "margin": 0.08,
    "looks": [0.01, 0.015, 0.025],
    "primary": "composite",
}  # fmt: skip


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_text(freeze(HELD), encoding="utf-8")
    return path


def changed(**parts: Any) -> dict[str, Any]:
    return HELD | parts


def test_what_was_frozen_comes_back(frozen: Path) -> None:
    found = read(frozen, HELD)
    assert found["seeds"] == [0, 1, 2]
    assert found["prompts"] == HELD["prompts"]
    assert found["sampler"] == {"steps": 20, "guidance": 3, "negative": ""}
    assert (found["margin"], found["primary"], found["kind"]) == (0.08, "composite", HELD["kind"])
    assert "digest" not in found
    assert frozen.read_text(encoding="utf-8").startswith(f'digest = "{digest(HELD)}"\n')
    assert freeze(found) == freeze(HELD)


def test_the_digest_is_of_what_is_said_and_not_of_how() -> None:
    assert digest(dict(reversed(HELD.items()))) == digest(HELD)
    assert digest(changed(seeds=[0, 1, 2], more=None)) == digest(HELD)
    assert digest(changed(sampler=HELD["sampler"] | {"guidance": 3})) == digest(HELD)
    others = [
        changed(seeds=(0, 2, 1)),
        changed(margin=0.05),
        changed(folds={"verdict": [["ab"], ["cd", "ef"]]}),
    ]
    assert len({digest(one) for one in (HELD, *others)}) == 4


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        (HELD, ""),
        (changed(seeds=(0, 1, 3)), "seeds[2] was 2 and is now 3"),
        (changed(seeds=(0, 1)), "seeds[2] was 2 and is not there now"),
        (changed(seeds=(0, 1, 2, 7)), "seeds[3] was not there and is now 7"),
        (changed(margin=0.05, primary="x"), "margin was 0.08 and is now 0.05"),
        (changed(margin="0.08"), 'margin was 0.08 and is now "0.08"'),
        (changed(sampler=HELD["sampler"] | {"size": 64}), "sampler.size was not there and is now 64"),
        (changed(prompts=HELD["prompts"][:1]), 'prompts[1] was {"id": "night", "text": "a “{}”\\n"} and is not there now'),
        (changed(prompts=[HELD["prompts"][0] | {"part": "development"}, *HELD["prompts"][1:]]),
         'prompts[0].part was "test" and is now "development"'),
        ({k: v for k, v in HELD.items() if k != "looks"}, "looks was [0.01, 0.015, 0.025] and is not there now"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(new: dict[str, Any], sentence: str) -> None:
    assert compare_protocols(HELD, new) == sentence


def edit(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            edit("margin = 0.08", "margin = 0.02"),
            "was changed after it was frozen: margin was 0.02 and is now 0.08",
        ),
        (
            edit("seeds = [0, 1, 2]", "seeds = [0, 1]"),
            r"was changed after it was frozen: seeds\[2\] was not there",
        ),
        (edit('digest = "', 'digest = "0'), r"was changed after it was frozen \(put back"),
        (edit("digest", "sum"), "was changed after it was frozen: sum was"),
        (edit("margin = 0.08", "margin = "), "cannot be read"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused(
    frozen: Path, change: Callable[[str], str], message: str
) -> None:
    frozen.write_text(change(frozen.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(RunError, match=message):
        read(frozen, HELD)
    with pytest.raises(RunError):
        read(frozen)


def test_a_file_of_another_comparison_is_refused(frozen: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is of another comparison: margin was 0\.08 and is now 0.05"):
        read(frozen, changed(margin=0.05))
    assert read(frozen)["margin"] == 0.08
    with pytest.raises(RunError, match="cannot be read"):
        read(tmp_path / "none.toml")
