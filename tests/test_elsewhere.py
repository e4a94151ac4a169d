"""The names of other trainers: every one leads to a setting or option that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import likewise
from likewise import methods
from likewise.cli import app
from likewise.elsewhere import DRAWING, OPTIONS, SETTINGS, ours
from likewise.errors import RecipeError
from tests.bases import pictures

FIELDS = {name: set(methods.get(name).recipe.model_fields) for name in methods.names()}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_name_leads_to_a_setting_of_some_method(name: str) -> None:
    everything = set().union(*FIELDS.values())
    assert set(SETTINGS[name]) & everything
    assert ours(name, everything) in {f"{setting}=" for setting in everything}
    assert name not in everything, "it is ours as well, so nobody is ever led astray"


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_leads_to_one_of_teach(name: str) -> None:
    parameters = get_command(app).commands["teach"].params  # type: ignore[attr-defined]
    known = {text for parameter in parameters for text in (*parameter.opts, parameter.metavar)}
    assert set(re.findall(r"--[a-z-]+|[A-Z]+", OPTIONS[name])) <= known


@pytest.mark.parametrize(
    ("setting", "method", "said"),
    [
        ("unet_lr=1e-4", "lora", "here it is learning_rate="),
        ("text_encoder_lr=1e-5", "lora", "here it is text_rate="),
        ("text_encoder_lr=1e-5", "textual_inversion", "here it is learning_rate="),
        ("network_dim=8", "lora", "here it is rank="),
        ("train_batch_size=2", "dreambooth", "here it is batch_size="),
        ("max_train_steps=9", "hypernetwork", "here it is steps="),
        ("lr_scheduler=cosine", "lora", "here it is schedule="),
        ("LR-Scheduler=cosine", "lora", "here it is schedule="),
        ("class_data_dir=reg", "dreambooth", "here it is --class-pictures"),
        ("max_train_steps=9", "aesthetic", "nothing trains before it draws"),
    ],
)
def test_a_setting_of_another_program_is_answered_with_ours(
    setting: str, method: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = methods.get(method).recipe()
    name, _, value = setting.partition("=")
    with pytest.raises(RecipeError) as caught:
        recipe.override({name: value})
    assert said in str(caught.value.hint)
    if "-" in name:
        return  # no word of Python
    with pytest.raises(RecipeError) as caught:
        likewise.teach("nowhere", noun="dog", method=method, base="nowhere", **{name: value})
    assert said in str(caught.value.hint), "before pictures and base are looked for"
    result = CliRunner().invoke(
        app,
        [
            "teach",
            str(pictures(Path("photos"))),
            "--noun",
            "dog",
            "--base",
            "no",
            "--method",
            method,
            setting,
        ],
    )
    assert result.exit_code == 2
    assert said in result.stderr
    assert "loading" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max_train_steps", "400"], "Here it is steps=..., without dashes."),
        (["--max-train-steps=400"], "Here it is steps=..., without dashes."),
        (["--train_batch_size", "1"], "Here it is batch_size=..."),
        (["--gradient_accumulation_steps", "4"], "Here it is "),
        (["--instance_prompt", "a sks dog"], "Here it is --token and --noun."),
        (["--unet_lr=1e-4"], "Here it is learning_rate=..."),
        (["--rank", "4"], "write rank=... without dashes"),
    ],
)
@pytest.mark.parametrize("command", ["teach", "compare"])
def test_an_option_of_another_program_is_answered_with_ours(
    words: list[str], said: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    result = CliRunner().invoke(app, [command, str(pictures(tmp_path)), "--noun", "dog", *words])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", DRAWING)
def test_every_option_of_drawing_leads_to_one_of_sample(name: str) -> None:
    parameters = get_command(app).commands["sample"].params  # type: ignore[attr-defined]
    known = {text for parameter in parameters for text in (*parameter.opts, parameter.metavar)}
    assert DRAWING[name].partition(" ")[0] in known
    result = CliRunner().invoke(app, ["sample", "a dog", f"--{name}", "3"], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert f"Here it is {DRAWING[name]}." in result.stderr


def test_an_option_of_ours_with_the_wrong_strokes(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["teach", str(pictures(tmp_path)), "--class_pictures", "x"], env={"COLUMNS": "400"}
    )
    assert "Here it is --class-pictures." in result.stderr


def test_a_comparison_refuses_wrong_settings_before_it_loads_a_base(tmp_path: Path) -> None:
    for settings, said in (
        ({"unet_lr": 1}, "learning_rate"),
        ({"recipes": {"lora": {"network_dim": 4}}}, "rank"),
    ):
        with pytest.raises(RecipeError) as caught:
            likewise.compare(pictures(tmp_path), noun="dog", base="nowhere", **settings)
        assert said in str(caught.value.hint)
