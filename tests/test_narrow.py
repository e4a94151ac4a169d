"""What a command imports: no compiler, no text encoders that nobody uses, and all of diffusers for whoever asks later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = (
    "transformers",
    "torch._dynamo",
    "torch._inductor",
    "scipy",
    "sympy",
    "peft",
    "accelerate",
    "torch.onnx",
)
"""Packages that a training on the bundled model has no use for."""
LOADED = """
import json, sys
from likewise.cli import main
code = main()
print(json.dumps([code, [name for name in {heavy!r} if sys.modules.get(name)], len(sys.modules)]))
"""


def python(code: str, *arguments: str) -> list:
    """What a Python of its own prints as the last line, read as JSON."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=env, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_command_that_teaches_imports_what_it_uses(tmp_path):
    pictures = str(ROOT / "src/likewise/pocket/concepts/cat")
    arguments = ["teach", pictures, "--noun", "cat", "--out", str(tmp_path / "run"), "steps=1"]
    code, heavy, count = python(LOADED.format(heavy=HEAVY), *arguments)
    assert code == 0
    assert heavy == [], "a training of `pocket` computes nothing with these"
    assert count < 2200, "modules that were imported; 3,850 before imports were narrow"


def test_help_does_not_import_torch():
    code, heavy, _ = python(LOADED.format(heavy=("torch", *HEAVY)), "--help")
    assert (code, heavy) == (0, [])


WHOLE = """
import importlib, json, sys
from likewise import narrow
{own}
ours = importlib.import_module("likewise.families._diffusers")
early = [name for name in {heavy!r} if sys.modules.get(name)]
import diffusers
same = [getattr(diffusers, name) is getattr(ours, name) for name in ours.__all__]
from diffusers import DDIMScheduler
from diffusers.hooks import apply_first_block_cache
from diffusers.models import Transformer2DModel
import diffusers.models.unets as unets
import torch, torch._dynamo, transformers, scipy.stats
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item()
print(json.dumps([early, same, unets.UNet2DConditionModel is ours.UNet2DConditionModel, compiled,
                  torch.compiler.disable.__module__, sorted(narrow.left_out())]))
"""


def test_everything_can_be_imported_afterwards():
    early, same, unet, compiled, disable, left_out = python(
        WHOLE.format(own="narrow.own_process()", heavy=HEAVY)
    )
    assert early == []
    assert all(same)
    assert unet
    assert compiled == 2
    assert disable == "torch.compiler", "what was put in its place is taken away again"
    assert "transformers" in left_out


def test_a_process_of_somebody_else_is_left_alone():
    early, same, unet, compiled, disable, left_out = python(WHOLE.format(own="", heavy=HEAVY))
    assert {"transformers", "torch._dynamo"} <= set(early), "diffusers as it comes"
    assert all(same)
    assert unet
    assert (compiled, disable, left_out) == (2, "torch.compiler", [])


@pytest.mark.parametrize("given", ["nobody/nothing"])
def test_the_hub_is_asked_by_a_whole_diffusers(given):
    code = """
import importlib, json, sys
from likewise import narrow
from likewise.errors import BaseError
narrow.own_process()
importlib.import_module("likewise.families._diffusers")
from likewise import families
try:
    families.locate(sys.argv[1])
except BaseError as error:
    print(json.dumps([error.message, error.hint]))
"""
    message, hint = python(code, given)
    assert message.startswith("'nobody/nothing' is no folder here, and the Hub does not give it:")
    assert "dummy" not in message
    assert "go online" in hint
