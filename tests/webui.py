"""The web UIs and ComfyUI as readers, built in the tests from what is published of their rules."""

import base64
import json
import pickletools
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

MEMBERS = r"[^/]+/(data/\d+|version|data\.pkl)"
"""Members of an archive, by the stricter rule (May 2023); later ones also let `byteorder` pass."""
STORAGES = ("Float", "Half", "BFloat16", "Int", "Long", "Double", "Byte")
GLOBALS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"} | {
    f"torch {s}Storage" for s in STORAGES
}
"""What our files may name; the loaders know a few more."""
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU, "swish": nn.Hardswish, "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid, "softsign": nn.Softsign, "mish": nn.Mish, "silu": nn.SiLU, "gelu": nn.GELU,
}  # fmt: skip


def load(path: Path) -> Any:
    """The tree of a `.pt`, or an AssertionError naming what a safe loader refuses."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            assert re.fullmatch(MEMBERS, member.filename), member.filename
            assert member.compress_type == zipfile.ZIP_STORED
        program = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    operations = list(pickletools.genops(program))
    assert {str(argument) for code, argument, _ in operations if code.name == "GLOBAL"} <= GLOBALS
    assert not {code.name for code, _, _ in operations} & {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
    return torch.load(path, weights_only=True)


def embedding(table: dict[str, Any]) -> Tensor:
    """AUTOMATIC1111's rule: the one entry of `string_to_param`, or both of SDXL's, or the one tensor there is."""
    if "string_to_param" in table:
        words = table["string_to_param"]
        assert len(words) == 1
        return next(iter(words.values()))
    if {"clip_l", "clip_g"} <= set(table):
        return torch.cat([table["clip_l"], table["clip_g"]], dim=1)
    assert len(table) == 1
    vectors = next(iter(table.values()))
    return vectors.unsqueeze(0) if vectors.ndim == 1 else vectors


def hidden(count: int) -> list[int]:
    """Nibbles that a strip's are hidden behind: a linear congruential generator from seed 0."""
    state, found = 0, []
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        found.append((state % 255) & 15)
    return found


def card_text(path: Path) -> dict[str, Any]:
    """The table in a PNG's text."""
    with Image.open(path) as image:
        return json.loads(base64.b64decode(image.text["sd-ti-embedding"]))


def card_strips(path: Path) -> dict[str, Any]:
    """The table in a picture's strips: they end at the first and the last column without low halves of bytes."""
    with Image.open(path) as image:
        low = np.asarray(image.convert("RGB")) & 15
    empty = [x for x in range(low.shape[1]) if not low[:, x].any()]
    halves = []
    for strip in (low[:, : empty[0]], low[:, empty[-1] + 1 :]):
        flat = strip.flatten().tolist()
        halves.append([a ^ b for a, b in zip(flat, hidden(len(flat)), strict=True)])
    return json.loads(zlib.decompress(bytes(b << 4 | a for a, b in zip(*halves, strict=True))))


def draw_card(table: dict[str, Any], picture: Image.Image, path: Path) -> Path:
    """A card with strips alone, with noise for decoration, as somebody else would draw it."""
    packed = zlib.compress(json.dumps(table).encode(), 9)
    width = len(packed) // (picture.height * 3) + 2
    random, strips = np.random.default_rng(0), []
    for nibbles in ([b & 15 for b in packed], [b >> 4 for b in packed]):
        count = picture.height * width * 3
        values = np.array(
            [nibbles[n % len(nibbles)] ^ x for n, x in enumerate(hidden(count))], dtype=np.uint8
        )
        decoration = random.integers(1, 15, count, dtype=np.uint8) << 4
        strips.append((values | decoration).reshape(picture.height, width, 3))
    black = np.zeros((picture.height, 1, 3), np.uint8)
    whole = np.concatenate([strips[0], black, np.asarray(picture), black, strips[1]], axis=1)
    Image.fromarray(whole).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def network(width: int, settings: dict[str, Any]) -> nn.Sequential:
    """One network of a hypernetwork, in the state it is trained in."""
    structure = settings.get("layer_structure", [1, 2, 1])
    activation, dropout = settings.get("activation_func"), settings.get("dropout_structure")
    if dropout is None:  # the rule before files said where dropout is
        inner = [0.3] * (len(structure) - 3) + [0.3 if settings.get("last_layer_dropout") else 0]
        dropout = [0, *inner, 0] if settings.get("use_dropout") else [0] * len(structure)
    modules: list[nn.Module] = []
    for i in range(len(structure) - 1):
        modules.append(nn.Linear(int(width * structure[i]), int(width * structure[i + 1])))
        last = i == len(structure) - 2
        if activation not in (None, "linear") and (not last or settings.get("activate_output", True)):
            modules.append(ACTIVATIONS[activation]())
        if settings.get("is_layer_norm", False):
            modules.append(nn.LayerNorm(int(width * structure[i + 1])))
        if dropout[i + 1] > 0:
            modules.append(nn.Dropout(dropout[i + 1]))
    return nn.Sequential(*modules)


def hypernetwork(tree: dict[Any, Any]) -> dict[int, tuple[nn.Sequential, nn.Sequential]]:
    """AUTOMATIC1111's reading of a hypernetwork's file: a pair of networks per width, ready to draw."""
    found = {}
    for width in [key for key in tree if type(key) is int]:
        pair = network(width, tree), network(width, tree)
        for one, state in zip(pair, tree[width], strict=True):
            renamed = {
                re.sub(r"^linear(\d)\.", lambda m: f"linear.{int(m[1]) - 1}.", k): v for k, v in state.items()
            }
            one.load_state_dict({k.removeprefix("linear."): v for k, v in renamed.items()})
        found[width] = (pair[0].eval(), pair[1].eval())
    return found


def comfyui_network(state: dict[str, Tensor], tree: dict[Any, Any], x: Tensor) -> Tensor:
    """ComfyUI's reading of one network without layer normalisation: layers by their shapes, never in `eval`."""
    weights = sorted((n for n in state if n.endswith(".weight")), key=lambda n: int(n.split(".")[1]))
    activation = tree.get("activation_func") or "linear"
    for n, name in enumerate(weights, start=1):
        x = nn.functional.linear(x, state[name], state[name.replace("weight", "bias")])
        if activation != "linear" and (n < len(weights) or tree.get("activate_output", False)):
            x = ACTIVATIONS[activation]()(x)
        if tree.get("use_dropout", False) and n < len(weights):
            x = nn.functional.dropout(x, 0.3)
    return x
