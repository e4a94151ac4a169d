"""Baking: what acts beside the weights, put into them, for programs that know nothing of the method.

An embedding becomes rows of the table of words. An aesthetic embedding pulls every prompt by itself, so its pull on a few
chosen prompts is averaged, and stands for all; how far that misses is measured on those prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from likewise import families, methods
from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import DTYPES, TABLE, Checkpoint, cast
from likewise.checkpoints.tokenizer import added_words, vocabulary
from likewise.errors import FormatError
from likewise.factors.nearest import Cut, Size
from likewise.kinds import DIRECTION, NETWORK, WORDS, Kind
from likewise.naming.single_file import canonical
from likewise.operations.extracting import extract
from likewise.operations.flattening import flat_lora, flatten
from likewise.operations.merging import merge_into
from likewise.operations.subjects import MERGED, Subject
from likewise.weights.pending import Pending, held

if TYPE_CHECKING:
    from likewise.base import Base


@dataclass(frozen=True)
class Baked:
    """A model or LoRA, and how it differs from the method itself."""

    subject: Subject
    cut: Cut | None = None
    """What no weight or low-rank pair holds; None where everything has a place."""
    missed: Mapping[str, float] = field(default_factory=dict)
    """What an aesthetic embedding misses, by prompt: see `misses`."""
    notes: tuple[str, ...] = ()
    """What else is to be known of it, in sentences."""


NEGATIVE = (
    "the negative prompt is read by the same text encoder, so what is baked pulls it as well; "
    "the embedding itself does that only if it is told to"
)
"""How a baked aesthetic embedding differs from itself, however well it is baked."""
TOWERS = {"vectors": "text", "vectors_2": "text_2"}
"""Which tower the vectors of an embedding are for."""


def bake(
    model: Checkpoint,
    artifact: Artifact,
    prompts: Sequence[str] = (),
    words: Sequence[str] = (),
    size: Size | None = None,
) -> Baked:
    """`artifact` in the weights of `model`, or with `size` in a LoRA for it; raises `FormatError` where neither can be.

    `prompts` are for aesthetic embeddings, `words` for embeddings; others are refused with them.
    """
    if prompts and artifact.kind in (WORDS, NETWORK):
        raise FormatError(f"{artifact.token} acts on every prompt alike", "leave --prompt out")
    if words and artifact.kind != WORDS:
        raise FormatError(f"{artifact.token} stands for no words", "leave --word out")
    if artifact.kind == WORDS and size is None:
        return Baked(bake_word(model, artifact, words))
    if artifact.kind == NETWORK:
        return Baked(*(flat_lora(model, artifact, size) if size else flatten(model, artifact)))
    if size is None:
        whole = bake_prompts(model, artifact, prompts)
        return Baked(whole, None, misses(model, artifact, whole, prompts), (NEGATIVE,))
    made, cut = bake_lora(model, artifact, prompts, size)
    return Baked(made, cut, misses(model, artifact, made, prompts), (NEGATIVE,))


def bake_word(model: Checkpoint, artifact: Artifact, words: Sequence[str] = ()) -> Checkpoint:
    """`model` with an embedding in its table of words, on which `words` then call.

    Without `words` new rows are added for the embedding's token (TOKEN, TOKEN_1, ... for several vectors), which only a
    diffusers folder can hold, as it brings its tokenizer. `words` are replaced instead: one word of the model's own for
    each vector. Raises `FormatError` for other methods, towers of other widths and words that are not one token.
    """
    _refuse_other(artifact, WORDS)
    if {f"{TOWERS[name]}.{TABLE}" for name in artifact.tensors} != {
        n for n in model.tensors if n.endswith(TABLE)
    }:
        raise FormatError(f"{artifact.token} is not for the text encoders of {model.origin}")
    count = len(artifact.tensors["vectors"])
    rows = _rows(model, words, count) if words else None
    tensors = dict(model.tensors)
    for name, vectors in artifact.tensors.items():
        place = f"{TOWERS[name]}.{TABLE}"
        if vectors.shape[1] != tensors[place].shape[1]:
            widths = f"{vectors.shape[1]}, and {model.origin} reads {tensors[place].shape[1]}"
            raise FormatError(f"{artifact.token} has vectors of width {widths}", "it is for another model")
        tensors[place] = _written(tensors[place], vectors, rows)
    new = () if words else _new_words(model, artifact.token, count)
    return replace(_named(model, artifact), tensors=tensors, words=(*model.words, *new))


def bake_prompts(model: Checkpoint, artifact: Artifact, prompts: Sequence[str]) -> Checkpoint:
    """`model` with the mean of what an aesthetic embedding does to its text tower for `prompts`, times its weight.

    The negative prompt is read by the same tower, so it is pulled as well. Raises `FormatError` for other methods and
    for nothing to pull, and `BaseError` for models without a CLIP tower and its picture half.
    """
    _refuse_other(artifact, DIRECTION)
    if not any(prompt.strip() for prompt in prompts):
        raise FormatError("an aesthetic embedding is baked for prompts", "name one or more by --prompt")
    base = _base(model)
    encoder = base.towers[0].encoder
    before = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    with methods.get(artifact.method).restore(base, [artifact]) as adapter:
        total = {name: torch.zeros_like(value) for name, value in before.items()}
        for prompt in prompts:
            for name, value in adapter.pulls[0].weights(prompt).items():  # type: ignore[attr-defined]
                total[name] += value - before[name]
        share = adapter.recipes[0].weight / len(prompts)  # type: ignore[attr-defined]
    moved = {canonical("text", name): before[name] + share * total[name] for name in before}
    new = {name: _as(value, model.tensors[name].dtype) for name, value in moved.items()}
    return _named(model.replaced(new), artifact)


def bake_lora(
    model: Checkpoint, artifact: Artifact, prompts: Sequence[str], size: Size
) -> tuple[Artifact, Cut]:
    """The LoRA nearest to what `bake_prompts` changes, and what it loses; embeddings of words are refused."""
    if artifact.kind == WORDS:
        raise FormatError(
            "an embedding is rows of a table, which no LoRA holds",
            "the embedding itself loads beside any LoRA",
        )
    made, cut = extract(model, bake_prompts(model, artifact, prompts), size)
    return replace(made, token=artifact.token, noun=artifact.noun), cut


def misses(model: Checkpoint, artifact: Artifact, baked: Subject, prompts: Sequence[str]) -> dict[str, float]:
    """By prompt: how far the states read with `baked`, a model or a LoRA, are from those that the aesthetic embedding
    itself gives, as a share of what it changes. 0 is the same, 1 as far as without it."""
    base = _base(model)
    plain = _states(base, prompts)
    with methods.get(artifact.method).restore(base, [artifact]):
        wanted = _states(base, prompts)
    whole = merge_into(model.cast("float32"), [(baked, 1.0)]) if isinstance(baked, Artifact) else baked
    encoder: Any = base.towers[0].encoder
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            value.copy_(whole.tensors[canonical("text", name)].load())
    found = _states(base, prompts)
    return {
        prompt: float((found[n] - wanted[n]).norm() / (plain[n] - wanted[n]).norm().clamp_min(1e-12))
        for n, prompt in enumerate(prompts)
    }


def _refuse_other(artifact: Artifact, kind: Kind) -> None:
    if artifact.kind != kind:
        raise FormatError(
            f"what {artifact.method} taught is in weights already",
            "`likewise merge --into` adds LoRAs and models",
        )


def _base(model: Checkpoint) -> Base:
    return families.load(str(model.origin), device="cpu", precision="fp32")


def _states(base: Base, prompts: Sequence[str]) -> Tensor:
    with torch.no_grad():
        return base.towers[0].read(prompts, negative=False).states.float()


def _new_words(model: Checkpoint, token: str, count: int) -> tuple[str, ...]:
    """The words that diffusers, too, gives the vectors of a token."""
    new = tuple(f"{token}_{n}" if n else token for n in range(count))
    known = {*model.words, *(added_words(model.origin / "tokenizer") if model.origin.is_dir() else ())}
    if known & set(new):
        raise FormatError(
            f"{model.origin} has a word {min(known & set(new))!r} already", "it was baked before?"
        )
    return new


def _rows(model: Checkpoint, words: Sequence[str], count: int) -> list[int]:
    """The rows of one-token words, one for each vector."""
    if len(words) != count:
        raise FormatError(
            f"{len(words)} words cannot stand for {count} vectors", "name one word for each vector"
        )
    known, most = vocabulary(model.origin), model.tensors[f"text.{TABLE}"].shape[0]
    for word in words:
        if known.get(f"{word.lower()}</w>", most) >= most:
            raise FormatError(
                f"{word!r} is no single token of {model.origin}", "choose a rare word that is one"
            )
    return [known[f"{word.lower()}</w>"] for word in words]


def _written(table: Pending, vectors: Tensor, rows: Sequence[int] | None) -> Pending:
    """The table with `vectors` in `rows`, or below all others."""

    def load() -> Tensor:
        old, new = table.load().float(), vectors.float()
        if rows is None:
            return torch.cat([old, new])
        return old.clone().index_copy_(0, torch.tensor(rows), new)

    shape = (table.shape[0] + (0 if rows else len(vectors)), table.shape[1])
    return cast(Pending("F32", shape, load), table.dtype if table.dtype in DTYPES.values() else "F32")


def _as(value: Tensor, dtype: str) -> Pending:
    return cast(held(value), dtype) if dtype in DTYPES.values() else held(value)


def _named(model: Checkpoint, artifact: Artifact) -> Checkpoint:
    names: Mapping[str, str] = {**model.metadata, MERGED: f"{model.origin.stem}, {artifact.token}"}
    return replace(model, metadata=names)
