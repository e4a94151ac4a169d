"""CLIP's tokenizer over the library `tokenizers`: the same tokens as transformers', without its import.

It reads the files of older and newer versions of transformers, added words included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from likewise.checkpoints.configs import read_json
from likewise.checkpoints.tokenizer import words_and_merges

SPECIAL = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What is split into byte pairs, from the published code."""


class ClipWords:
    """Words of a text as numbers."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        merges: Sequence[tuple[str, str]],
        added: Sequence[AddedToken] = (),
        special: Mapping[str, str | AddedToken] = SPECIAL,
    ) -> None:
        named = {**SPECIAL, **special}
        self.bos_token, self.eos_token, self.unk_token, self.pad_token = (
            _text(named[name]) for name in ("bos_token", "eos_token", "unk_token", "pad_token")
        )
        pairs = BPE(
            vocab=dict(vocabulary), merges=list(merges), continuing_subword_prefix="", end_of_word_suffix="</w>",
            fuse_unk=False, unk_token=self.unk_token,
        )  # fmt: skip
        self._tokenizer = Tokenizer(pairs)
        self._tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        self._tokenizer.add_tokens(list(added))
        known = {one.content for one in added}
        self._tokenizer.add_special_tokens([one for one in named.values() if _text(one) not in known])

    def __call__(
        self, text: str, *, add_special_tokens: bool = False, verbose: bool = False
    ) -> dict[str, Any]:
        """`input_ids` of `text`; the arguments are those of transformers' tokenizers."""
        assert not add_special_tokens, "the tower adds them"
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=False).ids}

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def get_vocab(self) -> dict[str, int]:
        """Every token with its number, added ones included."""
        return self._tokenizer.get_vocab(with_added_tokens=True)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens of these numbers."""
        return [str(self._tokenizer.id_to_token(number)) for number in ids]

    @property
    def bos_token_id(self) -> int:
        """The number of the beginning."""
        return self._number(self.bos_token)

    @property
    def eos_token_id(self) -> int:
        """The number of the end."""
        return self._number(self.eos_token)

    @property
    def pad_token_id(self) -> int:
        """The number that fills up."""
        return self._number(self.pad_token)

    def _number(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        assert number is not None, f"{token} was added"
        return number


def read_words(folder: Path, **special: str) -> ClipWords:
    """The tokenizer in `folder`; `special` tokens go before those of its files. Raises `FormatError`."""
    vocabulary, merges = words_and_merges(folder)
    told: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            told |= read_json(folder / name)
    named = {
        key: _token({**told[key], "special": True}) if isinstance(told[key], Mapping) else str(told[key])
        for key in SPECIAL
        if told.get(key)
    }
    return ClipWords(vocabulary, merges, _added(folder, told), {**named, **special})


def _text(token: str | AddedToken) -> str:
    return token if isinstance(token, str) else str(token.content)


def _added(folder: Path, told: Mapping[str, Any]) -> list[AddedToken]:
    """Words beyond the vocabulary, by their numbers, from the three files that may have them."""
    found: dict[int, AddedToken] = {}
    if (folder / "added_tokens.json").is_file():
        found |= {
            number: AddedToken(word) for word, number in read_json(folder / "added_tokens.json").items()
        }
    if (folder / "tokenizer.json").is_file():
        entries = read_json(folder / "tokenizer.json").get("added_tokens", [])
        found |= {entry["id"]: _token(entry) for entry in entries}
    found |= {int(number): _token(entry) for number, entry in told.get("added_tokens_decoder", {}).items()}
    return [found[number] for number in sorted(found)]


def _token(entry: Mapping[str, Any]) -> AddedToken:
    how = {
        key: bool(entry[key])
        for key in ("single_word", "lstrip", "rstrip", "normalized", "special")
        if key in entry
    }
    return AddedToken(str(entry["content"]), **how)
