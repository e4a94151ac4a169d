"""What the frozen text tower makes of captions, for the backbone."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPModel, CLIPTokenizer

from workshop.steady import insert, run_tower


class Words:
    """Token states of captions from the frozen text tower, worked out once for each caption.

    At most ``KEPT`` captions are kept, in half precision (about a quarter of a gigabyte), on the tower's device.
    """

    KEPT = 10_000

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.tower = CLIPModel.from_pretrained(folder / "clip").text_model.eval().requires_grad_(False)
        self.tower.to(device)
        self.states: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> torch.Tensor:
        new = [c for c in dict.fromkeys(captions) if c not in self.states]
        if len(self.states) + len(new) > self.KEPT:
            self.states, new = {}, list(dict.fromkeys(captions))
        if new:
            ids = self.tokenizer(new, padding="max_length", truncation=True, return_tensors="pt").input_ids
            states = self.tower(ids.to(self.tower.device)).last_hidden_state.half()
            self.states |= dict(zip(new, states, strict=True))
        return torch.stack([self.states[c] for c in captions]).float()

    @torch.no_grad()
    def strange(self, captions: list[str], generator: torch.Generator) -> torch.Tensor:
        """States of captions with vectors of no word put into them."""
        ids = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        ids = ids.to(self.tower.device)
        words = self.tower.embeddings.token_embedding(ids)
        rows, _, _ = insert(ids, words, self.tokenizer.eos_token_id, generator)
        return run_tower(self.tower, rows, ids)
