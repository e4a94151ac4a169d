"""TextTower: one tokenizer with its CLIP-like text encoder, and words that are spelled as vectors.

Textual Inversion needs a word whose embedding is a parameter of its own. A tower lets any word of a prompt stand for `n`
vectors `[K, n, width]`: the word is replaced by `n` placeholders when the prompt is tokenised, and the looked-up rows are
replaced when the table is read. The table itself never changes, so no other row can move.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from likewise.errors import RecipeError
from likewise.prompt import shorten

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Word:
    """A word of the prompts of slot `slot` that stands for rows `vectors[row, :count]`."""

    text: str
    slot: int
    count: int
    vectors: Tensor
    """[K, at least count, width]; may be a parameter."""
    row: int | None = None
    """Which of the K; None: as many as the slot."""


@dataclass(frozen=True)
class Tokens:
    """A tokenised batch: `ids` [B, T] and, where a word is spelled as vectors, which vector stands there."""

    ids: Tensor
    word: Tensor
    """[B, T] index into the tower's words, -1 elsewhere."""
    vector: Tensor
    """[B, T] index into that word's vectors."""
    spelled: tuple[int, ...] = ()
    """Which of the tower's words occur."""


@dataclass(frozen=True)
class TextOutput:
    """What a tower makes of a batch of prompts."""

    states: Tensor
    """[B, T, d], one row for each token."""
    pooled: Tensor | None = None
    """[B, p], one row for each prompt, in the space that the tower shares with pictures; None where it has no projection."""


TextFilter = Callable[[Sequence[str], TextOutput, bool], TextOutput]
"""(prompts, output, is it the negative side) -> output. It exists for methods that act on the prompt when it is drawn."""


class Twin(Protocol):
    """The image half of the CLIP model that a tower was taken from. Its weights are loaded on first use.

    Every call raises `BaseError` where the weights cannot be had, with what to do about it.
    """

    @property
    def width(self) -> int:
        """Features d of the space that pictures and texts share."""

    def image_features(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Projected features [n, d] of `pictures`, not normalised."""

    def text_features(self, output: Any, tokens: Tokens) -> Tensor:
        """Projected features [B, d], not normalised, of `output = tower.encode(tokens, output_hidden_states=True)`.

        Gradients flow to the tower, whose own encoder is always the one to steer.
        """


class TextTower:
    """A tokenizer and its encoder.

    `limit` counts all tokens, the first and last special ones included. `part` is the encoder's name among the base's
    components. `layer` says which hidden states the backbone reads: those after the final norm, or before the last layer.
    """

    def __init__(
        self,
        tokenizer: Any,
        encoder: nn.Module,
        limit: int,
        *,
        part: str = "text",
        layer: Literal["last", "penultimate"] = "last",
    ) -> None:
        self.tokenizer, self.encoder, self.limit = tokenizer, encoder, limit
        self.part, self.layer = part, layer
        self.words: list[Word] = []
        self.filters: list[TextFilter] = []
        """What acts on the output of prompts that are drawn, in this order."""
        self.slots = 1
        self.twin: Twin | None = None
        self.kept: tuple[str, ...] = ()
        """Words that a prompt which is too long may not lose; those in `words` are safe in any case."""
        self._cut: set[str] = set()
        self.table: nn.Embedding = encoder.get_input_embeddings()  # type: ignore[operator]
        self._reading: Tokens | None = None
        self.table.register_forward_hook(self._splice)

    @property
    def width(self) -> int:
        """Features of one token's embedding."""
        return self.table.embedding_dim

    def pieces(self, word: str) -> list[str]:
        """The tokens that `word` is made of; one, ideally, for an identifier."""
        return [str(piece) for piece in self.tokenizer.convert_ids_to_tokens(self.ids(word))]

    def ids(self, text: str) -> list[int]:
        """Token ids of `text` without the special ones."""
        # Not verbose: how long a text may be is known here, and said in words of our own.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Token ids [B, limit] of slot-major `prompts`. One that is too long is cut as `fit` does, with one warning."""
        if len(prompts) % self.slots:
            raise RecipeError(f"{len(prompts)} prompts do not divide among {self.slots} slots")
        each = len(prompts) // self.slots
        rows = [self._row(prompt, i // each) for i, prompt in enumerate(prompts)]
        device = self.table.weight.device
        ids, word, vector = (torch.tensor(column, device=device) for column in zip(*rows, strict=True))
        return Tokens(ids, word, vector, tuple(sorted({n for row in rows for n in row[1] if n >= 0})))

    @property
    def room(self) -> int:
        """Tokens of a prompt that are read, besides the special ones."""
        return self.limit - 2

    def count(self, prompt: str) -> int:
        """How many tokens `prompt` takes, in the slot where it takes most."""
        counts: dict[str, int] = {}
        for word in self.words:
            counts[self._folded(word.text)] = max(counts.get(self._folded(word.text), 0), word.count)
        pieces = self._split(prompt, counts)
        return sum(max(counts.get(self._folded(piece), 0), len(self.ids(piece))) for piece in pieces)

    def fit(self, prompt: str, keep: Sequence[str] = ()) -> str:
        """`prompt`, cut to what the tower reads where it is longer, but never in `keep` or a word spelled as vectors."""
        words = [*keep, *dict.fromkeys(word.text for word in self.words)]
        return shorten(prompt, words, lambda text: self.count(text) <= self.room)

    def encode(self, tokens: Tokens, **arguments: Any) -> Any:
        """Run the encoder over `tokens`; returns what it returns."""
        self._reading = tokens
        try:
            return self.encoder(tokens.ids, **arguments)
        finally:
            self._reading = None

    def read(self, prompts: Sequence[str], *, negative: bool | None = None) -> TextOutput:
        """What the tower makes of `prompts`, by its encoder as it is now; gradients flow if they are on.

        Filters act only where `negative` says which side of the guidance the prompts are for.
        """
        found = self.encode(self.tokenize(prompts), output_hidden_states=self.layer == "penultimate")
        states = found.last_hidden_state if self.layer == "last" else found.hidden_states[-2]
        output = TextOutput(states, getattr(found, "text_embeds", None))
        if negative is not None:
            for change in self.filters:
                output = change(prompts, output, negative)
        return output

    def _row(self, prompt: str, slot: int) -> tuple[list[int], list[int], list[int]]:
        ids, word, vector = self._spell(prompt, slot)
        room = self.room
        if len(ids) > room:
            if prompt not in self._cut:
                self._cut.add(prompt)
                begin = prompt if len(prompt) <= 60 else f"{prompt[:59]}…"
                logger.warning("the prompt %r has %d tokens, of which %d are read", begin, len(ids), room)
            ids, word, vector = self._spell(self.fit(prompt, self.kept), slot)
        ids, word, vector = ids[:room], word[:room], vector[:room]
        padding = room - len(ids)
        special = self.tokenizer
        ids = [special.bos_token_id, *ids, special.eos_token_id] + [special.pad_token_id] * padding
        return ids, [-1, *word, -1, *[-1] * padding], [0, *vector, 0, *[0] * padding]

    def _spell(self, prompt: str, slot: int) -> tuple[list[int], list[int], list[int]]:
        """Ids, words and vectors of all of `prompt`, without special tokens."""
        mine = {self._folded(w.text): n for n, w in enumerate(self.words) if w.slot == slot}
        ids: list[int] = []
        word: list[int] = []
        vector: list[int] = []
        for piece in self._split(prompt, mine):
            number = mine.get(self._folded(piece))
            if number is not None:
                count = self.words[number].count
                ids += [self.filler] * count
                word += [number] * count
                vector += list(range(count))
            else:
                plain = self.ids(piece)
                ids += plain
                word += [-1] * len(plain)
                vector += [0] * len(plain)
        return ids, word, vector

    def _folded(self, word: str) -> str:
        """A word as it is compared: CLIP's tokenizers know no capital letters, so neither do words spelled as vectors."""
        small = word.lower()
        return small if self._caseless and len(small) == len(word) else word

    @cached_property
    def _caseless(self) -> bool:
        return self.ids("A") == self.ids("a")

    @property
    def filler(self) -> int:
        """The id that stands where a vector will be put. Never looked at; an ordinary word keeps pooling right."""
        return self.ids("a")[0]

    def _split(self, prompt: str, words: Mapping[str, int]) -> list[str]:
        if not words:
            return [prompt]
        longest = sorted(words, key=len, reverse=True)
        pattern = "|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in longest)
        flags = re.IGNORECASE if self._caseless else re.NOFLAG
        return [piece for piece in re.split(f"({pattern})", prompt, flags=flags) if piece.strip()]

    def _splice(self, _table: nn.Module, _inputs: Any, looked_up: Tensor) -> Tensor | None:
        tokens = self._reading
        if tokens is None or not tokens.spelled:
            return None
        for n in tokens.spelled:
            word, here = self.words[n], tokens.word == n
            row = word.slot if word.row is None else word.row
            chosen = word.vectors[row][tokens.vector]  # [B, T, width]
            looked_up = torch.where(here.unsqueeze(-1), chosen.to(looked_up.dtype), looked_up)
        return looked_up
