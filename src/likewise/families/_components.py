"""Reading the parts of a checkpoint: a configuration and a set of tensors become a module.

What a checkpoint looks like is the business of `checkpoints`; errors come out as `BaseError` here. Modules are made without
memory and then given their tensors, on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from likewise.base import Weights
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.configs import config_of, read_json
from likewise.checkpoints.folder import component_tensors
from likewise.checkpoints.tokenizer import tokenizer_sources
from likewise.errors import BaseError, FormatError
from likewise.families._clip_words import ClipWords, read_words
from likewise.frozen import NARROW, keep_narrow
from likewise.naming.single_file import FOLDERS
from likewise.weights.numbers import REAL
from likewise.weights.pending import Pending


@contextmanager
def as_base() -> Iterator[None]:
    """Let what is wrong with a file be wrong with the base, for a `with` block."""
    try:
        yield
    except FormatError as error:
        raise BaseError(error.message, error.hint) from error


def opened(path: Path) -> Checkpoint:
    """The checkpoint in a folder or single file; raises `BaseError` naming what is missing or damaged."""
    with as_base():
        return open_checkpoint(path)


def read_config(path: Path) -> dict[str, Any]:
    """A JSON table; raises `BaseError` where there is none."""
    with as_base():
        return read_json(path)


def folder_tensors(folder: Path) -> dict[str, Pending]:
    """All tensors of a component's folder, each read when it is asked for; raises `BaseError`."""
    with as_base():
        return component_tensors(folder)[0]


def configuration(checkpoint: Checkpoint, component: str) -> dict[str, Any]:
    """A component's configuration, or the scheduler's; raises `BaseError`."""
    with as_base():
        return config_of(checkpoint, component)


def module(
    checkpoint: Checkpoint,
    part: str,
    make: Callable[[dict[str, Any]], nn.Module],
    weights: Weights = "float32",
    leave: tuple[str, ...] = (),
) -> nn.Module:
    """`make(configuration)` filled with the part's tensors, but for those named in `leave`; raises `BaseError`."""
    config = configuration(checkpoint, FOLDERS[part])
    tensors = {n: one for n, one in checkpoint.part(part).items() if n not in leave}
    return build(lambda: make(config), tensors, f"{checkpoint.origin}, {FOLDERS[part]}", weights)


def build(
    make: Callable[[], nn.Module], tensors: Mapping[str, Pending], what: str, weights: Weights = "float32"
) -> nn.Module:
    """`make()` filled with `tensors`, read one by one; raises `BaseError` unless they fit exactly.

    `weights` says whether they are widened to float32 or stay as the file has them.
    Older and newer spellings are understood: with `text_model.` or without, `query` for `to_q`.
    """
    with torch.device("meta"), _Unfilled():
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
        if tensor.dtype not in REAL:
            raise BaseError(
                f"{what}: {name} holds codes of the type {tensor.dtype}, not weights", "fetch it in 16 bits"
            )
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, where {tuple(wanted[name].shape)} was expected"
            raise BaseError(f"{what}: {name} is {shapes}: its weights do not belong to its configuration")
    with as_base():
        kept = {name: _tensor(one, weights) for name, one in given.items()}
    module.load_state_dict(kept, assign=True, strict=False)
    _fill_positions(module, what)
    return keep_narrow(module) if weights == "file" else module


class _Unfilled(TorchFunctionMode):
    """Leaves new weights without values: they have no memory yet, and torch's compiler would be loaded to say so."""

    def __torch_function__(
        self, function: Any, types: Any, given: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        """Let a filling be; call everything else."""
        options = options or {}
        if function in _FILLING or getattr(function, "__module__", "") == nn.init.__name__:
            return given[0] if given else options["tensor"]
        return function(*given, **options)


_FILLING = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)


def _tensor(one: Pending, weights: Weights) -> Tensor:
    tensor = one.load()
    kept = tensor.dtype if weights == "file" and tensor.dtype in NARROW else torch.float32
    return tensor.to(kept, copy=one.read is None)  # what is held is somebody else's


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


def read_tokenizer(folder: Path, **changes: str) -> ClipWords:
    """The CLIP tokenizer of a folder; raises `BaseError` with the way to get one."""
    try:
        return read_words(folder, **changes)
    except FormatError as error:
        raise BaseError(f"no CLIP tokenizer in {folder}: {error.message}", error.hint) from None
    except Exception as error:  # `tokenizers` raises bare exceptions where words and pairs do not fit
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise BaseError(f"no CLIP tokenizer in {folder}: {first}") from None


def tokenizer(checkpoint: Checkpoint, part: str) -> Any:
    """The tokenizer of a tower: the folder's own; of a single file the one in a folder beside it, or the published one."""
    origin, tail = checkpoint.origin, part.removeprefix("text")
    if origin.is_dir():
        return read_tokenizer(origin / f"tokenizer{tail}")
    named = origin.parent / f"tokenizer{tail}"
    own = named.is_dir()
    beside = named if own else origin.parent / "tokenizer"
    padded = configuration(checkpoint, FOLDERS[part])["pad_token_id"] == 0  # OpenCLIP's towers pad with "!"
    changes = {"pad_token": "!"} if padded and not own else {}
    if beside.is_dir():
        return read_tokenizer(beside, **changes)
    with as_base():
        return read_tokenizer(tokenizer_sources(origin)["vocab.json"].parent, **changes)


def require(path: Path, names: Sequence[str]) -> None:
    """Raise `BaseError` unless `path` is a single file, or a folder with all these components."""
    if path.is_dir() and (missing := [name for name in names if not (path / name).is_dir()]):
        raise BaseError(
            f"{path} lacks {', '.join(missing)}", f"a folder of this kind of model has {', '.join(names)}"
        )
