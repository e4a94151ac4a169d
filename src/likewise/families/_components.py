"""Reading the components of a model folder: a configuration and a set of tensors become a module.

All weights come through `likewise.weights`, so pickled folders are read safely or not at all, and every error
names the file. Modules are made without memory and then given their tensors, in fp32 on the CPU.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from likewise.errors import BaseError, FormatError
from likewise.weights import is_safetensors, read_tensors
from likewise.weights.streaming import Pending, TensorFile, held

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = ("", ".fp16", ".bf16")


def read_config(path: Path) -> dict[str, Any]:
    """A JSON table; raises `BaseError` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseError(f"{path} is missing", "the folder is not whole; fetch it again") from None
    except (ValueError, OSError) as error:
        raise BaseError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BaseError(f"{path} is not a table")
    return found


def folder_tensors(folder: Path) -> dict[str, Pending]:
    """All tensors of a component, each read when it is asked for.

    Full precision goes before `fp16` and safetensors before pickled files; shards are joined.
    """
    for suffix in (".safetensors", ".bin"):
        for variant in VARIANTS:
            for stem in STEMS:
                single = folder / f"{stem}{variant}{suffix}"
                index = folder / f"{stem}{suffix}.index{variant}.json"
                if single.is_file():
                    return _read(single)
                if index.is_file():
                    return _read_shards(index)
    found = sorted(path.name for path in folder.glob("*.*")) if folder.is_dir() else []
    wanted = (
        f"looked for {STEMS[0]}.safetensors or {STEMS[1]}.safetensors, found {', '.join(found) or 'nothing'}"
    )
    raise BaseError(f"{folder} holds no weights", wanted)


def _read(path: Path) -> dict[str, Pending]:
    try:
        if not is_safetensors(path):
            return {name: held(tensor) for name, tensor in read_tensors(path).items()}
        file = TensorFile(path)
        return {name: file.pending(name) for name in file.header.shapes}
    except FormatError as error:
        raise BaseError(error.message, error.hint) from error


def _read_shards(index: Path) -> dict[str, Pending]:
    tensors: dict[str, Pending] = {}
    for name in sorted({str(name) for name in read_config(index).get("weight_map", {}).values()}):
        if Path(name).name != name:
            raise BaseError(f"{index} points outside its folder: {name}")
        tensors.update(_read(index.parent / name))
    return tensors


def build(make: Callable[[], nn.Module], tensors: Mapping[str, Pending], what: str) -> nn.Module:
    """`make()` filled with copies of `tensors` in fp32, read one by one; raises `BaseError` unless they fit exactly.

    Older and newer spellings are understood: with `text_model.` or without, `query` for `to_q`.
    """
    with torch.device("meta"):
        module = make()
    given = dict(tensors)
    mend = getattr(module, "_fix_state_dict_keys_on_load", None)  # diffusers' own table of old names
    if mend is not None:
        mend(given)
    wanted = module.state_dict()
    given = {_live_name(name, wanted): tensor for name, tensor in given.items() if "position_ids" not in name}
    missing = [name for name in wanted if name not in given and "position_ids" not in name]
    strange = [name for name in given if name not in wanted]
    if missing or strange:
        told = (
            f"lacks {len(missing)} tensors ({missing[0]}...)"
            if missing
            else f"has tensors beside ({strange[0]}...)"
        )
        raise BaseError(f"{what} {told}: its weights do not belong to its configuration")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, where {tuple(wanted[name].shape)} was expected"
            raise BaseError(f"{what}: {name} is {shapes}: its weights do not belong to its configuration")
    try:
        full = {name: _full(tensor) for name, tensor in given.items()}
    except FormatError as error:
        raise BaseError(error.message, error.hint) from error
    module.load_state_dict(full, assign=True, strict=False)
    _fill_positions(module, what)
    return module


def _full(pending: Pending) -> Tensor:
    tensor = pending.load()
    return tensor.to(torch.float32, copy=pending.read is None)  # what is held is somebody else's


def _live_name(name: str, wanted: Mapping[str, Any]) -> str:
    """What the installed transformers calls `name`: 4.x has a level `text_model.` that 5.x dropped."""
    if name in wanted:
        return name
    for other in (name.removeprefix("text_model."), f"text_model.{name}"):
        if other in wanted:
            return other
    return name


def _fill_positions(module: nn.Module, what: str) -> None:
    """Give memory to the one buffer that CLIP does not save."""
    for path, child in module.named_modules():
        for name, buffer in list(child.named_buffers(recurse=False)):
            if buffer.is_meta and name == "position_ids":
                child.register_buffer(name, torch.arange(buffer.shape[-1])[None], persistent=False)
            elif buffer.is_meta:
                raise BaseError(f"{what} lacks the values of {path}.{name}")


def read_tokenizer(source: Path | str, **changes: Any) -> Any:
    """The CLIP tokenizer of a folder or Hub id; raises `BaseError` with the way to get one."""
    try:
        return CLIPTokenizer.from_pretrained(str(source), **changes)
    except Exception as error:  # transformers and the Hub raise half a dozen kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BaseError(f"no CLIP tokenizer in {source}: {first}") from None


@dataclass(frozen=True)
class Advice:
    """What the maker of a base advises: recipe settings by method, tokens that it never saw, and how to draw."""

    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reserved_tokens: tuple[str, ...] = ()
    guidance: float = 5.0


def read_advice(path: Path) -> Advice:
    """`likewise.toml` of a model folder: `[recipe.METHOD]`, `reserved_tokens` and `guidance`; empty without the file."""
    if not path.is_file():
        return Advice()
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BaseError(
            f"{path}: {error}", "it holds tables such as [recipe.lora] with learning_rate = 1e-3"
        ) from None
    tables, guidance = data.get("recipe", {}), data.get("guidance", Advice.guidance)
    if not isinstance(guidance, int | float) or not guidance >= 0:
        raise BaseError(f"{path}: guidance = {guidance!r} is no number from 0 up", "5 is usual")
    return Advice(
        {name: table for name, table in tables.items() if isinstance(table, dict)},
        tuple(str(token) for token in data.get("reserved_tokens", ())),
        float(guidance),
    )
