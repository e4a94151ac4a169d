"""Votes: what people's blind votes on a comparison say, as plain data and in sentences. No torch.

They are people's taste beside the measured order, and never enter the measured verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from likewise.comparison import voting
from likewise.comparison.voting import Answer
from likewise.files import expand
from likewise.statistics import preference
from likewise.statistics.preference import ENOUGH, Interval, Paired, Preference, Vote

NOTE = "Votes are people's taste. They never enter the measured verdict."


def summary(folder: Path) -> dict[str, Any]:
    """What all voters' votes say, as plain data.

    `conditions` has the most preferred first, each with its `strength` (log-odds) and `share` (of decided votes, against an
    average rival), as value, low and high. `pairs` has the counts, and `said`: first, second, undecided or too few votes.
    `lost` votes are of pictures that were drawn anew since, and count no more. The lines say all of it in words.

    Raises `RunError` for a folder that is no comparison and for a line that is no vote.
    """
    folder = expand(folder)
    known = {pair.id: {pair.first.condition, pair.second.condition} for pair in voting.pairs(folder)}
    answers = voting.read(folder)
    kept = [answer for answer in answers if {answer.left, answer.right} == known.get(answer.pair)]
    titles = {row.condition: row.title for row in voting.rows(folder, anchors=True) if not row.replicate}
    votes = [_vote(answer) for answer in kept if not answer.again]
    found, alike = preference.fit(votes), preference.consistency(_repeats(kept))
    book = {
        "votes": found.votes if found else 0,
        "both_bad": sum(vote.choice == "both_bad" for vote in votes),
        "lost": len(answers) - len(kept),
        "voters": len({answer.voter for answer in kept}),
        "prompts": len({vote.prompt for vote in votes}),
        "enough": ENOUGH,
        "conditions": [
            {"title": titles[one.name], **asdict(one)} for one in (found.strengths if found else ())
        ],
        "pairs": [
            {"titles": [titles[pair.first], titles[pair.second]], **asdict(pair)}
            for pair in (found.pairs if found else ())
        ],
        "position": asdict(found.position) if found else None,
        "consistency": asdict(alike),
        "note": NOTE,
    }
    lines = {
        "summary_line": _count(book, found),
        "pair_lines": [_told(pair, titles) for pair in (found.pairs if found else ())],
        "trust_lines": list(_trust(book, found)),
    }
    return book | lines


def beside(folder: Path) -> dict[str, Any] | None:
    """What a comparison's page shows of people's votes: `people`, `votes`, `order` and `sentences`; None without any."""
    if not (folder / voting.VOTES).is_file():
        return None
    found = summary(folder)
    order = [{"name": one["name"], **one["share"]} for one in found["conditions"]]
    return {
        "people": found["voters"],
        "votes": found["votes"],
        "order": order,
        "sentences": [*found["pair_lines"], *found["trust_lines"], found["note"]],
    }


def sentences(found: Mapping[str, Any]) -> list[str]:
    """All that a summary says, in the order in which it is to be read."""
    return [found["summary_line"], *found["pair_lines"], *found["trust_lines"], found["note"]]


def _vote(answer: Answer) -> Vote:
    return Vote(answer.left, answer.right, answer.choice, answer.prompt)


def _repeats(answers: Sequence[Answer]) -> Iterator[tuple[Vote, Vote]]:
    """First and second answers of the same voter to the same pair."""
    first = {(one.voter, one.pair): one for one in answers if not one.again}
    for one in answers:
        if one.again and (one.voter, one.pair) in first:
            yield _vote(first[one.voter, one.pair]), _vote(one)


def counted(number: int, word: str) -> str:
    """`1 vote`, `2 votes`."""
    return f"{number} {word}{'s' * (number != 1)}"


def _count(book: Mapping[str, Any], found: Preference | None) -> str:
    if found is None:
        return f"No vote says which picture is better yet{_bad(book)}."
    return (
        f"{counted(found.votes, 'vote')} from {counted(book['voters'], 'ballot')} on "
        f"{counted(found.prompts, 'prompt')} are counted{_bad(book)}."
    )


def _trust(book: Mapping[str, Any], found: Preference | None) -> Iterator[str]:
    alike = book["consistency"]
    if alike["repeated"]:
        yield (
            f"Of {counted(alike['repeated'], 'pair')} shown twice with sides exchanged, {alike['agreed']} got the same "
            "answer."
        )
    else:
        yield "No pair was answered twice yet, so nothing is known of how consistent the votes are."
    if found is not None:
        yield leaning(found.position)
    if book["lost"]:
        yield f"{counted(book['lost'], 'vote')} on pictures that were drawn anew since no longer count."


def _bad(book: Mapping[str, Any]) -> str:
    return f"; in {book['both_bad']} more both pictures were called bad" if book["both_bad"] else ""


def _told(pair: Paired, titles: Mapping[str, str]) -> str:
    """One sentence on two conditions; the winner is named first."""
    names, won = (titles[pair.first], titles[pair.second]), (pair.first_won, pair.second_won)
    if pair.said == "second":
        names, won = names[::-1], won[::-1]
    ties = f", {counted(pair.ties, 'tie')}" if pair.ties else ""
    score = f"{won[0]} to {won[1]}{ties}"
    if pair.said == "too few votes":
        need = f"nothing is said before {ENOUGH}" if pair.votes < ENOUGH else "one prompt is too few"
        return f"{names[0]} and {names[1]}: {counted(pair.votes, 'vote')} ({score}); {need}."
    if pair.said == "undecided":
        return f"{names[0]} and {names[1]} are not told apart by {counted(pair.votes, 'vote')} ({score})."
    return f"{names[0]} is preferred to {names[1]} ({score})."


def leaning(position: Interval) -> str:
    """What is known of a leaning to one side. It is part of the fit and changes no order."""
    if position.low is None or position.high is None:
        return "Votes on one prompt do not show whether they lean to one side."
    if position.low <= 0 <= position.high:
        return "No leaning to the left or the right picture is seen."
    side = "left" if position.value > 0 else "right"
    share = 100 * preference.share_of(abs(position.value))
    return (
        f"The votes lean to the {side}: of two equal pictures, that one would be chosen in {share:.0f} % of decided votes. "
        "The order allows for it."
    )
