"""Tokenizers of whole models: CLIP's words, in the files that older and newer versions of transformers read.

Words that were baked into a tower are taught to the tokenizer beside it. Nothing here splits a text.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.configs import read_json, write_json
from likewise.errors import FormatError

CLIP = "openai/clip-vit-large-patch14"
"""Where the tokenizer is that all these models read with."""
AS_WORD = {"single_word": True, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""How a new word is found in a text: lower-cased like all others, and not inside of another word."""


def write_tokenizer(folder: Path, sources: Mapping[str, Path], config: Mapping[str, Any]) -> None:
    """CLIP's words, padded as the tower is used to: with the end of text, or with `!` in OpenCLIP's."""
    folder.mkdir()
    for name, file in sources.items():
        shutil.copyfile(file, folder / name)
    complete_tokenizer(folder)
    words, rows = len(read_json(folder / "vocab.json")), config["bos_token_id"] + 2
    if words != rows:
        raise FormatError(
            f"the tokenizer has {words} words, the text encoder {rows}",
            "put the model's own into a folder `tokenizer` beside its file",
        )
    end = "<|endoftext|>"
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": end,
        "unk_token": end,
        "pad_token": "!" if config["pad_token_id"] == 0 else end,
    }
    write_json(folder / "special_tokens_map.json", special)
    length = config["max_position_embeddings"]
    write_json(
        folder / "tokenizer_config.json",
        {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True},
    )


def tokenizer_sources(origin: Path) -> dict[str, Path]:
    """The files of a tokenizer: from a folder `tokenizer` beside the single file, else the published ones."""
    beside = origin.parent / "tokenizer"
    if beside.is_dir():
        known = ("vocab.json", "merges.txt", "tokenizer.json")
        return {name: beside / name for name in known if (beside / name).is_file()}
    try:
        return published_tokenizer()
    except FormatError as error:
        raise FormatError(
            f"a single file has no tokenizer of its own, and {error.message}",
            f"put one in {beside}, or {error.hint}",
        ) from None


def published_tokenizer() -> dict[str, Path]:
    """The files of the tokenizer that all these models read with, fetched unless they are here; raises `FormatError`."""
    from huggingface_hub import hf_hub_download

    try:
        return {name: Path(hf_hub_download(CLIP, name)) for name in ("vocab.json", "merges.txt")}
    except Exception as error:  # the Hub raises half a dozen kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise FormatError(
            f"there is none to be had: {first}", f"go online, or `hf download {CLIP} vocab.json merges.txt`"
        ) from None


def complete_tokenizer(folder: Path) -> None:
    """Write `vocab.json` and `merges.txt`, without which transformers 4 has no CLIP tokenizer, from the newer file."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return
    words, merges = _newer(folder)
    write_json(folder / "vocab.json", words)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def vocabulary(origin: Path) -> dict[str, int]:
    """The numbers of the words that the model in a folder or single file reads with; raises `FormatError`."""
    folder = origin / "tokenizer"
    files = (
        {file.name: file for file in folder.glob("*.json")} if origin.is_dir() else tokenizer_sources(origin)
    )
    if "vocab.json" in files:
        words = read_json(files["vocab.json"])
        if not all(type(number) is int and number >= 0 for number in words.values()):
            raise FormatError(f"{files['vocab.json']} does not number its words")
        return words
    return _newer(files.get("tokenizer.json", folder / "tokenizer.json").parent)[0]


def words_and_merges(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Numbers of the words in a tokenizer's folder, and the pairs that are joined, in order; raises `FormatError`."""
    if (folder / "tokenizer.json").is_file():
        words, lines = _newer(folder)
    else:
        words = {str(word): int(number) for word, number in read_json(folder / "vocab.json").items()}
        try:
            lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise FormatError(f"{folder / 'merges.txt'} cannot be read: {error}") from None
    pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    if wrong := next((pair for pair in pairs if len(pair) != 2), None):
        raise FormatError(f"{folder} joins {' '.join(wrong)!r}, which is no pair")
    return words, pairs  # type: ignore[return-value]


def added_words(folder: Path) -> list[str]:
    """Words of a tokenizer beyond its vocabulary."""
    found: dict[str, int] = {}
    if (folder / "added_tokens.json").is_file():
        found |= read_json(folder / "added_tokens.json")
    if (folder / "tokenizer.json").is_file():
        try:
            entries = read_json(folder / "tokenizer.json").get("added_tokens", [])
            found |= {str(entry["content"]): entry["id"] for entry in entries}
        except (KeyError, TypeError):
            raise FormatError(f"{folder}/tokenizer.json does not say which tokens were added") from None
    known = vocabulary(folder.parent) if found else {}
    return [word for word in found if word not in known]


def refuse_new_words(whole: Checkpoint) -> None:
    """Raise `FormatError` if the model reads words that only its own folder can explain."""
    new = list(whole.words)
    if whole.origin.is_dir():
        new += added_words(whole.origin / "tokenizer")
    if new:
        raise FormatError(
            f"a single file has no tokenizer to explain {', '.join(new)}",
            "write a diffusers folder, or replace words that it knows",
        )


def teach_words(folder: Path, config: Path, words: Sequence[str], first: int) -> None:
    """Let the tokenizer in `folder` read `words` as the rows from `first` on, which the tower's `config` is told of.

    Three files say so: the first two are read by transformers 4, the last two by 5.
    """
    known = read_json(folder / "vocab.json")
    numbers = {word: number for number, word in enumerate(words, start=first)}
    entries = {word: {"content": word, **AS_WORD} for word in words}
    old = folder / "added_tokens.json"
    write_json(old, {**(read_json(old) if old.is_file() else {}), **numbers})
    told = read_json(folder / "tokenizer_config.json")
    decoder = {str(numbers[word]): entry for word, entry in entries.items()}
    told["added_tokens_decoder"] = {**told.get("added_tokens_decoder", {}), **decoder}
    write_json(folder / "tokenizer_config.json", told)
    if (folder / "tokenizer.json").is_file():
        whole = read_json(folder / "tokenizer.json")
        new = [{"id": numbers[word], **entry} for word, entry in entries.items()]
        write_json(
            folder / "tokenizer.json", {**whole, "added_tokens": [*whole.get("added_tokens", []), *new]}
        )
    # with the number 2, which published models have, transformers would pool at the word of the largest number
    facts = {"vocab_size": first + len(words), "eos_token_id": known.get("<|endoftext|>", first - 1)}
    write_json(config, {**read_json(config), **facts})


def _newer(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Words and merges of a `tokenizer.json`."""
    model = read_json(folder / "tokenizer.json").get("model", {})
    try:
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        return {str(word): int(number) for word, number in model["vocab"].items()}, merges
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FormatError(f"{folder}/tokenizer.json is not CLIP's kind of tokenizer") from None
