"""Ballots: what is paired, in which order it comes, what is kept, and what a damaged file is answered with."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from likewise.comparison import voting
from likewise.comparison.voting import BALLOT, VOTES, Ballot
from likewise.errors import RunError
from tests.comparison.ballots import TRIALS, comparison, picture, row, rows_of, write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "mugs", seeds=6)


def names(pair: voting.Pair) -> set[str]:
    return {pair.first.condition, pair.second.condition}


def seen(folder: Path) -> dict[str, tuple[str, int]]:
    """Prompt's id and seed of every picture in the folder, from the galleries themselves."""
    found = {}
    for index in folder.glob("trials/*/gallery/gallery.json"):
        for one in json.loads(index.read_text()):
            found[(index.parent / one["file"]).relative_to(folder).as_posix()] = (one["role"], one["seed"])
    return found


# What is paired -----------------------------------------------------------------------------------------


def test_a_pair_is_two_conditions_of_the_same_prompt_and_noise(folder: Path) -> None:
    known = seen(folder)
    pairs = voting.pairs(folder, anchors=False)
    assert len(pairs) == 3 * 2 * 6  # pairs of methods, prompts, seeds
    assert len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert known[pair.first.file] == known[pair.second.file] == (pair.prompt, pair.seed)
        assert len(names(pair)) == 2
        assert "base" not in names(pair)
    assert len(voting.pairs(folder, anchors=True)) == 6 * 2 * 6


def test_only_pictures_of_the_comparisons_own_prompts_are_shown(folder: Path) -> None:
    for index in folder.glob("trials/*/gallery/gallery.json"):
        rows = json.loads(index.read_text())
        rows[0]["role"] = "agnostic"
        index.write_text(json.dumps(rows))
    pairs = voting.pairs(folder, anchors=False)
    assert len(pairs) == 3 * (2 * 6 - 1)
    assert all(pair.prompt != "agnostic" for pair in pairs)


def test_trials_that_failed_are_left_out(folder: Path) -> None:
    write_rows(
        folder, [one | {"status": "failed"} if one["trial"] == "lora" else one for one in rows_of(folder)]
    )
    assert {name for pair in voting.pairs(folder, anchors=False) for name in names(pair)} == {
        "dreambooth", "aesthetic",
    }  # fmt: skip


def test_replicates_meet_their_like_and_never_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicates of two methods, and the base, which was taught nothing and meets every one of them but itself."""
    base = [
        row(folder, 9, (f"base{n}", "Base", "floor"), condition="base", replicate=None)
        for n in ("", "-drawn-twice")
    ]
    taught = [
        row(folder, n, (f"{name}-{n}", name, "method"), condition=name, replicate=n)
        for name in ("lora", "dreambooth")
        for n in (0, 1)
    ]
    rows = base + taught
    monkeypatch.setattr(voting, "rows", lambda folder, anchors: [SimpleNamespace(**one) for one in rows])
    met = Counter(frozenset((p.first.trial, p.second.trial)) for p in voting.pairs(folder))
    assert met.keys() == {
        frozenset(("lora-0", "dreambooth-0")),
        frozenset(("lora-1", "dreambooth-1")),
        *(frozenset((one["trial"], other["trial"])) for one in base for other in taught),
    }
    assert {name for pair in voting.pairs(folder) for name in names(pair)} == {"base", "lora", "dreambooth"}


def test_a_trial_done_anew_has_other_pairs_and_a_new_one_changes_none(folder: Path) -> None:
    before = {pair.id for pair in voting.pairs(folder)}
    rows = rows_of(folder)
    write_rows(folder, [row(folder, 7, ("hypernetwork", "Hypernetwork", "method"), seeds=6), *rows])
    assert before < {pair.id for pair in voting.pairs(folder)}
    write_rows(folder, [one | {"digest": "another"} if one["trial"] == "lora" else one for one in rows])
    after = {pair.id: names(pair) for pair in voting.pairs(folder)}
    assert all(("lora" in two) == (name not in before) for name, two in after.items())


@pytest.mark.parametrize("gallery", ["../elsewhere", "/etc", "trials/none", "link"])
def test_a_gallery_outside_the_folder_is_refused(folder: Path, gallery: str) -> None:
    picture(folder.parent / "elsewhere" / "0000.png", 1)
    (folder.parent / "elsewhere" / "gallery.json").write_text("[]")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    write_rows(folder, [one | {"gallery": gallery} for one in rows_of(folder)])
    with pytest.raises(RunError, match="holds no pictures of"):
        voting.pairs(folder)


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        Ballot(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"holds no comparison\.json"):
        Ballot(tmp_path)
    alone = comparison(tmp_path / "alone", TRIALS[:2])
    with pytest.raises(RunError, match="no two conditions") as caught:
        Ballot(alone)
    assert "--with-base" in str(caught.value.hint)
    assert not (alone / BALLOT).exists()
    assert len(Ballot(alone, anchors=True)) == 4
    (alone / "comparison.json").write_text('{"noun": "mug"}')
    with pytest.raises(RunError, match="cannot be read"):
        Ballot(alone)


# In which order -----------------------------------------------------------------------------------------


def test_every_two_conditions_come_once_per_turn_and_prompts_take_turns(folder: Path) -> None:
    fresh = [one for one in voting.ordered(voting.pairs(folder, anchors=False), 5) if not one.again]
    for turn in range(12):
        some = fresh[3 * turn : 3 * turn + 3]
        assert len({frozenset(names(one.pair)) for one in some}) == 3
    for two in {frozenset(names(one.pair)) for one in fresh}:
        prompts = [one.pair.prompt for one in fresh if names(one.pair) == two]
        assert all(set(prompts[k : k + 2]) == {"on-a-beach", "at-night"} for k in range(0, 12, 2))
        left = Counter(one.left.condition for one in fresh if names(one.pair) == two)
        assert set(left.values()) == {6}, "each stands left as often as the other"


def test_the_order_follows_from_the_seed_and_looks_random(folder: Path) -> None:
    pairs = voting.pairs(folder, anchors=False)
    first = voting.ordered(pairs, 1)
    assert first == voting.ordered(list(reversed(pairs)), 1)
    assert first != voting.ordered(pairs, 2)
    lefts = Counter(voting.ordered(pairs, seed)[0].left.condition for seed in range(60))
    assert set(lefts) == {"lora", "dreambooth", "aesthetic"}


@pytest.mark.parametrize("count", [3, 10, 12, 36])
def test_one_in_ten_comes_again_mirrored_and_not_at_once(folder: Path, count: int) -> None:
    pairs = voting.pairs(folder, anchors=False)[:count]
    for seed in range(20):
        shown = voting.ordered(pairs, seed)
        again = [one for one in shown if one.again]
        assert len(again) == count // 10
        assert len({one.id for one in shown}) == len(shown) == count + count // 10
        for one in again:
            first = next(other for other in shown if other.pair == one.pair and not other.again)
            assert (one.left, one.right) == (first.right, first.left)
            assert shown.index(one) - shown.index(first) >= 5


# What is kept -------------------------------------------------------------------------------------------


def test_a_ballot_goes_on_where_it_stopped(folder: Path) -> None:
    first = Ballot(folder)
    order, answered = list(first.showings), []
    for _ in range(7):
        showing = first.next()
        assert showing is not None
        answered.append(showing.id)
        first.cast(showing.id, "tie")
    assert answered == order[:7]
    later = Ballot(folder)
    assert list(later.showings) == order
    assert (later.done, later.voter, later.next()) == (7, first.voter, first.next())
    other = Ballot(folder, another=True)
    assert other.done == 0
    assert other.voter != first.voter
    assert list(other.showings) != order
    assert Ballot(folder).voter == other.voter


def test_an_answer_says_who_stood_where(folder: Path) -> None:
    ballot = Ballot(folder)
    showing = next(one for one in ballot.showings.values() if one.mirrored)
    ballot.cast(showing.id, "both_bad")
    line = json.loads((folder / VOTES).read_text())
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "voter": ballot.voter, "pair": showing.pair.id, "again": showing.again, "left": showing.left.condition,
        "right": showing.right.condition, "prompt": showing.pair.prompt, "choice": "both_bad",
    }  # fmt: skip
    with pytest.raises(KeyError):
        ballot.cast("unknown", "tie")


def test_the_last_answer_to_a_showing_counts(folder: Path) -> None:
    ballot = Ballot(folder)
    showing = ballot.next()
    assert showing is not None
    ballot.cast(showing.id, "left")
    ballot.cast(showing.id, "right")
    assert [one.choice for one in voting.read(folder)] == ["right"]
    assert ballot.done == 1


def test_a_ballot_ends_and_has_enough_after_forty_of_every_pair(tmp_path: Path) -> None:
    folder = comparison(tmp_path / "mugs", seeds=20)
    ballot = Ballot(folder)
    while (showing := ballot.next()) is not None:
        assert ballot.enough() == (ballot.done - sum(one.again for one in voting.read(folder)) == 120)
        ballot.cast(showing.id, "left")
    assert ballot.done == len(ballot) == 132
    assert ballot.enough()


# Damage -------------------------------------------------------------------------------------------------


def good(**changes: Any) -> str:
    line = {"voter": "v", "pair": "p", "again": False, "left": "a", "right": "b", "prompt": "q", "choice": "tie",
            "at": "2026-05-12T14:03:11+00:00"}  # fmt: skip
    return json.dumps({key: value for key, value in (line | changes).items() if value is not None})


@pytest.mark.parametrize(
    "line",
    [
        "{torn", "", "null", "[]", "{}", good(choice="best"), good(choice=1), good(again="no"), good(again=0),
        good(voter=None), good(extra=1), good(left="b"), good(at="yesterday"), good(prompt=["q"]),
    ],
)  # fmt: skip
def test_a_line_that_is_no_vote_is_named(folder: Path, line: str) -> None:
    (folder / VOTES).write_text(f"{good()}\n{line}\n{good(pair='r')}\n")
    with pytest.raises(RunError, match=r"votes\.jsonl, line 2, is no vote") as caught:
        voting.read(folder)
    assert caught.value.hint == "delete that line; the others stay"


def test_what_a_crash_cut_off_is_left_out(folder: Path) -> None:
    (folder / VOTES).write_text(f"{good()}\n{good(pair='r')[:30]}")
    assert [one.pair for one in voting.read(folder)] == ["p"]
    (folder / VOTES).write_text(f"{good()}\n{good(pair='r')}")
    assert [one.pair for one in voting.read(folder)] == ["p", "r"]
    (folder / VOTES).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RunError, match="cannot be read"):
        voting.read(folder)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 2, "seed": 1, "voter": "v"}', '{"schema": 1, "seed": "1"}']
)
def test_a_ballot_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / BALLOT).write_text(text)
    with pytest.raises(RunError, match=r"ballot\.json") as caught:
        Ballot(folder)
    assert "the votes stay" in str(caught.value.hint)
    assert Ballot(folder, another=True).done == 0


def test_a_comparison_of_today_is_voted_on_its_deciding_prompts_alone(tmp_path: Path) -> None:
    """Red when prompts of the plain class are shown, or the real pictures are looked for where schema 1 had them."""
    folder = comparison(tmp_path / "mugs")
    book = json.loads((folder / "comparison.json").read_text())
    book["prompts"][1]["role"] = "class"
    book |= {"schema": 2, "pictures": book.pop("train")}
    (folder / "comparison.json").write_text(json.dumps(book))
    assert voting.described(folder)["train"] == book["pictures"]
    assert {pair.prompt for pair in voting.pairs(folder)} == {book["prompts"][0]["id"]}
