"""The web UI's hypernetworks: its own construction is the oracle, in both directions, and ComfyUI's reading beside it."""

import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor, nn

from likewise import formats
from likewise.artifact import Artifact
from likewise.concept import Concept
from likewise.errors import FormatError
from likewise.families.sd import StableDiffusion
from likewise.formats import Saving
from likewise.methods.hypernetwork import METHOD, HypernetworkRecipe
from likewise.picture import Example
from likewise.stack import Job, Stack
from likewise.weights import write_object
from tests import webui

WIDTHS = (32, 16)
FULL = Saving("float32")
FORMS: list[dict[str, Any]] = [
    {},
    {"layer_structure": [1, 1]},
    {"layer_structure": [1, 1.5, 1.5, 1], "activation_func": "mish", "activate_output": False},
    {"activation_func": "swish", "activate_output": True},
    {"activation_func": "silu", "activate_output": False},
    {"activation_func": "relu"},  # without `activate_output`, which then is on
    {
        "layer_structure": [1, 2, 2, 1],
        "activation_func": "relu",
        "use_dropout": True,
        "last_layer_dropout": True,
    },
    {"layer_structure": [1, 2, 2, 1], "activation_func": "elu", "use_dropout": True},
    {"layer_structure": [1, 2, 2, 1], "use_dropout": True, "dropout_structure": [0, 0.1, 0.3, 0]},
    {"activation_func": "leakyrelu", "is_layer_norm": True, "activate_output": False},
    {"is_layer_norm": True, "use_dropout": True, "dropout_structure": [0, 0.5, 0]},
    {
        "activation_func": "tanh",
        "activate_output": False,
        "dropout_structure": [0, 0.2, 0],
        "is_layer_norm": True,
    },
]


def their_file(path: Path, form: dict[str, Any], old_names: bool = False, **more: Any) -> Path:
    """What the web UI saves: its modules' states, values drawn large enough to be seen."""
    torch.manual_seed(0)
    tree: dict[Any, Any] = {"step": 500, "name": "toy", **form, **more}
    for width in WIDTHS:
        pair = []
        for _ in range(2):
            one = webui.network(width, form)
            for parameter in one.parameters():
                nn.init.normal_(parameter, 0.0, 0.3)
            rename = (lambda k: f"linear{int(k[0]) + 1}{k[1:]}") if old_names else (lambda k: f"linear.{k}")
            pair.append(OrderedDict((rename(k), v) for k, v in one.state_dict().items()))
        tree[width] = tuple(pair)
    torch.save(tree, path)
    return path


@functools.cache
def miniature() -> StableDiffusion:
    return StableDiffusion.tiny()


def taught(**recipe: Any) -> Artifact:
    """A hypernetwork of our own for the miniature, with large values."""
    made = HypernetworkRecipe(sizes="all", **recipe)
    concept = Concept("toy", "sks", "toy", (Example(Path("none.png")),))
    with METHOD.attach(miniature(), Stack((Job(concept, made),))) as adapter:
        generator = torch.Generator().manual_seed(0)
        for group in adapter.groups():
            for p in group.parameters:
                p.data = torch.randn(p.shape, generator=generator) * 0.3
        return Artifact("hypernetwork", "sd", "sks", "toy", adapter.state(0), made.model_dump(mode="json"))


@torch.no_grad()
def changes(artifact: Artifact) -> dict[tuple[int, str], Tensor]:
    """By width and part, what a key or value projection of ours gives for fixed inputs, and what reaches it."""
    base, found = miniature(), {}
    with METHOD.restore(base, [artifact]):
        for site in base.sites():
            found.setdefault((site.width, site.part), site.module(context(site.width)))
    return found


@torch.no_grad()
def their_changes(networks: dict[int, tuple[nn.Module, nn.Module]]) -> dict[tuple[int, str], Tensor]:
    """The same by the published rule: `to_k(x + networks[0](x))`, `to_v(x + networks[1](x))`."""
    base, found = miniature(), {}
    for site in base.sites():
        x = context(site.width)
        one = networks[site.width][0 if site.part == "key" else 1]
        found.setdefault((site.width, site.part), site.module(x + one(x)))
    return found


def context(width: int) -> Tensor:
    return torch.randn(2, 5, width, generator=torch.Generator().manual_seed(width))


def same(ours: dict[tuple[int, str], Tensor], theirs: dict[tuple[int, str], Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_web_uis_files_act_as_they_do_there(tmp_path, form):
    path = their_file(tmp_path / "x.pt", form)
    found = formats.read(path)
    assert (found.method, found.family, found.token) == ("hypernetwork", "sd", "toy")
    same(changes(found), their_changes(webui.hypernetwork(torch.load(path))))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_is_written_acts_the_same_in_the_web_ui(tmp_path, form):
    """Also after the way through our layout: what was read is written, and the web UI's strict reader takes it."""
    first = their_file(tmp_path / "x.pt", form)
    again = formats.write(formats.read(first), tmp_path / "y.pt", "webui_hypernetwork")
    tree = webui.load(again)
    assert tree["use_dropout"] is False
    assert not any(tree["dropout_structure"])
    assert type(tree["activate_output"]) is bool
    same(their_changes(webui.hypernetwork(tree)), their_changes(webui.hypernetwork(torch.load(first))))


RECIPES: list[dict[str, Any]] = [
    {},
    {"structure": (1, 2, 2, 1), "activation": "relu", "dropout": (0, 0.3, 0.3, 0)},
    {"structure": (1, 1.5, 1), "activation": "swish", "activate_output": True, "init": "kaiming_uniform"},
    {"activation": "softsign", "layer_norm": True, "dropout": (0, 0.3, 0)},
    {"layer_norm": True},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_taught_ones_act_the_same_in_the_web_ui(tmp_path, recipe):
    ours = taught(**recipe)
    path = formats.write(ours, tmp_path / "x.pt", "webui_hypernetwork", FULL)
    tree = webui.load(path)
    same(changes(ours), their_changes(webui.hypernetwork(tree)))
    same(changes(formats.read(path)), changes(ours))
    assert {key for key in tree if type(key) is not str} == set(WIDTHS)
    assert tree["name"] == "sks"


@pytest.mark.parametrize("recipe", [r for r in RECIPES if not r.get("layer_norm")], ids=str)
def test_taught_ones_act_the_same_in_comfyui(tmp_path, recipe):
    ours = taught(**recipe)
    path = formats.write(ours, tmp_path / "x.pt", "webui_hypernetwork", FULL)
    tree = webui.load(path)
    contents = formats.examine(path)
    assert formats.recognise(contents).portability(contents)["ComfyUI"] == "exact"
    for width, pair in webui.hypernetwork(tree).items():
        for state, theirs in zip(tree[width], pair, strict=True):
            x = context(width)
            torch.testing.assert_close(webui.comfyui_network(state, tree, x), theirs(x), rtol=1e-5, atol=1e-5)


def test_dropout_shifts_the_names_of_others_files_and_not_of_ours(tmp_path):
    form = {"layer_structure": [1, 2, 1], "activation_func": "relu", "activate_output": False}
    without = their_file(tmp_path / "a.pt", form)
    dropped = their_file(tmp_path / "b.pt", {**form, "use_dropout": True, "dropout_structure": [0, 0.3, 0]})
    assert set(torch.load(without)[32][0]) == {
        f"linear.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")
    }
    assert set(torch.load(dropped)[32][0]) == {
        f"linear.{n}.{kind}" for n in (0, 3) for kind in ("weight", "bias")
    }
    again = formats.write(formats.read(dropped), tmp_path / "c.pt", "webui_hypernetwork")
    assert set(webui.load(again)[32][0]) == set(torch.load(without)[32][0])


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"use_dropout": True, "dropout_structure": [0, 0.3, 0]}, "dropout stays on"),
        ({"is_layer_norm": True, "activation_func": "relu", "activate_output": False}, "layer normalisation"),
        ({"activation_func": "relu"}, "for lack of `activate_output`"),
        ({"activation_func": "gelu", "activate_output": False}, "does not know the activation gelu"),
        ({"is_layer_norm": True}, None),
        ({}, None),
    ],
)
def test_where_comfyui_differs_is_told(tmp_path, form, reason):
    contents = formats.examine(their_file(tmp_path / "x.pt", form))
    told = formats.recognise(contents).portability(contents)
    assert told["AUTOMATIC1111"] == "exact"
    assert (reason in told["ComfyUI"]) if reason else (told["ComfyUI"] == "exact")


def test_dropout_in_a_file_is_random_in_comfyui(tmp_path):
    """What the warning is for: the same file gives two answers there, and one after we wrote it."""
    form = {"use_dropout": True, "dropout_structure": [0, 0.3, 0]}
    path = their_file(tmp_path / "x.pt", form)
    again = formats.write(formats.read(path), tmp_path / "y.pt", "webui_hypernetwork")
    for file, equal in ((path, False), (again, True)):
        tree = torch.load(file)
        one, two = (webui.comfyui_network(tree[32][0], tree, context(32)) for _ in range(2))
        assert torch.equal(one, two) is equal


def test_the_first_files_names_are_read(tmp_path):
    old, new = their_file(tmp_path / "old.pt", {}, old_names=True), their_file(tmp_path / "new.pt", {})
    assert set(torch.load(old)[32][0]) == {f"linear{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")}
    found, wanted = formats.read(old), formats.read(new)
    assert found.tensors.keys() == wanted.tensors.keys()
    assert all(torch.equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


def test_layers_are_in_the_order_of_their_numbers(tmp_path):
    path = their_file(tmp_path / "x.pt", {"layer_structure": [1, 1, 1]})
    tree, wanted = torch.load(path), formats.read(path)
    for width in WIDTHS:
        tree[width] = tuple(OrderedDict(reversed(one.items())) for one in tree[width])
    found = formats.read(write_object(path, tree))
    assert all(torch.equal(found.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


def test_missing_settings_are_the_web_uis(tmp_path):
    found = formats.read(their_file(tmp_path / "x.pt", {}))
    wanted = {"structure": [1, 2, 1], "activation": "linear", "activate_output": True, "layer_norm": False}
    assert wanted.items() <= found.recipe.items()
    assert formats.read(their_file(tmp_path / "y.pt", {}, activation_func=None)).recipe == found.recipe


def test_sdxls_width_is_known(tmp_path):
    pair = tuple(
        {"linear.0.weight": torch.zeros(2048, 2048), "linear.0.bias": torch.zeros(2048)} for _ in range(2)
    )
    write_object(tmp_path / "x.pt", {2048: pair, "layer_structure": [1, 1]})
    assert formats.read(tmp_path / "x.pt").family == "sdxl"


@limits(max_examples=20, deadline=None)
@given(
    inner=st.lists(st.sampled_from([0.5, 1, 1.5, 2]), max_size=3),
    activation=st.sampled_from(["linear", "relu", "swish", "mish", "softsign"]),
    activate_output=st.booleans(),
    layer_norm=st.booleans(),
    drop=st.booleans(),
    dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
)
def test_every_form_survives(tmp_path_factory, inner, activation, activate_output, layer_norm, drop, dtype):
    dropout = (0, *[0.3] * len(inner), 0) if drop else None
    ours = taught(
        structure=(1, *inner, 1), activation=activation, activate_output=activate_output, layer_norm=layer_norm,
        dropout=dropout,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("x") / "x.pt"
    again = formats.read(formats.write(ours, path, "webui_hypernetwork", Saving(dtype)))
    rounded = {name: tensor.to(getattr(torch, dtype)).float() for name, tensor in ours.tensors.items()}
    same(changes(again), changes(Artifact("hypernetwork", "sd", "sks", "toy", rounded, ours.recipe)))


def broken(change: Any) -> dict[Any, Any]:
    pair = tuple(
        {"linear.0.weight": torch.ones(8, 4), "linear.0.bias": torch.ones(8), "linear.1.weight": torch.ones(4, 8),
         "linear.1.bias": torch.ones(4)} for _ in range(2)
    )  # fmt: skip
    tree: dict[Any, Any] = {4: pair, "layer_structure": [1, 2, 1]}
    change(tree)
    return tree


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda t: t[4][0]["linear.1.bias"].fill_(torch.nan),
            "4 key linear.1.bias holds numbers that are not finite",
        ),
        (lambda t: t[4][1].pop("linear.1.bias"), "4 value linear.1.bias is no tensor"),
        (lambda t: t[4][1].update({"linear.1.bias": torch.ones(5)}), r"has shape \[5\], not \[4\]"),
        (lambda t: t[4][0].update({"linear.2.weight": torch.ones(4, 4)}), "3 layers for its keys.*ask for 2"),
        (lambda t: t[4][0].update({"extra": torch.ones(1)}), "unknown tensor 'extra'"),
        (lambda t: t.update({"layer_structure": [1, 3, 1]}), r"has shape \[8, 4\], not \[12, 4\]"),
        (lambda t: t.update({"layer_structure": [2, 1]}), "begin and end with 1"),
        (lambda t: t.update({"layer_structure": [1, float("nan"), 1]}), "no list of multiples"),
        (lambda t: t.update({"layer_structure": "1,2,1"}), "no list of multiples"),
        (lambda t: t.update({"activation_func": "prelu"}), "activation 'prelu', which is not known"),
        (lambda t: t.update({4: t[4][:1]}), "no pair of networks"),
        (lambda t: t.update({-4: t[4]}), "no pair of networks"),
        (lambda t: t.update({5: 3}), "no pair of networks"),
        (lambda t: t.update({"4": t.pop(4)}), "widths as texts"),
    ],
)
def test_impossible_files_are_told_in_one_line(tmp_path, change, reason):
    path = tmp_path / "x.pt"
    torch.save(broken(change), path)
    with pytest.raises(FormatError, match=reason) as caught:
        formats.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_half_a_network_is_not_written(tmp_path):
    ours = taught()
    kept = {name: tensor for name, tensor in ours.tensors.items() if ".value." not in name}
    with pytest.raises(FormatError, match="only the keys of width 16"):
        formats.write(
            Artifact("hypernetwork", "sd", "sks", "", kept), tmp_path / "x.pt", "webui_hypernetwork"
        )
    assert list(tmp_path.iterdir()) == []
