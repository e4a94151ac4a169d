"""What votes say: counts, sentences, and that they stand beside the measured order and never in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from likewise.comparison import votes
from likewise.comparison.voting import Ballot, Showing
from likewise.statistics.preference import Choice, Interval
from tests.comparison.ballots import MANY, comparison, rows_of, write_rows

RANK = {"dreambooth": 0, "lora": 1, "aesthetic": 2, "base": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return comparison(tmp_path / "mugs", seeds=5, prompts=MANY)


def by_rank(showing: Showing) -> Choice:
    return "left" if RANK[showing.left.condition] < RANK[showing.right.condition] else "right"


def vote(folder: Path, judge: Callable[[Showing], Choice] = by_rank, times: int = 10**6) -> None:
    ballot = Ballot(folder)
    for _ in range(times):
        showing = ballot.next()
        if showing is None:
            return
        ballot.cast(showing.id, judge(showing))


def test_nobody_voted_yet(folder: Path) -> None:
    found = votes.summary(folder)
    assert (found["votes"], found["conditions"], found["pairs"], found["position"]) == (0, [], [], None)
    assert votes.sentences(found)[0] == "No vote says which picture is better yet."
    assert not list(folder.glob("ballot*")), "asking leaves nothing behind"
    json.dumps(found)


def test_a_judge_of_firm_taste(folder: Path) -> None:
    vote(folder)
    found = votes.summary(folder)
    assert [one["title"] for one in found["conditions"]] == ["DreamBooth", "LoRA", "Aesthetic embedding"]
    assert (found["votes"], found["voters"], found["prompts"], found["lost"]) == (120, 1, 8, 0)
    assert found["consistency"] == {"repeated": 12, "agreed": 12}
    said = votes.sentences(found)
    assert said[0] == "120 votes from 1 ballot on 8 prompts are counted."
    assert "DreamBooth is preferred to LoRA (40 to 0)." in said
    assert "LoRA is preferred to Aesthetic embedding (40 to 0)." in said
    assert "No leaning to the left or the right picture is seen." in said
    assert "Of 12 pairs shown twice with sides exchanged, 12 got the same answer." in said
    assert said[-1] == "Votes are people's taste. They never enter the measured verdict."
    json.dumps(found, allow_nan=False)


def test_a_judge_who_always_says_left(folder: Path) -> None:
    vote(folder, lambda showing: "left")
    found = votes.summary(folder)
    assert found["consistency"] == {"repeated": 12, "agreed": 0}
    assert {pair["said"] for pair in found["pairs"]} == {"undecided"}
    assert "The votes lean to the left" in " ".join(votes.sentences(found))
    assert "are not told apart by 40 votes (20 to 20)." in " ".join(votes.sentences(found))


def test_both_bad_counts_apart(folder: Path) -> None:
    vote(folder, lambda showing: "both_bad", times=5)
    assert votes.sentences(votes.summary(folder))[0] == (
        "No vote says which picture is better yet; in 5 more both pictures were called bad."
    )
    vote(folder, times=1)
    found = votes.summary(folder)
    assert (found["votes"], found["both_bad"]) == (1, 5)
    assert "; nothing is said before 40." in found["pair_lines"][0]
    assert found["trust_lines"][0].startswith("No pair was answered twice yet")


def test_several_ballots_are_counted_together(folder: Path) -> None:
    vote(folder, times=30)
    Ballot(folder, another=True)
    vote(folder, times=30)
    assert votes.summary(folder)["voters"] == 2
    assert votes.summary(folder)["votes"] == 60 - sum(
        json.loads(line)["again"] for line in (folder / "votes.jsonl").read_text().splitlines()
    )


def test_votes_on_pictures_drawn_anew_are_lost_and_named(folder: Path) -> None:
    vote(folder)
    rows = rows_of(folder)
    write_rows(folder, [one | {"digest": "another"} if one["trial"] == "lora" else one for one in rows])
    found = votes.summary(folder)
    assert found["votes"] == 40
    assert found["lost"] > 80
    assert any("drawn anew since no longer count" in line for line in votes.sentences(found))
    write_rows(folder, rows)
    assert votes.summary(folder)["lost"] == 0


def test_votes_change_no_file_of_the_measurement(folder: Path) -> None:
    def measured() -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {
            str(path): path.read_bytes() for path in files if path.name not in ("ballot.json", "votes.jsonl")
        }

    before = measured()
    vote(folder, times=20)
    votes.summary(folder)
    assert measured() == before


def test_a_leaning_is_told_with_its_size() -> None:
    assert votes.leaning(Interval(1.0, 0.2, 1.9)).startswith(
        "The votes lean to the left: of two equal pictures, that one would be chosen in 73 % of decided votes."
    )
    assert "to the right" in votes.leaning(Interval(-1.0, -1.9, -0.2))
    assert "do not show" in votes.leaning(Interval(1.0, None, None))


def test_what_stands_beside_the_verdict_is_none_without_votes_and_their_order_with_them(folder: Path) -> None:
    """Red when the page is given another order than the summary has."""
    assert votes.beside(folder) is None
    vote(folder, times=12)
    found, shown = votes.summary(folder), votes.beside(folder)
    assert shown is not None
    assert [one["name"] for one in shown["order"]] == [one["name"] for one in found["conditions"]]
    assert shown["sentences"][-1] == votes.NOTE
    assert (shown["people"], shown["votes"]) == (1, found["votes"])
