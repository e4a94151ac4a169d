"""Texts for a tower: what is cut of a long one, what never is, and what of it only other programs understand."""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from likewise import families, journal
from likewise.base import Base
from likewise.cli import app
from likewise.cli.checking import _window
from likewise.concept import Concept
from likewise.events import Finished, Stepped, Warned
from likewise.picture import Example
from likewise.prompt import foreign, says, shorten, spelled
from likewise.run import Run
from likewise.tower import Word
from tests.bases import pictures, tiny

LONG = ", ".join(["green grass, blue sky, tall tree"] * 12)
BASES: dict[str, Callable[[], Base]] = {
    "plain": tiny,
    "pocket": lambda: families.load("pocket", device="cpu"),
}


@pytest.fixture(scope="module", params=sorted(BASES))
def base(request: pytest.FixtureRequest) -> Base:
    """A base with a tokenizer of few words, and one with pocket's."""
    return BASES[request.param]()


def test_a_word_is_found_whatever_its_case_and_gets_its_own() -> None:
    assert says("sks", "SKS Dog")
    assert says("<toy>", "a <Toy> here")
    assert not says("sks", "two sksks")
    assert says("oil painting", "an Oil  painting")
    assert spelled("sks", "SKS Dog and Sks") == "sks Dog and sks"


def words(limit: int) -> Callable[[str], bool]:
    return lambda text: len(text.split()) <= limit


@pytest.mark.parametrize(
    ("text", "keep", "limit", "wanted"),
    [
        ("a b c", (), 3, "a b c"),
        ("a b c d e", (), 3, "a b c"),
        ("a b c d sks dog", ("sks dog", "sks"), 3, "a, sks dog"),
        ("a b c d sks", ("sks dog", "sks"), 3, "a b, sks"),
        ("a b sks c d dog e", ("sks dog", "sks", "dog"), 4, "a b sks dog"),
        ("sks dog a b c", ("sks dog",), 3, "sks dog a"),
        ("a SKS  dog b c", ("sks dog",), 3, "a SKS dog"),
        ("a photo of a sks dog b c", ("sks dog",), 6, "a photo of a sks dog"),
        ("a b, c d e sks dog", ("sks dog",), 6, "a b, sks dog"),
        ("a b、 c d e sks dog", ("sks dog",), 6, "a b、 sks dog"),
        ("a b c, d e sks dog", ("sks dog",), 5, "a b c, sks dog"),
        ("a b c (d) e sks dog.", ("sks dog",), 2, "sks dog"),
        ("sks dog, a b c, zwx cat", ("sks dog", "zwx cat"), 5, "sks dog, zwx cat"),
        ("sks dog a b c zwx cat", ("sks dog", "zwx cat"), 5, "sks dog a zwx cat"),
        ("a b sks dog", ("sks dog",), 1, "sks dog"),
    ],
)
def test_what_is_kept_stays_and_the_rest_is_cut_from_the_end(
    text: str, keep: tuple[str, ...], limit: int, wanted: str
) -> None:
    assert shorten(text, keep, words(limit)) == wanted


def test_a_broken_phrase_does_not_run_into_the_token() -> None:
    shorter = shorten(f"{LONG}, a sks dog", ("sks dog", "sks", "dog"), words(65))
    assert shorter.endswith("green grass, sks dog")


def test_what_is_kept_gets_no_comma_where_only_it_fits() -> None:
    assert shorten("sks, a dog", ("sks", "dog"), lambda text: len(text) <= 7) == "sks dog"


def test_a_text_without_blanks_is_cut_within() -> None:
    assert (
        shorten("sks dog, " + "犬" * 50, ("sks dog",), lambda text: len(text) <= 20)
        == "sks dog, " + "犬" * 11
    )


TEXTS = st.lists(st.text(string.ascii_letters + "äé犬,.'-<>[]() \U0001f415", max_size=14), max_size=90).map(
    " ".join
)
TOKENS = st.text(string.ascii_letters + string.digits + "<>-_é犬", min_size=1, max_size=8)


@settings(deadline=None, max_examples=40)
@given(before=TEXTS, after=TEXTS, token=TOKENS, upper=st.booleans(), vectors=st.integers(0, 16))
def test_the_token_survives_the_window_of_every_tower(
    base: Base, before: str, after: str, token: str, upper: bool, vectors: int
) -> None:
    """Random captions, the token anywhere in them or nowhere, plain or spelled as up to sixteen vectors."""
    tower = base.towers[0]
    assume(len(tower.ids(token)) <= 20)
    concept = Concept("it", token, "dog", ())
    named = token.upper() if upper and len(token.upper()) == len(token) else token
    caption = concept.caption(Example(Path("a.png"), f"{before} {named} {after}"))
    if vectors:
        tower.words = [Word(token, 0, vectors, tower.table.weight[None, :vectors])]
    try:
        fitted = base.fit(caption, concept.words)
        ids, word, _ = tower._spell(fitted, 0)
        assert len(ids) <= tower.room
        assert tower.count(fitted) >= len(ids)
        assert says(token, fitted)
        assert fitted == " ".join(fitted.split())
        if vectors:
            assert word.count(0) >= vectors, "all of its vectors are read"
        if tower.count(caption) <= tower.room:
            assert fitted == caption
    finally:
        tower.words = []


def long_captions(folder: Path) -> Path:
    """Four pictures; the token stands at the end of a long caption of the first two."""
    pictures(folder)
    for n in range(2):
        (folder / f"{n}.txt").write_text(f"{LONG}, sks dog")
    return folder


@pytest.mark.parametrize("method", ["textual_inversion", "lora", "dreambooth", "hypernetwork"])
def test_a_long_caption_is_trained_with_its_token_and_one_warning_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "teach",
        str(long_captions(Path("mixed"))),
        "--noun",
        "dog",
        "--token",
        "sks",
        "--base",
        "tiny:sd",
    ]
    more = ["--method", method, "steps=6", "prior=none", "resolution=64"]
    result = CliRunner().invoke(app, [*words, *more, "--out", "run"], prog_name="likewise")
    assert result.exit_code == 0, result.output
    cut = [line for line in result.stderr.splitlines() if "cut" in line]
    assert [line.split(":")[1].strip() for line in cut] == ["0.png", "1.png"]
    assert all(len(line) < 120 and "'sks dog' stays" in line for line in cut)
    assert len([e for e in journal.events(Path("run")) if isinstance(e, Warned) and "cut" in e.text]) == 2


def test_a_run_of_long_captions_goes_on_and_does_not_warn_again(tmp_path: Path) -> None:
    base, folder = tiny(), tmp_path / "run"
    concept = Concept.read(long_captions(tmp_path / "mixed"), token="sks", noun="dog")
    from likewise.errors import Interrupted
    from likewise.methods.textual_inversion import TextualInversionRecipe
    from likewise.stack import Job

    recipe = TextualInversionRecipe(steps=4, checkpoint_every=1, vectors=3, resolution=64)
    run = Run("tiny:sd", "textual_inversion", (Job(concept, recipe),), folder)
    begun = run.start(base=base)
    while not isinstance(next(begun), Stepped):
        pass
    run.stop()
    with pytest.raises(Interrupted):
        list(begun)
    *again, last = Run.open(folder).start(base=base)
    assert isinstance(last, Finished)
    assert last.result["steps"] == 4
    assert not [event for event in again if isinstance(event, Warned) and "cut" in event.text]


def test_a_long_prompt_keeps_the_words_of_what_is_attached(caplog: pytest.LogCaptureFixture) -> None:
    tower = tiny().towers[0]
    tower.kept = ("sks dog", "sks")
    with caplog.at_level(logging.WARNING):
        ids = tower.tokenize([f"{LONG}, sks dog", f"{LONG}, sks dog"]).ids
    assert set(tower.ids("sks dog")) <= set(ids[0].tolist())
    assert ids[0, 1 : 1 + tower.room].tolist()[-len(tower.ids("sks dog")) :] == tower.ids("sks dog")
    (said,) = (record.getMessage() for record in caplog.records)
    assert len(said) < 160, "once for a prompt, and short"


def test_words_of_vectors_are_met_in_every_case() -> None:
    """CLIP's tokenizers know no capital letters, so a prompt that says SKS means sks."""
    tower = tiny().towers[0]
    tower.words = [Word("sks", 0, 2, tower.table.weight[None, :2])]
    assert tower.tokenize(["a SKS dog"]).word[0].tolist().count(0) == 2


def test_check_cuts_captions_as_the_base_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["check", str(long_captions(Path("mixed"))), "--noun", "dog", "--json"])
    trained = [row["trained"] for row in json.loads(found.stdout)["examples"]]
    concept = Concept.read("mixed", token="sks", noun="dog")
    pocket = BASES["pocket"]()
    assert trained == [pocket.fit(concept.caption(e), concept.words) for e in concept.examples]
    assert trained[0].endswith("sks dog")
    assert trained[2] == "a sks dog"
    window = _window("pocket")
    assert window is not None
    assert window[0] == pocket.towers[0].room


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a (red:1.5) dog", "(red:1.5)"),
        ("a ((red)) dog", "((red))"),
        ("a (red) dog", "(red)"),
        ("a [red] dog", "[red]"),
        ("a [cat:dog:0.5] here", "[cat:dog:0.5]"),
        ("a [cat|dog]", "[cat|dog]"),
        ("a dog <lora:x:0.8>", "<lora:x:0.8>"),
        ("a dog AND a cat", "AND"),
        ("a dog BREAK a cat", "BREAK"),
        ("a {red|blue} dog", "{red|blue}"),
        ("a __colour__ dog", "__colour__"),
        ("embedding:toy on a table", "embedding:toy"),
        ("a red++ dog", "++"),
        ("a (red)1.4 dog", "(red)1.4"),
        ("a dog --ar 16:9", "--ar"),
    ],
)
def test_what_other_programs_would_read_is_said(prompt: str, said: str) -> None:
    found = foreign(prompt)
    assert any(repr(said) in text for text in found), found
    assert all("\n" not in text and len(text) < 140 for text in found)


@pytest.mark.parametrize(
    "prompt",
    ["a sks dog in the snow", "a <my-toy> dog", "rock-and-roll, C++", "and a dog: 1.5 m", "self-portrait"],
)
def test_plain_prompts_say_nothing(prompt: str) -> None:
    assert foreign(prompt) == []
