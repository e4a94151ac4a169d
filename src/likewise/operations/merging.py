"""Merging: several taught changes as one, or added to a whole model. What is added up are changes, never factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import DTYPES, FAMILIES, Checkpoint, cast
from likewise.errors import FormatError
from likewise.factors.deltas import algorithm, bias_change, needs_weight, weight_change
from likewise.factors.lowrank import Pair
from likewise.factors.nearest import plain
from likewise.formats._modules import Modules, group, ungroup
from likewise.kinds import LOW_RANK, LYCORIS, WEIGHTS
from likewise.operations.subjects import MERGED, Subject, weights_of
from likewise.weights.pending import Pending

PREDICTED = {"epsilon": "noise", "v_prediction": "velocity"}
Layer = Mapping[str, Tensor]


def merge(parts: Sequence[tuple[Artifact, float]]) -> Artifact:
    """The sum of changes, each times its weight.

    Low-rank pairs are put side by side, so the sum is exact and ranks add up; a layer that any other factorisation
    changes becomes a full difference. Raises `FormatError` for what is no change of weights, mixed families and changes
    that depend on the weight they are added to.
    """
    artifacts = [artifact for artifact, _ in parts]
    if not artifacts:
        raise FormatError("there is nothing to merge", "name at least one file")
    for artifact in artifacts:
        _refuse_other(artifact)
    if len({artifact.family for artifact in artifacts}) > 1:
        families = " and ".join(sorted({artifact.family for artifact in artifacts}))
        raise FormatError(f"changes of {families} cannot be added", "merge files for one family")
    layers: dict[str, list[tuple[Layer, float]]] = {}
    for artifact, weight in parts:
        for path, own in group(artifact.tensors).items():
            layers.setdefault(path, []).append((own, weight))
    modules: Modules = {path: _sum(path, terms) for path, terms in layers.items()}
    low = all("down" in own for own in modules.values())
    return Artifact(
        method=(LOW_RANK if low else LYCORIS).mark,
        family=artifacts[0].family,
        token=", ".join(dict.fromkeys(artifact.token for artifact in artifacts if artifact.token)),
        noun=_common([artifact.noun for artifact in artifacts]),
        tensors=ungroup(modules),
        recipe={} if low else {"algo": "full"},
        base=_common([artifact.base for artifact in artifacts]),
        notes=_predictions(artifacts),
        precision=_precision(artifacts),
    )


def merge_into(model: Checkpoint, parts: Sequence[tuple[Subject, float]]) -> Checkpoint:
    """`model` with the changes added, in its own precision; computed tensor by tensor when it is written.

    A whole model among the parts, or the taught weights of one, adds its difference from `model`. The sum predicts what most
    of it predicts, by weight, and a note says where parts differ in that.
    """
    terms: dict[str, list[tuple[Callable[[Tensor], Tensor], float]]] = {}
    for part, weight in parts:
        for name, change in _changes(part).items():
            if name not in model.tensors:
                raise FormatError(f"{model.origin} has no {name}", "was this taught on another model?")
            terms.setdefault(name, []).append((change, weight))
        family = part.family if isinstance(part, Artifact) else FAMILIES[part.version]
        if family != FAMILIES[model.version]:
            raise FormatError(f"what was taught for {family} cannot be added to {model.origin}")
    names = ", ".join(part.token if isinstance(part, Artifact) else part.origin.stem for part, _ in parts)
    summed = {name: _summed(name, model.tensors[name], own) for name, own in terms.items()}
    velocity, zero = _leading(model, parts)
    return replace(
        model,
        tensors={**model.tensors, **summed},
        velocity=velocity,
        zero_snr=zero,
        metadata={**model.metadata, MERGED: f"{model.origin.stem}, {names}"},
        notes=(*model.notes, *filter(None, [mismatch((model, *(part for part, _ in parts)))])),
    )


def mismatch(subjects: Sequence[Subject]) -> str:
    """The sentence that says that some of these predict noise and others velocity; empty where none does or none says."""
    said = [
        (one.token if isinstance(one, Artifact) else one.origin.name, prediction)
        for one in subjects
        if (prediction := _prediction(one))
    ]
    if len({prediction for _, prediction in said}) < 2:
        return ""
    kinds = ", ".join(f"{name} predicts {PREDICTED[prediction]}" for name, prediction in said)
    return (
        f"these were made for different kinds of prediction, and do not add up to a model of either: {kinds}"
    )


def _prediction(subject: Subject) -> str:
    said = subject.notes.get("prediction", "") if isinstance(subject, Artifact) else subject.prediction
    return said if said in PREDICTED else ""


def _predictions(artifacts: Sequence[Artifact]) -> dict[str, str]:
    """The notes of a sum of changes: what its base predicts, if all agree that say it."""
    said = {prediction for artifact in artifacts if (prediction := _prediction(artifact))}
    if len(said) > 1:
        return {"mismatch": mismatch(artifacts)}
    return {"prediction": said.pop()} if said else {}


def _precision(artifacts: Sequence[Artifact]) -> str:
    """The precision that holds what all of them keep."""
    kept = {artifact.precision for artifact in artifacts}
    if len(kept) == 1:
        return kept.pop()
    return "float32" if kept & {"float32", "bfloat16"} else ""


def _leading(model: Checkpoint, parts: Sequence[tuple[Subject, float]]) -> tuple[bool, bool]:
    """Whether the sum predicts velocity, and whether its last level holds no signal: what most of its weight says.

    A model of weight 1 takes the place of `model` altogether.
    """
    shares = [
        (
            weight,
            (_prediction(part) or model.prediction) == "v_prediction",
            part.zero_snr if isinstance(part, Checkpoint) else model.zero_snr,
        )
        for part, weight in parts
        if part.kind == WEIGHTS
    ]
    own = 1 - sum(weight for weight, *_ in shares)
    shares.append((own, model.velocity, model.zero_snr))
    velocity, zero = (sum(share[0] for share in shares if share[n]) for n in (1, 2))
    return velocity > 0.5, zero > 0.5


def _refuse_other(artifact: Artifact) -> None:
    if not artifact.kind.delta:
        raise FormatError(
            f"what {artifact.method} taught is no change of weights that could be added",
            "LoRA and LyCORIS files can be merged, and whole models by --into",
        )


def _common(texts: Sequence[str]) -> str:
    return texts[0] if len(set(texts)) == 1 else ""


def _sum(path: str, terms: Sequence[tuple[Layer, float]]) -> Pair:
    pairs = [(plain(own), weight) for own, weight in terms]
    found = [(pair, weight) for pair, weight in pairs if pair is not None]
    return _side_by_side(path, found) if len(found) == len(pairs) else _full(path, terms)


def _side_by_side(path: str, pairs: Sequence[tuple[Pair, float]]) -> Pair:
    """One pair whose product is the weighted sum of the products; the sign goes to one factor only."""
    shape = max((pair["down"].shape[1:] for pair, _ in pairs), key=len)
    try:
        down = torch.cat([pair["down"].reshape(-1, *shape) for pair, _ in pairs])
        up = torch.cat([pair["up"] * weight for pair, weight in pairs], dim=1)
    except RuntimeError:
        raise FormatError(f"the changes of {path} are of several sizes", "are both for one model?") from None
    return {"down": down, "up": _finite(path, up), "alpha": torch.tensor(float(len(down)))}


def _full(path: str, terms: Sequence[tuple[Layer, float]]) -> Pair:
    """The sum as a difference of every number."""
    for own, _ in terms:
        if needs_weight(own):
            raise FormatError(
                f"the change of {path} depends on the weight that it is added to",
                "merge it into its base, by --into",
            )
    names = ("w_norm", "b_norm") if all(algorithm(own) == "norm" for own, _ in terms) else ("diff", "diff_b")
    try:
        weights = [weight_change(own) * weight for own, weight in terms]
        shape = max((change.shape for change in weights), key=len)
        found = {names[0]: _finite(path, torch.stack([change.reshape(shape) for change in weights]).sum(0))}
        biases = [(bias_change(own), weight) for own, weight in terms]
        changed = [bias * weight for bias, weight in biases if bias is not None]
        if changed:
            found[names[1]] = torch.stack(changed).sum(0)
    except RuntimeError:
        raise FormatError(f"the changes of {path} are of several sizes", "are both for one model?") from None
    return found


def _finite(path: str, summed: Tensor) -> Tensor:
    if not bool(summed.isfinite().all()):
        raise FormatError(f"the sum for {path} is not finite", "is a weight too large, or a file damaged?")
    return summed


def _changes(part: Subject) -> dict[str, Callable[[Tensor], Tensor]]:
    """By parameter: what is added to it, given its value."""
    if isinstance(part, Checkpoint) or part.kind == WEIGHTS:
        return {name: partial(_difference, name, one) for name, one in weights_of(part).items()}
    _refuse_other(part)
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    for path, own in group(part.tensors).items():
        found[f"{path}.weight"] = partial(weight_change, own)
        bias = bias_change(own)
        if bias is not None:
            found[f"{path}.bias"] = partial(_constant, bias)
    return found


def _difference(name: str, other: Pending, value: Tensor) -> Tensor:
    if tuple(value.shape) != other.shape:
        raise FormatError(f"{name} is {tuple(value.shape)} in one model and {other.shape} in the other")
    return other.load().float() - value


def _constant(change: Tensor, _value: Tensor) -> Tensor:
    return change


def _summed(name: str, one: Pending, terms: Sequence[tuple[Callable[[Tensor], Tensor], float]]) -> Pending:
    def load() -> Tensor:
        value = one.load().float()
        try:
            return _finite(name, value + sum(change(value) * weight for change, weight in terms))
        except FormatError as error:
            message = error.message if name in error.message else f"{name}: {error.message}"
            raise FormatError(message, error.hint) from None
        except RuntimeError:
            raise FormatError(
                f"{name} has another shape than its change", "taught on another model?"
            ) from None

    return cast(Pending("F32", one.shape, load), one.dtype if one.dtype in DTYPES.values() else "F32")
