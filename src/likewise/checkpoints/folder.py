"""Whole models as diffusers folders, so written that older and newer versions of transformers open them.

Text towers keep the level `text_model.` in their names and tokenizers get `vocab.json` and `merges.txt`, both of which
transformers 5 leaves out and 4 needs. What is no weight is copied from the folder that the model came from.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from likewise.checkpoints.checkpoint import TABLE, Checkpoint, of_codes, refuse_codes, reshaped, verify
from likewise.checkpoints.configs import configs, model_index, read_json, write_json
from likewise.checkpoints.tokenizer import (
    complete_tokenizer,
    teach_words,
    tokenizer_sources,
    write_tokenizer,
)
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.naming import single_file as spelling
from likewise.weights.pending import Pending
from likewise.weights.streaming import open_tensors, write_streamed

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
TEXT_STEM = "model"
VARIANTS = ("", ".fp16", ".bf16")
WEIGHTS = re.compile(r".*\.(safetensors|bin|ckpt|pt|pth|msgpack|h5|onnx)(\.index.*)?|.*\.index(\..*)?\.json")


def is_model_folder(path: Path) -> bool:
    """Whether the folder looks like what a diffusers pipeline is saved as."""
    return (path / "model_index.json").is_file() and (path / "unet" / "config.json").is_file()


def open_folder(path: Path) -> Checkpoint:
    """The model in a diffusers folder; raises `FormatError` naming what is missing or of another kind."""
    path = Path(path)
    index = read_json(path / "model_index.json")
    kind = str(index.get("_class_name", ""))
    if not kind.startswith("StableDiffusion") or not (path / "text_encoder").is_dir():
        hint = "Stable Diffusion 1, 2 and XL with their text encoders are converted"
        raise FormatError(f"{path} holds a {kind or 'pipeline without a name'}", hint)
    tensors: dict[str, Pending] = {}
    scaled: set[str] = set()
    for part, folder in spelling.FOLDERS.items():
        if (path / folder).is_dir():
            given, codes = component_tensors(path / folder)
            scaled |= codes
            found = {spelling.canonical(part, n): one for n, one in given.items()}
            tensors |= {name: _flat(name, one) for name, one in found.items() if "position_ids" not in name}
    refuse_codes(path, tensors)
    schedule = read_json(path / "scheduler" / "scheduler_config.json")
    linear = read_json(path / "unet" / "config.json").get("use_linear_projection", False)
    version = "sdxl" if "XL" in kind else "sd2" if linear else "sd1"
    velocity = schedule.get("prediction_type") == "v_prediction"
    zero = bool(schedule.get("rescale_betas_zero_snr", False))
    return Checkpoint(version, tensors, path, velocity, zero, notes=of_codes(path, scaled))


def write_folder(whole: Checkpoint, path: Path) -> Path:
    """Write a diffusers folder, whole or not at all, and compare it."""

    def fill(folder: Path) -> None:
        folder.mkdir()
        if whole.origin.is_dir():
            _copy_rest(whole.origin, folder)
        else:
            _write_configs(whole, folder)
        for part in whole.parts():
            name = spelling.FOLDERS[part]
            (folder / name).mkdir(exist_ok=True)
            file = folder / name / f"{STEMS.get(name, TEXT_STEM)}.safetensors"
            write_streamed(file, whole.part(part), {"format": "pt"})
            if part.startswith("text"):
                tail = "_2" if part == "text_2" else ""
                if whole.words:
                    first = whole.part(part)[TABLE].shape[0] - len(whole.words)
                    teach_words(
                        folder / f"tokenizer{tail}", folder / name / "config.json", whole.words, first
                    )
        _load_alike(folder)
        verify(whole, open_folder(folder))

    return write_with(Path(path), fill)


def _load_alike(folder: Path) -> None:
    """Let every component load in float32 where a program asks for no precision.

    diffusers loads its own components so, whatever their files keep. transformers takes the `dtype` of the configuration,
    or that of the weights where there is none, and a text encoder in half precision then meets a UNet in full.
    """
    for file in sorted(folder.glob("*/config.json")):
        config = read_json(file)
        if "_class_name" not in config:  # it is one of transformers'
            config.pop(
                "torch_dtype", None
            )  # the name that transformers 4 has for it, and takes as float32 without
            write_json(file, {**config, "dtype": "float32"})


def component_tensors(folder: Path) -> tuple[dict[str, Pending], frozenset[str]]:
    """All tensors of a component: full precision before `fp16`, safetensors before pickled, shards joined.

    With the names of those that are codes with a scale in their file.
    """
    for suffix in (".safetensors", ".bin"):
        for variant in VARIANTS:
            for stem in (STEMS["unet"], TEXT_STEM, "pytorch_model"):
                single = folder / f"{stem}{variant}{suffix}"
                index = folder / f"{stem}{suffix}.index{variant}.json"
                if single.is_file():
                    return _joined([single])
                if index.is_file():
                    return _joined(_shards(index))
    names = sorted(path.name for path in folder.glob("*.*")) if folder.is_dir() else []
    wanted = f"{STEMS['unet']}.safetensors or {TEXT_STEM}.safetensors"
    raise FormatError(
        f"{folder} holds no weights", f"looked for {wanted}, found {', '.join(names) or 'nothing'}"
    )


def _joined(files: Iterable[Path]) -> tuple[dict[str, Pending], frozenset[str]]:
    opened = [open_tensors(file) for file in files]
    tensors = {name: one for file in opened for name, one in file.tensors.items()}
    return tensors, frozenset(name for file in opened for name in file.scaled)


def _shards(index: Path) -> list[Path]:
    table = read_json(index).get("weight_map", {})
    files = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if not files:
        raise FormatError(f"{index} names no files", "the folder is not whole; fetch it again")
    for name in files:
        if Path(name).name != name:
            raise FormatError(f"{index} points outside its folder: {name}")
    return [index.parent / file for file in files]


def _flat(name: str, one: Pending) -> Pending:
    """VAE attention is linear here; the oldest folders keep it as 1 x 1 convolutions."""
    square = name.startswith("vae.") and ".attentions." in name and len(one.shape) == 4
    return reshaped(one, one.shape[:2]) if square else one


def _copy_rest(source: Path, target: Path) -> None:
    """Everything but the weights that are written anew; other components are copied with theirs."""
    index = read_json(source / "model_index.json")
    for path in (
        source / "model_index.json",
        *source.glob("*.toml"),
    ):  # the maker's advice, and what it names
        if path.is_file():
            shutil.copyfile(path, target / path.name)
    for name in index:
        if not re.fullmatch(r"\w+", name) or not (source / name).is_dir():
            continue
        anew = name in spelling.FOLDERS.values()
        shutil.copytree(
            source / name, target / name, ignore=_weights if anew else None, copy_function=shutil.copyfile
        )
        if name.startswith("tokenizer"):
            complete_tokenizer(target / name)


def _weights(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if WEIGHTS.fullmatch(name)}


def _write_configs(whole: Checkpoint, folder: Path) -> None:
    write_json(folder / "model_index.json", model_index(whole))
    for name, config in configs(whole).items():
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        write_json(folder / name / file, config)
    sources = tokenizer_sources(whole.origin)
    for part in whole.parts():
        if part.startswith("text"):
            tail = "_2" if part == "text_2" else ""
            config = configs(whole)[spelling.FOLDERS[part]]
            write_tokenizer(folder / f"tokenizer{tail}", sources, config)
