"""The commands that answer which method to use, as a person meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from likewise.cli import app, comparing
from tests.comparison.situations import decided, gate, standing, write_verdict

Call = Callable[..., Result]
FIELD = [
    standing("base", 0.02, kind="floor", title="untaught base", cost={"bytes": None, "seconds": None}),
    standing("lora", 0.62, title="LoRA", cost={"bytes": 3_200_000, "seconds": 300.0}),
    standing("dreambooth", 0.65, title="DreamBooth", cost={"bytes": 1_700_000_000, "seconds": 900.0}),
    standing("textual_inversion", 0.40, title="Textual Inversion", cost={"bytes": 4000, "seconds": 600.0}),
    standing("hypernetwork", 0.64, title="Hypernetwork", gates=(gate(remedy="fewer steps"),)),
]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command beside the folder `compared`, which has a verdict; nothing that is raised may get out."""
    monkeypatch.chdir(tmp_path)
    Path("compared").mkdir()
    write_verdict(Path("compared"), FIELD, decided(FIELD))

    def run(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="likewise")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


def flowing(text: str) -> str:
    return " ".join(text.split())


def test_recommend_names_the_choice_what_it_is_tied_with_and_why(call: Call) -> None:
    result = call("recommend", "compared")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "Take LoRA (lora).\nIt cannot be told from DreamBooth.\n\nWhy\n  - The overall score of LoRA is"
    )
    text = flowing(result.stdout)
    assert re.search(r"^condition +Likeness +Prompt following +Overall +file$", result.stdout, re.MULTILINE)
    assert re.search(r"^LoRA .*0\.62", result.stdout, re.MULTILINE), "titles, as compare has them"
    assert "Left out - Hypernetwork: 12 % of its pictures" in text
    assert "Not tested - One concept, one base" in text
    assert "What would decide - Compare LoRA against DreamBooth with 12 more training seeds" in text


def test_recommend_under_limits_moves_to_what_is_left(call: Call) -> None:
    text = call("recommend", "compared", "--at-most", "1MB", "--must-load", "comfyui").stdout
    assert text.startswith("Take Textual Inversion (textual_inversion).")
    assert "LoRA: The size of its file is 3.2 MB, above 1 MB." in text


def test_recommend_says_none_and_why(call: Call) -> None:
    result = call("recommend", "compared", "--at-most", "1kB")
    assert result.exit_code == 0
    assert result.stdout.startswith("No recommendation.\n\nWhy none\n")


def test_recommend_prints_json_for_programs(call: Call) -> None:
    found = json.loads(call("recommend", "compared", "--json").stdout)
    assert (found["choice"], found["tied"]) == ("lora", ["dreambooth"])
    assert found["total_seconds"]["lora"][found["counts"].index(100)] == 500.0


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["recommend", "nowhere"], "there is no folder nowhere"),
        (["recompute", "nowhere"], "there is no folder nowhere"),
        (["recommend", "."], ". holds no comparison"),
        (["recompute", "."], ". holds no comparison"),
        (["recommend", "compared", "--at-most", "1"], "'1' is not a size"),
        (["recommend", "compared", "--within", "soon"], "'soon' is not a time"),
        (["recommend", "compared", "--memory", "8"], "'8' is not an amount of memory"),
        (["recommend", "compared", "--must-load", "paint"], "what a program 'paint' loads is not known here"),
        (["recommend", "compared", "--pictures", "0"], "0 pictures take no time"),
        (["which", "--kind", "cat"], "nothing is known of 'cat'"),
        (["which", "--kind", "object", "--family", "flux"], "nothing is known of 'flux'"),
        (["which", "--kind", "object", "--pictures-i-have", "0"], "0 pictures teach nothing"),
        (["which"], "Missing option '--kind'"),
    ],
)
def test_what_is_typed_wrong_is_one_line_and_a_hint(words: list[str], wanted: str, call: Call) -> None:
    result = call(*words)
    assert result.exit_code in (1, 2, 3)
    assert wanted in result.stderr
    assert not result.stdout


def test_which_says_where_to_start_when_each_method_and_what_tables_say(call: Call) -> None:
    text = call("which", "--kind", "object", "--pictures-i-have", "4").stdout
    assert text.startswith("For an object, start with LoRA.\n")
    wanted = [
        "When DreamBooth",
        "When LoRA",
        "When Textual Inversion",
        "When hypernetwork",
        "When aesthetic embedding",
    ]
    assert [line for line in text.splitlines() if line.startswith("When ")] == wanted
    assert "contradict each other" in flowing(text)
    first = flowing(text.partition("\n\n")[0])
    assert "draw with a good description alone: in 1 of our 2 comparisons below" in first, "of the red mug"
    assert "Your pictures\n" in text
    assert "Sources\n" in text


def test_which_says_where_no_table_has_its_first_method_on_such_a_subject(call: Call) -> None:
    words = " ".join(call("which", "--kind", "style").stdout.split())
    assert words.startswith(
        "For a style, start with LoRA. No table has it on a style: it comes first by tables of"
    )
    assert "No table has it on" not in call("which", "--kind", "object").stdout


def test_which_keeps_limits(call: Call) -> None:
    text = call("which", "--kind", "style", "--at-most", "1kB").stdout
    assert "Before you teach" not in text, "no comparison of a style was recorded"
    assert "no method that tables have keeps your limits" in text
    assert "LoRA: the size of its file is 3.2 MB, above 1 kB." in text


def test_which_says_where_a_limit_meets_no_published_figure(call: Call) -> None:
    found = json.loads(call("which", "--kind", "object", "--within", "1min", "--json").stdout)
    told = {one["method"]: (bool(one["broken"]), one["unknown"]) for one in found["options"]}
    assert told["dreambooth"] == (True, [])
    assert told["lora"] == (False, ["no time of its teaching is published"])
    text = call("which", "--kind", "object", "--within", "1min").stdout
    assert "not known" in text
    assert "LoRA: no time of its teaching is published." in text
    assert "nor it clearly above" not in flowing(text)  # what is out of limits is not advised


def test_which_prints_json_for_programs(call: Call) -> None:
    found = json.loads(call("which", "--kind", "person", "--json").stdout)
    assert found["kind"] == "person"
    assert {one["method"] for one in found["options"]} >= {"lora", "dreambooth", "aesthetic"}


@pytest.mark.parametrize("words", [["recommend", "compared"], ["which", "--kind", "object"]])
def test_neither_needs_torch(words: list[str], call: Call) -> None:
    code = f"import sys; sys.modules['torch'] = None; from likewise.cli import app; app({words!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_comparison_ends_with_what_to_take_and_what_is_as_good(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Red when the terminal names a choice and not those that cannot be told from it."""
    comparing._conclude(Path("compared"))
    told = flowing(capsys.readouterr().err)
    assert re.match(
        r"take LoRA: The overall score of LoRA is 0\.62 [^(]*\. It cannot be told from DreamBooth\. Of what",
        told,
    ), told
    assert "left out: Hypernetwork" in told
    write_verdict(Path("compared"), FIELD[:1], decided(FIELD[:1]))
    comparing._conclude(Path("compared"))
    assert flowing(capsys.readouterr().err).startswith("no recommendation: ")
