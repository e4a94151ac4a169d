"""Files that promise too much, hold too little, mean something else or would like to run something.

Every one is made anew, small, and named after what is wrong with it. `make(folder)` writes them all.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from likewise import formats
from likewise.artifact import Artifact
from tests.families.miniatures import Hostile

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
FLAT = f"lora_unet_{LAYER.replace('.', '_')}"
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EXTREMES = {
    "nan": torch.tensor([[float("nan")] * 8] * 2),
    "infinite": torch.tensor([[float("inf")] * 8] * 2),
    "f64 too large": torch.full((2, 8), 1e300, dtype=torch.float64),
    "int8": torch.ones(2, 8, dtype=torch.int8),
    "bool": torch.ones(2, 8, dtype=torch.bool),
    "rank 0": torch.ones(0, 8),
    "one side": torch.ones(8),
    "three sides": torch.ones(2, 8, 3),
    "other rank": torch.ones(3, 8),
    "complex": torch.ones(2, 8) * 1j,
    "no columns": torch.ones(2, 0),
    "as large as float32": torch.full((2, 8), 3e38),
    "zeros": torch.zeros(2, 8),
}
"""In place of a right `down` [2, 8]."""


def raw(header: Any, data: bytes = bytes(8), length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def headers() -> dict[str, bytes]:
    """Damaged or strange safetensors files."""
    return {
        "empty": b"",
        "seven bytes": bytes(7),
        "cut": raw(b'{"a":', length=500),
        "no table": raw([1]),
        "absurd size": raw({"a": {**ENTRY, "shape": [2**40]}}),
        "long header": raw({}, length=2**62),
        "trailing": raw({"a": ENTRY}, bytes(108)),
        "hole": raw({"a": {**ENTRY, "data_offsets": [8, 16]}}, bytes(16)),
        "overlap": raw({"a": ENTRY, "b": ENTRY}),
        "doubled": raw(b'{"a":%s,"a":%s}' % (2 * (json.dumps(ENTRY).encode(),))),
        "negative": raw({"a": {**ENTRY, "shape": [-2, -1]}}),
        "not a number": raw(b'{"a":{"shape":[NaN]}}'),
        "deep": raw(b"[" * 100_000),
        "surrogate": raw(b'{"a\\ud800":' + json.dumps(ENTRY).encode() + b"}"),
        "byte order mark": raw(b"\xef\xbb\xbf{}"),
        "metadata of numbers": raw({"__metadata__": {"a": 1}, "a": ENTRY}),
        "unknown type": raw({"a": {**ENTRY, "dtype": "F3"}}),
        "fractions": raw({"a": {**ENTRY, "shape": [2.0]}}),
        "nothing in it": raw({}, b""),
        "metadata alone": raw({"__metadata__": {"a": "b"}}, b""),
        "no text": raw(b'{"\xff":1}'),
        "a text": b"hello, world, this is no file of tensors at all",
        "gguf": b"GGUF" + bytes(60),
    }


def low(name: str = FLAT, **changes: Tensor | None) -> dict[str, Tensor]:
    """A LoRA of one layer in kohya's spelling, with these tensors instead."""
    right = {
        "lora_down.weight": torch.ones(2, 8),
        "lora_up.weight": torch.ones(6, 2),
        "alpha": torch.tensor(1.0),
    }
    spelled = {key.replace("__", "."): value for key, value in changes.items()}
    return {f"{name}.{key}": value for key, value in (right | spelled).items() if value is not None}


def dotted(name: str, high: int = 6, wide: int = 8) -> dict[str, Tensor]:
    """A LoRA of one layer in diffusers' spelling."""
    return {f"{name}.lora_A.weight": torch.ones(2, wide), f"{name}.lora_B.weight": torch.ones(high, 2)}


def native(**facts: str | None) -> dict[str, str]:
    right = {
        "version": "1",
        "method": "lora",
        "family": "sd",
        "token": "sks",
        "noun": "dog",
        "base": "",
        "recipe": "{}",
    }
    return {f"likewise.{key}": text for key, text in (right | facts).items() if text is not None}


def tensors() -> dict[str, tuple[Mapping[str, Tensor], Mapping[str, str]]]:
    """Sound safetensors files with something wrong in what they mean, and some with nothing wrong."""
    return {name: (one, {"format": "pt"}) for name, one in foreign().items()} | described()


def foreign() -> dict[str, Mapping[str, Tensor]]:
    """Files whose tensors alone say what they are."""
    found: dict[str, Mapping[str, Tensor]] = {
        f"down {name}": low(lora_down__weight=one) for name, one in EXTREMES.items()
    }
    found |= {
        "right": low(),
        "half a pair": low(lora_up__weight=None),
        "two alphas": low(alpha=torch.ones(2)),
        "alpha nan": low(alpha=torch.tensor(float("nan"))),
        "alpha whole": low(alpha=torch.tensor(1)),
        "another suffix": low(blur=torch.ones(1)),
        "dora": low(dora_scale=torch.ones(6, 1)),
        "wan": dotted("diffusion_model.blocks.0.self_attn.q"),
        "block 9": dotted("unet.down_blocks.9.attentions.0.proj_in"),
        "sana": dotted("transformer.transformer_blocks.0.attn1.to_q", 2240, 2240),
        "musubi": low("lora_unet_blocks_0_cross_attn_q"),
        "wrapped": dotted(f"base_model.model.unet.{LAYER}"),
        "flux": dotted("transformer.single_transformer_blocks.0.attn.to_q"),
        "text alone": dotted("text_encoder.text_model.encoder.layers.0.mlp.fc1"),
        "twice": dotted(f"unet.{LAYER}") | dotted(f"unet.base_model.model.{LAYER}"),
        "flat and dotted": low() | dotted(f"unet.{LAYER}"),
        "traversal": dotted("unet.../../../etc/passwd"),
        "odd fused": low("lora_unet_double_blocks_0_img_attn_qkv", lora_up__weight=torch.ones(25, 2)),
        "loha": low(
            lora_down__weight=None,
            lora_up__weight=None,
            hada_w1_a=torch.ones(6, 2),
            hada_w1_b=torch.ones(2, 8),
            hada_w2_a=torch.ones(6, 2),
            hada_w2_b=torch.ones(2, 8),
        ),
        "half a loha": low(lora_down__weight=None, lora_up__weight=None, hada_w1_a=torch.ones(6, 2)),
        "lokr torn": low(
            lora_down__weight=None,
            lora_up__weight=None,
            lokr_w1_a=torch.ones(3, 2),
            lokr_w1_b=torch.ones(5, 4),
            lokr_w2=torch.ones(2, 2),
        ),
        "oft": low(lora_down__weight=None, lora_up__weight=None, oft_blocks=torch.ones(3, 2, 2)),
        "scale alone": {"a.weight_scale": torch.ones(())},
        "absmax": low() | {"x.weight.absmax": torch.ones(2)},
        "embedding 3d": {"emb_params": torch.ones(1, 3, 8)},
        "embedding nan": {"emb_params": torch.full((2, 8), float("nan"))},
        "embedding whole": {"emb_params": torch.ones(2, 8, dtype=torch.int64)},
        "embedding": {"emb_params": torch.ones(2, 768)},
        "towers apart": {"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)},
        "word": {"<cat>": torch.ones(768)},
        "anonymous": {"": torch.ones(768)},
        "strange": {"something.weight": torch.ones(2, 2)},
    }
    return found


def described() -> dict[str, tuple[Mapping[str, Tensor], Mapping[str, str]]]:
    """Files whose metadata say what they are."""
    named = {
        f"backbone.{LAYER}.{key}": one for key, one in (("down", torch.ones(2, 8)), ("up", torch.ones(6, 2)))
    }
    return {
        "native": (named, native()),
        "native of tomorrow": (named, native(version="2")),
        "native without noun": (named, native(noun=None)),
        "native recipe": (named, native(recipe="{")),
        "native list": (named, native(recipe="[]")),
        "native embedding": (named, native(method="textual_inversion")),
        "native unknown": (named, native(method="magic")),
        "kohya of chroma": (low(), {"modelspec.architecture": "chroma"}),
        "control codes": (low(), {"ss_output_name": "\x1b[2J"}),
        "alpha twice": (
            dotted(f"unet.{LAYER}") | {f"unet.{LAYER}.alpha": torch.tensor(1.0)},
            {"lora_adapter_metadata": '{"unet.r": 2}'},
        ),
        "diffusers pissa": (
            dotted(f"unet.{LAYER}"),
            {"lora_adapter_metadata": '{"unet.r": 2, "unet.init_lora_weights": "pissa"}'},
        ),
    }


def peft(folder: Path, weights: Mapping[str, Tensor] | None, **config: Any) -> None:
    """An adapter folder of PEFT."""
    folder.mkdir()
    right = {"peft_type": "LORA", "r": 2, "lora_alpha": 2}
    (folder / "adapter_config.json").write_text(json.dumps(right | config))
    if weights is not None:
        save_file(dict(weights), folder / "adapter_model.safetensors")


def folders(home: Path) -> None:
    """Folders of adapters and models."""
    pair = dotted(f"base_model.model.{LAYER}")
    loha = {f"base_model.model.{LAYER}.hada_w1_a": torch.ones(6, 2)}
    bias = pair | {f"base_model.model.{LAYER}.lora_B.bias": torch.ones(6)}
    dora = pair | {f"base_model.model.{LAYER}.lora_magnitude_vector": torch.ones(6)}
    for name, weights, config in (
        ("peft", pair, {}),
        ("peft pissa", pair, {"init_lora_weights": "pissa"}),
        ("peft loha", loha, {"peft_type": "LOHA"}),
        ("peft lokr", loha, {"peft_type": "LOKR"}),
        ("peft dora", dora, {"use_dora": True}),
        ("peft dora unsaid", dora, {}),
        ("peft bias", bias, {"lora_bias": True}),
        ("peft bias unsaid", bias, {}),
        ("peft nothing", None, {}),
        ("peft bomb", pair, {"alpha_pattern": {"(.*)*(.*)*(.*)*x": 1}}),
        ("peft new", pair, {"new_setting": 1}),
        ("peft rank", pair, {"r": 9}),
        ("peft int8", {n: t.to(torch.int8) for n, t in pair.items()}, {}),
    ):
        peft(home / name, weights, **config)
    (home / "empty folder").mkdir()
    for name, text in (
        ("model", '{"_class_name": "StableDiffusionPipeline"}'),
        ("model of others", '{"_class_name": "X"}'),
        ("index", "["),
    ):
        (home / name / "unet").mkdir(parents=True)
        (home / name / "model_index.json").write_text(text)
        (home / name / "unet" / "config.json").write_text("{}")


def pickles(home: Path) -> None:
    """Pickled files: with code, damaged, of other kinds and of other meaning."""
    code = Hostile(f"touch '{home / 'ran'}'")
    trees: dict[str, Any] = {
        "code": code,
        "code beside": {"state_dict": low(), "x": code},
        "code in a list": [torch.ones(2), [code]],
        "eval": _Calls(eval, "1"),
        "numbers": {"a": 1},
        "word nan": {"<cat>": torch.full((768,), float("nan"))},
        "two words": {"string_to_param": {"*": torch.ones(1, 8), "+": torch.ones(1, 8)}},
        "word": {"<cat>": torch.ones(768)},
        "right": low(),
        "bare": torch.ones(1, 768),
        "bare nan": torch.full((1, 768), float("nan")),
        "hypernetwork torn": {320: ({"linear.0.weight": torch.ones(4, 4)}, {})},
        "deep": _deep(torch.ones(2), 40),
        "hypernetwork odd": {320: ({}, {}), "layer_structure": [1, 0, 1]},
        "int8": low(lora_down__weight=torch.ones(2, 8).to(torch.int8)),
    }
    for name, tree in trees.items():
        torch.save(tree, home / f"{name}.pt")
        torch.save(tree, home / f"{name} (old).ckpt", _use_new_zipfile_serialization=False)
    whole = (home / "right.pt").read_bytes()
    (home / "cut zip.pt").write_bytes(whole[: len(whole) // 2])
    old = (home / "right (old).ckpt").read_bytes()
    (home / "cut old.ckpt").write_bytes(old[:-9])
    (home / "plain pickle.ckpt").write_bytes(pickle.dumps({"a": [1, 2]}))
    (home / "pickled command.bin").write_bytes(pickle.dumps(code))
    for name, member in (("zip of others.pt", "x.txt"), ("zip upwards.pt", "../data.pkl")):
        with zipfile.ZipFile(home / name, "w") as archive:
            archive.writestr(member, b"")
    with (
        zipfile.ZipFile(home / "right.pt") as source,
        zipfile.ZipFile(home / "compressed.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.namelist():
            target.writestr(member, source.read(member))


class _Calls:
    def __init__(self, function: Callable[..., Any], *words: Any) -> None:
        self.made = function, words

    def __reduce__(self) -> Any:
        return self.made


def _deep(inner: Any, levels: int) -> Any:
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def pictures(home: Path) -> None:
    """Pictures that are no embedding cards, and one that is, but of nothing."""
    (home / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    (home / "text.webp").write_text("hello")
    card = Artifact("textual_inversion", "sd", "sks", "", {"vectors": torch.ones(1, 768)})
    formats.write(card, home / "card.png", "embedding_card")
    data = bytearray((home / "card.png").read_bytes())
    data[len(data) // 3] ^= 255
    (home / "changed card.png").write_bytes(data)


def make(home: Path) -> list[Path]:
    """All of them in `home`, sorted. What any of them would run is `touch home/ran`."""
    for name, data in headers().items():
        (home / f"{name}.safetensors").write_bytes(data)
    for name, (own, metadata) in tensors().items():
        save_file(
            {key: value.clone() for key, value in own.items()},
            home / f"with {name}.safetensors",
            dict(metadata),
        )
    folders(home)
    pickles(home)
    pictures(home)
    assert not (home / "ran").exists(), os.strerror(0)
    return sorted(home.iterdir())
