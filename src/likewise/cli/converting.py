"""The commands that make new files of weights out of others: convert, merge, extract, resize, bake; and diff."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.cli.naming import model, one_file, taught_files
from likewise.errors import BaseError, FormatError
from likewise.kinds import WEIGHTS

if TYPE_CHECKING:
    from likewise.artifact import Artifact
    from likewise.factors.nearest import Cut
    from likewise.operations.placing import Wish
    from likewise.operations.subjects import Subject

Dtype = Literal["float16", "bfloat16", "float32"]
To = Annotated[str, typer.Option(metavar="LAYOUT", help="The layout to write; empty: the usual one.")]
Out = Annotated[Path | None, typer.Option(metavar="PATH", help="File, or folder to put it into; else here.")]
Precision = Annotated[Dtype | None, typer.Option("--dtype", help="Else what is usual in the layout.")]
NoMetadata = Annotated[bool, typer.Option("--no-metadata", help="Write no more than the tensors need.")]
Rank = Annotated[int | None, typer.Option(metavar="N", help="Keep at most N dimensions.")]
ConvRank = Annotated[int | None, typer.Option(metavar="N", help="The same for larger kernels than 1x1.")]
Energy = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Keep as few as hold SHARE of the sum of squares.")
]
WARNED = ("family", "left out", "mismatch")
"""Notes of an artifact that are said when something is made of it."""
SHOWN = 12
"""Rows of `diff`; --json has all."""


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    to: To = "",
    out: Out = None,
    install: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A program's folder; it goes where that looks for it."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="For DreamBooth: the model it was taught on.")
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(metavar="PICTURE", help="To show with it; on --install else the run's last."),
    ] = None,
    averaged: Annotated[
        bool, typer.Option("--averaged", help="Of a checkpoint that has them: its moving averages (EMA).")
    ] = False,
    dtype: Precision = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Write what was taught in the layout of another program.

    FILE may be a run, a LoRA, an embedding, a hypernetwork, a checkpoint or a model's folder. Layouts: kohya, lycoris,
    diffusers, peft, embedding, webui_embedding, diffusers_embedding, embedding_card, webui_hypernetwork,
    webui_aesthetic, checkpoint, diffusers_folder, native. ComfyUI, Forge and AUTOMATIC1111 can be installed to, with a
    preview picture and, for web UIs, notes with the words to write.

    \b
    Example:
      likewise convert dog.safetensors --to kohya --out shared/
      likewise convert RUN --install ~/ComfyUI
    """
    from likewise.artifact import Artifact
    from likewise.checkpoints import open_checkpoint
    from likewise.formats import Saving
    from likewise.operations import accompanying, placing, subjects

    source = one_file(file)
    saving = Saving(dtype, not no_metadata, base=model(base) if base else None)
    wish = placing.Wish(to, out, install, saving)
    shown = preview or (accompanying.preview_of(source) if install else None)
    picture = accompanying.open_preview(shown) if shown else None
    program = placing.program_at(install).name if install and not no_metadata else ""
    subject = open_checkpoint(source, averaged=averaged) if averaged else subjects.open_subject(source)
    notes = _warn(subject, as_json)
    taught = subject if isinstance(subject, Artifact) and subject.kind == WEIGHTS else None
    if base is not None and taught is None:
        raise FormatError(f"{source} needs no base", "--base is for weights that DreamBooth taught")
    if base is None and taught is not None and to in subjects.WHOLE:
        wish = replace(wish, saving=replace(saving, base=_own_base(source, taught)))
    target = placing.save(subject, source.stem, wish)
    beside = accompanying.accompany(target, subject, picture, program)
    if not as_json:
        for path in beside.kept:
            terminal.say(f"{terminal.short(path)} was there and stays as it is", "warning")
    _told(target, as_json, more={"beside": [str(path) for path in beside.made], **notes})


@app.command()
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE[:WEIGHT]...", hidden=True)],
    into: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Add them to the weights of a whole model.")
    ] = None,
    to: To = "",
    out: Out = None,
    dtype: Precision = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Add up LoRAs, or add them to a model.

    The sum is exact: ranks add up, and `likewise resize` makes them smaller. With --into, a whole model among the files
    adds its difference from MODEL.

    \b
    Example:
      likewise merge dog.safetensors:0.8 style.safetensors --out both.safetensors
      likewise merge dog.safetensors --into sd15.safetensors --out sd15-dog.safetensors
    """
    from likewise.artifact import Artifact
    from likewise.operations import placing, subjects

    wish = _wish(to, out, dtype, no_metadata)
    paths, weights = taught_files(files)
    parts = [(subjects.open_subject(path), weight) for path, weight in zip(paths, weights, strict=True)]
    from likewise.operations import merging  # needs torch, which a file that is refused should not wait for

    stem = "-".join(path.stem for path in ([Path(into), *paths] if into else paths))
    made: Subject
    if into is not None:
        made = merging.merge_into(subjects.open_model(model(into)), parts)
    elif all(isinstance(part, Artifact) for part, _ in parts):
        made = merging.merge([(part, weight) for part, weight in parts if isinstance(part, Artifact)])
    else:
        raise FormatError("a whole model cannot be added to a LoRA", "name the model to add to by --into")
    notes = _warn(made, as_json)
    _told(placing.save(made, stem, wish), as_json, more=notes)


@app.command()
def extract(
    tuned: Annotated[Path, typer.Argument(metavar="MODEL", hidden=True)],
    base: Annotated[str, typer.Option(metavar="BASE", help="The model it was trained from.")],
    rank: Rank = None,
    conv_rank: ConvRank = None,
    energy: Energy = None,
    clamp: Annotated[bool, typer.Option("--clamp", help="Cut extremes as kohya's script does.")] = False,
    to: To = "",
    out: Out = None,
    dtype: Precision = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Make a LoRA of what changed in a whole model.

    MODEL and BASE are checkpoints or diffusers folders; MODEL may also be a run of DreamBooth.

    \b
    Example:
      likewise extract tuned.safetensors --base sd15.safetensors --rank 32
      likewise extract tuned/ --base sd15/ --energy 0.95
    """
    from likewise.factors.nearest import Size
    from likewise.operations import extracting, placing, subjects

    wish = _wish(to, out, dtype, no_metadata)
    size, source = Size(rank, conv_rank, energy), one_file(tuned)
    origin = model(base)
    before, after = subjects.open_model(origin), subjects.open_model(source, origin)
    made, cut = extracting.extract(before, after, size, extracting.CLAMP if clamp else None)
    notes = _warn(made, as_json)
    _told(placing.save(made, f"{source.stem}-lora", wish), as_json, cut, notes)


@app.command()
def resize(
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    rank: Rank = None,
    conv_rank: ConvRank = None,
    energy: Energy = None,
    to: To = "",
    out: Out = None,
    dtype: Precision = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Make a LoRA smaller, and say what it loses.

    \b
    Example:
      likewise resize dog.safetensors --rank 8
      likewise resize dog.safetensors --energy 0.99 --out small.safetensors
    """
    from likewise.artifact import Artifact
    from likewise.factors.nearest import Size
    from likewise.operations import placing, resizing, subjects

    wish = _wish(to, out, dtype, no_metadata)
    size, source = Size(rank, conv_rank, energy), one_file(file)
    subject = subjects.open_subject(source)
    if not isinstance(subject, Artifact):
        raise FormatError(
            f"{source} is a whole model, which has no rank", "`likewise extract` makes a LoRA of it"
        )
    made, cut = resizing.resize(subject, size)
    stem = f"{source.stem}-rank{rank}" if rank else f"{source.stem}-small"
    _told(placing.save(made, stem, wish), as_json, cut)


@app.command()
def bake(
    file: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    into: Annotated[str, typer.Option(metavar="MODEL", help="The model to bake it into.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="For aesthetic embeddings: what to pull. May be repeated."),
    ] = None,
    word: Annotated[
        str, typer.Option(metavar="WORDS", help="For embeddings: replace words of the model's own instead.")
    ] = "",
    rank: Annotated[
        int | None, typer.Option(metavar="N", help="Make a LoRA of N dimensions instead.")
    ] = None,
    energy: Energy = None,
    to: To = "",
    out: Out = None,
    dtype: Precision = None,
    no_metadata: NoMetadata = False,
    as_json: Json = False,
) -> None:
    """Put an embedding or a hypernetwork into a model's weights.

    An aesthetic embedding is baked for the prompts that it is to pull, a hypernetwork if it has no activations; of both,
    --rank makes a LoRA. An embedding adds its word to a diffusers folder; a checkpoint has no place for new words, so
    there --word names rare ones that are replaced, one for each vector.

    \b
    Example:
      likewise bake sks.safetensors --into sd15/ --out sd15-sks
      likewise bake mood.pt --into sd15.safetensors --prompt "a castle" --rank 64
    """
    from likewise.artifact import Artifact
    from likewise.factors.nearest import Size
    from likewise.operations import baking, placing, subjects

    source = one_file(file)
    origin = model(into)
    artifact, whole = subjects.open_subject(source), subjects.open_model(origin)
    if not isinstance(artifact, Artifact):
        raise FormatError(f"{source} is a whole model already", "`likewise merge --into` adds models up")
    size = None if rank is None and energy is None else Size(rank, energy=energy)
    to = to or ("" if size else "diffusers_folder" if origin.is_dir() else "checkpoint")
    wish = _wish(to, out, dtype, no_metadata)
    baked = baking.bake(whole, artifact, prompt or [], word.split(), size)
    target = placing.save(baked.subject, f"{Path(into).stem}-{source.stem}", wish)
    if not as_json:
        for text, share in baked.missed.items():
            terminal.say(f"{text!r}: {share:.0%} of the pull is missed")
        for note in baked.notes:
            terminal.say(note, "warning")
    more = {"missed": dict(baked.missed), "notes": list(baked.notes)}
    _told(target, as_json, baked.cut, {key: value for key, value in more.items() if value})


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="FILE", hidden=True)],
    second: Annotated[Path, typer.Argument(metavar="OTHER", hidden=True)],
    as_json: Json = False,
) -> None:
    """Compare what two files do to a model, layer by layer.

    FILE and OTHER may be of different layouts and ranks. 0 is the same; 1 as far apart as the larger is from nothing.

    \b
    Example:
      likewise diff dog.safetensors dog-rank8.safetensors
    """
    from likewise.operations import subjects

    paths = one_file(first), one_file(second)
    opened = [subjects.open_subject(path) for path in paths]
    from likewise.operations import difference  # it needs torch; a file that is refused need not wait

    found = difference.diff(*opened)
    if as_json:
        terminal.result_json({**vars(found), "equal": found.equal})
        return
    if found.equal:
        terminal.result(f"equal in all {len(found.differences)} places, but for rounding")
        return
    terminal.result(f"different by {found.total:.2%} of the larger")
    worst = sorted(found.differences.items(), key=lambda item: -item[1])[:SHOWN]
    terminal.table(
        ("layer", "difference"), [(name, f"{share:.2%}") for name, share in worst], right=["difference"]
    )
    for path, names in zip(paths, (found.only_first, found.only_second), strict=True):
        if names:
            terminal.result(f"only in {terminal.short(path)}: {len(names)}, such as {names[0]}")


def _own_base(source: Path, artifact: Artifact) -> Path:
    """The model that an artifact was taught on, by its run or its file, which is said; raises `FormatError` without it."""
    from likewise import records

    folder = source.parent
    name = records.base_of(folder) if records.is_run(folder) else artifact.base
    try:
        found = model(name)
    except BaseError as error:
        raise FormatError(
            "a whole model also needs the parts that were not taught, such as its autoencoder",
            f"name the model it was taught on by --base ({error.message})",
        ) from None
    terminal.say(f"the parts that were not taught are those of {terminal.short(found)}")
    return found


def _warn(subject: Subject, as_json: bool) -> dict[str, object]:
    """Say what is to be known of a file (what was guessed, left out or does not go together), or give it for JSON."""
    notes = subject.notes
    texts = [notes[key] for key in WARNED if key in notes] if isinstance(notes, Mapping) else list(notes)
    for text in () if as_json else texts:
        terminal.say(text, "warning")
    return {"notes": texts} if texts else {}


def _wish(to: str, out: Path | None, dtype: Dtype | None, no_metadata: bool) -> Wish:
    from likewise.formats import Saving
    from likewise.operations.placing import Wish

    return Wish(to, out, saving=Saving(dtype, not no_metadata))


def _told(
    target: Path, as_json: bool, cut: Cut | None = None, more: Mapping[str, object] = MappingProxyType({})
) -> None:
    """The new file, which programs load it, and what was lost on the way."""
    from likewise import formats

    contents = formats.examine(target)
    layout = formats.recognise(contents)
    if as_json:
        facts = {
            "path": str(target),
            "layout": layout.name,
            "portability": dict(layout.portability(contents)),
        }
        terminal.result_json({**facts, **(vars(cut) if cut else {}), **more})
        return
    for program, how in layout.portability(contents).items():
        if not how.startswith("exact"):
            terminal.say(f"{program}: {how}", "warning")
    if cut is not None:
        ranks = sorted(set(cut.ranks.values()))
        spread = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
        terminal.say(f"{len(cut.ranks)} layers of {spread}; lost: {cut.error:.2%} of the change")
        if cut.left_out:
            worst = max(cut.left_out, key=lambda name: cut.left_out[name])
            share = math.hypot(*cut.left_out.values())
            terminal.say(
                f"left out: {len(cut.left_out)} that no LoRA holds, {share:.2%} of all change, most in {worst}",
                "warning",
            )
    terminal.result(terminal.short(target))
