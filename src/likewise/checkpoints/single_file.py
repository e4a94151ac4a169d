"""Whole models as single files: the published layouts of Stable Diffusion 1, 2 and XL, taken apart and put together.

Averaged weights are dropped or taken instead, on request; counters and schedules that lie beside the networks are
dropped. Writing gives the published names and shapes exactly, and what strict readers ask for besides.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from likewise.checkpoints.checkpoint import (
    Checkpoint,
    of_codes,
    refuse_codes,
    reshaped,
    stacked,
    third,
    transposed,
    verify,
)
from likewise.checkpoints.configs import refuse_unusual
from likewise.checkpoints.tokenizer import refuse_new_words
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.naming import single_file as spelling
from likewise.weights.pending import Pending, from_bytes
from likewise.weights.streaming import open_tensors, write_streamed

Shapes = Mapping[str, tuple[int, ...]]

POSITIONS = "text_model.embeddings.position_ids"
CUT_LAYERS = 23
"""Layers of OpenCLIP-H without the last, as SD 2 folders have it; some single files were made from these."""
SD2_BASE_STEP = 875000
"""`global_step` of the published 512-base-ema.ckpt, its only sign of predicting noise."""


def version_of(shapes: Shapes) -> str | None:
    """`sd1`, `sd2` or `sdxl` if these are the tensors of a single file with all its networks, else None."""
    needed = (f"{spelling.UNET}input_blocks.0.0.weight", f"{spelling.VAE}decoder.conv_in.weight")
    if not all(name in shapes for name in needed):
        return None
    for version, towers in spelling.TOWERS.items():
        if all(any(name.startswith(prefix) for name in shapes) for prefix in towers.values()):
            return version
    return None


def open_file(path: Path, averaged: bool = False) -> Checkpoint:
    """The model in a single file, with its moving averages as UNet if `averaged`; raises `FormatError`."""
    given, facts, scaled = _given(Path(path))
    version = version_of({name: one.shape for name, one in given.items()})
    if version is None:
        hint = "it must hold UNet, autoencoder and text encoder of Stable Diffusion 1, 2 or XL"
        raise FormatError(f"{path} is no whole checkpoint", hint)
    tensors = {f"backbone.{n}": one for n, one in _unet(path, given, averaged).items()}
    tensors |= _vae(path, given)
    for part, prefix in spelling.TOWERS[version].items():
        inner = _below(given, prefix)
        try:
            found = _open_clip(inner, version) if prefix in spelling.OPEN_CLIP else _clip(inner)
        except (KeyError, ValueError) as error:
            raise FormatError(f"{path}: the text encoder has a strange tensor {error}") from None
        tensors |= {f"{part}.{name}": one for name, one in found.items()}
    refuse_codes(path, tensors)
    velocity, notes = _velocity(Path(path), facts, version)
    notes += of_codes(path, scaled)
    return Checkpoint(version, tensors, Path(path), velocity, "ztsnr" in given, facts, notes)


def write_file(whole: Checkpoint, path: Path, metadata: Mapping[str, str]) -> Path:
    """Write a single file and compare it; raises `FormatError` for models that readers of such files would misread."""
    refuse_unusual(whole)
    refuse_new_words(whole)

    def fill(temporary: Path) -> None:
        write_streamed(temporary, single_tensors(whole), metadata)
        verify(whole, open_file(temporary))

    return write_with(Path(path), fill)


def single_tensors(whole: Checkpoint) -> dict[str, Pending]:
    """The tensors of `whole` under the names of a single file."""
    unet, vae = whole.part("backbone"), whole.part("vae")
    names = spelling.unet_names(unet)
    made = {spelling.UNET + names[name]: one for name, one in unet.items()}
    levels = _levels(vae, "encoder.down_blocks.")
    for name, one in vae.items():
        square = ".attentions." in name and name.endswith("weight") and len(one.shape) == 2
        new = spelling.VAE + spelling.vae_name(name, levels)
        made[new] = reshaped(one, (*one.shape, 1, 1)) if square else one
    for part, prefix in spelling.TOWERS[whole.version].items():
        open_clip = prefix in spelling.OPEN_CLIP
        tower = whole.part(part)
        found = _as_open_clip(tower, whole.version) if open_clip else _with_positions(tower)
        made |= {prefix + name: one for name, one in found.items()}
    marks = {"v_pred": whole.velocity, "ztsnr": whole.zero_snr}
    return made | {name: _mark() for name, wanted in marks.items() if wanted}


def _given(path: Path) -> tuple[dict[str, Pending], dict[str, str], frozenset[str]]:
    """Tensors, the few facts beside them that tell the kind of prediction, and the names of weights with a scale."""
    opened = open_tensors(path)
    given, facts, tree = dict(opened.tensors), dict(opened.metadata), opened.tree
    inner = dict.get(tree, "state_dict", tree) if isinstance(tree, dict) else None
    for table in (tree, inner):
        step = dict.get(table, "global_step") if isinstance(table, dict) else None
        if isinstance(step, int):
            facts["global_step"] = str(step)
    if "global_step" in given and given["global_step"].shape == ():
        facts["global_step"] = str(int(given["global_step"].load()))
    if other := [name for name in given if name.startswith("edm_")]:
        raise FormatError(
            f"{path} is marked {other[0]}: it predicts in the way of EDM, which is not known here",
            "models that predict noise or velocity are read",
        )
    return given, facts | {mark: "yes" for mark in ("v_pred", "ztsnr") if mark in given}, opened.scaled


def _unet(path: Path, given: Mapping[str, Pending], averaged: bool) -> dict[str, Pending]:
    try:
        names = spelling.unet_names_back(_below(given, spelling.UNET))
    except FormatError as error:
        raise FormatError(f"{path}: {error.message}") from None
    sources = {old: spelling.UNET + new for new, old in names.items()}
    if averaged:
        sources = {old: spelling.averaged(name) for old, name in sources.items()}
        if missing := [name for name in sources.values() if name not in given]:
            raise FormatError(f"{path} has no averaged weights ({missing[0]})", "take its plain weights")
    return {old: given[name] for old, name in sources.items()}


def _vae(path: Path, given: Mapping[str, Pending]) -> dict[str, Pending]:
    kept = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    found = {name: one for name, one in _below(given, spelling.VAE).items() if name.startswith(kept)}
    levels, made = _levels(found, "encoder.down."), {}
    for name, one in found.items():
        try:
            new = spelling.vae_name_back(name, levels)
        except KeyError as error:
            raise FormatError(f"{path}: the autoencoder has a strange layer {error}") from None
        square = ".attentions." in new and new.endswith("weight") and ".group_norm." not in new
        made[f"vae.{new}"] = reshaped(one, one.shape[:2]) if square else one
    return made


def _clip(inner: Mapping[str, Pending]) -> dict[str, Pending]:
    """A tower spelled as in transformers; some files lack the level `text_model.`."""
    named = {spelling.canonical("text", name).removeprefix("text."): one for name, one in inner.items()}
    return {name: one for name, one in named.items() if name.startswith("text_model.") and name != POSITIONS}


def _with_positions(tower: Mapping[str, Pending]) -> dict[str, Pending]:
    """With the one buffer that strict readers of SD 1 ask for."""
    count = tower["text_model.embeddings.position_embedding.weight"].shape[0]
    own = {name: one for name, one in tower.items() if name.startswith("text_model.")}
    numbers = struct.pack(f"<{count}q", *range(count))
    return {**own, POSITIONS: from_bytes("I64", (1, count), lambda: iter((numbers,)))}


def _open_clip(inner: Mapping[str, Pending], version: str) -> dict[str, Pending]:
    """A tower spelled as in OpenCLIP; SD 2 does not use its last layer, and folders leave that out."""
    names = {new: old for old, new in spelling.OPEN_CLIP_ENDS.items()}
    layers = {new: old for old, new in spelling.OPEN_CLIP_LAYER.items()}
    count = _levels(inner, "transformer.resblocks.")
    used = count - 1 if version == "sd2" and count != CUT_LAYERS else count
    made: dict[str, Pending] = {}
    for name, one in inner.items():
        if name == "text_projection":
            made |= {names[name]: transposed(one)} if version == "sdxl" else {}
        elif name in names:
            made[names[name]] = one
        elif name.startswith("transformer.resblocks."):
            number, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            start = f"text_model.encoder.layers.{number}."
            if int(number) >= used:
                continue
            if rest.startswith("attn.in_proj_"):
                kind = rest.removeprefix("attn.in_proj_")
                made |= {f"{start}self_attn.{q}_proj.{kind}": third(one, n) for n, q in enumerate("qkv")}
            else:
                layer, _, kind = rest.rpartition(".")
                made[f"{start}{layers[layer]}.{kind}"] = one
    return made


def _as_open_clip(tower: Mapping[str, Pending], version: str) -> dict[str, Pending]:
    """The inverse. In place of SD 2's last layer, which no program uses but all expect, its neighbour stands twice."""
    made: dict[str, Pending] = {}
    for name, one in tower.items():
        number, _, rest = name.removeprefix("text_model.encoder.layers.").partition(".")
        layer, _, kind = rest.rpartition(".")
        start = f"transformer.resblocks.{number}."
        if name in spelling.OPEN_CLIP_ENDS:
            made[spelling.OPEN_CLIP_ENDS[name]] = transposed(one) if name == "text_projection.weight" else one
        elif layer in spelling.OPEN_CLIP_LAYER:
            made[f"{start}{spelling.OPEN_CLIP_LAYER[layer]}.{kind}"] = one
        elif layer == "self_attn.q_proj":
            three = [tower[name.replace("q_proj", f"{q}_proj")] for q in "qkv"]
            made[f"{start}attn.in_proj_{kind}"] = stacked(three)
        elif layer not in ("self_attn.k_proj", "self_attn.v_proj"):
            raise FormatError(f"single files have no name for {name} of a text encoder")
    if version == "sd2":
        count = _levels(made, "transformer.resblocks.")
        last, new = f"transformer.resblocks.{count - 1}.", f"transformer.resblocks.{count}."
        made |= {name.replace(last, new): one for name, one in made.items() if name.startswith(last)}
    return made


def _velocity(path: Path, facts: Mapping[str, str], version: str) -> tuple[bool, tuple[str, ...]]:
    """Is it velocity: from the file, from a `.yaml` beside it, or as usual for its version, which is noted."""
    said = facts.get("modelspec.prediction_type", "").lower()
    if "v_pred" in facts or said:
        return "v_pred" in facts or said.startswith("v"), ()
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        words = beside.read_text(encoding="utf-8", errors="replace").replace('"', "").replace("'", "")
        return "parameterization: v" in words, ()
    if version != "sd2" or facts.get("global_step") == str(SD2_BASE_STEP):
        return False, ()
    note = (
        f"{path.name} does not say whether it predicts noise or velocity; velocity is assumed, as in SD 2.1. "
        f"If it is an SD 2 base model, put {beside.name} beside it with the line `parameterization: eps`"
    )
    return True, (note,)


def _mark() -> Pending:
    """An empty tensor whose name says it all."""
    return from_bytes("F32", (0,), lambda: iter(()))


def _below(given: Mapping[str, Pending], prefix: str) -> dict[str, Pending]:
    return {name[len(prefix) :]: one for name, one in given.items() if name.startswith(prefix)}


def _levels(names: Mapping[str, object], prefix: str) -> int:
    """How many numbered children there are under `prefix`."""
    return len({name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix)})
