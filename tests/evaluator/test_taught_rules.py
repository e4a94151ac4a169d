"""Cases whose right answer is known before anything is taught, with real trainings on the bundled base.

Rows 4, 5, 8, 18 to 21, 41 and 43 of the evaluator's sanity set. Somebody drawn in ink is taught by four pictures and judged
by six others, as short as still shows the order. What does not hold on this base is an expected failure with its figures: no
line was moved until it held. Each test names what makes it red.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from likewise import families, methods
from likewise.base import Base
from likewise.comparison import gates
from likewise.comparison.protocol import MARGIN
from likewise.comparison.results import Results
from likewise.comparison.standing import Standing
from likewise.comparison.verdicts import decide
from likewise.concept import Concept
from likewise.gallery import Gallery
from likewise.metrics.features import Features, read
from likewise.metrics.score import likeness
from likewise.planning import Subject, Way, settle
from likewise.run import plan
from likewise.sampling import artifacts, attached
from likewise.stack import Job, Stack
from tests.evaluator.seen import score
from tests.evaluator.taught import TOKEN, Bench, bare, pictures, pixels
from tests.metrics.drawings import suite

WOMAN = bare(pictures("ink-woman", "04-1", "06-1", "09-1", "12-1"))
"""Six references, and four true pictures in places that no prompt asks for, all without captions."""
NOUN = "woman"
LORA = {"steps": 80, "batch_size": 2, "learning_rate": 1e-3}
FULL = {"steps": 20, "batch_size": 2, "learning_rate": 6e-4, "prior": "none", "schedule": "constant"}
WORN = "worn=dreambooth," + ",".join(f"{key}={value}" for key, value in (FULL | {"steps": 200}).items())
"""DreamBooth with ten times the steps, and nothing else."""
SETTINGS = {
    "lora": LORA,
    "dreambooth": FULL,
    "textual_inversion": {"steps": 100, "batch_size": 2, "learning_rate": 3e-3},
}
METHODS = ("aesthetic", *SETTINGS)
TRAINED = ("lora", "dreambooth")
"""The methods that learn this subject in so few steps."""
STYLED = (
    "a cat on a beach, {}",
    "a panda in the snow, {}",
    "a frog on a road, {}",
    "a fish in the mountains, {}",
)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base() -> Base:
    return families.load("pocket")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def stranger(base: Base, place: Path) -> Path:
    """A LoRA of somebody else, taught and called as the woman is."""
    photos = [str(path) for path in pictures("green-haired-man")[:4]]
    run, _ = plan([Subject(photos, NOUN, TOKEN)], Way("lora", LORA), base=base, out=place / "stranger")
    for _ in run.start(base=base):
        pass
    return next(run.folder.glob("*.safetensors"))


@pytest.fixture(scope="module")
def bench(base: Base, judge: Features, place: Path, stranger: Path) -> Bench:
    """Every method but the hypernetwork on the woman, and somebody else's file beside them."""
    return Bench.compare(
        base, judge, WOMAN, place / "all", noun=NOUN, methods=METHODS, recipes=SETTINGS,
        conditions=[WORN], files=[stranger],
    )  # fmt: skip


@pytest.fixture(scope="module")
def standings(bench: Bench) -> dict[str, Standing]:
    return bench.standings()


def axis(standings: dict[str, Standing], name: str, of: str) -> float:
    return standings[name].axes[of].value


def fired(standing: Standing) -> dict[str, bool]:
    return {gate.name: gate.fired for gate in standing.gates}


# --- rows 4, 5 and 8: anchors and orders -----------------------------------------------------------


def test_row_4_real_pictures_are_above_every_method(bench: Bench, judge: Features) -> None:
    """Red when drawn pictures are likened to one another."""
    others = read(judge, [picture for number, picture in enumerate(suite("ink-woman", "true")) if number % 3])
    _, held_out = bench.real()
    rows = [row for row in Results(bench.folder).rows() if row.kind in ("method", "file")]
    drawn = {row.condition: bench.gallery(row.trial) for row in rows}
    real = _mean(likeness(others, held_out))
    ceiling = bench.frame.scale()["fidelity"]["ceiling"]
    assert real == pytest.approx(ceiling, abs=MARGIN * (ceiling - bench.frame.scale()["fidelity"]["floor"]))
    for name in drawn:
        assert axis(bench.standings(), name, "fidelity") < 1, name


def test_row_4_what_is_above_real_pictures_is_called_a_copy(bench: Bench, place: Path) -> None:
    """Red when `Frame.notes` looks only at files, or `calibrate` draws its line at the same picture.

    The gallery of one method is replaced by the held-out pictures, and that of another by those that were taught.
    """
    copied = replace(bench.comparison, folder=place / "copied")
    shutil.copytree(bench.folder, copied.folder)
    whole, fold = bench.comparison.concept.examples, bench.comparison.folds[0]
    for trial, part in (("dreambooth-0", fold.held_out), ("lora-0", fold.train)):
        gallery = Gallery(copied.folder / "trials" / trial / "gallery")
        for number, one in enumerate(gallery):
            whole[part[number % len(part)]].open().save(gallery.folder / one.file)
        (gallery.folder.parent / "scores.json").unlink()
    found = Bench(copied, bench.base, bench.judge).done()
    standings = found.standings()
    notes = found.frame.notes(list(standings.values()))
    assert axis(standings, "dreambooth", "fidelity") > 1
    assert "DreamBooth" in {note.split(" scores")[0] for note in notes if "a sign of copying" in note}
    assert fired(standings["lora"])["copying"]
    assert not fired(standings["textual_inversion"])["copying"]


@pytest.mark.parametrize(
    "method",
    [
        "lora",
        "dreambooth",
        "textual_inversion",
        pytest.param(
            "aesthetic",
            marks=pytest.mark.xfail(
                raises=AssertionError,
                strict=True,
                reason="it does not teach a subject (row 43): -0.03, which is practically nothing",
            ),
        ),
    ],
)
def test_row_5_the_untaught_base_has_the_least_likeness(standings: dict[str, Standing], method: str) -> None:
    """Red when fidelity is taken against the pictures that the base draws."""
    assert axis(standings, method, "fidelity") > axis(standings, "base", "fidelity")


def test_row_5_nothing_follows_prompts_better_than_the_untaught_base(standings: dict[str, Standing]) -> None:
    """Red when what is not seen is what counts."""
    best = max(axis(standings, name, "prompt") for name in standings)
    assert axis(standings, "base", "prompt") > best - MARGIN


def other(standings: dict[str, Standing]) -> str:
    """What the condition of somebody else's file is called."""
    return next(name for name, one in standings.items() if one.kind == "file")


def test_row_8_a_model_of_somebody_else_is_near_look_alikes_by_likeness(
    bench: Bench, judge: Features, standings: dict[str, Standing]
) -> None:
    """Red when `files` are drawn without their file. Look-alikes are true pictures of the other one."""
    scale = bench.frame.scale()["fidelity"]
    alike = read(judge, suite("green-haired-man", "true"))
    raw = _mean(likeness(alike, bench.real()[1]))
    level = (raw - scale["floor"]) / (scale["ceiling"] - scale["floor"])
    right, wrong = (axis(standings, one, "fidelity") for one in ("lora", other(standings)))
    assert wrong < right - 2 * MARGIN
    assert abs(wrong - level) < abs(wrong - right)


def test_row_8_a_model_of_somebody_else_is_near_chance_by_rank(
    bench: Bench, judge: Features, standings: dict[str, Standing]
) -> None:
    """Red when the gallery is ordered by distance.

    The other one's true pictures are the look-alikes, and chance is the share of pictures that are the right one's.
    """
    alike, kept = read(judge, suite("green-haired-man", "true")), len(bench.real()[1])
    right, wrong = (
        score("rank", replace(bench.evidence(bench.uses(trial)), others=alike)).mean
        for trial in ("lora-0", other(standings))
    )
    assert wrong < right
    assert abs(wrong - kept / (kept + len(alike))) < abs(wrong - right)


# --- rows 18 to 20: nothing taught is the base -----------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_row_18_strength_0_is_the_base_bit_for_bit(bench: Bench, method: str) -> None:
    """Red when the strength is not handed to the adapter."""
    before = pixels(bench.draw(f"{TOKEN} {NOUN}")[:2])
    with attached(bench.base, artifacts(bench.file(method)), [0.0]):
        assert pixels(bench.draw(f"{TOKEN} {NOUN}")[:2]) == before


def test_row_18_an_adapter_that_was_not_trained_is_the_base(bench: Bench) -> None:
    """Red when a LoRA starts with both its factors random, or an embedding with the table's first words."""
    base, concept = bench.base, Concept.read([str(path) for path in WOMAN], token=TOKEN, noun=NOUN)
    called, plain = (pixels(bench.draw(words)[:2]) for words in (f"{TOKEN} {NOUN}", NOUN))
    with _untrained(base, concept, "lora"):
        assert pixels(bench.draw(f"{TOKEN} {NOUN}")[:2]) == called
    with _untrained(base, concept, "textual_inversion", vectors=1, initialiser=NOUN):
        assert pixels(bench.draw(TOKEN)[:2]) == plain


def _untrained(base: Base, concept: Concept, method: str, **settings: object):  # type: ignore[no-untyped-def]
    recipe = settle(base, method, settings)
    return methods.get(method).attach(base, Stack((Job(concept, recipe),)))


def test_row_19_likeness_rises_with_strength_and_prompt_following_does_not(bench: Bench) -> None:
    """Red when `attached` gives every adapter the strength 1."""
    likenesses, follows = [], []
    taught = artifacts(bench.file("lora"))
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        with attached(bench.base, taught, [strength]):
            found = bench.evidence(bench.draw(f"{TOKEN} {NOUN}"))
        likenesses.append(score("fidelity", found).mean)
        follows.append(score("prompt", found).mean)
    scale = bench.frame.scale()["fidelity"]
    tolerance = MARGIN * (scale["ceiling"] - scale["floor"])
    assert all(later > earlier - tolerance for earlier, later in pairwise(likenesses)), likenesses
    assert likenesses[-1] > likenesses[0] + 3 * tolerance, likenesses
    assert all(later < earlier + MARGIN for earlier, later in pairwise(follows)), follows


def test_row_20_one_step_is_practically_the_base(base: Base, judge: Features, place: Path) -> None:
    """Red when a LoRA starts with both its factors random.

    The base is asked with the token as well, by a rate of 0: the token alone moves its likeness by -0.15. The two are
    decided by themselves, since a verdict reads the luck of seeds from all its pairs.
    """
    found = Bench.compare(
        base, judge, WOMAN, place / "once", noun=NOUN, methods=[], replicates=2, plain=False,
        conditions=[
            f"{name},rank=8,steps=1,batch_size=1,prior=none" for name in ("once=lora", "still=lora,learning_rate=0")
        ],
    )  # fmt: skip
    frame = found.frame
    for of in ("fidelity", "prompt", "composite"):
        prompts = frame.prompts(of, frame.complete)
        arrays = {name: frame.array(of, name, prompts) for name in ("once", "still")}
        (pair,) = decide(of, {name: array for name, array in arrays.items() if array is not None}).pairs
        assert pair.verdict == "same", of


# --- row 21: ten times too many steps --------------------------------------------------------------


def test_row_21_too_many_steps_lean_on_training_and_lose_the_prompt(
    bench: Bench, judge: Features, standings: dict[str, Standing]
) -> None:
    """Red when `calibrate` draws its line at the same picture, or the gap is turned round."""
    train, _ = bench.real()
    near = {
        name: _mean(likeness(read(judge, bench.uses(f"{name}-0")), train)) for name in ("dreambooth", "worn")
    }
    short, long = (
        {of: axis(standings, name, of) for of in ("prompt", "diversity", "copying")}
        for name in ("dreambooth", "worn")
    )
    assert near["worn"] > near["dreambooth"], near
    assert long["prompt"] < short["prompt"] - MARGIN
    assert long["diversity"] < short["diversity"]
    assert long["copying"] > short["copying"]
    assert fired(standings["worn"])["copying"]
    assert not fired(standings["dreambooth"])["copying"]


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="the judge sees the subject alone, which is drawn better and better from memory: 0.79 short, 0.89 long; "
    "so nothing of it is nearer to training pictures: a gap of 0.01 short, -0.02 long",
)
def test_row_21_too_many_steps_look_no_more_like_held_out_pictures(standings: dict[str, Standing]) -> None:
    """Red, once it holds, when training pictures are among the held-out ones."""
    short, long = (
        {of: axis(standings, name, of) for of in ("fidelity", "gap")} for name in ("dreambooth", "worn")
    )
    assert long["fidelity"] < short["fidelity"] + MARGIN
    assert long["gap"] > short["gap"]


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="the gap of one split says more of the split: the untaught base has 0.13, too many steps 0.11 (0.04 to 0.19)",
)
def test_row_21_the_gate_of_the_gap_fires_for_too_many_steps_alone(bench: Bench) -> None:
    """Red, once it holds, when the gate asks for less than an interval above 0. The interval is that over prompts."""
    alarms = []
    for trial in ("base", "worn-0"):
        found = score("gap", bench.evidence(bench.uses(trial)))
        value = gates.Value(found.mean, found.low, found.high)
        (gate,) = gates.gates(gates.Findings(gap=value), gates.Anchors())
        alarms.append(gate.fired)
    assert alarms == [False, True]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- row 41: without the trigger -------------------------------------------------------------------


def test_row_41_without_its_token_an_embedding_does_nothing(
    bench: Bench, standings: dict[str, Standing]
) -> None:
    """Red when the taught word is spelled like the noun."""
    plain = pixels(bench.draw(NOUN))
    nonsense = pixels(bench.draw(f"zwx {NOUN}"))
    with attached(bench.base, artifacts(bench.file("textual_inversion"))):
        assert pixels(bench.draw(NOUN)) == plain
        assert pixels(bench.draw(f"zwx {NOUN}")) == nonsense
    for name in ("leak", "drift", "binding"):  # batches of other sizes round otherwise
        assert axis(standings, "textual_inversion", name) == pytest.approx(0, abs=1e-5), name
    assert not fired(standings["textual_inversion"])["binding"]


@pytest.mark.parametrize("method", TRAINED)
def test_row_41_what_the_others_do_without_the_token_is_reported(
    bench: Bench, standings: dict[str, Standing], method: str
) -> None:
    """Red when the class is drawn by the untaught base, or the gate of the token never fires."""
    assert {"leak", "drift"} <= fired(standings[method]).keys()
    assert fired(standings[method])["binding"]
    assert axis(standings, method, "drift") > 0.05


# --- row 43: the aesthetic embedding ---------------------------------------------------------------


def test_row_43_an_aesthetic_embedding_does_not_teach_an_object(standings: dict[str, Standing]) -> None:
    """Red when fidelity is taken against the pictures that were taught, or those that the base draws."""
    assert abs(axis(standings, "aesthetic", "fidelity")) < MARGIN


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="the bundled judge does not tell this style from the base's own: true pictures score 0.771 among themselves, the "
    "untaught base 0.775, the embedding 0.794 (by likeness 0.15, 0.26 and 0.29)",
)
def test_row_43_an_aesthetic_embedding_teaches_a_style(base: Base, judge: Features, place: Path) -> None:
    """Red, once it holds, when the filter of the aesthetic embedding is not put on the tower."""
    found = Bench.compare(
        base, judge, pictures("mosaic-style"), place / "style", plain=False, noun="style", kind="style",
        prompts=STYLED, methods=["aesthetic"],
    )  # fmt: skip
    taught, kept = found.real()
    real = score(
        "style", replace(found.evidence(taught), prompts=("real",) * len(taught), held_out=kept)
    ).mean
    floor, drawn = (axis(found.standings(), name, "style") for name in ("base", "aesthetic"))
    assert real > floor, "nothing can be said of this style"
    assert (drawn - floor) / (real - floor) > MARGIN
